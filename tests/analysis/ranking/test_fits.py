"""Curves over strengths, and of reward over sqrt(KL)."""

from pathlib import Path

import numpy as np
import pytest

from analysis.errors import BadQuestion
from analysis.ranking.fits import Fits, fit_all
from analysis.ranking.rank import Question, rank_runs
from analysis.ranking.rows import fit_lines
from analysis.sources import read
from tests.analysis.planted import planted
from tests.fakes.finished_study import Finished

STRENGTHS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# Best at 0.1 in log-strength; in d = sqrt(1/beta) this is R = d (0.6 - 0.1 d), whose peak is at d = 3, KL 9.
OPTIMUM = {beta: 1.0 - 0.2 * np.log(beta / 0.1) ** 2 for beta in STRENGTHS}
GAINS = {beta: beta**-0.5 * (0.6 - 0.1 * beta**-0.5) for beta in STRENGTHS}


def fits(folder: Path, by: tuple[str, ...] = ("beta",)) -> Fits:
    runs = read([str(folder)], ("pairs", "answers"))
    return fit_all(runs, rank_runs(runs, Question(by, metric="eval/reward")))[0]


def test_the_planted_optimum_lies_in_the_interval_of_the_curves(tmp_path: Path):
    curve = fits(planted(tmp_path, OPTIMUM)).curve
    assert curve is not None
    assert curve.optimum_low < 0.1 < curve.optimum_high
    assert curve.optimum_high / curve.optimum_low < 4


def test_the_planted_peak_of_reward_over_kl_is_found(tmp_path: Path):
    found = fits(planted(tmp_path, GAINS, seeds=(0, 1, 2, 3))).overoptimisation[0]
    assert found.form == "bon"
    assert found.alpha[0] == pytest.approx(0.6, rel=0.1)
    assert found.peak_kl is not None
    assert found.peak_kl[0] == pytest.approx(9, rel=0.25)


def test_degenerate_strengths_are_not_fitted(tmp_path: Path):
    hacked = [Finished("dpo", 0.001, seed, metrics={"eval/reward": 99.0}, degenerate="empty") for seed in (0, 1)]
    curve = fits(planted(tmp_path, OPTIMUM, more=hacked)).curve
    assert curve is not None
    assert curve.strengths[0] == pytest.approx(0.02)


def test_three_strengths_have_no_curve_and_it_is_told_why(tmp_path: Path):
    found = fits(planted(tmp_path, {0.05: 0.8, 0.1: 1.0, 0.5: 0.2}))
    assert found.curve is None
    assert "a curve needs 4 different strengths above 0; there are 0.05, 0.1, 0.5" in " ".join(found.told)


def test_reward_over_kl_is_only_told_of_the_start_as_reference(tmp_path: Path):
    reference = {"reference": {"kind": "model", "path": "/models/larger"}}
    assert not fits(planted(tmp_path, GAINS, config=reference)).overoptimisation


def test_a_curve_goes_over_strengths_alone(tmp_path: Path):
    with pytest.raises(BadQuestion, match="--fit: a curve goes over strengths"):
        fits(planted(tmp_path, OPTIMUM), by=("method", "beta"))


def test_curves_are_told_in_sentences(tmp_path: Path):
    lines = fit_lines(fits(planted(tmp_path, GAINS)), "eval/reward")
    assert lines[0].startswith("eval/reward over log-strength in dpo on tiny: best at 0.")
    assert "R = d (alpha - beta d)" in lines[1]
    assert "peak at KL" in lines[1]
