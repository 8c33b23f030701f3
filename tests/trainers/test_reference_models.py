"""Which model the reference is, and in whose tokens it is asked."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from tests.fakes.tiny_runs import pair
from tests.fakes.untrained import untrained
from tests.trainers.reference_setting import (
    NF4,
    Setting,
    adapter_of,
    alone,
    asked,
    finished_run,
    near,
    reversed_vocabulary,
    same,
    write_chats,
)
from trainers.errors import InvalidInput
from trainers.models import Policy, load_base, load_policy, load_tokenizer
from trainers.reference import reference_scores

pytestmark = pytest.mark.slow


def test_an_adapter_is_scored_on_the_runs_own_model(here: Setting) -> None:
    config = here.config()
    adapter = adapter_of(here.base, config, here.folder / "adapter")
    found = here.scores(here.config(reference={"kind": "adapter", "path": str(adapter)}))
    base = load_base(config, str(here.base), None, here.cache)
    expected = alone(here, PeftModel.from_pretrained(base, str(adapter)))
    assert same(found, expected)
    assert not near(found, here.scores(config))


def test_an_adapter_whose_weights_change_is_another_reference(here: Setting) -> None:
    config = here.config()
    adapter = adapter_of(here.base, config, here.folder / "adapter")
    held = here.config(reference={"kind": "adapter", "path": str(adapter)})
    before = here.scores(held)
    path = adapter / "adapter_model.safetensors"
    save_file({name: weight * 2 for name, weight in load_file(path).items()}, path, metadata={"format": "pt"})
    here.keeper.close()
    assert not near(here.scores(held), before)


def test_an_adapter_of_another_model_is_scored_on_that(here: Setting, cache_dir: Path) -> None:
    other = untrained(cache_dir, seed=1)
    config = here.config()
    adapter = adapter_of(other, config, here.folder / "adapter")
    found = here.scores(here.config(reference={"kind": "adapter", "path": str(adapter)}))
    base = load_base(config, str(other), None, here.cache)
    assert same(found, alone(here, PeftModel.from_pretrained(base, str(adapter))))


@pytest.mark.parametrize(
    ("what", "leaf"), [("adapter", "adapter"), ("model", "model"), ("checkpoint", "checkpoints/checkpoint-7")]
)
def test_a_finished_run_is_scored_as_it_ended(here: Setting, what: str, leaf: str) -> None:
    run = finished_run(here, what)
    found = here.scores(here.config(reference={"kind": "checkpoint", "path": str(run)}))
    by_leaf = here.scores(here.config(reference={"kind": "checkpoint", "path": str(run / leaf)}))
    config = here.config()
    if what == "model":
        expected = alone(here, load_base(config, str(run / leaf), None, here.cache))
    else:
        base = load_base(config, str(here.base), None, here.cache)
        expected = alone(here, PeftModel.from_pretrained(base, str(run / leaf)))
    assert same(found, expected)
    assert same(by_leaf, expected)
    assert not near(found, here.scores(config))


def test_a_mixture_is_the_weighted_sum_of_two(here: Setting, cache_dir: Path) -> None:
    other = str(untrained(cache_dir, seed=1))
    first = here.scores(here.config())["train"]
    second = here.scores(here.config(reference={"kind": "model", "path": other}))["train"]
    before = here.computed
    mixture = {"kind": "mixture", "first": "self", "second": other, "weight": 0.25}
    found = here.scores(here.config(reference=mixture))["train"]
    expected = 0.25 * first.chosen_logps.double() + 0.75 * second.chosen_logps.double()
    assert torch.equal(found.chosen_logps, expected.float())
    assert torch.equal(found.chosen_tokens, first.chosen_tokens)
    assert here.computed == before, "another weight asks no model"


def test_a_policy_in_4_bits_can_be_held_to_its_weights_before_that(here: Setting) -> None:
    plain = here.scores(here.config())
    quantised = here.config(quantization=NF4, reference={"kind": "self", "quantization": "none"})
    assert same(here.scores(quantised), plain)
    assert here.keeper.loaded == 1


def test_a_reference_may_be_in_4_bits_where_the_policy_is_not(here: Setting) -> None:
    reference = {"kind": "self", "quantization": "nf4"}
    found = here.scores(here.config(reference=reference))
    expected = alone(here, load_base(here.config(quantization=NF4), str(here.base), None, here.cache))
    assert same(found, expected)
    policy = load_policy(here.config(reference=reference), here.cache)
    passes = asked(policy)
    assert same(
        reference_scores(here.config(reference=reference), policy, here.splits(here.config()), here.folder / "new"),
        expected,
    )
    assert not passes, "the policy is not that model"


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_a_start_that_moves_weights_into_the_adapter_leaves_the_reference_as_it_is(here: Setting, start: str) -> None:
    """Without its adapter such a policy is not the model that it started from."""
    config = here.config()
    model = load_base(config, str(here.base), None, here.cache)
    moved = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=start))
    policy = Policy(moved, load_tokenizer(config, here.cache), "fp32")
    found = reference_scores(config, policy, here.splits(config), here.cache)
    assert same(found, alone(here, load_base(config, str(here.base), None, here.cache)))


# Another tokenizer.


def test_a_reference_with_another_tokenizer_says_of_texts_what_it_would_in_the_policys_tokens(here: Setting) -> None:
    other = reversed_vocabulary(here.base, here.folder / "other")
    found = here.scores(here.config(reference={"kind": "model", "path": str(other)}))
    own = here.scores(here.config())
    assert here.keeper.loaded == 2
    assert near(found, own)
    assert torch.equal(found["train"].chosen_tokens, own["train"].chosen_tokens)


def test_answers_that_are_cut_for_one_of_the_two_are_counted(here: Setting, capfd: pytest.CaptureFixture[str]) -> None:
    other = reversed_vocabulary(here.base, here.folder / "other")
    here.scores(here.config(reference={"kind": "model", "path": str(other)}))
    assert "warning" not in capfd.readouterr().err
    here.scores(here.config(reference={"kind": "model", "path": str(other)}, training__max_length=24))
    assert "of 12 pairs 12 are cut for the policy by training.max_length and 0 for" in capfd.readouterr().err
    path = other / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_position_embeddings": 24}))
    here.scores(here.config(reference={"kind": "model", "path": str(other)}))
    assert "of 12 pairs 0 are cut for the policy by training.max_length and 12 for" in capfd.readouterr().err


def test_tokens_that_are_no_texts_of_the_data_are_refused_with_another_tokenizer(here: Setting) -> None:
    other = reversed_vocabulary(here.base, here.folder / "other")
    config = here.config(reference={"kind": "model", "path": str(other)})
    for splits in ({"unconditional": [pair([70], [71])]}, {"train": here.splits(config)["train"][::-1]}):
        with pytest.raises(InvalidInput, match=r"reference\.path: .*/other has another tokenizer than the policy"):
            reference_scores(config, here.stand_in(config), splits, here.cache)


def test_chats_need_a_chat_template_of_the_references_own(here: Setting) -> None:
    write_chats(here.pairs)
    other = reversed_vocabulary(here.base, here.folder / "other")
    (other / "chat_template.jinja").unlink(missing_ok=True)
    path = other / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": None}))
    with pytest.raises(InvalidInput, match=r"reference\.path: .*chat messages, but the tokenizer of .*other has no"):
        here.scores(here.config(reference={"kind": "model", "path": str(other)}))
