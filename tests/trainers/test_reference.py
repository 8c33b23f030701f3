"""The reference's log-probabilities are computed once, and never stale."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_runs import pair
from tests.fakes.untrained import untrained
from tests.trainers.reference_setting import (
    FULL,
    NF4,
    THINGS,
    Setting,
    asked,
    changed_copy,
    near,
    same,
    write_chats,
    write_pairs,
)
from trainers.evaluation.scorer import score
from trainers.models import load_policy
from trainers.reference import reference_scores
from trainers.reference_models import StandIn, Tally

pytestmark = pytest.mark.slow

# Computed once.


@pytest.mark.parametrize("method", ["dpo", "orpo"])
@pytest.mark.parametrize("peft", [None, FULL])
def test_a_policy_whose_start_is_known_is_asked_nothing(here: Setting, method: str, peft: Any) -> None:
    """Whether its own start is the reference, or only what its measures are compared with."""
    kind = "self" if method == "dpo" else "none"
    config = here.config(method, reference={"kind": kind}, **({} if peft is None else {"peft": peft}))
    policy = load_policy(config, here.cache)
    passes = asked(policy)
    first = reference_scores(config, policy, here.splits(config), here.cache)
    assert passes
    passes.clear()
    again = reference_scores(config, policy, here.splits(config), here.cache)
    assert not passes
    assert same(first, again)


def test_what_is_looked_up_is_what_the_scorer_says_bit_by_bit(here: Setting) -> None:
    config = here.config()
    policy = load_policy(config, here.cache)
    expected = {name: score(policy.model, pairs, 16, policy.pad_id) for name, pairs in here.splits(config).items()}
    assert same(here.scores(config), expected)
    assert same(reference_scores(config, policy, here.splits(config), here.cache), expected)


LORA = {"kind": "lora", "r": 16, "alpha": 16, "dropout": 0.1, "target_modules": "all-linear"}


@pytest.mark.parametrize(
    "changes",
    [
        {"method__beta": 0.5},
        {"method": "ipo"},
        {"seed": 7},
        {"peft": LORA},
        {"peft": FULL},
        {"training__learning_rate": 1e-5, "training__batch_size": 2, "training__epochs": 3},
        {"method": "orpo", "reference": {"kind": "none"}},
    ],
    ids=["beta", "method", "seed", "rank", "full", "training", "orpo"],
)
def test_runs_that_differ_elsewhere_look_up_what_they_would_compute(here: Setting, changes: dict[str, Any]) -> None:
    here.scores(here.config())
    before = here.computed
    config = here.config(**changes)
    policy = load_policy(config, here.cache)
    passes = asked(policy)
    found = reference_scores(config, policy, here.splits(config), here.cache)
    assert not passes
    assert here.computed == before
    assert same(found, here.afresh(config))


def test_the_same_weights_elsewhere_are_the_same_reference(here: Setting) -> None:
    here.scores(here.config())
    shutil.copytree(here.base, here.folder / "copy")
    here.scores(here.config(model__path=str(here.folder / "copy")))
    assert here.keeper.loaded == 1


def test_another_model_is_not_loaded_where_all_is_known(here: Setting, cache_dir: Path) -> None:
    config = here.config(reference={"kind": "model", "path": str(untrained(cache_dir, seed=1))})
    first = here.scores(config)
    assert here.keeper.loaded == 1
    here.keeper.close()
    assert same(here.scores(config), first)
    assert here.keeper.loaded == 1


def test_a_run_that_scores_takes_over_what_another_has_scored_meanwhile(here: Setting) -> None:
    config = here.config()
    pairs = [pair([60 + one, 60 + other], [one]) for one in range(40) for other in range(40)]
    other = here.stand_in(config)
    meanwhile: list[int] = []

    def another_run() -> None:
        if not meanwhile:
            meanwhile.append(1)
            reference_scores(config, other, {"train": pairs}, here.cache)

    tallies: dict[str, Tally] = {}
    ours = StandIn(None, other.tokenizer, "fp32", keeper=here.keeper, tallies=tallies)
    found = reference_scores(config, ours, {"train": pairs}, here.cache, another_run)
    assert len(pairs) == 1600
    assert here.computed == 1640
    assert [(tally.computed, tally.known) for tally in tallies.values()] == [(1024, 1640 - 1024)]
    assert same(found, reference_scores(config, other, {"train": pairs}, here.cache))


IDENTITY = """
import sys
from pathlib import Path
from tests.fakes.tiny_runs import run_config
from trainers import reference_kinds
from trainers.config_check import check
from trainers.models import load_tokenizer
from trainers.reference_models import ReferenceModel, StandIn
config, cache = check(run_config(model__path="owner/name")), Path(sys.argv[1])
stand_in = StandIn(None, load_tokenizer(config, cache), "fp32")
print(ReferenceModel(config, stand_in, reference_kinds.parts(config)[0], cache).identity()["weights"])
"""


def test_a_model_of_the_hub_is_known_by_the_commit_that_its_name_stands_for_now(
    here: Setting, repository: Path
) -> None:
    hub = here.folder / "hub" / "models--owner--name"
    (hub / "refs").mkdir(parents=True)
    found = []
    for commit in ("0" * 40, "1" * 40):
        shutil.copytree(here.base, hub / "snapshots" / commit)
        (hub / "refs" / "main").write_text(commit)
        done = subprocess.run(
            [sys.executable, "-c", IDENTITY, str(here.cache)],
            cwd=repository,
            env={**os.environ, "HF_HUB_CACHE": str(hub.parent), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(done.stdout.strip())
    assert found == [f"owner/name@{'0' * 40}", f"owner/name@{'1' * 40}"]


def test_a_longer_data_set_computes_what_is_new_to_it(here: Setting) -> None:
    write_pairs(here.pairs, THINGS[:5])
    config = here.config()
    here.scores(config)
    known = here.computed
    write_pairs(here.pairs, THINGS)
    longer = here.scores(config)
    assert known == 10
    assert here.computed == 24
    assert near(longer, here.afresh(config))


def test_an_answer_that_occurs_twice_has_one_value(here: Setting) -> None:
    twice = [pair([70, 71], [80]), pair([90] * 9, [80]), pair([70, 71], [80])]
    config = here.config()
    found = reference_scores(config, here.stand_in(config), {"train": twice, "heldout": twice[:1]}, here.cache)
    assert here.computed == 3
    assert len(set(found["train"].rejected_logps.tolist())) == 1
    assert found["heldout"].chosen_logps[0] == found["train"].chosen_logps[2]


# Never stale.


def other_weights(here: Setting) -> dict[str, Any]:
    return {"model__path": str(changed_copy(here.base, here.folder / "changed"))}


def weights_in_place(here: Setting) -> dict[str, Any]:
    """The same folder, whose file has other weights and the size and time that it had."""
    path = here.folder / "model" / "model.safetensors"
    changed_copy(here.base, here.folder / "changed")
    status = path.stat()
    shutil.copyfile(here.folder / "changed" / "model.safetensors", path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    return {}


def other_data(here: Setting) -> dict[str, Any]:
    write_pairs(here.pairs, THINGS, answer=" I fear it.")
    return {}


def other_tokenizer(here: Setting) -> dict[str, Any]:
    """One that ends a text with another token."""
    folder = here.folder / "tokenizer"
    shutil.copytree(here.base, folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": "<|pad|>"}))
    return {"model__tokenizer": str(folder)}


@pytest.mark.parametrize(
    "change",
    [
        other_weights,
        weights_in_place,
        other_data,
        other_tokenizer,
        lambda _: {"training__max_length": 24},
        lambda _: {"model__dtype": "bfloat16"},
        lambda _: {"training__precision": "bf16"},
        lambda _: {"quantization": NF4},
        lambda _: {"reference": {"kind": "self", "quantization": "nf4"}},
    ],
    ids=["weights", "in place", "data", "tokenizer", "length", "dtype", "autocast", "4 bits", "4-bit reference"],
)
def test_what_changes_the_numbers_is_never_answered_with_the_old_ones(
    here: Setting, change: Callable[[Setting], dict[str, Any]]
) -> None:
    shutil.copytree(here.base, here.folder / "model")
    here.base = here.folder / "model"
    before = here.scores(here.config())
    config = here.config(**change(here))
    here.keeper.close()
    after = here.scores(config)
    assert not same(after, before)
    here.keeper.close()
    assert same(after, here.afresh(config))


def test_another_chat_template_is_never_answered_with_the_old_ones(here: Setting) -> None:
    write_chats(here.pairs)
    before = here.scores(here.config(model__chat_template="builtin:plain"))
    config = here.config(model__chat_template="builtin:chatml")
    after = here.scores(config)
    assert not near(before, after)
    assert same(after, here.afresh(config))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_another_attention_is_another_reference(here: Setting, attention: str) -> None:
    """They differ in rounding alone, and are told apart all the same."""
    here.scores(here.config(model__attention="eager"))
    before = here.computed
    here.scores(here.config(model__attention=attention))
    assert (here.computed > before) == (attention == "sdpa")


# What may go wrong.


def test_a_store_that_cannot_be_written_is_told_once_and_the_run_goes_on(
    here: Setting, capfd: pytest.CaptureFixture[str]
) -> None:
    here.cache.mkdir()
    (here.cache / "reference").write_text("in the way")
    config = here.config()
    assert same(here.scores(config), here.afresh(config))
    assert capfd.readouterr().err.count("the run goes on without") == 1


def test_what_is_damaged_is_computed_again(here: Setting, capfd: pytest.CaptureFixture[str]) -> None:
    config = here.config()
    first = here.scores(config)
    for path in here.cache.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    again = here.scores(config)
    assert same(first, again)
    assert here.computed == 48
    assert "is damaged" in capfd.readouterr().err
    here.scores(config)
    assert here.computed == 48
    assert "damaged" not in capfd.readouterr().err
