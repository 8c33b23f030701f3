"""Names of prompts and pairs that are the same for every model, tokenizer and cut: digests of what was written.

pair_name("2+2?", "4", "5") -> "0f5d0c6a7f8e2b31"
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from trainers.data_pairs import Text

# A text, a conversation, or token ids where the data are token ids.
Named = Text | Sequence[int]


def prompt_name(prompt: Named) -> str:
    """16 hex digits."""
    return _digest([prompt])


def pair_name(prompt: Named, chosen: Named, rejected: Named) -> str:
    """16 hex digits."""
    return _digest([prompt, chosen, rejected])


def _digest(parts: Sequence[Named]) -> str:
    # Of a conversation the roles count too; JSON tells a text from a list of one.
    plain = [part if isinstance(part, str) else [_plain(one) for one in part] for part in parts]
    written = json.dumps(plain, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(written.encode(), digest_size=8).hexdigest()


def _plain(part: object) -> object:
    return [part["role"], part["content"]] if isinstance(part, Mapping) else part
