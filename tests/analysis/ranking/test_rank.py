"""What a ranking says of planted studies: order, differences, ties, and what is missing."""

import dataclasses
from pathlib import Path

import pytest

from analysis.errors import BadQuestion, Incomparable
from analysis.ranking.rank import Question, Ranking, rank_runs
from analysis.runs import Runs
from analysis.sources import read
from tests.analysis.planted import answer, planted
from tests.fakes.finished_study import Finished, finished_study

REWARD = Question(by=("beta",), metric="eval/reward")


def runs_of(*folders: Path) -> Runs:
    return read([str(folder) for folder in folders], ("pairs", "answers"))


def ranked(folder: Path, question: Question = REWARD) -> Ranking:
    return rank_runs(runs_of(folder), question)


def standings(ranking: Ranking, group: int = 0) -> dict[object, str]:
    return {next(iter(cell.keys.values())): cell.standing for cell in ranking.groups[group].cells}


def test_the_best_comes_first_and_what_is_far_behind_is_told_apart(tmp_path: Path):
    ranking = ranked(planted(tmp_path, {0.05: 0.1, 0.1: 1.0, 0.5: 0.5}))
    cells = ranking.groups[0].cells
    assert [cell.keys["beta"] for cell in cells] == [0.1, 0.5, 0.05]
    assert [cell.rank for cell in cells] == [1, 2, 3]
    assert standings(ranking) == {0.1: "best", 0.5: "behind", 0.05: "behind"}
    assert cells[1].difference == pytest.approx(-0.5, abs=0.1)
    assert cells[1].difference_low is not None
    assert cells[1].difference_high is not None
    assert cells[1].difference_low < -0.5 < cells[1].difference_high < 0


def test_a_planted_tie_is_found(tmp_path: Path):
    ranking = ranked(planted(tmp_path, {0.05: 1.0, 0.1: 1.0, 0.5: 0.2}))
    told = standings(ranking)
    assert sorted([told[0.05], told[0.1]]) == ["best", "tied"]
    assert told[0.5] == "behind"


def test_means_and_counts_are_those_of_the_runs(tmp_path: Path):
    folder = planted(tmp_path, {0.1: 1.0, 0.5: 0.2})
    frame = runs_of(folder).frame
    cell = ranked(folder).groups[0].cells[0]
    assert cell.mean == pytest.approx(frame[frame["beta"] == 0.1]["eval/reward"].mean())
    assert (cell.seeds, cell.measured.prompts) == (3, 60)
    assert cell.measured.low < cell.mean < cell.measured.high
    assert len(cell.measured.runs) == 3


def test_methods_are_ranked_apart_unless_they_are_what_is_ranked(tmp_path: Path):
    folder = planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, methods=("dpo", "ipo"))
    apart = ranked(folder)
    assert [dict(group.keys) for group in apart.groups] == [{"method": "dpo"}, {"method": "ipo"}]
    together = ranked(folder, dataclasses.replace(REWARD, by=("method", "beta")))
    assert len(together.groups) == 1
    assert len(together.groups[0].cells) == 4


def test_p_values_are_corrected_within_each_group(tmp_path: Path):
    cells = ranked(planted(tmp_path, {0.05: 0.9, 0.1: 1.0, 0.2: 0.95, 0.5: 0.2})).groups[0].cells[1:]
    raw = sorted(cell.p for cell in cells if cell.p is not None)
    adjusted = sorted(cell.p_holm for cell in cells if cell.p_holm is not None)
    assert adjusted[0] == pytest.approx(min(1, 3 * raw[0]))


def test_failed_missing_and_unmeasured_runs_are_counted_and_not_ranked(tmp_path: Path):
    lost = [
        Finished("dpo", 0.1, 3, status="failed", error="the loss became nan"),
        Finished("dpo", 0.1, 4, status=None),
        Finished("dpo", 0.1, 5, metrics={"eval/reward": None}),
        Finished("dpo", 0.9, 0, status="failed"),
    ]
    ranking = ranked(planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, more=lost))
    first, last = ranking.groups[0].cells[0], ranking.groups[0].cells[-1]
    assert first.seeds == 3
    assert dict(first.measured.states) == {"failed": 1, "missing": 1, "without eval/reward": 1}
    assert (last.keys["beta"], last.rank, last.standing, last.mean) == (0.9, None, "none", None)


def test_a_degenerate_setting_is_last_however_good_it_looks(tmp_path: Path):
    hacked = [
        Finished("dpo", 0.01, seed, metrics={"eval/reward": 9.0}, degenerate="it repeats itself" if seed else None)
        for seed in range(2)
    ]
    ranking = ranked(planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, more=hacked))
    last = ranking.groups[0].cells[-1]
    assert (last.keys["beta"], last.rank, last.standing) == (0.01, 3, "degenerate")
    assert dict(last.measured.degenerate) == {"it repeats itself": 1}
    assert ranking.groups[0].best is not None
    assert ranking.groups[0].best.keys["beta"] == 0.1


def test_with_one_seed_it_says_what_is_not_covered(tmp_path: Path):
    ranking = ranked(planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, seeds=(0,)))
    assert any("one seed: how far seeds spread is unknown" in sentence for sentence in ranking.told)
    assert standings(ranking) == {0.1: "best", 0.5: "behind"}


def test_with_three_seeds_it_says_that_cells_lend_each_other_what_theirs_show(tmp_path: Path):
    ranking = ranked(planted(tmp_path, {0.05: 0.9, 0.1: 1.0, 0.2: 0.9, 0.3: 0.8, 0.5: 0.2}))
    assert any("judged from all cells of a table together" in sentence for sentence in ranking.told)
    assert standings(ranking)[0.5] == "behind"


def test_a_cell_that_lost_its_other_seeds_is_taken_to_spread_as_the_others_do(tmp_path: Path):
    lone = [Finished("dpo", 0.3, 0, metrics={"eval/win_rate_lc": 0.5})]
    others = [
        Finished("dpo", beta, seed, metrics={"eval/win_rate_lc": value + 0.01 * seed * (-1) ** place})
        for place, (beta, value) in enumerate(((0.1, 0.7), (0.2, 0.6), (0.5, 0.2)))
        for seed in range(3)
    ]
    ranking = ranked(finished_study(tmp_path, [*others, *lone]), dataclasses.replace(REWARD, metric="eval/win_rate_lc"))
    assert standings(ranking)[0.3] == "behind"
    assert any("1 of 4 cells have one seed, which is taken" in sentence for sentence in ranking.told)


def test_with_two_seeds_of_two_cells_it_says_that_little_can_be_told(tmp_path: Path):
    ranking = ranked(planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, seeds=(0, 1)))
    assert any("so few seeds say little" in sentence for sentence in ranking.told)


def test_one_run_each_without_prompts_can_be_ranked_but_not_told_apart(tmp_path: Path):
    study = finished_study(tmp_path, [Finished("dpo", beta, 0, metrics={"eval/reward": beta}) for beta in (0.1, 0.5)])
    ranking = ranked(study)
    second = ranking.groups[0].cells[1]
    assert (second.standing, second.p, second.p_holm) == ("tied", None, None)
    assert second.difference == pytest.approx(-0.4)


def test_a_metric_of_whole_runs_is_compared_over_seeds(tmp_path: Path):
    study = finished_study(
        tmp_path,
        [
            Finished("dpo", beta, seed, metrics={"eval/win_rate_lc": value + 0.001 * seed})
            for beta, value in ((0.1, 0.7), (0.5, 0.2))
            for seed in range(4)
        ],
    )
    ranking = ranked(study, dataclasses.replace(REWARD, metric="eval/win_rate_lc"))
    assert standings(ranking) == {0.1: "best", 0.5: "behind"}
    assert any("known of whole runs" in sentence for sentence in ranking.told)


def test_seeds_may_be_taken_to_spread_alike(tmp_path: Path):
    folder = planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, seeds=(0, 1, 2), seed_sd=0.3)
    lent, pooled = ranked(folder), ranked(folder, dataclasses.replace(REWARD, pool_seeds=True))
    assert pooled.groups[0].cells[0].measured.estimate is not None
    assert pooled.groups[0].cells[0].measured.estimate.seed_df == 4
    assert any("taken to spread alike" in sentence for sentence in pooled.told)
    assert not any("taken to spread alike" in sentence for sentence in lent.told)


def test_small_may_be_good(tmp_path: Path):
    ranking = ranked(
        planted(tmp_path, {0.1: 1.0, 0.5: 0.2}), Question(by=("beta",), metric="eval/kl", direction="minimize")
    )
    assert [cell.keys["beta"] for cell in ranking.groups[0].cells] == [0.5, 0.1]


def test_a_metric_without_a_better_side_asks_for_one(tmp_path: Path):
    with pytest.raises(BadQuestion, match=r"eval/kl .*neither large nor small is better.*--direction"):
        ranked(planted(tmp_path, {0.1: 1.0, 0.5: 0.2}), Question(by=("beta",), metric="eval/kl"))


def test_what_scales_with_the_strength_is_refused_with_a_better_metric(tmp_path: Path):
    folder = planted(tmp_path, {0.1: 1.0, 0.5: 0.2})
    with pytest.raises(Incomparable, match=r"depends on the strength \(0\.1, 0\.5\); --metric eval/win_rate may"):
        ranked(folder, dataclasses.replace(REWARD, metric="train/rewards/margins"))


def test_what_was_refused_can_be_had_with_a_note(tmp_path: Path):
    folder = planted(tmp_path, {0.1: 1.0, 0.5: 0.2})
    question = dataclasses.replace(REWARD, metric="train/rewards/margins", allow_incomparable=True)
    assert any(told.startswith("incomparable, and compared all the same") for told in ranked(folder, question).told)


def test_values_by_prompt_that_are_not_those_of_the_run_are_told(tmp_path: Path):
    folder = planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, prompts=8)
    runs = runs_of(folder)
    moved = Runs(runs.frame.assign(**{"eval/reward": runs.frame["eval/reward"] + 1}), runs.told)
    assert any("of 6 runs is not what their values by prompt come to" in told for told in rank_runs(moved, REWARD).told)


def test_a_study_of_failures_has_no_best(tmp_path: Path):
    study = finished_study(
        tmp_path,
        [
            Finished("dpo", 0.1, 0, status="failed"),
            Finished("dpo", 0.5, 0, metrics={"eval/reward": 1.0}, degenerate="x"),
        ],
    )
    assert ranked(study).groups[0].best is None


def test_a_single_run_is_best_of_itself(tmp_path: Path):
    ranking = ranked(planted(tmp_path, {0.1: 1.0}, seeds=(0,)))
    assert standings(ranking) == {0.1: "best"}


def test_the_same_question_has_the_same_answer(tmp_path: Path):
    folder = planted(tmp_path, {0.1: 1.0, 0.5: 0.2})
    first, second = (ranked(folder).groups[0].cells[0].measured for _ in range(2))
    assert (first.low, first.high) == (second.low, second.high)


def test_a_key_in_which_no_runs_differ_is_told(tmp_path: Path):
    ranking = ranked(planted(tmp_path, {0.1: 1.0, 0.5: 0.2}), dataclasses.replace(REWARD, by=("reference",)))
    expected = "nothing is compared: all runs have reference=self; --by beta compares what they differ in"
    assert expected in ranking.told


def test_what_was_told_of_the_runs_is_told_again(tmp_path: Path):
    runs = runs_of(planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, prompts=8))
    assert "half a folder" in rank_runs(Runs(runs.frame, ["half a folder"]), REWARD).told


def test_prompts_that_a_run_lacks_are_left_out_and_told(tmp_path: Path):
    rated = [[answer(place, reward=None if place < lost else float(place)) for place in range(10)] for lost in (0, 2)]
    study = finished_study(
        tmp_path,
        [Finished("dpo", 0.1, seed, metrics={"eval/reward": 5.0}, answers=rated[seed]) for seed in (0, 1)],
    )
    ranking = ranked(study)
    assert ranking.groups[0].cells[0].measured.prompts == 8
    assert any("up to 2 prompts of a cell are left out" in told for told in ranking.told)


def test_no_interval_goes_beyond_what_a_metric_can_be(tmp_path: Path):
    study = finished_study(
        tmp_path,
        [Finished("dpo", 0.1, seed, metrics={"eval/kl": kl}) for seed, kl in enumerate((0.1, 4.0))],
    )
    measured = ranked(study, Question(("beta",), metric="eval/kl", direction="minimize")).groups[0].cells[0].measured
    assert measured.low == 0.0
    assert measured.high > 4.0
