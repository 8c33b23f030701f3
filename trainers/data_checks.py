"""Checks a run's data in the controller, before anything is trained and without importing torch.

data=jsonl with a row lacking `prompt` -> InvalidInput naming file, line and the key that mends it; a sound file -> its
DataReport, with the tokens, and what training.max_length cuts of them, counted where the tokenizer is on this machine.
"""

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from trainers import data_toys, hub, toys
from trainers.config import RunConfig
from trainers.data_answers import Answer
from trainers.data_answers_report import AnswersReport, unbalanced
from trainers.data_config import Bandit, HubPairs, Jsonl, OnePair, Orca, Toy, Unpaired
from trainers.data_pairs import Pair, Text
from trainers.data_report import DataReport, Lengths
from trainers.data_sets import Answers, Pairs, load_answers, load_pairs, local_files
from trainers.data_tokens import NO_TEMPLATE, room
from trainers.errors import InvalidInput, NotAtHand
from trainers.methods import METHODS
from trainers.paths import local_path
from trainers.world import DEFAULT_TRAIN

# Counts the tokens of texts, special ones included.
Counter = Callable[[Sequence[str]], list[int]]


def inspect(config: RunConfig) -> DataReport | AnswersReport | None:
    """What the run's data hold, or None where only the run itself can tell (the built-in world, sets of the hub).

    Raises InvalidInput with every fault found. The same file is read once a process, however many runs ask.
    """
    data = config.data
    if toys.is_toy(config.model.path) and not isinstance(data, Bandit | OnePair):
        raise InvalidInput([
            f"model={config.model.name} knows no text: it goes with data=bandit or data=one_pair, got data={data.kind}"
        ])  # fmt: skip
    if isinstance(data, Toy):
        _refuse(_too_few(config, data.max_train_samples or DEFAULT_TRAIN))
        return None
    if isinstance(data, Unpaired):
        return _inspect_answers(config, _answers(data))
    if isinstance(data, Bandit | OnePair):
        # A batch of more pairs than there are takes them all: full batch is what such data are for.
        _refuse(_not_for_toys(config, data))
        return None
    if not isinstance(data, Jsonl) and not is_local(data):
        _check_hub(data, config)
        return None
    pairs, faults = _loaded(data, _stamp(data))
    if pairs is None:
        raise InvalidInput(faults)
    prompts = (pair.prompt for pair in (*pairs.train, *pairs.heldout))
    _refuse([*_too_few(config, len(pairs.train)), *_no_template(config, prompts)])
    return _with_lengths(config, pairs)


def advice(config: RunConfig) -> list[str]:
    """What the method's own settings should be on the run's data, a sentence each. Raises what `inspect` does."""
    return unbalanced(config, _answers(config.data).report) if isinstance(config.data, Unpaired) else []


def _inspect_answers(config: RunConfig, answers: Answers) -> AnswersReport:
    prompts = (*(answer.prompt for answer in answers.train), *(pair.prompt for pair in answers.heldout))
    _refuse([*_unlearnable(config, answers.report), *_no_template(config, prompts)])
    counter = token_counter(config)
    if counter is None or not all(isinstance(prompt, str) for prompt in prompts):
        return answers.report
    length = config.training.max_length
    return answers.report.with_lengths(
        lengths(_counts(answers.train, counter), length), heldout=lengths(_counts(answers.heldout, counter), length)
    )


def _unlearnable(config: RunConfig, report: AnswersReport) -> list[str]:
    """Faults where the method cannot learn from such answers, or not from so few."""
    method = METHODS[config.method.name]
    good, bad = report.desirable, report.undesirable
    if method.data_format == "demonstrations":
        if good:
            return _too_few(config, good, "desirable answers")
        return [f"data.path: none of {bad} answers is desirable, and method={method.name} learns from these alone"]
    if method.data_format == "unpaired" and not (good and bad):
        kind, instead = ("desirable", ", or use method=sft") if good else ("undesirable", "")
        assert isinstance(config.data, Unpaired)
        first = "" if config.data.max_train_samples is None else " (data.max_train_samples keeps the file's first ones)"
        return [
            f"data.path: all {report.answers} answers are {kind}{first}: method={method.name} raises good answers and "
            "lowers bad ones, and from one kind alone cannot learn what tells them apart: "
            f"give answers of both kinds{instead}"
        ]
    return _too_few(config, report.answers, "answers") if method.data_format == "unpaired" else []


def _not_for_toys(config: RunConfig, data: Bandit | OnePair) -> list[str]:
    if not toys.is_toy(config.model.path):
        return [
            f"data={data.kind} has token ids for a toy model: use model=bandit or model=random_llama, "
            f"got model={config.model.name}"
        ]
    try:
        return list(data_toys.faults(data, toys.actions(config.model.path)))
    except InvalidInput:
        return []  # trainers.at_hand tells what is wrong with the model


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise InvalidInput(faults)


def is_local(data: HubPairs | Orca) -> bool:
    """True where the set's files are .jsonl files on this machine."""
    return bool(local_files(data, data.train_split))


def _answers(data: Unpaired) -> Answers:
    answers, faults = _loaded_answers(data, _stamp(data))
    if answers is None:
        raise InvalidInput(faults)
    return answers


@functools.lru_cache(maxsize=4)
def _loaded_answers(data: Unpaired, stamp: object) -> tuple[Answers | None, tuple[str, ...]]:  # noqa: ARG001
    try:
        return load_answers(data), ()
    except InvalidInput as error:
        return None, error.faults


@functools.lru_cache(maxsize=4)
def _loaded(data: Jsonl | HubPairs | Orca, stamp: object) -> tuple[Pairs | None, tuple[str, ...]]:  # noqa: ARG001
    try:
        return load_pairs(data, Path()), ()
    except InvalidInput as error:
        return None, error.faults


def _stamp(data: Jsonl | Unpaired | HubPairs | Orca) -> tuple[object, ...]:
    """Changes when a file of the set does."""
    if isinstance(data, Jsonl | Unpaired):
        files = [local_path(path) for path in (data.path, data.eval_path) if path]
    else:
        files = [file for name in (data.train_split, data.eval_split) if name for file in local_files(data, name)]
    return tuple(map(_file_stamp, files))


def _file_stamp(path: Path) -> tuple[object, ...]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return (path,)
    return path.absolute(), status.st_mtime_ns, status.st_size


def _check_hub(data: HubPairs | Orca, config: RunConfig) -> None:
    faults = [] if isinstance(data, HubPairs) and data.kind == "hh" else _chat_faults(config)
    if not local_path(data.path).exists():
        reason = hub.missing("dataset", data.path, data.revision)
        if reason:
            faults.append(
                NotAtHand(
                    f"data.path={data.path}: neither a local file or folder nor in the hub's cache, and {reason}: "
                    "set HF_HOME to a cache that holds it, or give a local copy as data.path=FOLDER"
                )
            )
    _refuse(faults)


def _too_few(config: RunConfig, rows: int, what: str = "train pairs") -> list[str]:
    training = config.training
    batch = training.batch_size * training.gradient_accumulation
    needed = config.answers_a_step or batch
    if rows >= needed:
        return []
    twice = ", two answers for a pair" if needed > batch else ""
    return [
        f"data: {rows} {what} do not fill one batch of {needed} (training.batch_size="
        f"{training.batch_size} x training.gradient_accumulation={training.gradient_accumulation}{twice}): "
        f"lower one of these, or give more {what.removeprefix('train ')}"
    ]


def _no_template(config: RunConfig, prompts: Iterable[Text]) -> list[str]:
    return _chat_faults(config) if any(not isinstance(prompt, str) for prompt in prompts) else []


def _chat_faults(config: RunConfig) -> list[str]:
    """A fault where chat messages are certain to meet a tokenizer without a chat template."""
    if config.model.chat_template is not None:
        return []
    path = config.model.tokenizer or config.model.path
    if path.startswith("builtin:"):
        return []
    folder = local_path(path)
    if not (folder / "tokenizer_config.json").is_file() or list(folder.glob("*chat_template*")):
        return []
    try:
        known = json.loads((folder / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError):
        return []
    return [] if known.get("chat_template") else [NO_TEMPLATE.format(name=path)]


def _with_lengths(config: RunConfig, pairs: Pairs) -> DataReport:
    both = (*pairs.train, *pairs.heldout)
    if not all(isinstance(pair.prompt, str) for pair in both):
        return pairs.report
    counter = token_counter(config)
    if counter is None:
        return pairs.report
    counts = _counts(both, counter)
    return pairs.report.with_lengths(lengths(counts, config.training.max_length)) if counts else pairs.report


# Tokens of a pair's prompt, of its prompt with the chosen and with the rejected answer, ends included.
Counts = tuple[int, int, int]


def lengths(counts: Sequence[Counts], max_length: int) -> Lengths:
    """What max_length leaves of pairs that are so long.

    One pair of (50, 80, 51) at max_length 20 -> its answers keep ten tokens, its prompt the last ten.
    """
    answers_cut = prompts_cut = cut = 0
    kept: list[int] = []
    for prompt, chosen, rejected in counts:
        longest = max(chosen, rejected) - prompt
        fits = room(prompt, longest, max_length)
        answers_cut += fits.answer < longest
        prompts_cut += fits.prompt < prompt
        cut += fits.answer < longest or fits.prompt < prompt
        kept += (fits.prompt + min(fits.answer, whole - prompt) for whole in (chosen, rejected))
    return Lengths(cut, answers_cut, prompts_cut, max(kept), sum(kept) / len(kept))


def _counts(rows: Sequence[Pair | Answer], counter: Counter) -> list[Counts]:
    """Of an answer by itself as if it were both answers of a pair."""
    counts: list[Counts] = []
    # In parts, because a tokenizer's answers take a hundred times the room of the text.
    for start in range(0, len(rows), 1000):
        part = rows[start : start + 1000]
        prompts = counter([str(row.prompt) for row in part])
        wholes = zip(*map(_whole, part), strict=True)
        # One more for the end of sequence. An answer may merge with the prompt's last token, but is never empty.
        counts += (
            (min(prompt, *each), each[0] + 1, each[-1] + 1)
            for prompt, *each in zip(prompts, *(counter(texts) for texts in wholes), strict=True)
        )
    return counts


def _whole(row: Pair | Answer) -> tuple[str, ...]:
    answers = (row.text,) if isinstance(row, Answer) else (row.chosen, row.rejected)
    return tuple(f"{row.prompt}{answer}" for answer in answers)


def token_counter(config: RunConfig) -> Counter | None:
    """Counts with the run's own tokenizer, if that is at hand without a download; else None."""
    path = config.model.tokenizer or config.model.path
    if path.startswith("builtin:"):
        return lambda texts: [len(text.encode()) for text in texts]
    file = local_path(path) / "tokenizer.json"
    found = file if file.is_file() else hub.cached_file(path, config.model.revision, "tokenizer.json")
    return None if found is None else _counter(found)


@functools.lru_cache(maxsize=2)
def _counter(file: Path) -> Counter | None:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # tokenizers raises bare ones; loading the model will tell more
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts))]
