"""What a ranking comes to, in a sentence."""

from collections.abc import Sequence
from pathlib import Path

from analysis.ranking.rank import Question, rank_runs
from analysis.ranking.verdict import place, verdict
from analysis.sources import read
from tests.analysis.planted import planted
from tests.fakes.finished_study import Finished, finished_study


def said(folder: Path, by: Sequence[str] = ("beta",), within: Sequence[str] | None = None) -> str:
    ranking = rank_runs(read([str(folder)], ("pairs", "answers")), Question(by, within, "eval/reward"))
    return verdict(ranking, ranking.groups[0])


def test_ties_are_named_with_what_they_rest_on(tmp_path: Path):
    folder = planted(tmp_path, {0.05: 1.0, 0.1: 1.05, 0.5: 1.0, 2.0: 0.1}, seed_sd=0.1)
    assert said(folder) == (
        "beta=0.1 is best in dpo on tiny, but 0.05 and 0.5 cannot be told from it with 3 seeds and 60 prompts."
    )


def test_where_all_are_tied_that_comes_first(tmp_path: Path):
    folder = planted(tmp_path, {0.05: 1.0, 0.1: 1.05, 0.5: 1.0}, seed_sd=0.1)
    assert said(folder) == (
        "No setting can be told from the others in dpo on tiny with 3 seeds and 60 prompts; highest mean: beta=0.1."
    )


def test_a_reward_model_is_said_to_have_no_policy(tmp_path: Path):
    models = [Finished("reward", 0.1, seed, metrics={"eval/reward_accuracy": 0.7}) for seed in (0, 1)]
    ranking = rank_runs(
        read([str(planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, more=models))], ("pairs", "answers")),
        Question(("beta",), metric="eval/reward"),
    )
    told = [verdict(ranking, group) for group in ranking.groups if group.setting["method"] == "reward"]
    assert told == ["Nothing can be ranked in reward on tiny: a reward model has no policy, and so no eval/reward."]


def test_a_best_without_ties_is_told_from_the_others(tmp_path: Path):
    folder = planted(tmp_path, {0.1: 1.0, 0.5: 0.3, 2.0: 0.1})
    assert (
        said(folder)
        == "beta=0.1 is best in dpo on tiny, and all 2 others can be told from it with 3 seeds and 60 prompts."
    )


def test_what_is_degenerate_or_without_result_is_part_of_it(tmp_path: Path):
    more = [
        Finished("dpo", 0.01, 0, metrics={"eval/reward": 5.0}, degenerate="empty answers"),
        Finished("dpo", 0.9, 0, status="failed"),
    ]
    folder = planted(tmp_path, {0.1: 1.0, 0.5: 0.2}, more=more)
    assert said(folder).endswith("3 seeds and 60 prompts; 0.01 is degenerate and 0.9 has no result.")


def test_the_keys_within_which_is_ranked_say_where(tmp_path: Path):
    folder = planted(tmp_path, {0.1: 1.0, 0.5: 0.2})
    assert "in dpo on tiny with reference=self, and the other" in said(folder, within=("method", "model", "reference"))


def test_several_keys_are_told_together(tmp_path: Path):
    folder = planted(tmp_path, {0.1: 1.0, 5.0: -1.0}, methods=("dpo", "ipo"))
    told = said(folder, by=("method", "beta"))
    assert told.startswith("method=")
    assert "(method=" in told


def test_a_lone_setting_is_no_winner(tmp_path: Path):
    assert said(planted(tmp_path, {0.1: 1.0})) == "beta=0.1 is the only one with a sound result in dpo on tiny."


def test_where_nothing_is_sound_nothing_is_ranked(tmp_path: Path):
    study = finished_study(tmp_path, [Finished("dpo", 0.1, metrics={"eval/reward": 1.0}, degenerate="empty answers")])
    assert said(study) == "Nothing can be ranked in dpo on tiny: 0.1 is degenerate."


def test_names_of_others_are_told_on_one_line():
    assert place({"method": "dpo", "model": "a\nb\x1b[2J"}) == " in dpo on a b [2J"
