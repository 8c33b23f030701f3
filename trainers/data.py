"""Preference data: how they are loaded, checked and turned into tokens. Others import this, not its parts.

`load_pairs(config.data, cache_dir)` -> Pairs, or for data=unpaired `load_answers(config.data)` -> Answers;
`tokenise(pairs.train, tokenizer, 512)` -> token ids; `inspect(config)` -> a DataReport or an AnswersReport, or every
fault, before anything is trained. Importing it costs milliseconds: torch, transformers and
datasets are imported when used, if at all.
"""

from trainers.data_answers import Answer
from trainers.data_answers_report import AnswersReport
from trainers.data_checks import advice, inspect
from trainers.data_pairs import Message, Messages, Pair, Text
from trainers.data_report import DataReport
from trainers.data_sets import Answers, Pairs, load_answers, load_pairs
from trainers.data_tokens import TokenisedAnswer, TokenisedPair, tokenise, tokenise_answers
from trainers.data_toys import toy_pairs

# What was found in a set, of pairs or of answers one by one.
Report = DataReport | AnswersReport

__all__ = [
    "Answer",
    "Answers",
    "AnswersReport",
    "DataReport",
    "Message",
    "Messages",
    "Pair",
    "Pairs",
    "Report",
    "Text",
    "TokenisedAnswer",
    "TokenisedPair",
    "advice",
    "inspect",
    "load_answers",
    "load_pairs",
    "tokenise",
    "tokenise_answers",
    "toy_pairs",
]
