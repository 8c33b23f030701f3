"""Models that a run loads beside its policy, a reference's, an opponent's or one that rates: of what shape, how large.

reference=model of 13B beside a policy in bf16 -> [Beside(shape of 40 layers, 26 GB)]; reference=self -> []
"""

from dataclasses import dataclass
from pathlib import Path

from trainers import reference_kinds
from trainers.config import LoRA, RunConfig
from trainers.errors import InvalidInput
from trainers.evaluation import opponent
from trainers.files import read_json
from trainers.holdings import NF4_DOUBLE_BYTES, quantised, sizes, stored_in_4_bits, stream_bytes, weight_bytes
from trainers.parameters import Shape
from trainers.paths import local_path
from trainers.reference_config import RunReference, SelfReference
from trainers.start_config import RunStart
from trainers.workload import asked_for, evaluation_model, reward_model

_ADAPTER, _ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class Beside:
    """A model of some shape whose weights take so many bytes, `quantised` where they are in 4 bits."""

    shape: Shape
    bytes: int
    quantised: bool


def references(config: RunConfig, own: tuple[Shape, float], *, gpu: bool, policy: bool = True) -> list[Beside]:
    """The models of the reference that must be loaded, one after the other; `own` are the sizes of the run's model.

    With `policy` in memory, its start without the adapter needs no loading. What is not known of is taken for as large
    as the run's model.
    """
    if isinstance(config.reference, RunReference):  # of the same model, in the same bits
        served = policy and isinstance(config.start, RunStart) and config.start.of == config.reference.of
        size = int(weight_bytes(config, *own, gpu=gpu))
        return [] if served else [Beside(own[0], size, quantised(config))]
    try:
        parts = reference_kinds.parts(config)
    except InvalidInput:  # told elsewhere
        return []
    others = [part for part in parts if not (policy and reference_kinds.serves(config, part))]
    return [_reference(config, part, own, gpu=gpu) for part in others]


def compared(config: RunConfig, own: tuple[Shape, float], *, gpu: bool) -> list[Beside]:
    """Those that must be loaded, all of them together, to compare the trained policy with its reference."""
    return references(config, own, gpu=gpu, policy=isinstance(config.peft, LoRA))


def start(config: RunConfig, own: tuple[Shape, float], *, gpu: bool) -> Beside | None:
    """What the policy started from, where it must be loaded beside the trained one; None where that can be taken off.

    What is not known of is taken for as large as the run's model.
    """
    begun = config.model_copy(update={"reference": SelfReference(kind="self")})
    return next(iter(compared(begun, own, gpu=gpu)), None)


def opponents(config: RunConfig, own: tuple[Shape, float], *, gpu: bool) -> list[Beside]:
    """The models that must be loaded, one after the other, to answer what the trained policy does.

    One is the start even where another run's policy is the opponent: should few answers end, it tells whether its own
    did. None where nobody is asked.
    """
    if not asked_for(config):
        return []
    found = [start(config, own, gpu=gpu)]
    try:
        other = opponent.opponent(config)
    except InvalidInput:  # told elsewhere
        other = None
    if other is not None and not (isinstance(config.peft, LoRA) and reference_kinds.serves(config, other.part)):
        found.append(_reference(config, other.part, own, gpu=gpu))
    return [model for model in found if model is not None]


def _reference(config: RunConfig, part: reference_kinds.Part, own: tuple[Shape, float], *, gpu: bool) -> Beside:
    shape, parameters = (None if part.own else sizes(part.path, part.revision, None)) or own
    loaded = reference_kinds.as_loaded(config, part)
    # A model that is not the run's says itself whether it is stored in 4 bits.
    stored = config.model.prequantized if part.own else stored_in_4_bits(part.path, part.revision)
    loaded = loaded.model_copy(update={"model": loaded.model.model_copy(update={"prequantized": stored})})
    in_4_bits = stored or loaded.quantization.kind == "nf4"
    adapter = 0 if part.adapter is None else _size(part.adapter / _ADAPTER_WEIGHTS)
    return Beside(shape, int(weight_bytes(loaded, shape, parameters, gpu=gpu)) + adapter, in_4_bits)


def rater(config: RunConfig, own: tuple[Shape, float], *, gpu: bool) -> Beside | None:
    """The method's reward model, in the dtype of the policy's weights and without a head; None where none is loaded."""
    path = reward_model(config)
    return None if path is None else _rater(config, path, own, gpu=gpu)


def evaluator(config: RunConfig, own: tuple[Shape, float], *, gpu: bool) -> Beside | None:
    """The same of the evaluation's, which is loaded when the policy has answered."""
    path = evaluation_model(config)
    return None if path is None else _rater(config, path, own, gpu=gpu)


def _rater(config: RunConfig, path: str, own: tuple[Shape, float], *, gpu: bool) -> Beside:
    adapter = read_json(local_path(path) / _ADAPTER)
    base = adapter.get("base_model_name_or_path") if isinstance(adapter, dict) else None
    place = base if isinstance(base, str) else path
    shape, parameters = sizes(place, None, None) or own
    weights = (parameters - shape.head_weights) * stream_bytes(config, gpu=gpu)
    stored = stored_in_4_bits(place, None)
    if stored:
        share = shape.layers * shape.linear / shape.parameters
        weights = parameters * (share * NF4_DOUBLE_BYTES) + (1 - share) * weights
    own_adapter = 0 if base is None else _size(local_path(path) / _ADAPTER_WEIGHTS)
    return Beside(shape, int(weights) + own_adapter, stored)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
