"""Reference log-probabilities computed ahead of the runs: as a command, and as a step of a study."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.tiny_runs import Recorder, run_config, run_spec
from tests.fakes.untrained import untrained
from tests.trainers.reference_setting import Setting, adapter_of, asked, specs
from trainers.method_reference import scored_for
from trainers.models import load_policy
from trainers.reference import reference_scores
from trainers.reference_step import main, prepare
from trainers.train import train

pytestmark = pytest.mark.slow


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


def test_the_module_is_the_command(here: Setting, repository: Path) -> None:
    specs(here, here.config())
    command = [sys.executable, "-m", "trainers.reference", "--study", str(here.folder)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "24 answers computed" in done.stdout


def test_a_step_of_a_study_computes_what_its_runs_look_up(tmp_path: Path) -> None:
    step = replace(run_spec(tmp_path / "step", tmp_path / "cache", run_config()), step="reference")
    done = train(step, Recorder())
    assert (done.status, done.metrics) == ("completed", {"reference/known": 0, "reference/computed": 96})
    again = train(step, Recorder())
    assert again.metrics == {"reference/known": 96, "reference/computed": 0}


def test_a_step_that_is_asked_to_stop_is_cancelled(tmp_path: Path) -> None:
    step = replace(run_spec(tmp_path / "step", tmp_path / "cache", run_config()), step="reference")
    assert train(step, Recorder(stop_in="scoring")).status == "cancelled"


def test_a_step_that_cannot_be_done_says_why(tmp_path: Path) -> None:
    config = run_config(reference={"kind": "checkpoint", "path": str(tmp_path / "nowhere")})
    done = train(replace(run_spec(tmp_path / "step", tmp_path / "cache", config), step="reference"), Recorder())
    assert done.status == "failed"
    assert "there is no such folder" in str(done.error)
