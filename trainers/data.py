"""Preference data: pairs, how they are loaded, checked and turned into tokens. Others import this, not its parts.

`load_pairs(config.data, cache_dir)` -> Pairs; `tokenise(pairs.train, tokenizer, 512)` -> token ids; `inspect(config)`
-> a DataReport, or every fault, before anything is trained. Importing it costs milliseconds: torch, transformers and
datasets are imported when used, if at all.
"""

from trainers.data_checks import inspect
from trainers.data_pairs import Message, Messages, Pair, Text
from trainers.data_report import DataReport
from trainers.data_sets import Pairs, load_pairs
from trainers.data_tokens import TokenisedPair, tokenise

__all__ = [
    "DataReport",
    "Message",
    "Messages",
    "Pair",
    "Pairs",
    "Text",
    "TokenisedPair",
    "inspect",
    "load_pairs",
    "tokenise",
]
