"""What a person sees while a study goes on."""

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.progress import (
    LiveProgress,
    PlainProgress,
    State,
    Tally,
    ended_line,
    last_metrics,
    progress,
)
from orchestrator.store import StudyFolder
from tests.fakes.instant import InstantJob, completes
from trainers.spec import RunResult, RunSpec


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    made = RunSpec("s", 1, 0, "ipo", {"method": "ipo"}, {}, "ab" * 32, tmp_path, tmp_path)
    return made.at(tmp_path)


def done(spec: RunSpec, status: str = "completed", **values: object) -> RunResult:
    return RunResult(spec.run_id, status, spec.params, **values)  # type: ignore[arg-type]


def test_the_time_left_follows_the_median_run_and_the_slots(spec: RunSpec):
    """10 runs, 3 ended in 2, 4 and 30 s, two at a time: 4 s x 7 / 2."""
    tally = Tally(10, 2)
    for seconds in (2.0, 4.0, 30.0):
        tally.add(done(spec, seconds=seconds), now=True)
    assert tally.eta_s() == 14


def test_runs_found_done_say_nothing_of_the_time_left(spec: RunSpec):
    tally = Tally(2, 1)
    tally.add(done(spec, seconds=5.0), now=False)
    assert tally.eta_s() is None


def test_a_line_tells_values_state_time_and_error(spec: RunSpec):
    line = ended_line(spec, done(spec, "failed", seconds=6.1, error="it\nbroke"))
    assert line == f"{spec.run_id} method=ipo seed=0: failed in 6.1 s: it broke"


def test_where_a_run_stands_is_read_from_its_folder(spec: RunSpec):
    spec.folder.heartbeat.write_text(json.dumps({"phase": "training", "step": 5, "steps": 64}))
    spec.folder.metrics.write_text('{"step": 5, "train/loss": 0.69}\n{"step": 6, "eval/pairs": 3}\n{"step": 7, "trai')
    state = State.of(spec)
    assert (state.phase, state.step, state.loss) == ("training", "5/64", "0.6900")


def test_the_time_left_of_a_run_follows_its_own_pace(spec: RunSpec):
    """10 of 40 steps took 5 s, so 30 take 15 s."""
    beat = {"phase": "training", "step": 10, "steps": 40, "since": time.time() - 5}
    spec.folder.heartbeat.write_text(json.dumps(beat))
    assert float(State.of(spec).eta.removesuffix(" s")) == pytest.approx(15, abs=0.5)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00\xff"])
def test_a_run_that_tells_nothing_yet_is_starting(spec: RunSpec, content: str):
    spec.folder.heartbeat.write_text(content)
    spec.folder.metrics.write_text(content)
    assert State.of(spec).phase == "starting"


def test_the_newest_metrics_are_found_without_reading_the_whole_file(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": i, "train/loss": i / 2}) + "\n" for i in range(5000)))
    assert last_metrics(path)["step"] == 4999
    assert last_metrics(tmp_path / "none") == {}


def test_a_pipe_gets_plain_lines_and_a_terminal_a_live_table(tmp_path: Path):
    folder = StudyFolder(tmp_path)
    plain = progress(Console(file=io.StringIO()), folder, 1, 1)
    assert type(plain) is PlainProgress
    live = progress(Console(file=io.StringIO(), force_terminal=True), folder, 1, 1)
    live.close()
    assert type(live) is LiveProgress


class Waiting(InstantJob):
    state = "pending (Priority)"


def test_a_live_table_shows_the_runs_under_way(spec: RunSpec, tmp_path: Path):
    spec.folder.heartbeat.write_text(json.dumps({"phase": "training", "step": 5, "steps": 64}))
    out = io.StringIO()
    live = LiveProgress(Console(file=out, force_terminal=True, width=120), StudyFolder(tmp_path), 3, 2)
    live.tick([InstantJob(spec, completes), Waiting(spec, completes)])
    live.close()
    assert spec.run_id in out.getvalue()
    assert "5/64" in out.getvalue()
    assert "1 of them" in out.getvalue()
    assert "pending (Priority)" in out.getvalue()


def test_what_happens_is_kept_in_the_log(spec: RunSpec, tmp_path: Path):
    folder = StudyFolder(tmp_path)
    plain = PlainProgress(Console(file=io.StringIO()), folder, 1, 1)
    plain.started(spec)
    plain.ended(spec, done(spec, seconds=1.0))
    assert f"{spec.run_id} method=ipo seed=0: completed in 1.0 s" in folder.log.read_text()
