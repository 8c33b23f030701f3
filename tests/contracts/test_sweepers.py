"""What every sweeper promises."""

from collections.abc import Callable

import pytest

from sweeps.errors import UnknownTrial
from sweeps.grid import GridSweeper
from sweeps.types import Outcome, Sweeper, Trial

SWEEPERS: dict[str, Callable[[], Sweeper]] = {
    "grid": lambda: GridSweeper([{"method": m, "beta": b} for m in ("dpo", "ipo") for b in (0.1, 0.5)]),
    "grid whose points have different keys": lambda: GridSweeper(
        [
            {"method": "dpo", "beta": 0.1},
            {"method": "dpo", "beta": 0.5},
            {"method": "sft"},
            {},
        ]
    ),
}


@pytest.fixture(params=SWEEPERS)
def sweeper(request: pytest.FixtureRequest) -> Sweeper:
    return SWEEPERS[request.param]()


def test_numbers_are_given_once_and_count_up(sweeper: Sweeper):
    numbers = [trial.number for _ in range(4) for trial in sweeper.ask(1)]
    assert numbers == [0, 1, 2, 3]


def test_asking_for_many_gives_no_more_than_asked(sweeper: Sweeper):
    assert len(sweeper.ask(3)) == 3


def test_outcomes_may_be_told_in_any_order(sweeper: Sweeper):
    first, second = sweeper.ask(2)
    sweeper.tell(second, Outcome("fail"))
    sweeper.tell(first, Outcome("complete", 0.5))


def test_a_trial_is_told_once(sweeper: Sweeper):
    (trial,) = sweeper.ask(1)
    sweeper.tell(trial, Outcome("complete", 0.5))
    with pytest.raises(UnknownTrial):
        sweeper.tell(trial, Outcome("complete", 0.5))


def test_a_trial_never_asked_for_is_refused(sweeper: Sweeper):
    with pytest.raises(UnknownTrial):
        sweeper.tell(Trial(99, {}), Outcome("fail"))
