"""A LoRA adapter in training on top of a frozen one, at which the policy began; and the two of them kept as one.

    W + s₁ B₁ A₁ (frozen) + s₂ B₂ A₂ (in training)  =  W + [B₁ B₂] [s₁ A₁; s₂ A₂], of rank r₁ + r₂, exactly

Neither is merged into the weights: those in 16 or 4 bits would round, and what is saved for W alone would be another
policy than the one that was trained.
"""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, PeftModelForCausalLM
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from trainers.errors import InvalidInput
from trainers.weights_folders import ADAPTER_WEIGHTS

# Of a checkpoint, the adapter in training by itself, to go on with.
_TRAINED_FILE = "trained_adapter.safetensors"
# Their names in peft; that of the second is what trainers expect.
_FROZEN, _TRAINED = "start", "default"
_PREFIX = "base_model.model."


class StackedPolicy(PeftModelForCausalLM):  # type: ignore[misc]
    """A causal language model with both adapters on.

    Without the one in training (`disable_adapter`) it is what it was before its first step. `save_pretrained` keeps
    both as one, which `PeftModel.from_pretrained` puts on the model under them.
    """

    def __init__(self, model: Any, start: Path, adapter: LoraConfig) -> None:
        """`start` is the folder of a plain LoRA adapter; raises InvalidInput where it does not fit the model."""
        adapter.base_model_name_or_path = model.__dict__.get("name_or_path") or None
        # First the one in training, whose random start is then that of a run without the other.
        super().__init__(model, adapter, adapter_name=_TRAINED)
        device = next(model.parameters()).device
        try:
            loaded = self.load_adapter(str(start), _FROZEN, torch_device=str(device))
        except RuntimeError as error:  # tensors of other shapes
            raise InvalidInput([f"start: {start} does not fit the model: {str(error).splitlines()[0]}"]) from None
        if stray := [*loaded.unexpected_keys, *loaded.missing_keys]:
            raise InvalidInput([f"start: {start} does not fit the model, which has no place for {stray[0]}"])
        for module in self._layers().values():
            if _FROZEN in module.lora_dropout:
                # Its log-probabilities are what they are, as those of the weights under it.
                module.lora_dropout[_FROZEN] = torch.nn.Identity()
        self._weights = {name: weight for name, weight in self.named_parameters() if f".{_TRAINED}" in name}
        self._activate(_FROZEN, _TRAINED)

    @contextlib.contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """While in here it is what it was before its first step; it must not be trained."""
        self._activate(_FROZEN)
        try:
            yield
        finally:
            self._activate(_FROZEN, _TRAINED)

    def save_pretrained(self, save_directory: Any, is_main_process: bool = True, **_options: Any) -> None:
        """Keep both adapters as one. Raises OSError."""
        if not is_main_process:
            return
        config, tensors = self._together()
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
        config.save_pretrained(str(folder))

    def save_trained(self, folder: Path) -> None:
        """Write the adapter in training into a checkpoint's folder. Raises OSError."""
        save_file({name: weight.contiguous() for name, weight in self._weights.items()}, folder / _TRAINED_FILE)

    def load_trained(self, folder: Path) -> None:
        """Go on from a checkpoint. Raises OSError where it holds no such adapter."""
        for name, weight in load_file(folder / _TRAINED_FILE).items():
            self._weights[name].data.copy_(weight)

    def load_together(self, folder: Path) -> None:
        """Take the adapter in training out of what `save_pretrained` kept: of each matrix what lies behind the start's.

        The start's own stays as it was loaded. Raises OSError, and InvalidInput where it is another policy's.
        """
        kept, taken, layers = load_file(folder / ADAPTER_WEIGHTS), {}, self._layers()
        start, own = (
            get_peft_model_state_dict(self, adapter_name=name, save_embedding_layers=False)
            for name in (_FROZEN, _TRAINED)
        )
        for key, weight in own.items():
            layer, _, matrix = key.removeprefix(_PREFIX).rpartition(".lora_")
            # Along which ranks lie.
            dim = 0 if matrix.startswith(("A", "embedding_A")) else 1
            before = start[key].shape[dim] if key in start else 0
            if key not in kept or kept[key].shape[dim] != before + weight.shape[dim]:
                raise InvalidInput(
                    [f"{folder} holds no adapter of this policy: {key} is not there, or of another rank"]
                )
            part = kept[key].narrow(dim, before, weight.shape[dim])
            taken[key] = part / layers[layer].scaling[_TRAINED] if dim == 0 else part
        set_peft_model_state_dict(self, taken, adapter_name=_TRAINED)

    def _activate(self, *names: str) -> None:
        self.base_model.set_adapter(list(names), inference_mode=True)
        for weight in self._weights.values():
            weight.requires_grad_(True)

    def _layers(self) -> dict[str, Any]:
        """The layers that have an adapter, by their names in the base model."""
        return {name: module for name, module in self.get_base_model().named_modules() if isinstance(module, LoraLayer)}

    def _together(self) -> tuple[LoraConfig, dict[str, torch.Tensor]]:
        kept = [
            (name, get_peft_model_state_dict(self, adapter_name=name, save_embedding_layers=False))
            for name in (_FROZEN, _TRAINED)
        ]
        layers = self._layers()
        tensors, ranks = {}, {}
        for key in dict.fromkeys(key for _, state in kept for key in state):
            layer, _, matrix = key.removeprefix(_PREFIX).rpartition(".lora_")
            parts = {name: state[key].float() for name, state in kept if key in state}
            if matrix.startswith(("A", "embedding_A")):
                scaled = [part * layers[layer].scaling[name] for name, part in parts.items()]
                tensors[key] = torch.cat(scaled, 0).cpu()
                ranks[layer] = len(tensors[key])
            else:
                tensors[key] = torch.cat(list(parts.values()), 1).contiguous().cpu()
        return self._config(ranks), tensors

    def _config(self, ranks: Mapping[str, int]) -> LoraConfig:
        """Of the adapter that is both, by the rank of each layer; its scale is 1 everywhere."""
        usual = Counter(ranks.values()).most_common(1)[0][0]
        others = {layer: rank for layer, rank in ranks.items() if rank != usual}
        return dataclasses.replace(
            self.peft_config[_TRAINED],
            r=usual,
            lora_alpha=usual,
            rank_pattern=others,
            alpha_pattern=others,
            use_rslora=False,
            target_modules=self._targets(frozenset(ranks)),
            inference_mode=True,
        )

    def _targets(self, layers: frozenset[str]) -> list[str]:
        """The ends of the layers' names, where these mean them and no others, else the whole names."""
        ends = {layer.rpartition(".")[2] for layer in layers}
        meant = {
            name
            for name, _ in self.get_base_model().named_modules()
            if name.rpartition(".")[2] in ends and ".lora_" not in name
        }
        return sorted(ends if meant == layers else layers)


def merged(model: Any, adapter: Path) -> Any:
    """The model with the adapter as a part of its weights, all of which are to be trained.

    What is added is computed in 32 bits, and rounded once to the weights' own.
    """
    whole = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    whole.requires_grad_(True)
    return whole
