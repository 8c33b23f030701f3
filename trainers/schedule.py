"""How many optimiser steps a run takes, told before it trains, and what is never reached in so few.

240 pairs, training.batch_size=8, one epoch -> 30 steps; with reference.sync_steps=64 its reference never moves.
"""

import math

from trainers.config import RunConfig
from trainers.data import AnswersReport, Report
from trainers.data_config import Bandit, OnePair, Toy
from trainers.data_toys import comparisons
from trainers.methods import METHODS
from trainers.reference_config import MovingReference
from trainers.world import DEFAULT_TRAIN


def total_steps(config: RunConfig, rows: int) -> int:
    """Optimiser steps that training takes on so many pairs, or answers where they come one by one."""
    training = config.training
    if training.max_steps > 0:
        return training.max_steps
    answers = config.answers_a_step
    batches = math.ceil(rows / (answers // training.gradient_accumulation if answers else training.batch_size))
    return math.ceil(training.epochs * max(1, math.ceil(batches / training.gradient_accumulation)))


def planned_steps(config: RunConfig, report: Report | None) -> int | None:
    """The same for the run's own data, as far as it is known how many there are; a method may make others of them."""
    rows = 1 if config.training.max_steps > 0 else _rows(config, report)
    return None if rows is None else total_steps(config, rows)


def warnings(config: RunConfig, report: Report | None) -> list[str]:
    """What the run is too short for, a sentence each."""
    reference, steps = config.reference, planned_steps(config, report)
    # One that moved after the last step would not be asked any more.
    if not isinstance(reference, MovingReference) or steps is None or steps > reference.sync_steps:
        return []
    return [
        f"reference.sync_steps={reference.sync_steps}, but training takes {_counted(steps)}: the reference never "
        "moves, and is as reference=self; lower reference.sync_steps, or train for longer"
    ]


def _rows(config: RunConfig, report: Report | None) -> int | None:
    """Pairs or answers that there are to train on."""
    if isinstance(report, AnswersReport):
        alone = METHODS[config.method.name].data_format == "demonstrations"
        return report.desirable if alone else report.answers
    if report is not None:
        return report.train_pairs
    data = config.data
    if isinstance(data, OnePair):
        return 1
    if isinstance(data, Bandit):
        return data.draws or len(comparisons(data))
    return data.max_train_samples or DEFAULT_TRAIN if isinstance(data, Toy) else None


def _counted(steps: int) -> str:
    return f"{steps} step" if steps == 1 else f"{steps} steps"
