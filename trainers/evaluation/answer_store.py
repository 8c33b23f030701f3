"""Keeps what one policy answers to fixed prompts, for all runs, studies and machines that share a cache.

    <cache_dir>/answers/<digest of the question>.json   {"question": {...}, "answers": [{"ids": [32, ...], ...}], ...}

The question is all that decides the answers: the policy's weights, the prompts, how is sampled. So what is found is
never stale. A file that is damaged does not count, and is replaced.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.files import read_json, write_whole
from trainers.samples import Sample


class AnswerStore:
    """Answers to one question. Whatever goes wrong with the disk, the run goes on without, and stderr is told."""

    def __init__(self, root: Path, question: Mapping[str, Any]) -> None:
        """`question` as JSON has it."""
        self._question = json.loads(json.dumps(question))
        self.path = root / f"{_digest(self._question)[:32]}.json"

    def find(self) -> list[Sample] | None:
        """The answers, in the prompts' order, without texts; None where nobody has asked yet."""
        found = read_json(self.path)
        if not isinstance(found, dict) or found.get("digest") != _digest(found.get("answers")):
            return None
        if found.get("question") != self._question:
            return None
        return [Sample(row["ids"], "", row["logp"], row["ended"]) for row in found["answers"]]

    def keep(self, answers: Sequence[Sample]) -> list[Sample]:
        """The answers to go on with: these, or those that another run has kept meanwhile, so that all have the same."""
        if (theirs := self.find()) is not None:
            return theirs
        rows = [{"ids": list(answer.ids), "logp": answer.logp, "ended": answer.ended} for answer in answers]
        with contextlib.suppress(ValueError):  # a probability that is no number is not kept
            content = json.dumps(
                {"question": self._question, "answers": rows, "digest": _digest(rows)}, allow_nan=False
            )
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self.path, content, durable=False)
            except OSError as error:
                print(f"answers of the start: {self.path} cannot be written ({error.strerror})", file=sys.stderr)
        return list(answers)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
