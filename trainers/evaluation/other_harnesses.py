"""Asks other harnesses about a policy, those that the settings name; none loses a trained run, whatever goes wrong.

ask(subject, findings) -> Beside({"eval/lm_eval/arc_easy/acc": 0.71, "eval/alpaca_eval/win_rate": 0.61, ...}, ...)
"""

from dataclasses import replace

from trainers.evaluation import alpaca, harness
from trainers.evaluation.beside_harnesses import NONE, Beside, attempt
from trainers.evaluation.examine import Findings, Subject


def ask(subject: Subject, findings: Findings) -> Beside:
    """What they say; all ranks get what the first was told. Raises Stopped where the run is asked to stop.

    `findings` are what the examination of the same policy found. Where ranks share the run they cannot be stopped in
    the middle of a harness: the others wait for the first.
    """
    world = subject.world
    alone = replace(subject, heed=_nothing) if world.shared else subject
    found = NONE
    if subject.config.evaluation.lm_eval.tasks:
        subject.heed()
        found |= world.agreed(attempt("lm-eval", lambda: harness.measured(alone)) if world.first else NONE)
    if subject.config.evaluation.alpaca_eval.on:
        subject.heed()
        found |= _alpaca(subject, alone, findings)
    return found


def _alpaca(subject: Subject, alone: Subject, findings: Findings) -> Beside:
    answered: list[alpaca.Rows] = []

    def export() -> Beside:
        answered.extend(alpaca.answered(subject, findings) or ())
        return alpaca.exported(*answered)

    # Ranks that share a run sample together, and fail together.
    exported = export() if subject.world.shared else attempt("alpaca_eval", export)
    if not answered:
        return exported
    world = subject.world
    ask_judge = lambda: alpaca.judged(alone, *answered)  # noqa: E731
    return exported | world.agreed(attempt("alpaca_eval", ask_judge) if world.first else NONE)


def _nothing() -> None:
    """In place of asking all ranks whether to stop, where only one of them asks."""
