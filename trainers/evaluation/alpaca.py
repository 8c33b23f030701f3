"""The policy's answers as alpaca_eval reads them, and what its annotators say of them.

    judged(subject, *answered(subject, findings)) -> Beside({"eval/alpaca_eval/win_rate": 0.61, ...}, ...)

alpaca_eval judges in a process of its own (`alpaca_judge.py`), which alone talks to its endpoint. The hub is not asked.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainers import inputs
from trainers.data_pairs import Pair, Text
from trainers.data_tokens import tokenise
from trainers.errors import TrainersError
from trainers.evaluation.answers import answers, start_answers
from trainers.evaluation.beside_harnesses import Beside
from trainers.evaluation.examine import Findings, Subject
from trainers.evaluation.names import prompt_name
from trainers.evaluation.prompts import Prompt
from trainers.paths import local_path
from trainers.samples import Asked

PREFIX = "eval/alpaca_eval/"
# What its length-controlled rate is defined on: its own prompts, each with a difficulty that was fitted beforehand.
_ITS_PROMPTS = 805
_NAMES = {
    "win_rate": "win_rate",
    "standard_error": "win_rate_se",
    "length_controlled_winrate": "length_controlled_winrate",
    "lc_standard_error": "length_controlled_winrate_se",
}
_LOOK_S = 0.2
Rows = Sequence[Mapping[str, str]]


class JudgeFailed(TrainersError):
    """alpaca_eval ended without a verdict; what it said last."""


def answered(subject: Subject, findings: Findings) -> tuple[Rows, Rows] | None:
    """Rows of outputs.json and reference.json, alike in their instructions; None where they are not asked for.

    All ranks sample together where there are prompts of their own. Raises Stopped, and OSError and ValueError where a
    file is no longer what it was.
    """
    asked = subject.config.evaluation.alpaca_eval
    if not asked.on:
        return None
    if asked.prompts is None:
        said = [(str(row["prompt_text"]), str(row["text"]), str(row["start_text"])) for row in findings.answers]
    else:
        texts = [str(row["instruction"]) for row in _read(asked.prompts)]
        said = _answered_anew(subject, texts, start=asked.reference is None)
    outputs = [_row(text, output, _name(subject)) for text, output, _ in said]
    if asked.reference is None:
        return outputs, [_row(text, before, "start") for text, _, before in said]
    given = {str(row["instruction"]): row for row in _read(asked.reference)}
    there = [row for row in outputs if row["instruction"] in given]
    if len(there) < len(outputs):
        missing = f"{len(outputs) - len(there)} of {len(outputs)} prompts"
        print(f"evaluation: {asked.reference} has no answer to {missing}: they are left out", file=sys.stderr)
    return there, [
        _row(row["instruction"], str(given[row["instruction"]]["output"]), str(given[row["instruction"]]["generator"]))
        for row in there
    ]


def exported(outputs: Rows, reference: Rows) -> Beside:
    """Their files."""
    return Beside(files={"alpaca_eval/outputs.json": _json(outputs), "alpaca_eval/reference.json": _json(reference)})


def judged(subject: Subject, outputs: Rows, reference: Rows) -> Beside:
    """What the annotator says of them, on this rank alone; nothing where none is named.

    What it has said is kept in cache_dir, so that a run which is tried again asks for nothing twice.
    Raises JudgeFailed, OSError, and Stopped in the middle where the run is asked to stop.
    """
    asked = subject.config.evaluation.alpaca_eval
    if asked.annotators_config is None or not outputs:
        return Beside()
    local = local_path(asked.annotators_config)
    question = {
        # Its own ones go by their names.
        "annotators_config": str(local.absolute()) if local.exists() else asked.annotators_config,
        "length_controlled": asked.prompts is not None and len(outputs) == _ITS_PROMPTS,
    }
    files = {"outputs.json": _json(outputs), "reference.json": _json(reference)}
    annotator = inputs.digests(subject.config).get("evaluation.alpaca_eval.annotators_config")
    digest = hashlib.sha256(json.dumps([question, files, annotator], sort_keys=True).encode()).hexdigest()
    cache = subject.cache_dir / "alpaca_eval" / f"{digest[:32]}.json"
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name, content in {**files, "question.json": json.dumps({**question, "cache": str(cache)})}.items():
            (folder / name).write_text(content)
        _ask(folder, subject.heed)
        said = json.loads((folder / "said.json").read_bytes())
        # Of answers that are the same nobody is asked, and nothing is known but that.
        annotations = json.loads((folder / "annotations.json").read_bytes(), parse_constant=lambda _nan: None)
    if said["length_controlled"] is not None:
        print(f"evaluation: no {PREFIX}length_controlled_winrate: {said['length_controlled']}", file=sys.stderr)
    return Beside(
        metrics(said), {"alpaca_eval/annotations.json": _json(annotations)}, {"alpaca-eval": version("alpaca-eval")}
    )


def metrics(said: Mapping[str, Any]) -> dict[str, float]:
    """Shares, of the hundredths that alpaca_eval tells; what it could not tell is left out."""
    found = {f"{PREFIX}{ours}": said[its] / 100 for its, ours in _NAMES.items() if said.get(its) is not None}
    if said.get("n_total") is not None:
        found[f"{PREFIX}judged"] = float(said["n_total"])
    return found


def _answered_anew(subject: Subject, texts: Sequence[str], *, start: bool) -> list[tuple[str, str, str]]:
    """(instruction, the policy's answer, the start's or "") of each; as messages where the held-out prompts are."""
    config, policy, world = subject.config, subject.policy, subject.world
    chats = bool(subject.held.texts) and not isinstance(subject.held.texts[0].prompt, str)  # type: ignore[index]
    written: list[Text] = [({"role": "user", "content": text},) if chats else text for text in texts]
    nothing: Text = ({"role": "assistant", "content": ""},) if chats else ""
    pairs = tokenise([Pair(text, nothing, nothing) for text in written], policy.tokenizer, config.training.max_length)
    asked = [
        Prompt(Asked(pair.prompt_ids, text), prompt_name(text), place)
        for place, (pair, text) in enumerate(zip(pairs, written, strict=True))
    ]
    said = answers(config, policy, asked, subject.heed, world)
    before = start_answers(config, policy, asked, subject.cache_dir, subject.heed, world) if start else said
    return [(text, own.text, other.text if start else "") for text, own, other in zip(texts, said, before, strict=True)]


def _ask(folder: Path, heed: Callable[[], None]) -> None:
    """Run the program. Raises JudgeFailed with its last line."""
    program = Path(__file__).with_name("alpaca_judge.py")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    log = folder / "log.txt"
    with log.open("wb") as file:
        # -P: modules beside the program are not to be taken for others of the same names.
        process = subprocess.Popen(
            [sys.executable, "-P", str(program), str(folder)], env=environment, stdin=subprocess.DEVNULL,
            stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            while process.poll() is None:
                heed()
                time.sleep(_LOOK_S)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise JudgeFailed(lines[-1] if lines else f"it ended with exit code {process.returncode}")


def _name(subject: Subject) -> str:
    """What the policy is called beside others; never what the reference is called, which would count as itself."""
    config = subject.config
    strength = "" if config.strength is None else f" {config.strength:g}"
    return f"{config.model.name} {config.method.name}{strength}, seed {config.seed}"


def _row(instruction: str, output: str, generator: str) -> dict[str, str]:
    return {"instruction": instruction, "output": output, "generator": generator}


def _read(path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(local_path(path).read_bytes())
    return found


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=True) + "\n"
