"""Which policies `evaluate` means: runs, studies, checkpoints; and what it leaves out, with the reason."""

import json
from pathlib import Path

import pytest

from orchestrator.attempts import alone_in
from orchestrator.errors import BadCommand
from orchestrator.evaluation.sources import Wanted, find
from tests.fakes.finished_study import Finished, finished_study
from trainers import checkpoints
from trainers.spec import RunFolder, RunResult, RunSpec


def study(tmp_path: Path, *runs: Finished) -> list[RunFolder]:
    """Their folders, in their order, each with an adapter."""
    root = finished_study(tmp_path, runs)
    folders = [RunFolder(path) for path in sorted((root / "runs").iterdir())]
    for folder in folders:
        adapter(folder.adapter)
    return folders


def adapter(place: Path) -> None:
    place.mkdir(parents=True)
    (place / "adapter_config.json").write_text("{}")
    (place / "adapter_model.safetensors").touch()


def with_checkpoints(folder: RunFolder, *names: str) -> None:
    for name in names:
        adapter(folder.checkpoints / name)
        checkpoints.mark_whole(folder.checkpoints / name)


def names(folders: list[Path], wanted: str | None = None) -> list[str]:
    return [subject.name for subject in find(folders, Wanted.parse(wanted)).subjects]


def test_a_study_stands_for_its_completed_runs(tmp_path: Path) -> None:
    done, failed, missing = study(
        tmp_path, Finished(beta=0.1), Finished(beta=0.2, status="failed"), Finished(beta=0.3, status=None)
    )
    found = find([tmp_path / "study"], Wanted())
    assert [subject.spec.run_dir for subject in found.subjects] == [done.root]
    assert found.left_out == {
        "not complete (failed)": [failed.root.name],
        "not complete (no result)": [missing.root.name],
    }


def test_runs_and_studies_may_be_mixed_and_count_once(tmp_path: Path) -> None:
    first, second = study(tmp_path, Finished(beta=0.1), Finished(beta=0.2))
    assert names([second.root, tmp_path / "study", first.root]) == [second.root.name, first.root.name]


def test_runs_that_are_one_are_measured_once(tmp_path: Path) -> None:
    first, second = study(tmp_path, Finished(beta=0.1), Finished(beta=0.2))
    RunResult(second.root.name, "completed", same_as=first.root.name).write(second)
    assert names([second.root]) == [first.root.name]
    assert names([tmp_path / "study"]) == [first.root.name]


def test_a_run_under_way_is_left_alone(tmp_path: Path) -> None:
    (folder,) = study(tmp_path, Finished(status="cancelled"))
    with_checkpoints(folder, "checkpoint-40")
    with alone_in(folder):
        for wanted in (None, "last"):
            found = find([folder.root], Wanted.parse(wanted))
            assert (found.subjects, found.left_out) == ([], {"under way": [folder.root.name]})


@pytest.mark.parametrize(
    ("saved", "why"),
    [(True, "its weights are gone"), (False, "kept no weights (training.save_final=false)")],
)
def test_without_weights_the_reason_is_told(tmp_path: Path, saved: bool, why: str) -> None:
    root = finished_study(tmp_path, [Finished(config={"training__save_final": saved})])
    assert list(find([root], Wanted()).left_out) == [why]


def test_checkpoints_are_the_last_all_or_those_of_some_steps(tmp_path: Path) -> None:
    (folder,) = study(tmp_path, Finished(status="cancelled"))
    with_checkpoints(folder, "checkpoint-40", "checkpoint-120", "checkpoint-80")
    adapter(folder.checkpoints / "checkpoint-160")  # no mark: half-written
    run = folder.root.name
    assert names([folder.root], "last") == [f"{run} checkpoint-120"]
    assert names([folder.root], "all") == [f"{run} checkpoint-{step}" for step in (40, 80, 120)]
    assert names([folder.root], "40,120") == [f"{run} checkpoint-40", f"{run} checkpoint-120"]
    found = find([folder.root], Wanted.parse("40,90"))
    assert found.left_out == {"no checkpoint-90 (there are: 40, 80, 120)": [run]}
    assert "--checkpoint last measures how far it came" in next(iter(find([folder.root], Wanted()).left_out))


def test_checkpoints_of_stages_keep_their_stage(tmp_path: Path) -> None:
    (folder,) = study(tmp_path, Finished())
    with_checkpoints(folder, "stage-1/checkpoint-8", "stage-0/checkpoint-4")
    run = folder.root.name
    assert names([folder.root], "all") == [f"{run} stage-0/checkpoint-4", f"{run} stage-1/checkpoint-8"]
    assert names([folder.checkpoints / "stage-1" / "checkpoint-8"]) == [f"{run} stage-1/checkpoint-8"]


def test_a_run_without_checkpoints_says_how_it_would_have_kept_them(tmp_path: Path) -> None:
    (folder,) = study(tmp_path, Finished())
    assert "training.save_checkpoints=true" in next(iter(find([folder.root], Wanted("all")).left_out))


@pytest.mark.parametrize("text", ["x", "40,", "-1", "", "40 80"])
def test_other_words_for_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(BadCommand, match="last, all, or steps"):
        Wanted.parse(text)


def test_each_folder_that_is_none_of_ours_is_a_fault(tmp_path: Path) -> None:
    (folder,) = study(tmp_path, Finished())
    with_checkpoints(folder, "checkpoint-40")
    (tmp_path / "other").mkdir()
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "study.yaml").write_text("[")
    given = [tmp_path / "gone", tmp_path / "other", damaged, folder.checkpoints, folder.root]
    found = find(given, Wanted())
    assert [subject.spec.run_dir for subject in found.subjects] == [folder.root]
    assert len(found.faults) == 4
    for fault, told in zip(
        found.faults, ["no folder", "not the folder", "is damaged", "no whole checkpoint"], strict=True
    ):
        assert told in fault


def test_a_run_whose_spec_is_damaged_or_that_is_a_step_is_left_out(tmp_path: Path) -> None:
    (folder,) = study(tmp_path, Finished())
    step = RunSpec.read(folder.root)
    values = {**json.loads(folder.spec.read_text()), "step": "reference"}
    place = step.run_dir.parent / "reference-1a2b3c4d"
    place.mkdir()
    RunFolder(place).spec.write_text(json.dumps(values))
    folder.spec.write_text("{")
    found = find([tmp_path / "study", place], Wanted())
    assert (found.subjects, len(found.left_out)) == ([], 2)
