"""How far back a model can look, told from its config alone, and what that means for training.max_length.

mistral with sliding_window 4096 and training.max_length=8192 -> ["model=mine: each layer attends to the last 4096 ..."]
"""

from collections.abc import Mapping
from typing import Any

from trainers.config import RunConfig
from trainers.parameters import config_at

# Of kinds whose positions are rows of a table: there is none for a position beyond it.
_LEARNT_POSITIONS = {"opt", "gpt2"}
# Of kinds that look back no further than their window only where they are told to.
_WINDOW_IS_OPTIONAL = {"qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "smollm3"}


def warnings(config: RunConfig, longest: int | None = None) -> list[str]:
    """What training.max_length asks of the model beyond what it was made for, a sentence each.

    Nothing where `longest`, the tokens of the longest sequence, is known and asks for less.
    """
    known = config_at(config.model.path, config.model.revision)
    if known is None:
        return []
    length = config.training.max_length
    reached = min(length, longest or length)
    return [*_positions(config, known, reached), *_window(config, known, reached)]


def _positions(config: RunConfig, known: Mapping[str, Any], reached: int) -> list[str]:
    positions = known.get("max_position_embeddings", known.get("n_positions"))
    length = config.training.max_length
    if not isinstance(positions, int) or reached <= positions:
        return []
    so = (
        "a longer pair ends the run with an error"
        if known.get("model_type") in _LEARNT_POSITIONS
        else "what it says of tokens beyond is not to be relied on"
    )
    return [
        f"training.max_length={length}, but model={config.model.name} knows {positions} positions "
        f"(max_position_embeddings): {so}; lower it to {positions}"
    ]


def _window(config: RunConfig, known: Mapping[str, Any], reached: int) -> list[str]:
    window, length = known.get("sliding_window"), config.training.max_length
    if not isinstance(window, int) or reached <= window:
        return []
    layers = known.get("layer_types") or []
    if known.get("use_sliding_window", known.get("model_type") not in _WINDOW_IS_OPTIONAL) is False:
        return []
    if "full_attention" in layers:
        return []
    return [
        f"training.max_length={length}, but each layer of model={config.model.name} attends to the last {window} "
        "tokens alone (sliding_window): an answer sees what stands further back only through what lies between"
    ]
