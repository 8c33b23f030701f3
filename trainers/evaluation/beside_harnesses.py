"""What other harnesses say of a policy, beside our own measures; whatever goes wrong with them loses no trained run.

attempt("lm-eval", ask) -> Beside({"eval/lm_eval/arc_easy/acc": 0.71, ...}, {"lm_eval.json": "..."}, {...})
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trainers.errors import Stopped


@dataclass(frozen=True)
class Beside:
    """Measures; contents of files by their place in the evaluation's folder; versions of what was asked.

    `missing` says of a harness that failed why, by its name.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, other: "Beside") -> "Beside":
        return Beside(
            {**self.metrics, **other.metrics},
            {**self.files, **other.files},
            {**self.versions, **other.versions},
            {**self.missing, **other.missing},
        )


NONE = Beside()


def attempt(name: str, ask: Callable[[], Beside]) -> Beside:
    """What it says; nothing where it fails, and stderr is told why. Raises Stopped."""
    try:
        return ask()
    except Stopped:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines()
        why = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
        print(f"evaluation: {name} failed, its measures are missing: {why}", file=sys.stderr)
        return Beside(missing={name: why})
