"""Pruners that do as they are told, and remember what they heard."""

from collections.abc import Callable

Rule = Callable[[str, int, float], bool]


class ToldPruner:
    """Prunes by a rule; an error of the rule is its own."""

    def __init__(self, rule: Rule = lambda run, step, value: False) -> None:
        self.reports: list[tuple[str, int, float]] = []
        self.ends: list[tuple[str, str, float | None]] = []
        # Both, as they came: "t0000-s0-... 3" and "t0000-s0-... end".
        self.heard: list[str] = []
        self._rule = rule

    def report(self, run: str, step: int, value: float) -> bool:
        self.reports.append((run, step, value))
        self.heard.append(f"{run} {step}")
        return self._rule(run, step, value)

    def end(self, run: str, state: str, value: float | None) -> None:
        self.ends.append((run, state, value))
        self.heard.append(f"{run} end")
