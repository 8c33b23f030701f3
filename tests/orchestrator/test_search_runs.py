"""The runs of a search's trials, made as these are handed out."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from orchestrator.config import Composer, Source, composer
from orchestrator.planned import Planned
from orchestrator.search_runs import Prepare, SearchRuns
from orchestrator.search_space import draft_search
from orchestrator.settings import study_settings
from orchestrator.store import StudyFolder
from orchestrator.trial_runs import TrialImpossible
from sweeps.types import Outcome, Trial
from trainers.errors import InvalidInput
from trainers.spec import RunResult, RunSpec

METRIC = "eval/reward_accuracy"
TRIAL = Trial(7, {"beta": 0.3})


@pytest.fixture
def compose() -> Iterator[Composer]:
    with composer(Source()) as composed:
        yield composed


class Judge:
    """Says when a trial has enough seeds, and remembers what it was asked of."""

    def __init__(self, enough: bool = False) -> None:
        self.answer, self.asked = enough, list[tuple[int, int]]()

    def enough(self, trial: Trial, results: Sequence[RunResult]) -> bool:
        self.asked.append((trial.number, len(results)))
        return self.answer


def made(
    compose: Composer,
    out: Path,
    judge: Judge,
    seeds: Sequence[int] = (0, 1, 2),
    known: Sequence[RunSpec] = (),
    prepare: Prepare = lambda run: run,
) -> SearchRuns:
    parsed = compose.parse(["tracking=disabled", "beta=interval(0.1,1.0)"])
    settings = study_settings(compose.compose([]).sound())
    searched, _ = draft_search(compose, parsed, settings.search)
    return SearchRuns(
        StudyFolder(out), "s", compose, searched,
        seeds=seeds, settings=settings, cache_dir=out, known=known, prepare=prepare, enough=judge.enough,
    )  # fmt: skip


def result(spec: RunSpec, value: float | None = None, status: str = "completed") -> RunResult:
    metrics = {} if value is None else {METRIC: value}
    return RunResult(spec.run_id, status, spec.params, metrics, steps=40)  # type: ignore[arg-type]


def all_seeds(runs: SearchRuns, *values: float) -> tuple[list[RunSpec], list[RunResult]]:
    """Those that it is given when its runs come to these values."""
    specs, results = list(runs.begin(TRIAL)), list[RunResult]()
    for value in values:
        results.append(result(specs[-1], value))
        specs += runs.more(TRIAL, results)
    return specs, results


def test_a_trial_begins_with_the_run_on_its_first_seed_which_is_on_disk(compose: Composer, tmp_path: Path):
    (spec,) = made(compose, tmp_path, Judge(), seeds=(4, 5)).begin(TRIAL)
    assert (spec.run_id[:8], spec.config["method"]["beta"], spec.params) == ("t0007-s4", 0.3, {"beta": 0.3})
    assert RunSpec.read(spec.folder.root) == spec


def test_a_trial_that_was_begun_before_has_the_same_runs(compose: Composer, tmp_path: Path):
    first = made(compose, tmp_path, Judge()).begin(TRIAL)
    assert made(compose, tmp_path, Judge(), known=first).begin(TRIAL) == list(first)


def test_a_trial_is_given_a_seed_at_a_time_and_is_their_mean(compose: Composer, tmp_path: Path):
    judge = Judge()
    runs = made(compose, tmp_path, judge)
    specs, results = all_seeds(runs, 0.4, 0.5, 0.9)
    assert [spec.seed for spec in specs] == [0, 1, 2]
    assert runs.outcome(TRIAL, results) == Outcome("complete", (pytest.approx(0.6),))  # type: ignore[arg-type]
    # By the last one too, of which others are judged.
    assert judge.asked == [(7, 1), (7, 2), (7, 3)]


def test_a_trial_out_of_the_running_is_pruned_with_what_it_came_to(compose: Composer, tmp_path: Path):
    runs = made(compose, tmp_path, Judge(enough=True))
    specs, results = all_seeds(runs, 0.4)
    assert [spec.seed for spec in specs] == [0]
    assert runs.outcome(TRIAL, results) == Outcome("pruned", (0.4,), {40: 0.4})


def test_a_trial_whose_race_is_lost_with_its_last_seed_is_complete(compose: Composer, tmp_path: Path):
    runs = made(compose, tmp_path, Judge(enough=True), seeds=[0])
    assert runs.outcome(TRIAL, all_seeds(runs, 0.4)[1]) == Outcome("complete", (0.4,))


@pytest.mark.parametrize(
    ("status", "value", "outcome"),
    [
        ("failed", None, Outcome("fail")),
        ("completed", None, Outcome("fail")),
        ("completed", float("nan"), Outcome("fail")),
        ("pruned", 0.4, Outcome("pruned", (0.4,))),
        ("pruned", None, Outcome("pruned")),
    ],
)
def test_what_a_run_comes_to_is_what_its_trial_does(
    compose: Composer, tmp_path: Path, status: str, value: float, outcome: Outcome
):
    runs = made(compose, tmp_path, Judge(), seeds=[0])
    (spec,) = runs.begin(TRIAL)
    assert runs.outcome(TRIAL, [result(spec, value, status)]) == outcome


def test_what_a_pruned_trial_said_on_its_way_is_told_with_its_seeds_one_after_the_other(
    compose: Composer, tmp_path: Path
):
    runs = made(compose, tmp_path, Judge())
    specs, results = all_seeds(runs, 0.4)
    lines = [
        {"step": 8, METRIC: 0.1},
        {"step": 12, "train/loss": 0.7},
        {"step": 16, METRIC: 0.2},
        {"step": 24, METRIC: None},
    ]
    specs[1].folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 32, "ev')
    results.append(result(specs[1], 0.2, "pruned"))
    assert runs.outcome(TRIAL, results).reports == {40: 0.4, 48: 0.1, 56: 0.2}


@pytest.mark.parametrize("status", ["failed", "pruned"])
def test_after_a_run_that_did_not_complete_there_are_no_further_seeds(compose: Composer, tmp_path: Path, status: str):
    runs = made(compose, tmp_path, Judge())
    (spec,) = runs.begin(TRIAL)
    assert runs.more(TRIAL, [result(spec, 0.4, status)]) == []


def test_a_point_that_no_run_takes_is_an_impossible_trial(compose: Composer, tmp_path: Path):
    with pytest.raises(TrialImpossible, match=r"method\.beta: input should be greater than 0"):
        made(compose, tmp_path, Judge()).begin(Trial(0, {"beta": -1.0}))


def test_a_run_that_cannot_be_prepared_is_an_impossible_trial(compose: Composer, tmp_path: Path):
    def refuse(run: Planned) -> Planned:
        raise InvalidInput(["pruner.every: how many steps it has is not known"])

    with pytest.raises(TrialImpossible, match=r"pruner\.every"):
        made(compose, tmp_path, Judge(), prepare=refuse).begin(TRIAL)


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_trial(compose: Composer, tmp_path: Path):
    """The loop stops for it, instead of failing one trial after the other."""
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(OSError, match="runs"):
        made(compose, tmp_path, Judge()).begin(TRIAL)
    assert made(compose, tmp_path, Judge()).known() == []
