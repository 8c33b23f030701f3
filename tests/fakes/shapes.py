"""Folders with a config.json and no weights: what a model is of which only the sizes matter."""

import json
from pathlib import Path
from typing import Any

# Two layers of 4 x 8 x 8 + 3 x 8 x 8 = 448 weights; embedding and head of 13 x 8 each; five norms of 8.
SMALL: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1,
    "vocab_size": 13, "tie_word_embeddings": False,
}  # fmt: skip
LINEAR, HEAD, NORMS = 448, 13 * 8, 5 * 8
PARAMETERS = 2 * LINEAR + 2 * HEAD + NORMS

MISTRAL_7B: dict[str, Any] = {
    "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 32768,
    "sliding_window": 4096, "tie_word_embeddings": False,
}  # fmt: skip


def model_folder(folder: Path, shape: dict[str, Any] = SMALL, **changes: Any) -> str:
    """The folder's path, with a config.json of that shape in it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**shape, **changes}))
    return str(folder)
