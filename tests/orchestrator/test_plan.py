"""What a command would run, and everything that is wrong with it, before anything runs."""

import contextlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from orchestrator.command_settings import changed_settings
from orchestrator.config import Source, composer
from orchestrator.errors import BadCommand
from orchestrator.plan import Plan, make_plan
from orchestrator.planned import fingerprint
from orchestrator.shortcuts import STRENGTHS
from orchestrator.store import StudyFolder, StudyRecord
from tests.fakes.answers import section
from trainers.config_check import check
from trainers.machine import Machine

LAPTOP = Machine(ram_bytes=16 << 30, gpu_bytes=(), cores=4)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A small file of sound pairs."""
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Question {i}?", "chosen": f"Right {i}", "rejected": f"Wrong {i}"} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def plan(*overrides: str, out: Path, sweep: bool = True, machine: Machine = LAPTOP) -> Plan:
    return make_plan([*overrides, f"output_root={out}"], sweep=sweep, source=Source(), machine=machine)


def faults(*overrides: str, out: Path, sweep: bool = True, machine: Machine = LAPTOP) -> Sequence[str]:
    with pytest.raises(BadCommand) as caught:
        plan(*overrides, out=out, sweep=sweep, machine=machine)
    return caught.value.faults


def test_a_grid_times_seeds_makes_trials_and_runs(tmp_path: Path):
    made = plan("method=dpo,ipo", "beta=0.1,0.5", "seed=0,1", out=tmp_path)
    assert len(made.trials) == 4
    assert [run.run_id[:8] for run in made.runs] == [f"t{t:04d}-s{s}" for t in range(4) for s in (0, 1)]


def test_each_run_has_its_method_s_own_strength(tmp_path: Path):
    made = plan("method=dpo,ipo,orpo", "beta=0.3", out=tmp_path)
    strengths = [{k: v for k, v in run.config["method"].items() if v == 0.3} for run in made.runs]
    assert strengths == [{"beta": 0.3}, {"tau": 0.3}, {"lambda": 0.3}]


def test_planning_writes_nothing(tmp_path: Path):
    plan("beta=0.1,0.5", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_command_names_the_same_study_and_runs(tmp_path: Path):
    first, second = (plan("beta=0.1,0.5", out=tmp_path) for _ in range(2))
    assert (first.name, [r.run_id for r in first.runs]) == (second.name, [r.run_id for r in second.runs])


def test_another_space_is_another_study(tmp_path: Path):
    assert plan("beta=0.1,0.5", out=tmp_path).identity != plan("beta=0.1,0.6", out=tmp_path).identity


@pytest.mark.parametrize("override", ["tracking=disabled", "launcher.workers=3", "study=other", "fail_fast=true"])
def test_what_does_not_change_numbers_does_not_change_a_run(tmp_path: Path, override: str):
    assert plan(out=tmp_path).runs[0].fingerprint == plan(override, out=tmp_path).runs[0].fingerprint


@pytest.mark.parametrize("override", ["beta=0.2", "seed=1", "training.batch_size=4", "data.seed=1", "peft=none"])
def test_what_changes_numbers_changes_a_run(tmp_path: Path, override: str):
    assert plan(out=tmp_path).runs[0].fingerprint != plan(override, out=tmp_path).runs[0].fingerprint


def test_a_data_file_counts_by_its_content(tmp_path: Path, pairs: Path):
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(pairs.read_bytes())
    other = tmp_path / "other.jsonl"
    other.write_bytes(pairs.read_bytes().replace(b"Right 3", b"Right !"))
    same, copied, changed = (
        plan("data=jsonl", f"data.path={path}", out=tmp_path).runs[0].fingerprint for path in (pairs, copy, other)
    )
    assert same == copied != changed


def test_an_integer_and_its_float_are_one_value(tmp_path: Path):
    assert plan("beta=1", out=tmp_path).identity == plan("method.beta=1.0", out=tmp_path).identity


def test_trials_may_compute_the_same(tmp_path: Path):
    """Of a model, a name is a label."""
    made = plan("model.name=one,other", out=tmp_path)
    assert len(made.runs) == 2
    assert len({run.fingerprint for run in made.runs}) == 1


def test_a_fingerprint_is_of_values_not_of_their_order(tmp_path: Path):
    config = dict(plan(out=tmp_path).runs[0].config)
    assert fingerprint(check(config)) == fingerprint(check(dict(reversed(config.items()))))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["method.betta=1"], "method.betta: no such key; did you mean method.beta?"),
        (["method=dpoo"], "method=dpoo: no such option; did you mean dpo? valid are apo, "),
        (["beta=-1"], "method.beta: input should be greater than 0, got -1"),
        (["beta=0"], "method.beta: input should be greater than 0, got 0"),
        (["beta=nan"], "method.beta: input should be"),
        (["beta=.inf"], "method.beta"),
        (["beta="], "method.beta: input should be a valid number, got ''"),
        (["beta=high"], "method.beta: input should be a valid number, got 'high'"),
        (["training.batch_size=2.5"], "training.batch_size: input should be a valid integer"),
        (["training.batch_size=true"], "training.batch_size: input should be a valid integer"),
        (["seed=-1"], "seed: input should be greater than or equal to 0"),
        (["model=glob(nothing*)"], "model: sweeps over nothing"),
        (["sweeper=grid", "beta=interval(0.1,1)"], "a grid cannot sweep over a continuous range"),
        (["launcher.workers=1,2"], "launcher.workers=1,2: this concerns the study as a whole"),
        (["output_root=a,b"], "output_root"),
        (["study=a/b"], "study: "),
        (["study=.."], "study: "),
        (["study="], "study: "),
        (["data=jsonl"], "data.path: must be given: the file of pairs, one JSON object a line, as "),
        (["reference=model"], "reference.path: must be given: the reference model, a hub id or a "),
        (["beta=[1,2]"], "beta=[1, 2]: one number is asked for; to sweep over several values: beta=1,2 -m"),
        (["epochs=[1,2]"], "epochs=[1, 2]: one number is asked for; to sweep over several values: epochs=1,2 -m"),
        (["seed=[0,1]"], "seed: input should be a valid integer, got [0, 1]; to sweep over several "),
        (["method=[dpo,ipo]"], "one option is asked for; to sweep over several values: method=dpo,ipo -m"),
        (["gpu=a100"], "got 'a100'; did you mean a100-40 or a100-80?"),
        (["gpu=V100"], "got 'V100'; did you mean v100-16 or v100-32?"),
        (["model=llama3"], "no such option; did you mean llama3-70b, llama3-8b or llama3-8b-instruct?"),
        (["method=dpo", "reference=none"], "method=dpo needs a reference"),
        (["peft=none", "quantization=nf4"], "peft=none trains every weight"),
        (["model=hf", "model.path=/nowhere/at/all"], "/nowhere/at/all"),
        (["model=mistral7b"], "neither a local folder nor in the hub's cache"),
        (["training.batch_size=600"], "512"),
    ],
)  # fmt: skip
def test_bad_input_is_told(tmp_path: Path, overrides: list[str], told: str):
    assert any(told in fault for fault in faults(*overrides, out=tmp_path)), faults(*overrides, out=tmp_path)


def test_several_values_without_a_sweep_are_refused(tmp_path: Path):
    (fault,) = faults("beta=0.1,0.5", out=tmp_path, sweep=False)
    assert fault == "beta=0.1,0.5: several values make a sweep: add -m, or quote the value"


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=jsonl"], ["data=unpaired", "method=kto"], ["model=hf"], ["reference=model"], ["reference=adapter"],
        ["reference=checkpoint"], ["reference=mixture"], ["reference=run"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_key_that_must_be_given_is_told_once_and_nothing_of_what_stands_in_for_it(tmp_path: Path, overrides):
    told = faults(*overrides, out=tmp_path)
    assert all("must be given: " in fault and ", as " in fault for fault in told)
    assert len(told) == (2 if "data=unpaired" in overrides else 1)


def test_what_else_is_wrong_is_told_beside_a_key_that_must_be_given(tmp_path: Path):
    told = faults("data=unpaired", "data.path=missing.jsonl", "model=hf", "model.path=/nowhere/at/all", out=tmp_path)
    for part in ("data.eval_path: must", "method=dpo learns from pairs", "missing.jsonl", "model.path=/nowhere"):
        assert sum(part in fault for fault in told) == 1, part
    assert len(told) == 4


def test_what_else_is_wrong_is_told_beside_a_value_out_of_range(tmp_path: Path):
    """Of a method with keys of its own, too."""
    told = faults("method=ipo", "beta=-1", "model=hf", "model.path=/nowhere/at/all", out=tmp_path)
    assert [fault.partition(":")[0] for fault in told] == ["method.tau", "model.path=/nowhere/at/all"]


@pytest.mark.parametrize("words", [["size=tiny"], ["size=tiny", "+experiment=bandits"]], ids=" ".join)
def test_a_size_that_there_is_not_is_told_once_with_those_that_there_are(tmp_path: Path, words: list[str]):
    assert faults(*words, out=tmp_path) == ("size=tiny: no such size; an experiment has the sizes full and small",)


def test_faults_of_every_kind_are_told_together(tmp_path: Path):
    told = faults(
        "method.betta=1",
        "beta=-1,0.1",
        "training.batch_size=0",
        "launcher.workers=0",
        "data=jsonl",
        "data.path=missing.jsonl",
        "model=mistral7b",
        "quantization=none",
        out=tmp_path,
    )
    for part in ("betta", "method.beta", "batch_size", "launcher.workers", "missing.jsonl", "hub", "GiB"):
        assert any(part in fault for fault in told), part


def test_a_fault_of_some_trials_names_the_first_of_them(tmp_path: Path):
    (fault,) = faults("method=dpo,orpo", "reference=none", out=tmp_path)
    assert fault.endswith("(trial 0: method=dpo)")


def test_seven_billion_weights_in_16_bits_do_not_fit_a_laptop(tmp_path: Path):
    told = faults("model=mistral7b", "quantization=none", "model.dtype=bfloat16", out=tmp_path)
    assert any("7" in fault and "GiB" in fault and "quantization=nf4" in fault for fault in told)


def test_seven_billion_weights_in_4_bits_fit_it(tmp_path: Path):
    told = faults("model=mistral7b", out=tmp_path)
    assert not any("GiB of memory" in fault for fault in told)


def test_a_study_of_that_name_that_is_another_is_refused(tmp_path: Path):
    made = plan("study=mine", "beta=0.1", out=tmp_path)
    folder = StudyFolder(made.root)
    folder.root.mkdir()
    record = StudyRecord("mine", made.identity, "python -m orchestrator", "", {}, {}, {}, [], {})
    folder.create(record, [])
    plan("study=mine", "beta=0.1", out=tmp_path)
    (fault,) = faults("study=mine", "beta=0.2", out=tmp_path)
    assert "holds another study" in fault


def test_an_output_folder_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    (fault,) = faults(out=tmp_path / "file" / "below")
    assert "is not a folder" in fault


def test_what_spoils_a_sweep_is_in_the_plan(tmp_path: Path, pairs: Path):
    pairs.write_text(pairs.read_text() * 2)
    made = plan("data=jsonl", f"data.path={pairs}", out=tmp_path)
    (report,) = made.data.values()
    assert report is not None
    assert any("40" in warning for warning in report.warnings())


def unpaired(tmp_path: Path, good: int, bad: int) -> list[str]:
    made = section(tmp_path, [{"prompt": f"Q{i}?", "completion": "yes", "label": i < good} for i in range(good + bad)])
    return ["data=unpaired", f"data.path={made['path']}", f"data.eval_path={made['eval_path']}"]


def test_weights_that_do_not_make_up_for_the_answers_are_advised_against_trial_by_trial(tmp_path: Path):
    made = plan("method=kto", "method.undesirable_weight=1,2,3", *unpaired(tmp_path, 60, 30), out=tmp_path)
    assert len(made.data) == 1
    one, three = made.advice
    assert one.endswith("(trial 0: method.undesirable_weight=1)")
    assert three.endswith("(trial 2: method.undesirable_weight=3)")


def test_answers_that_are_too_few_for_one_method_are_its_own_fault(tmp_path: Path):
    words = [*unpaired(tmp_path, 4, 60), "training.batch_size=8"]
    (fault,) = faults("method=kto,sft", *words, out=tmp_path)
    assert fault.endswith("(trial 1: method=sft)")


def test_a_plan_tells_the_memory_of_each_model(tmp_path: Path):
    (need,) = plan("beta=0.1,0.5", out=tmp_path).memory
    assert (need.model, need.how, need.runs, need.fits) == ("tiny", "LoRA r=16", 2, True)
    assert 0 < need.estimate.total < 2 << 30


def keys(node: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{name}.")


ODD = (
    "null",
    "1",
    "true",
    "nan",
    ".inf",
    "-1",
    "[1]",
    "{a:1}",
    "''",
    "x",
    "1e300",
    "[]",
    "${nope}",
    "'[/b]'",
    "\x1b[31m",
)


def test_whatever_stands_for_whichever_key_is_accepted_or_told(tmp_path: Path):
    """Thirty random odd values for random keys: never anything but a plan or faults."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    with composer(Source()) as compose:
        every = [*keys(compose.compose([]).config), *STRENGTHS, "epochs", "~training", "~method.beta", "~beta", "++a.b"]
    for _ in range(30):
        key, value = dice.choice(every), dice.choice(ODD)
        override = key if key.startswith("~") else f"{key}={value}"
        root = [] if key == "output_root" else [f"output_root={tmp_path / 'out'}"]
        with contextlib.suppress(BadCommand):
            make_plan([override, *root], sweep=False, source=Source(), machine=LAPTOP)


@pytest.mark.parametrize(
    "content",
    [
        b"a: [", b"\tx: 1", b"\xff\xfe", b"\x00", b"a: 1\na: 2", b"!!python/object/apply:os.system [ls]",
        b"defaults: 3", b"defaults: [mine]", b"- 1", b"path: ${nope}", b"method: 5",
    ],
)  # fmt: skip
def test_a_broken_file_in_the_users_own_folder_is_told(tmp_path: Path, content: bytes):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_bytes(content)
    source = Source(config_dir=str(tmp_path))
    with pytest.raises(BadCommand) as caught:
        make_plan(["model=mine", f"output_root={tmp_path}"], sweep=False, source=source, machine=LAPTOP)
    assert "no such option" not in caught.value.faults[0]


def test_a_top_config_of_the_users_own_is_found(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("defaults: [config, _self_]\nbeta: 0.7\n")
    source = Source("mine", str(tmp_path))
    made = make_plan([f"output_root={tmp_path}"], sweep=False, source=source, machine=LAPTOP)
    assert made.runs[0].config["method"]["beta"] == 0.7


def test_options_of_the_users_folder_are_among_the_valid_ones(tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [hf]\n")
    with pytest.raises(BadCommand, match="mine"):
        make_plan(["model=min"], sweep=False, source=Source(config_dir=str(tmp_path)), machine=LAPTOP)


def test_a_reference_may_be_swept_against_itself(tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    made = plan("reference=self,model", f"reference.path={other}", out=tmp_path)
    assert [run.config["reference"]["kind"] for run in made.runs] == ["self", "model"]


def test_a_name_is_one_folder_whatever_the_model_is_called(tmp_path: Path):
    made = plan("model.name='../../x y'", out=tmp_path)
    assert made.root.parent == tmp_path
    assert "/" not in made.name


def test_an_objective_that_is_not_measured_is_told(tmp_path: Path):
    (fault,) = faults("objective.metric=eval/reward_acuracy", out=tmp_path)
    assert "did you mean eval/reward_accuracy?" in fault


def test_tracking_online_needs_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert any("no key" in fault for fault in faults("tracking=online", out=tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    plan("tracking=online", out=tmp_path)


def test_a_changed_file_is_named_where_the_study_was_made_on_another(tmp_path: Path, pairs: Path):
    from trainers import inputs

    words = ["study=mine", "data=jsonl", f"data.path={pairs}"]
    made = plan(*words, out=tmp_path)
    folder = StudyFolder(made.root)
    record = StudyRecord("mine", made.identity, "", "", {}, {}, {}, [run.run_id for run in made.runs], {})
    folder.root.mkdir()
    folder.create(record, made.runs)
    pairs.write_text(pairs.read_text().replace("Right 3", "Right !"))
    inputs._digest.cache_clear()
    (fault,) = faults(*words, out=tmp_path)
    assert f"data.path={pairs} has changed since the study was made" in fault


@pytest.mark.parametrize(
    ("change", "kept"), [(["fail_fast=true"], 7.0), (["launcher.workers=4"], 7.0), (["launcher=local"], None)]
)
def test_resume_changes_only_what_it_is_told_to(tmp_path: Path, change: list[str], kept: float | None):
    settings = plan("launcher.timeout_min=7", out=tmp_path).settings.model_dump()
    assert changed_settings(settings, change, Source()).launcher.timeout_min == kept


def test_resume_names_a_slip(tmp_path: Path):
    settings = plan(out=tmp_path).settings.model_dump()
    with pytest.raises(BadCommand, match=r"did you mean launcher\.workers\?"):
        changed_settings(settings, ["launcher.workrs=4"], Source())


def test_more_workers_than_memory_has_room_for_are_refused(tmp_path: Path):
    (fault,) = faults("launcher.workers=64", out=tmp_path)
    assert "launcher.workers" in fault


def test_a_plan_is_made_for_a_model_that_is_not_here_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run is refused all the same."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = ["model=qwen2-1.5b", "model.path=nobody/has-this", f"output_root={tmp_path}"]
    made = make_plan(words, sweep=True, source=Source(), machine=LAPTOP, fitting=False)
    (told,) = made.absent
    assert told.startswith("model.path=nobody/has-this: neither a local folder nor in the hub's cache")
    assert any(told in fault for fault in faults("model=qwen2-1.5b", "model.path=nobody/has-this", out=tmp_path))


@pytest.mark.parametrize(
    "other",
    ["table.published=nothing", "output_root=/proc/nowhere", "cache_dir=~nobody-here/x", "launcher.workrs=1"],
)
def test_a_model_that_is_not_here_is_told_beside_whatever_else_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = ["model=qwen2-1.5b", "model.path=nobody/has-this", "quantization=none", other]
    root = [] if other.startswith("output_root") else [f"output_root={tmp_path}"]
    for fitting in (True, False):
        with pytest.raises(BadCommand) as caught:
            make_plan([*words, *root], sweep=True, source=Source(), machine=LAPTOP, fitting=fitting)
        assert any(fault.startswith("model.path=nobody/has-this: neither") for fault in caught.value.faults)
        assert len(caught.value.faults) > 1


def test_a_plan_tells_memory_where_more_workers_are_asked_for_than_fit(tmp_path: Path):
    words = ["launcher.workers=64", f"output_root={tmp_path}"]
    made = make_plan(words, sweep=True, source=Source(), machine=LAPTOP, fitting=False)
    assert made.memory
    assert ["launcher.workers=64" in fault for fault in made.unfit] == [True]


def test_a_reference_that_would_never_move_is_warned_of(tmp_path: Path):
    made = plan("method=trdpo,dpo", "training.max_steps=3", out=tmp_path)
    (warning,) = made.warnings
    assert warning.startswith("reference.sync_steps=16, but training takes 3 steps: the reference never moves")
    assert warning.endswith("(trial 0: method=trdpo)")


def test_a_plan_is_not_made_for_a_folder_that_is_wrong(tmp_path: Path):
    with pytest.raises(BadCommand, match="there is no such folder"):
        make_plan(
            ["model=hf", f"model.path={tmp_path / 'gone'}"], sweep=True, source=Source(), machine=LAPTOP, fitting=False
        )
