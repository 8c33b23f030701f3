"""The reference's log-probabilities: from which model, in which tokens; computed once, and never stale."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from tests.fakes.tiny_runs import Recorder, pair, run_config, run_spec
from tests.fakes.untrained import untrained
from trainers import weights_digest
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.data import TokenisedPair, load_pairs, tokenise
from trainers.errors import InvalidInput
from trainers.evaluate import Scores, score
from trainers.method_reference import scored_for
from trainers.models import Policy, load_base, load_policy, load_tokenizer, resolve_precision
from trainers.reference import reference_scores
from trainers.reference_models import Keeper, StandIn, Tally
from trainers.reference_step import main, prepare
from trainers.train import train

FULL = {"kind": "none"}
NF4 = {"kind": "nf4", "double_quant": True}
THINGS = ["sea", "wood", "rain", "moon", "night", "wind", "river", "stone", "bird", "fire", "snow", "road"]


def write_pairs(path: Path, things: list[str], answer: str = " I like it.") -> Path:
    rows = [
        {"prompt": f"Describe the {thing}:", "chosen": f" The {thing} is calm.{answer}", "rejected": f" No {thing}."}
        for thing in things
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_chats(path: Path) -> Path:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Describe the {thing}"}],
            "chosen": [{"role": "assistant", "content": f"The {thing} is calm."}],
            "rejected": [{"role": "assistant", "content": "No."}],
        }
        for thing in THINGS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def jsonl(path: Path) -> dict[str, Any]:
    fields = {"prompt_field": "prompt", "chosen_field": "chosen", "rejected_field": "rejected"}
    split = {"eval_path": None, "eval_fraction": 0.25, "split_seed": 0}
    return {"kind": "jsonl", "path": str(path), "max_train_samples": None, "max_eval_samples": None, **split, **fields}


class Counting(Keeper):
    """Counts how often a model is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = 0

    def keep(self, name: str, load: Callable[[], Any]) -> Any:
        def counted() -> Any:
            self.loaded += 1
            return load()

        return super().keep(name, counted)


class Setting:
    """A policy of the built-in world's form, a few pairs, and a store of their own."""

    def __init__(self, folder: Path, cache_dir: Path) -> None:
        self.folder, self.base = folder, untrained(cache_dir)
        self.cache = folder / "cache"
        self.pairs = write_pairs(folder / "pairs.jsonl", THINGS)
        self.keeper = Counting()
        self.tallies: dict[str, Tally] = {}

    def config(self, method: str = "dpo", **changes: Any) -> RunConfig:
        given = {"model__path": str(self.base), "data": jsonl(self.pairs), **changes}
        return check(run_config(method, **given))

    def stand_in(self, config: RunConfig) -> StandIn:
        tokenizer = load_tokenizer(config, self.cache)
        return StandIn(None, tokenizer, resolve_precision(config), keeper=self.keeper, tallies=self.tallies)

    def splits(self, config: RunConfig) -> dict[str, list[TokenisedPair]]:
        data, tokenizer = load_pairs(config.data, self.cache), load_tokenizer(config, self.cache)
        length = config.training.max_length
        return {
            "train": tokenise(data.train, tokenizer, length),
            "heldout": tokenise(data.heldout, tokenizer, length),
        }

    def scores(self, config: RunConfig, cache: Path | None = None) -> dict[str, Scores]:
        return reference_scores(config, self.stand_in(config), self.splits(config), cache or self.cache)

    def afresh(self, config: RunConfig) -> dict[str, Scores]:
        """What an empty store leads to."""
        empty = self.folder / "empty"
        shutil.rmtree(empty, ignore_errors=True)
        return self.scores(config, empty)

    @property
    def computed(self) -> int:
        return sum(tally.computed for tally in self.tallies.values())


@pytest.fixture
def here(tmp_path: Path, cache_dir: Path) -> Setting:
    return Setting(tmp_path, cache_dir)


def same(one: dict[str, Scores], other: dict[str, Scores]) -> bool:
    """Bit by bit."""
    return one.keys() == other.keys() and all(
        torch.equal(getattr(one[name], part), getattr(other[name], part))
        for name in one
        for part in ("chosen_logps", "rejected_logps", "chosen_tokens", "rejected_tokens")
    )


def near(one: dict[str, Scores], other: dict[str, Scores]) -> bool:
    return all(torch.allclose(one[name].chosen_logps, other[name].chosen_logps, atol=1e-3) for name in one)


def asked(policy: Policy) -> list[int]:
    """Grows with each forward pass of the policy."""
    passes: list[int] = []
    policy.model.register_forward_hook(lambda *_: passes.append(1))
    return passes


def changed_copy(model: Path, folder: Path) -> Path:
    """Another model of the same size and times."""
    shutil.copytree(model, folder)
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"] = weights["model.norm.weight"] * 1.5
    save_file(weights, path, metadata={"format": "pt"})
    times = (model / "model.safetensors").stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return folder


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


@pytest.mark.slow
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


def test_large_weights_are_read_once_and_again_when_they_have_changed(tmp_path: Path) -> None:
    """Also where the change keeps size and time, as unpacking an archive does."""
    model, cache = tmp_path / "model", tmp_path / "cache"
    model.mkdir()
    (model / "config.json").write_text("{}")
    weights = model / "model.safetensors"
    weights.write_bytes(b"a" * 2_000_000)
    before = weights_digest.of_folder(model, cache)
    assert not list(cache.rglob("*.json")), "so young a file may change once more within the clock's grain"
    time.sleep(2.2)
    assert weights_digest.of_folder(model, cache) == before
    (note,) = cache.rglob("*.json")
    note.write_text(note.read_text().replace(json.loads(note.read_text())["sha256"], "remembered"))
    assert weights_digest.of_folder(model, cache) != before, "the note is what is asked"
    status = weights.stat()
    weights.write_bytes(b"b" * 2_000_000)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = weights_digest.of_folder(model, cache)
    weights.write_bytes(b"a" * 2_000_000)
    assert weights_digest.of_folder(model, cache) == before != changed


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


# Which reference.


def adapter_of(base: Path, config: RunConfig, folder: Path) -> Path:
    """An adapter that has learnt something."""
    model = load_base(config, str(base), None, folder)
    torch.manual_seed(5)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


def alone(here: Setting, model: Any) -> dict[str, Scores]:
    config = here.config()
    return {name: score(model, pairs, 16, 0) for name, pairs in here.splits(config).items()}


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


def finished_run(here: Setting, what: str) -> Path:
    """The folder of a run, with what it has left."""
    run = here.folder / "run"
    spec = run_spec(run, here.cache, here.config().model_dump(by_alias=True))
    spec.write()
    if what == "adapter":
        adapter_of(here.base, here.config(), spec.folder.adapter)
    elif what == "model":
        changed_copy(here.base, spec.folder.model)
    elif what == "checkpoint":
        adapter_of(here.base, here.config(), spec.folder.checkpoints / "checkpoint-7")
        (spec.folder.checkpoints / "checkpoint-7" / "WHOLE").touch()
        (spec.folder.checkpoints / "checkpoint-9").mkdir()
    return run


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


def reversed_vocabulary(model: Path, folder: Path) -> Path:
    """The same model with its 256 bytes numbered the other way round: of texts it says the same."""
    shutil.copytree(model, folder)
    path = folder / "tokenizer.json"
    told = json.loads(path.read_text())
    told["model"]["vocab"] = {letter: 255 - number for letter, number in told["model"]["vocab"].items()}
    path.write_text(json.dumps(told))
    weights = load_file(folder / "model.safetensors")
    order = torch.cat([torch.arange(255, -1, -1), torch.arange(256, 258)])
    name = "model.embed_tokens.weight"
    weights[name] = weights[name][order].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


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


# Ahead of the runs.


def specs(here: Setting, *configs: RunConfig) -> list[Any]:
    made = [
        run_spec(here.folder / "runs" / str(number), here.cache, config.model_dump(by_alias=True))
        for number, config in enumerate(configs)
    ]
    for spec in made:
        spec.write()
    return made


def test_several_runs_are_prepared_with_each_model_loaded_once(here: Setting, cache_dir: Path) -> None:
    other = {"kind": "model", "path": str(untrained(cache_dir, seed=1))}
    runs = specs(
        here,
        here.config(),
        here.config(method__beta=0.5, seed=1),
        here.config("orpo", reference={"kind": "none"}),
        here.config(reference=other),
        here.config(reference=other, method__beta=0.5),
    )
    said: list[str] = []
    tallies = prepare(runs, said.append)
    assert [(tally.computed, tally.known > 0) for tally in tallies] == [(24, True), (24, False)]
    assert [told.partition(": ")[0] for told in said] == [str(here.base), other["path"]]
    assert all("24 answers computed on" in told for told in said)
    assert [tally.computed for tally in prepare(runs, said.append)] == [0, 0]


def test_a_run_held_to_another_of_its_study_is_prepared_once_that_one_has_ended(here: Setting) -> None:
    sft, dpo = specs(here, here.config("sft"), here.config(reference={"kind": "run", "run": {"method": "sft"}}))
    dpo = replace(dpo, needs=(sft.run_dir.name,))
    said: list[str] = []
    assert prepare([dpo], said.append) == []
    assert "left out, what it needs is not there yet" in said[0]
    adapter = adapter_of(here.base, here.config(), sft.folder.adapter)
    (tally,) = prepare([dpo], said.append)
    assert (tally.model, tally.computed) == (f"{here.base} with {adapter}", 24)


def test_methods_that_ask_for_other_pairs_are_prepared_beside_each_other(here: Setting) -> None:
    """orpo compares held-out pairs alone, likelihood also the answers of all training pairs without their prompts."""
    runs = specs(here, here.config("orpo"), here.config("likelihood"))
    prepare(runs, lambda _: None)
    for config in (here.config("orpo"), here.config("likelihood")):
        policy = load_policy(config, here.cache)
        passes = asked(policy)
        scored_for(config, policy, here.splits(config), here.cache)
        assert not passes


def test_a_run_that_was_prepared_computes_nothing_more(here: Setting) -> None:
    config = here.config()
    prepare(specs(here, config), lambda _: None)
    policy = load_policy(config, here.cache)
    passes = asked(policy)
    reference_scores(config, policy, here.splits(config), here.cache)
    assert not passes


def test_the_command_says_what_it_did(here: Setting, capfd: pytest.CaptureFixture[str]) -> None:
    specs(here, here.config(), here.config(method__beta=0.5))
    assert main([str(here.folder / "runs" / "0")]) == 0
    assert "24 answers computed on" in capfd.readouterr().out
    assert main(["--study", str(here.folder)]) == 0
    assert capfd.readouterr().out.strip() == f"{here.base}: 24 were there already"


def test_faults_of_the_command_are_told_together_with_code_2(here: Setting, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(here.folder / "no-run"), "--study", str(here.folder / "no-study")]) == 2
    said = capfd.readouterr().err
    assert "no-run/spec.json is missing or damaged" in said
    assert "no-study: there are no runs in it" in said
    specs(here, here.config(reference={"kind": "adapter", "path": str(here.folder)}))
    assert main(["--study", str(here.folder)]) == 2
    assert "no adapter_config.json with adapter_model.safetensors there" in capfd.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2


def test_what_fails_has_code_1(here: Setting, capfd: pytest.CaptureFixture[str]) -> None:
    broken = here.folder / "broken"
    shutil.copytree(here.base, broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    specs(here, here.config(model__path=str(broken)))
    assert main(["--study", str(here.folder)]) == 1
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.slow
def test_the_module_is_the_command(here: Setting, repository: Path) -> None:
    specs(here, here.config())
    command = [sys.executable, "-m", "trainers.reference", "--study", str(here.folder)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "24 answers computed" in done.stdout


# Whole runs.


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adapter", "mixture", "other tokenizer"])
def test_a_run_trains_against_each_kind(here: Setting, kind: str) -> None:
    config = here.config()
    reference = {
        "adapter": lambda: {"kind": "adapter", "path": str(adapter_of(here.base, config, here.folder / "adapter"))},
        "mixture": lambda: {
            "kind": "mixture", "first": str(finished_run(here, "adapter")), "second": "self", "weight": 0.5
        },
        "other tokenizer": lambda: {
            "kind": "model", "path": str(reversed_vocabulary(here.base, here.folder / "other"))
        },
    }[kind]()  # fmt: skip
    spec = run_spec(here.folder / "trained", here.cache, here.config(reference=reference).model_dump(by_alias=True))
    result = train(spec, Recorder())
    assert (result.status, result.error) == ("completed", None)


@pytest.mark.slow
def test_two_ranks_share_the_scoring_and_keep_what_one_looks_up(here: Setting, repository: Path) -> None:
    config = here.config()
    (spec,) = specs(here, config)
    words = ["--standalone", "--nproc-per-node=2", "-m", "orchestrator.ranks", str(spec.run_dir)]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, "--train", "trainers.train:train"],
        cwd=repository,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert json.loads(spec.folder.result.read_text())["status"] == "completed", done.stderr
    found = here.scores(config)
    assert here.computed == 0
    assert near(found, here.afresh(config))


@pytest.mark.slow
def test_a_step_of_a_study_computes_what_its_runs_look_up(tmp_path: Path) -> None:
    step = replace(run_spec(tmp_path / "step", tmp_path / "cache", run_config()), step="reference")
    done = train(step, Recorder())
    assert (done.status, done.metrics) == ("completed", {"reference/known": 0, "reference/computed": 96})
    again = train(step, Recorder())
    assert again.metrics == {"reference/known": 96, "reference/computed": 0}


@pytest.mark.slow
def test_a_step_that_is_asked_to_stop_is_cancelled(tmp_path: Path) -> None:
    step = replace(run_spec(tmp_path / "step", tmp_path / "cache", run_config()), step="reference")
    assert train(step, Recorder(stop_in="scoring")).status == "cancelled"


def test_a_step_that_cannot_be_done_says_why(tmp_path: Path) -> None:
    config = run_config(reference={"kind": "checkpoint", "path": str(tmp_path / "nowhere")})
    done = train(replace(run_spec(tmp_path / "step", tmp_path / "cache", config), step="reference"), Recorder())
    assert done.status == "failed"
    assert "there is no such folder" in str(done.error)
