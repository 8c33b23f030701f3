"""The models that a policy is put beside after training: what it started from, what it is held to, its opponent.

Where one of them is the policy without its adapter, nothing is loaded; else it is loaded for as long as it is asked.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers import models, reference_kinds
from trainers.config import RunConfig
from trainers.models import Policy
from trainers.reference_config import SelfReference
from trainers.reference_kinds import Part
from trainers.reference_models import Keeper, ReferenceModel, StandIn, without_adapter


@dataclass(frozen=True)
class Other:
    """A model to be asked, and its share of what the policy is compared with.

    `is_policy`: it is the policy itself, once its adapter is off.
    """

    model: Any
    weight: float
    is_policy: bool

    def in_place(self) -> contextlib.AbstractContextManager[None]:
        """While in here `model` is that model."""
        return without_adapter(self.model) if self.is_policy else contextlib.nullcontext()


def start_part(config: RunConfig) -> Part:
    """What the policy started from."""
    return _only(reference_kinds.parts(config.model_copy(update={"reference": SelfReference(kind="self")})))


def identity(config: RunConfig, policy: Policy, part: Part, cache_dir: Path) -> dict[str, Any]:
    """All that decides what a model says, but for how is asked. Raises OSError where its weights cannot be read."""
    return ReferenceModel(config, policy, part, cache_dir).identity()


@contextlib.contextmanager
def policy_of(config: RunConfig, policy: Policy, part: Part, cache_dir: Path) -> Iterator[Policy]:
    """The model as a policy, with the tokenizer of `policy`. Raises OSError where its weights are gone."""
    with opened(config, policy, part, cache_dir) as other, other.in_place():
        yield Policy(other.model, policy.tokenizer, policy.precision, policy.task)


@contextlib.contextmanager
def reference_opened(config: RunConfig, policy: Policy, cache_dir: Path) -> Iterator[Sequence[Other]]:
    """The models of the run's reference; for a method without one, and where it moves, what the policy started from."""
    with contextlib.ExitStack() as stack:
        parts = reference_kinds.parts(config)
        yield [stack.enter_context(opened(config, policy, part, cache_dir)) for part in parts]


def other_tokens(config: RunConfig, policy: Policy, cache_dir: Path) -> list[Part]:
    """The models of the reference that have another tokenizer than the policy."""
    vocabulary = policy.tokenizer.get_vocab()
    return [
        part
        for part in reference_kinds.parts(config)
        if not part.own
        and models.tokenizer_at(part.path, part.revision, cache_dir).get_vocab() != vocabulary
    ]  # fmt: skip


@contextlib.contextmanager
def opened(config: RunConfig, policy: Policy, part: Part, cache_dir: Path) -> Iterator[Other]:
    """A model of the reference; its memory is given back at the end, if nobody holds on to it."""
    if hasattr(policy.model, "disable_adapter") and ReferenceModel(config, policy, part, cache_dir).is_policy:
        yield Other(policy.model, part.weight, is_policy=True)
        return
    # All weights are trained, or it is another model.
    keeper = Keeper()
    try:
        stand_in = StandIn(None, policy.tokenizer, policy.precision, policy.task, keeper=keeper)
        with ReferenceModel(config, stand_in, part, cache_dir).opened(str(part)) as model:
            yield Other(model, part.weight, is_policy=False)
            del model
    finally:
        keeper.close()


def _only(parts: Sequence[Part]) -> Part:
    (part,) = parts
    return part
