"""By which settings `evaluate` measures: each run's own, the command's over them; and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BadCommand
from orchestrator.evaluation.settings import alike, configs, foreign, launcher_of
from orchestrator.evaluation.sources import Subject, Wanted, find
from orchestrator.worker import TRAIN
from tests.fakes.finished_study import Finished, finished_study
from tests.orchestrator.test_evaluate_sources import adapter
from trainers.evaluation_config import Evaluation

OWN = {"every": 0, "batch_size": 16, "samples": 32, "max_new_tokens": 20}


def subjects(tmp_path: Path, *evaluations: dict[str, Any]) -> list[Subject]:
    runs = [Finished(beta=0.1 + place, config={"evaluation": own}) for place, own in enumerate(evaluations)]
    root = finished_study(tmp_path, runs)
    for run in (root / "runs").iterdir():
        adapter(run / "adapter")
    return find([root], Wanted()).subjects


def measured_by(tmp_path: Path, *overrides: str) -> list[dict[str, Any]]:
    given = subjects(tmp_path, OWN, {**OWN, "samples": 8})
    return [config["evaluation"] for config in configs(given, overrides)]


def test_each_run_keeps_its_own_settings_but_for_those_given(tmp_path: Path) -> None:
    first, second = measured_by(tmp_path, "evaluation.temperature=0.5", "evaluation.degenerate.kl_per_token=3")
    assert (first["samples"], second["samples"]) == (32, 8)
    for made in (first, second):
        assert (made["temperature"], made["max_new_tokens"], made["degenerate"]["kl_per_token"]) == (0.5, 20, 3)


def test_a_group_s_option_takes_the_place_of_all_of_them(tmp_path: Path) -> None:
    for made in measured_by(tmp_path, "evaluation=tiny", "evaluation.samples=4"):
        assert (made["samples"], made["max_new_tokens"], made["sampling_batch"]) == (4, 96, 64)


def test_all_faults_are_told_once_and_together(tmp_path: Path) -> None:
    words = [
        "evaluation.sampels=8",
        "evaluation.temperature=-1",
        "evaluation.samples=4,8",
        "evaluation.max_new_tokens=x",
    ]
    with pytest.raises(BadCommand) as caught:
        measured_by(tmp_path, *words)
    told = caught.value.faults
    assert len(told) == 4
    assert any("did you mean evaluation.samples?" in fault for fault in told)
    assert any("takes one value" in fault for fault in told)


def test_what_does_not_concern_the_evaluation_is_refused() -> None:
    given = ["evaluation.samples=8", "launcher=local", "launcher.workers=1", "evaluation=tiny"]
    assert foreign(given) == []
    refused = ["beta=0.1", "+evaluation.x=1", "training.epochs=2", "evaluations.samples=1", "~peft"]
    assert len(foreign([*given, *refused])) == len(refused)


def test_settings_are_alike_where_they_measure_the_same() -> None:
    now = Evaluation.model_validate(OWN).model_dump()
    assert alike(OWN, now)  # as one wrote it that knew fewer keys
    assert alike({**now, "every": 5, "batch_size": 2, "sampling_batch": 1, "samples_every": 3}, now)
    assert not alike({**now, "samples": 33}, now)
    assert not alike({**now, "unknown": 1}, now)
    assert not alike(None, now)


def test_a_study_s_launcher_is_changed_by_the_command_and_trains_nothing(tmp_path: Path) -> None:
    (subject,) = subjects(tmp_path, OWN)
    assert launcher_of(subject, ["evaluation.samples=4"]).kind == "local"
    changed = launcher_of(subject, ["launcher.workers=3", "launcher.target=mine:train"])
    assert (getattr(changed, "workers", None), changed.target) == (3, TRAIN)
    slurm = launcher_of(subject, ["launcher=slurm", "launcher.detach=true"])
    assert (slurm.kind, getattr(slurm, "detach", None)) == ("slurm", False)
    with pytest.raises(BadCommand, match=r"did you mean launcher\.workers"):
        launcher_of(subject, ["launcher.workrs=3"])
