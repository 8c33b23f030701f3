"""The models that a reference is made of: what decides their numbers, and how they are loaded when they are needed.

A part of a reference that is the policy's own start costs nothing to load: it is the policy without the adapter that it
trains.
"""

import contextlib
import gc
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig
from transformers.utils.hub import resolve_revision

from trainers import models, reference_kinds, weights_digest
from trainers.config import RunConfig
from trainers.models import Policy
from trainers.reference_kinds import Part
from trainers.stacked import merged

# Raise it when the scorer gives an answer of the same model another value than before.
_SCORING = 1
# Starts of an adapter that leave the base as it is. The others move a part of its weights into the adapter.
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal")


@dataclass
class Tally:
    """Of one model: how many answers were known, and how many were computed in how many seconds."""

    model: str
    known: int = 0
    computed: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        where = "the GPU" if torch.cuda.is_available() else "the CPU"
        computed = f"{self.computed} answers computed on {where} in {self.seconds:.1f} s, " if self.computed else ""
        return f"{self.model}: {computed}{self.known} were there already"


class Keeper:
    """Keeps the model that was loaded last until another one is needed."""

    def __init__(self) -> None:
        self._name, self._model = "", None

    def keep(self, name: str, load: Callable[[], Any]) -> Any:
        """The model of that name, loaded unless it is the last one."""
        if self._model is None or name != self._name:
            self.close()
            self._name, self._model = name, load()
        return self._model

    def close(self) -> None:
        """Give the model's memory back."""
        self._model = None
        give_back_memory()


@dataclass(frozen=True)
class StandIn(Policy):
    """A policy that is not loaded, for those who want its reference's scores alone: `model` is None.

    Tallies are by the identity of the reference's models.
    """

    keeper: Keeper = field(default_factory=Keeper)
    tallies: dict[str, Tally] = field(default_factory=dict)


class ReferenceModel:
    """One of the models that a reference is made of, loaded only when it is opened."""

    def __init__(self, config: RunConfig, policy: Policy, part: Part, cache_dir: Path) -> None:
        """Asks the hub, where the part is a model of the hub and not loaded yet, for its newest commit."""
        self._policy, self._part, self._cache_dir = policy, part, cache_dir
        self._is_policy = (
            reference_kinds.serves(config, part) and not isinstance(policy, StandIn) and _base_is_whole(policy.model)
        )
        # The policy's commit is the one that its loading has noted; nobody needs to be asked for it again.
        self._commit = _commit(models.locate(part.path, cache_dir), part.revision, local_files_only=self._is_policy)
        self._config = self._as_loaded(config)

    @property
    def is_policy(self) -> bool:
        """Whether it is the policy without its adapter, as long as no other weights are trained."""
        return self._is_policy

    @property
    def pad_id(self) -> int:
        """Any token that the model knows: masks leave padding out."""
        return self._policy.pad_id if self._is_policy else 0

    def identity(self) -> dict[str, Any]:
        """All that decides what the model says of token ids. Raises OSError where its weights cannot be read.

        Tokenizer, template, lengths and data are not in it: they decide which ids there are, and those are the keys.
        The batch size is not in it either: in other company an answer rounds otherwise in its last bits, as it does in
        a data set that has grown, and no two data sets could share anything.
        """
        config, part = self._config, self._part
        in_4_bits = config.quantization.kind == "nf4" or config.model.prequantized
        return {
            "scoring": _SCORING,
            # Of the hub the commit, which names the content; of a folder the content itself, wherever it lies.
            "weights": self._weights(),
            "adapter": None if part.adapter is None else weights_digest.of_folder(part.adapter, self._cache_dir),
            **({"merged": True} if part.merged else {}),
            # 4-bit weights are other weights; those stored so bring their own settings, which the content has.
            "quantization": "stored" if config.model.prequantized else config.quantization.model_dump(),
            # 16 bits round weights, and autocast what is computed with them.
            "dtype": str(models.weights_dtype(config)),
            "autocast": str(self._policy.autocast),
            # Kernels and their versions sum up in another order, and at times mend a fault. Not the kind of GPU: that
            # is a matter of the last bits, like the batch, and nodes of one cluster differ in it.
            "attention": models.attention(
                config, part.path, self._commit or part.revision, models.weights_dtype(config), self._cache_dir
            ),
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "versions": {
                name: version(name)
                for name, counts in [
                    ("torch", True), ("transformers", True), ("peft", part.adapter), ("bitsandbytes", in_4_bits)
                ]
                if counts
            },
        }  # fmt: skip

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[Any]:
        """The model; a stand-in keeps it under that name, and else its memory is given back at the end."""
        if self._is_policy:
            with without_adapter(self._policy.model):
                yield self._policy.model
        elif isinstance(self._policy, StandIn):
            yield self._policy.keeper.keep(name, self._load)
        else:
            held = [self._load()]
            try:
                yield held[0]
            finally:
                held.clear()

    def _weights(self) -> str:
        place = models.locate(self._part.path, self._cache_dir)
        if place.is_dir():
            return weights_digest.of_folder(place, self._cache_dir)
        if self._commit is None:
            raise OSError(f"the commit of {self._part.path} is not known")
        return f"{self._part.path}@{self._commit}"

    def _load(self) -> Any:
        part = self._part
        base = models.load_base(self._config, part.path, self._commit or part.revision, self._cache_dir)
        if part.adapter is None:
            return base
        return merged(base, part.adapter) if part.merged else PeftModel.from_pretrained(base, str(part.adapter))

    def _as_loaded(self, config: RunConfig) -> RunConfig:
        """The run's config as loading this model takes it: its own quantisation, on disk or asked for."""
        config = reference_kinds.as_loaded(config, self._part)
        if self._part.own:
            return config
        place = str(models.locate(self._part.path, self._cache_dir))
        found = AutoConfig.from_pretrained(place, revision=self._commit or self._part.revision, trust_remote_code=False)
        stored = getattr(found, "quantization_config", None) is not None
        return config.model_copy(update={"model": config.model.model_copy(update={"prequantized": stored})})


def give_back_memory() -> None:
    """What a model that nobody holds any more has left behind goes, before another one comes."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _commit(place: Path, revision: str | None, *, local_files_only: bool) -> str | None:
    """The commit of the hub that a revision stands for now; None for a folder, or where nobody knows."""
    if place.exists():
        return None
    if revision is not None and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    commit = getattr(resolve_revision(str(place), revision, local_files_only=local_files_only), "resolved", None)
    return commit if isinstance(commit, str) else None


def _base_is_whole(model: Any) -> bool:
    """Whether the policy without its adapter is its base model, as some adapters' starts do not leave it."""
    adapters = getattr(model, "peft_config", {})
    return all(getattr(adapter, "init_lora_weights", True) in _PLAIN_STARTS for adapter in adapters.values())


def without_adapter(model: Any) -> contextlib.AbstractContextManager[None]:
    """While in here the model is what its adapter stands on."""
    return model.disable_adapter() if hasattr(model, "disable_adapter") else contextlib.nullcontext()
