"""Which metric may be compared across which keys."""

from pathlib import Path
from typing import Any

import pytest

from analysis.by_prompt import by_prompt
from analysis.comparable import objections, refusal
from analysis.folders import read_folders
from analysis.pull import pull
from analysis.sources import read
from tests.analysis.planted import answer
from tests.fakes.finished_study import Finished, finished_study

LARGER = {"reference": {"kind": "model", "path": "/models/larger"}}
OTHER_MODEL = {"model__path": "/models/other", "model__name": "other"}


def objected(root: Path, metric: str, *runs: Finished) -> set[str]:
    found = read_folders([finished_study(root, list(runs))], ("pairs", "answers"))
    return set(objections(found.frame, metric, range(len(found)), by_prompt(found.frame, metric)))


@pytest.mark.parametrize("metric", ["train/rewards/margins", "train/loss", "train/eval_loss", "train/rewards/chosen"])
def test_what_is_times_the_strength_depends_on_it(tmp_path: Path, metric: str):
    assert objected(tmp_path, metric, Finished(beta=0.1), Finished(beta=0.5)) == {"the strength"}


@pytest.mark.parametrize(
    "metric",
    ["eval/policy_accuracy", "eval/reward_accuracy", "eval/margin_nats", "eval/kl", "eval/win_rate", "eval/reward"],
)
def test_measures_in_nats_and_of_answers_do_not(tmp_path: Path, metric: str):
    assert not objected(tmp_path, metric, Finished("dpo", 0.1), Finished("dpo", 0.5), Finished("ipo", 0.1))


def test_losses_of_two_methods_are_two_things(tmp_path: Path):
    assert objected(tmp_path, "train/loss", Finished("dpo", 0.1), Finished("ipo", 0.1)) == {"the method"}


@pytest.mark.parametrize("metric", ["eval/margin_nats", "eval/chosen_logratio", "eval/reward_accuracy", "eval/kl"])
def test_what_is_beside_a_reference_depends_on_it(tmp_path: Path, metric: str):
    assert objected(tmp_path, metric, Finished(), Finished(config=LARGER)) == {"the reference"}


def test_two_references_of_one_name_are_two(tmp_path: Path):
    other = {"reference": {"kind": "model", "path": "/elsewhere/larger"}}
    assert objected(tmp_path, "eval/kl", Finished(config=LARGER), Finished(config=other)) == {"the reference"}


def test_the_policys_own_accuracy_and_its_reward_need_no_reference(tmp_path: Path):
    runs = (Finished(), Finished(config=LARGER))
    assert not objected(tmp_path / "a", "eval/policy_accuracy", *runs)
    assert not objected(tmp_path / "b", "eval/reward", *runs)


def test_a_method_without_a_reference_is_measured_beside_its_start(tmp_path: Path):
    assert not objected(tmp_path, "eval/margin_nats", Finished("dpo"), Finished("orpo"), Finished("sft"))


def test_the_reference_self_is_another_one_for_another_model(tmp_path: Path):
    assert objected(tmp_path, "eval/kl", Finished(), Finished(config=OTHER_MODEL)) == {"the reference"}


def test_a_policy_that_began_elsewhere_has_another_self_and_another_opponent(tmp_path: Path):
    begun = Finished(config={"start": {"kind": "run", "run": {"method": "sft"}, "of": "digest"}})
    assert objected(tmp_path / "a", "eval/kl", Finished(), begun) == {"the reference"}
    assert objected(tmp_path / "b", "eval/win_rate", Finished(), begun) == {"the opponent"}
    assert not objected(tmp_path / "c", "eval/reward", Finished(), begun)


def test_another_run_as_reference_is_the_same_one_for_all_seeds(tmp_path: Path):
    def run(seed: int) -> Finished:
        return Finished(
            seed=seed, config={"reference": {"kind": "run", "run": {"method": "sft"}, "of": f"digest{seed}"}}
        )

    assert not objected(tmp_path, "eval/kl", run(0), run(1))


def test_a_start_is_an_opponent_for_its_own_model_alone(tmp_path: Path):
    assert objected(tmp_path, "eval/win_rate", Finished(), Finished(config=OTHER_MODEL)) == {"the opponent"}


def test_the_same_run_as_opponent_may_be_met_by_any_model(tmp_path: Path):
    met = [answer(place, opponent="t0001-s0-12345678") for place in range(3)]
    runs = (Finished(answers=met), Finished(answers=met, config=OTHER_MODEL))
    assert not objected(tmp_path, "eval/win_rate", *runs)


@pytest.mark.parametrize("metric", ["eval/length", "eval/kl_per_token", "eval/policy_accuracy_norm", "eval/entropy"])
def test_what_is_told_per_token_depends_on_the_tokenizer(tmp_path: Path, metric: str):
    assert "the tokenizer" in objected(tmp_path, metric, Finished(), Finished(config=OTHER_MODEL))


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"evaluation__reward_model": "/rm"}, "who rates"), ({"evaluation__temperature": 0.7}, "how answers are sampled")],
)
def test_rewards_depend_on_who_rates_and_on_how_answers_are_sampled(tmp_path: Path, changes: dict[str, Any], word: str):
    assert objected(tmp_path, "eval/reward", Finished(), Finished(config=changes)) == {word}


def judge(**changes: Any) -> dict[str, Any]:
    return {"evaluation__judge": {"base_url": "https://x/v1", "model": "m", "tries": 6, "price_in": 0.0, **changes}}


@pytest.mark.parametrize("metric", ["eval/win_rate", "eval/win_rate_lc", "eval/win_rate_lc_se", "eval/reward"])
def test_a_judge_has_no_say_in_what_a_reward_model_says(tmp_path: Path, metric: str):
    assert not objected(tmp_path, metric, Finished(config=judge()), Finished(config=judge(model="other")), Finished())


@pytest.mark.parametrize("metric", ["eval/judge_win_rate", "eval/judge_win_rate_se", "eval/judge_win_rate_lc"])
def test_win_rates_by_judge_depend_on_the_judge_and_not_on_how_patiently_it_is_asked(tmp_path: Path, metric: str):
    first = Finished(config=judge())
    assert objected(tmp_path / "a", metric, first, Finished(config=judge(model="other"))) == {"the judge"}
    assert objected(tmp_path / "b", metric, first, Finished(config=judge(base_url="https://y/v1"))) == {"the judge"}
    assert not objected(tmp_path / "c", metric, first, Finished(config=judge(tries=1, price_in=2.0)))
    rated = Finished(config={**judge(), "evaluation__reward_model": "/rm"})
    assert not objected(tmp_path / "d", metric, first, rated)


def test_the_known_reward_is_the_same_by_name_and_without(tmp_path: Path):
    named = Finished(config={"evaluation__reward_model": "builtin:gold"})
    assert not objected(tmp_path, "eval/reward", Finished(), named)


@pytest.mark.parametrize("metric", ["eval/win_rate_lc", "eval/judge_win_rate", "eval/judge_win_rate_lc"])
def test_a_named_opponent_is_its_run_wherever_its_weights_lie(tmp_path: Path, metric: str):
    def beside(path: str) -> Finished:
        return Finished(config={"evaluation__opponent": path})

    one, other = "t0001-s0-12345678", "t0002-s0-12345678"
    assert not objected(tmp_path / "a", metric, beside(f"/a/{one}/adapter"), beside(f"/b/{one}"))
    assert objected(tmp_path / "b", metric, beside(f"/a/{one}/adapter"), beside(f"/a/{other}/adapter")) == {
        "the opponent"
    }
    assert objected(tmp_path / "c", metric, beside(f"/a/{one}"), beside("start")) == {"the opponent"}


@pytest.mark.parametrize("metric", ["eval/policy_accuracy", "eval/reward", "eval/of_my_own"])
def test_other_held_out_data_are_another_exam(tmp_path: Path, metric: str):
    assert objected(tmp_path, metric, Finished(), Finished(config={"data__seed": 1})) == {"the held-out data"}


def test_more_training_data_are_the_same_exam(tmp_path: Path):
    assert not objected(tmp_path, "eval/policy_accuracy", Finished(), Finished(config={"data__max_train_samples": 8}))


def test_prompts_in_common_say_more_than_what_a_config_calls_the_data(tmp_path: Path):
    def run(beta: float, first: int, seed: int) -> Finished:
        answers = [answer(place) for place in range(first, first + 4)]
        return Finished(beta=beta, metrics={"eval/reward": 0.0}, answers=answers, config={"data__seed": seed})

    assert not objected(tmp_path / "a", "eval/reward", run(0.1, 0, 0), run(0.5, 2, 1))
    assert objected(tmp_path / "b", "eval/reward", run(0.1, 0, 0), run(0.5, 9, 0)) == {"the held-out data"}


def test_a_bucket_by_length_is_as_comparable_as_the_whole(tmp_path: Path):
    found = objected(tmp_path, "eval/reward_accuracy.short", Finished(), Finished(config=LARGER))
    assert found == {"the reference"}


def test_a_refusal_names_what_to_use_instead():
    told = refusal("train/loss", ["the method (dpo, ipo)"], ["eval/win_rate"])
    assert told == (
        "train/loss may not be compared here: it depends on the method (dpo, ipo); --metric eval/win_rate may, or give "
        "--allow-incomparable"
    )


def test_a_refusal_without_anything_better_says_what_the_runs_lack():
    told = refusal("eval/margin_nats", ["the reference (a, b)"], [])
    assert "eval/policy_accuracy could be, but these runs lack it" in told


JUDGED = {"judge": {"base_url": "https://x/v1", "model": "m"}}


def later(**changes: Any) -> dict[str, Any]:
    return {"temperature": 1.0, "max_new_tokens": 96, "reward_model": None, "opponent": "start", **JUDGED, **changes}


@pytest.mark.parametrize(
    ("metric", "changes", "word"),
    [
        ("eval/reward", {"temperature": 0.7}, "how answers are sampled"),
        ("eval/win_rate", {"reward_model": "/rm"}, "who rates"),
        ("eval/judge_win_rate", {"judge": {"base_url": "https://x/v1", "model": "n"}}, "the judge"),
        ("eval/judge_win_rate", {"opponent": "/a/t0001-s0-12345678"}, "the opponent"),
    ],
)
@pytest.mark.parametrize("pulled", [False, True])
def test_a_later_evaluation_counts_with_the_settings_it_had(
    tmp_path: Path, metric: str, changes: dict[str, Any], word: str, pulled: bool
):
    runs = [Finished(beta=0.1, evaluated=later()), Finished(beta=0.5, evaluated=later(**changes))]
    source = str(finished_study(tmp_path, runs))
    if pulled:
        pull([source], tmp_path / "runs.parquet")
        source = str(tmp_path / "runs.parquet")
    frame = read([source], ("answers",)).frame
    assert set(objections(frame, metric, range(len(frame)))) == {word}


def test_runs_evaluated_again_alike_may_be_compared_whatever_they_were_to_be_evaluated_with(tmp_path: Path):
    other = Finished(beta=0.5, config={"evaluation__temperature": 0.7}, evaluated=later())
    assert not objected(tmp_path, "eval/reward", Finished(beta=0.1, evaluated=later()), other)


def test_a_later_evaluation_without_a_judge_leaves_what_an_earlier_one_said(tmp_path: Path):
    runs = [Finished(config=judge(model=name), evaluated=later(judge=None)) for name in ("one", "two")]
    assert objected(tmp_path, "eval/judge_win_rate", *runs) == {"the judge"}
