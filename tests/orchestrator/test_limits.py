"""How far a study may go, and how the time it takes is kept."""

from pathlib import Path

import pytest

from orchestrator.limits import KEEP_EVERY_S, Clock, Limits
from trainers.files import read_json


class Time:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_few_trials_say_nothing_of_how_many_fail() -> None:
    limits = Limits(max_failure_rate=0.2)
    assert limits.too_many_failed(4, 4) == ""
    assert limits.too_many_failed(5, 5) == "5 of 5 trials failed, more than max_failure_rate=0.2 allows"


def test_a_share_that_is_just_reached_is_allowed() -> None:
    limits = Limits(max_failure_rate=0.5)
    assert limits.too_many_failed(5, 10) == ""
    assert limits.too_many_failed(6, 10) != ""


def test_without_a_limit_all_may_fail() -> None:
    assert Limits().too_many_failed(100, 100) == ""


def test_a_clock_goes_on_where_the_last_one_was_kept(tmp_path: Path) -> None:
    time = Time()
    first = Clock(tmp_path / "clock.json", time)
    time.now += 60
    first.keep(at_once=True)
    second = Clock(tmp_path / "clock.json", time)
    time.now += 5
    assert second.spent_s() == pytest.approx(65)


def test_a_clock_is_not_written_all_the_time(tmp_path: Path) -> None:
    time = Time()
    clock = Clock(tmp_path / "clock.json", time)
    clock.keep()
    time.now += KEEP_EVERY_S / 2
    clock.keep()
    assert read_json(tmp_path / "clock.json") == {"spent_s": 0.0}
    time.now += KEEP_EVERY_S
    clock.keep()
    assert read_json(tmp_path / "clock.json") == {"spent_s": 1.5 * KEEP_EVERY_S}


@pytest.mark.parametrize("written", ["", "{", "[]", '{"spent_s": "long"}', '{"spent_s": -5}', '{"spent_s": Infinity}'])
def test_a_damaged_clock_begins_anew(tmp_path: Path, written: str) -> None:
    (tmp_path / "clock.json").write_text(written)
    assert Clock(tmp_path / "clock.json", Time()).spent_s() == 0


def test_a_clock_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    Clock(tmp_path / "missing" / "clock.json").keep(at_once=True)
