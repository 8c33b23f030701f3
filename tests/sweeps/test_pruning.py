"""Pruners against examples worked out by hand, and against Optuna's own pruning of a study with one objective."""

import math
import random
import warnings

import optuna
import pytest
from scipy import stats

from sweeps.errors import SamplerError
from sweeps.pruning import KINDS, Pruner, Report

SETTINGS = {
    "asha": {"min_resource": 1, "reduction_factor": 2},
    "hyperband": {"min_resource": 1, "max_resource": 8, "reduction_factor": 2},
    "median": {"n_startup_trials": 2},
    "percentile": {"percentile": 40.0, "n_startup_trials": 2},
    "patient": {"wrapped": "median", "patience": 1, "n_startup_trials": 2},
    "wilcoxon": {"p_threshold": 0.2},
    "nop": {},
}


def test_asha_keeps_the_best_of_each_rung():
    """min_resource 2, factor 2: rungs at steps 2, 4, 8; of n runs at a rung the best max(1, n // 2) go on."""
    pruner = Pruner("asha", {"min_resource": 2, "reduction_factor": 2}, "maximize")
    assert not pruner.report("a", 1, 0.0)  # before the first rung
    assert not pruner.report("a", 2, 0.5)  # the only one there: 1 of 1
    assert pruner.report("b", 2, 0.4)  # 2 there, 1 goes on: 0.5
    assert not pruner.report("c", 2, 0.6)  # 3 there, 1 goes on: 0.6
    assert not pruner.report("d", 2, 0.55)  # 4 there, 2 go on: 0.6 and 0.55
    assert pruner.report("e", 2, 0.5)  # 5 there, 2 go on
    assert not pruner.report("a", 3, 0.1)  # between rungs
    assert not pruner.report("c", 4, 0.2)  # the only one at step 4
    assert pruner.report("a", 4, 0.1)  # 2 there, 1 goes on: 0.2


def test_median_stops_a_run_whose_best_is_behind_half_of_the_complete_ones():
    pruner = Pruner("median", {"n_startup_trials": 3}, "minimize")
    for run, loss in (("a", 1.0), ("b", 2.0), ("c", 4.0)):
        assert not pruner.report(run, 1, loss)
        pruner.end(run, "complete", loss)
    assert not pruner.report("d", 1, 2.0)  # the median is 2
    assert pruner.report("e", 1, 2.1)


def test_percentile_keeps_the_share_it_is_given():
    pruner = Pruner("percentile", {"percentile": 25.0, "n_startup_trials": 0}, "maximize")
    for run, score in zip("abcde", (1.0, 2.0, 3.0, 4.0, 5.0), strict=True):
        pruner.report(run, 1, score)
        pruner.end(run, "complete", score)
    assert not pruner.report("f", 1, 4.0)  # the upper quartile of 1 to 5 is 4
    assert pruner.report("g", 1, 3.9)


def test_patience_alone_stops_a_run_that_does_not_improve():
    pruner = Pruner("patient", {"patience": 2}, "maximize")
    verdicts = [pruner.report("a", step, value) for step, value in enumerate((0.5, 0.6, 0.4, 0.5, 0.55))]
    assert verdicts == [False, False, False, False, True]


def test_wilcoxon_stops_by_the_test_of_scipy():
    rng = random.Random(5)
    best = [rng.gauss(0.6, 0.1) for _ in range(12)]
    other = [value - 0.05 + rng.gauss(0, 0.05) for value in best]
    pruner = Pruner("wilcoxon", {"p_threshold": 0.1, "n_startup_steps": 2}, "maximize")
    for prompt, score in enumerate(best):
        pruner.report("best", prompt, score)
    pruner.end("best", "complete", sum(best) / len(best))
    for n, score in enumerate(other, start=1):
        expected = False
        if n >= 2:
            differences = [b - a for a, b in zip(best[:n], other[:n], strict=True)]
            p = stats.wilcoxon(differences, alternative="less", zero_method="zsplit").pvalue
            expected = p < 0.1 and sum(other[:n]) / n < sum(best) / len(best)
        assert pruner.report("other", n - 1, score) == expected
        if expected:
            return
    pytest.fail("the example is to end with a run that is stopped")


def test_hyperband_shares_runs_out_over_brackets():
    """Under one bracket all but the best would go at the first rung; later brackets let runs come further."""
    pruner = Pruner("hyperband", SETTINGS["hyperband"], "maximize")
    first = [pruner.report(f"run-{n}", 1, -float(n)) for n in range(40)]
    assert 0 < sum(first) < 39


def test_nop_stops_nothing():
    assert not any(Pruner("nop").report("a", step, value) for step, value in enumerate((1.0, -1.0, math.nan)))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nop"])
def test_a_report_that_is_no_number_stops_the_run(kind: str):
    assert Pruner(kind, SETTINGS[kind]).report("a", 1, math.nan)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_are_those_of_optuna_in_a_study_of_its_own(kind: str, direction: str):
    classes = {
        "asha": lambda: optuna.pruners.SuccessiveHalvingPruner(**SETTINGS["asha"]),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(**SETTINGS["hyperband"]),
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=2),
        "percentile": lambda: optuna.pruners.PercentilePruner(40.0, n_startup_trials=2),
        "patient": lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(n_startup_trials=2), 1),
        "wilcoxon": lambda: optuna.pruners.WilcoxonPruner(p_threshold=0.2),
        "nop": optuna.pruners.NopPruner,
    }
    pruner = Pruner(kind, SETTINGS[kind], direction, seed=3)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(study_name="pruning-3", direction=direction, pruner=classes[kind]())
    rng = random.Random(11)
    verdicts = []
    # Three runs at a time, their reports interleaved.
    for batch in range(8):
        runs = [f"{batch}-{place}" for place in range(3)]
        levels = {run: rng.gauss(0, 1) for run in runs}
        theirs: dict[str, optuna.Trial] = {}
        alive = list(runs)
        for step in range(1, 9):
            for run in list(alive):
                value = levels[run] + 0.1 * step + rng.gauss(0, 0.3)
                if run not in theirs:
                    theirs[run] = study.ask()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    theirs[run].report(value, step)
                    expected = theirs[run].should_prune()
                verdicts.append(expected)
                assert pruner.report(run, step, value) == expected
                if expected:
                    alive.remove(run)
                    study.tell(theirs[run], state=optuna.trial.TrialState.PRUNED)
                    pruner.end(run, "pruned")
        for run in alive:
            study.tell(theirs[run], levels[run])
            pruner.end(run, "complete", levels[run])
    assert any(verdicts) == (kind != "nop")


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_restart_the_verdicts_are_those_of_a_pruner_that_went_on(kind: str):
    rng = random.Random(2)
    told: list[Report] = []
    whole = Pruner(kind, SETTINGS[kind])
    stopped = set()
    for step in range(1, 6):
        for run in "abcdef":
            if run not in stopped:
                told.append(Report(run, step, rng.random()))
                if whole.report(run, step, told[-1].value or 0.0):
                    stopped.add(run)
                    if run != "f":
                        told.append(Report(run, None, None, "pruned"))
                        whole.end(run, "pruned")
        cut = Pruner(kind, SETTINGS[kind])
        assert cut.restore(told) == stopped & {"f"}
        for run in "gh":
            assert cut.report(run, 1, 0.5) == Pruner.report(_replayed(kind, told, run), run, 1, 0.5)


def _replayed(kind: str, told: list[Report], run: str) -> Pruner:
    pruner = Pruner(kind, SETTINGS[kind])
    pruner.restore(told)
    if run == "h":
        pruner.report("g", 1, 0.5)
    return pruner


def test_a_report_told_twice_counts_once():
    pruner = Pruner("asha", SETTINGS["asha"])
    assert not pruner.report("a", 1, 0.5)
    assert not pruner.report("a", 1, 0.1)


def test_a_run_that_is_to_stop_remains_so():
    pruner = Pruner("asha", SETTINGS["asha"])
    pruner.report("a", 1, 0.5)
    assert pruner.report("b", 1, 0.1)
    assert pruner.report("b", 2, 0.9)


def test_a_failed_run_that_is_tried_again_begins_anew():
    pruner = Pruner("patient", {"patience": 1})
    for step, value in enumerate((0.9, 0.1)):
        pruner.report("a", step, value)
    pruner.end("a", "fail")
    assert [pruner.report("a", step, 0.1) for step in range(2)] == [False, False]


@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    [
        ("hyper", {}, "there is no pruner hyper; there are asha"),
        ("asha", {"min": 3}, "pruner asha has no argument min; it takes min_resource, reduction_factor"),
        ("hyperband", {}, "pruner hyperband needs max_resource"),
        ("percentile", {}, "pruner percentile needs percentile"),
        ("asha", {"reduction_factor": 1}, "pruner asha: .*reduction_factor"),
        ("patient", {"patience": 1, "wrapped": "patient"}, "wraps another kind"),
        ("patient", {"patience": 1, "odd": 1}, "pruner patient has no argument odd"),
    ],
)
def test_what_cannot_be_is_told_at_once(kind: str, settings: dict[str, str | int], told: str):
    with pytest.raises(SamplerError, match=told):
        Pruner(kind, settings)
