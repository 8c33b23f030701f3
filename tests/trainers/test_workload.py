"""How much goes through a run's models, counted by hand for 100 pairs and 10 held-out ones."""

from typing import Any

import pytest

from tests.fakes.tiny_runs import method, run_config
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.workload import Drawing, Workload, drawing, own_tokens, reward_model, stages, workload

# Held-out pairs: by the reference once, by the policy at the end.
HELDOUT = 2 * 10


def config(name: str = "dpo", settings: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    """Of a set of pairs in a file: the built-in world samples held-out answers besides."""
    data = {"kind": "jsonl", "path": "p", "eval_path": None, "eval_fraction": 0.1, "split_seed": 0,
            "prompt_field": "prompt", "chosen_field": "chosen", "rejected_field": "rejected",
            "max_train_samples": None, "max_eval_samples": None}  # fmt: skip
    return check(run_config(name, **{"method": method(name, **(settings or {})), "data": data, **changes}))


def of(name: str = "dpo", settings: dict[str, Any] | None = None, **changes: Any) -> Workload:
    return workload(config(name, settings, **changes), 100, 10)


def test_pairs_are_scored_by_the_reference_and_trained_on() -> None:
    assert of("dpo") == Workload(trained=200, scored=HELDOUT, referred=200 + HELDOUT)
    assert of("orpo") == Workload(trained=200, scored=HELDOUT, referred=HELDOUT)
    assert of("sft") == Workload(trained=100, scored=HELDOUT, referred=HELDOUT)


def test_unpaired_answers_are_held_to_answers_to_other_prompts() -> None:
    assert of("kto") == Workload(trained=200, asked=200, scored=HELDOUT, referred=400 + HELDOUT)


def test_a_moving_reference_is_asked_at_each_step() -> None:
    assert of("trdpo") == Workload(trained=200, asked=200, scored=HELDOUT, referred=HELDOUT)


def test_a_reward_model_has_no_reference() -> None:
    assert of("reward") == Workload(trained=200, scored=HELDOUT)


def test_steps_count_where_they_are_given_and_evaluations_on_the_way() -> None:
    found = of("orpo", training__max_steps=6, training__batch_size=5, evaluation__every=2)
    assert found == Workload(trained=60, scored=4 * HELDOUT, referred=HELDOUT)


def test_later_stages_of_stepwise_dpo_are_held_to_the_policy() -> None:
    found = of("sdpo", {"stages": 4})
    assert (found.scored, found.referred) == (150 + HELDOUT, 200 + HELDOUT)


RSO = {"reward_model": "owner/rm", "candidates": 16, "accepted": 4, "sampling_batch": 64}


def test_rejection_sampling_draws_and_rates_all_candidates() -> None:
    """64 answers are those to four prompts: 25 passes. Four answers in a tournament make three pairs."""
    found = of("rso", RSO)
    assert found.drawn == {Drawing(16, 64, 256): (1600, 25)}
    assert (found.rated, found.trained, found.referred) == (1600, 600, 600 + HELDOUT)
    assert of("rso", {**RSO, "pairing": "first_round"}).trained == 400


def test_online_dpo_makes_a_pair_a_prompt_and_round() -> None:
    found = of("online_dpo", {"reward_model": "owner/rm", "rounds": 3, "prompts_per_round": 40, "sampling_batch": 32})
    assert found.drawn == {Drawing(2, 32, 256): (240, 9)}
    assert (found.rated, found.trained, found.referred) == (240, 240, 240 + HELDOUT)


def test_rloo_scores_answers_two_by_two() -> None:
    """Five answers to each of 10 prompts are three pairs for the scorer, the last answer beside itself."""
    found = of("rloo", {"reward_model": "owner/rm", "rounds": 2, "prompts_per_round": 10, "answers": 5})
    assert (found.trained, found.rated) == (100, 100)
    assert (found.scored, found.referred) == (120 + HELDOUT, 120 + HELDOUT)


def test_backtranslation_trains_backwards_then_on_the_seed_then_on_what_it_keeps() -> None:
    """A seed of 20, 80 texts of which 40 are kept in each of two iterations: 20 + 20 + 60 + 60."""
    settings = {"seed_share": 0.2, "keep": 0.5, "iterations": 2, "sampling_batch": 32}
    found = of("backtranslation", settings)
    assert found == Workload(trained=160, scored=320 + HELDOUT, referred=HELDOUT, drawn={Drawing(1, 32, 128): (80, 3)})
    rated = of("backtranslation", {**settings, "score": "reward_model", "reward_model": "owner/rm"})
    assert (rated.rated, rated.scored) == (160, HELDOUT)


def test_samples_of_an_evaluation_are_the_policys_and_the_starts_and_compared_with_their_pairs() -> None:
    found = workload(
        check(run_config(evaluation__samples=8, evaluation__sampling_batch=4, evaluation__max_new_tokens=96)), 100, 10
    )
    assert found.drawn == {Drawing(1, 4, 96): (16, 4)}
    assert (found.scored, found.referred) == (3 * 8 + HELDOUT, 3 * 8 + 200 + HELDOUT)


def test_samples_that_are_drawn_as_the_methods_own_come_to_them() -> None:
    drawn = method("backtranslation", max_new_tokens=16, sampling_batch=4)
    asked = {"evaluation__samples": 8, "evaluation__sampling_batch": 4, "evaluation__max_new_tokens": 16}
    own, both = (workload(check(run_config("backtranslation", method=drawn, **a)), 100, 10).drawn for a in ({}, asked))
    (how,) = own
    assert both == {how: (own[how][0] + 16, own[how][1] + 4)}


@pytest.mark.parametrize(
    ("drawn", "prompts", "passes", "largest"),
    [
        (Drawing(16, 64, 1), 9, 3, 64),
        # Two prompts at once, 48 answers.
        (Drawing(24, 64, 1), 3, 2, 48),
        # One prompt at once, its answers in two batches.
        (Drawing(100, 64, 1), 3, 6, 64),
        (Drawing(1, 64, 1), 65, 2, 64),
    ],
)
def test_answers_to_a_prompt_are_drawn_together(drawn: Drawing, prompts: int, passes: int, largest: int) -> None:
    assert (drawn.passes(prompts), drawn.largest) == (passes, largest)


def test_what_the_policy_says_may_be_longer_than_the_data() -> None:
    """200 tokens, and 256 new ones, cut at training.max_length."""
    assert own_tokens(config("rso", RSO), 200) == 456
    assert own_tokens(config("rso", RSO, training__max_length=400), 200) == 400
    assert own_tokens(config("dpo"), 200) == 200
    # Which writes prompts to texts of the data.
    assert own_tokens(config("backtranslation"), 200) == 200


def test_a_method_says_in_how_many_trainings_it_comes() -> None:
    assert [stages(config(name)) for name in ("dpo", "sdpo", "backtranslation")] == [1, 3, 4]
    assert stages(config("online_dpo", {"reward_model": "owner/rm", "rounds": 5})) == 5


def test_a_reward_that_is_known_or_unused_loads_no_model() -> None:
    gold = check(run_config("rso", method=method("rso", reward_model="builtin:gold")))
    unused = config("backtranslation", {"reward_model": "owner/rm"})
    assert [reward_model(one) for one in (gold, unused, config("dpo"))] == [None, None, None]
    assert reward_model(config("rso", RSO)) == "owner/rm"
    assert drawing(config("dpo")) is None
