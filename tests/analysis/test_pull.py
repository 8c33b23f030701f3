"""The file of `pull`: the same runs as its sources, whole or not at all, and only what has changed read again."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import parquet
from analysis.errors import AnalysisError, BadQuestion, NoRuns
from analysis.pull import pull
from analysis.runs import PARTS
from analysis.sources import read
from orchestrator.store import StudyFolder
from tests.analysis.conftest import ANSWER, whole_run
from tests.fakes.finished_study import Finished, finished_study
from trainers.spec import RunFolder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    runs = [whole_run(0.1), whole_run(0.2), whole_run(0.2, seed=1, degenerate="empty answers")]
    return finished_study(tmp_path, [*runs, Finished(beta=0.3, status="failed", error="out of memory")])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pulled" / "runs.parquet"


def folders(study: Path) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted((study / "runs").iterdir())]


def unnoticed(path: Path, content: bytes) -> None:
    """Change a file in a way that its size and time do not tell."""
    state = path.stat()
    assert len(content) == state.st_size
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_the_file_has_the_same_runs(study: Path, file: Path):
    pull([str(study)], file)
    both = read([str(study)], PARTS), read([str(file)], PARTS)
    pd.testing.assert_frame_equal(both[0].frame, both[1].frame)
    assert both[0].told == both[1].told


def test_parts_of_the_file_come_when_they_are_asked_for(study: Path, file: Path):
    pull([str(study)], file)
    pd.testing.assert_frame_equal(read([str(study)]).frame, read([str(file)]).frame)


def test_what_was_told_when_it_was_pulled_is_told_of_the_file(study: Path, file: Path):
    folders(study)[0].spec.unlink()
    pull([str(study)], file)
    assert "spec.json is missing or damaged" in read([str(file)]).told[0]


def test_a_second_pull_reads_only_what_has_changed(study: Path, file: Path):
    pull([str(study)], file)
    first, second = folders(study)[:2]
    for folder in (first, second):
        unnoticed(folder.metrics, folder.metrics.read_bytes().replace(b'"train/loss": 0.', b'"train/loss": 9.'))
    os.utime(second.metrics)
    pulled = pull([str(study)], file)
    losses = [cell if cell is None else int(cell[0]) for cell in read([str(file)], PARTS).frame["history.train/loss"]]
    assert losses == [0, 9, 0, None]
    assert pulled.unchanged == 3


def test_a_run_about_which_something_was_told_is_read_and_told_again(study: Path, file: Path):
    with folders(study)[0].metrics.open("a") as lines:
        lines.write("rubbish\n")
    told = [pull([str(study)], file).runs.told for _ in range(2)]
    assert "damaged in metrics.jsonl" in told[0][0]
    assert told[0] == told[1]


def test_a_run_that_has_ended_since_is_read_again(tmp_path: Path, file: Path):
    study = finished_study(tmp_path, [whole_run(status=None)])
    pull([str(study)], file)
    assert list(read([str(file)]).frame["status"]) == ["missing"]
    finished_study(tmp_path / "again", [whole_run()])
    folders(tmp_path / "again" / "study")[0].result.rename(folders(study)[0].result)
    pull([str(study)], file)
    assert list(read([str(file)]).frame["status"]) == ["completed"]


def test_runs_that_are_gone_from_the_sources_leave_the_file_and_are_counted(study: Path, file: Path, tmp_path: Path):
    other = finished_study(tmp_path, [Finished("ipo", 0.5)], name="other")
    pull([str(study), str(other)], file)
    pulled = pull([str(study)], file)
    assert (len(pulled.runs), pulled.gone) == (4, 1)
    assert "gone from the sources, and so from the file: 1 run" in pulled.sentences(file)


def test_files_can_be_pulled_into_one(study: Path, file: Path, tmp_path: Path):
    other = finished_study(tmp_path, [Finished("ipo", 0.5)], name="other")
    parts = [file.with_name(f"{name}.parquet") for name in ("one", "two")]
    for source, part in zip((study, other), parts, strict=True):
        pull([str(source)], part)
    pull([str(part) for part in parts], file)
    pd.testing.assert_frame_equal(read([str(file)]).frame, read([str(study), str(other)]).frame)


def test_texts_that_are_no_unicode_can_be_written(tmp_path: Path, file: Path):
    study = finished_study(tmp_path, [whole_run(answers=[{**ANSWER, "text": "\ud83d cut"}])])
    pull([str(study)], file)
    assert read([str(file)], PARTS).frame["answers.text"][0][0] == "\ufffd cut"


def test_what_newer_scorers_add_to_answers_is_kept(tmp_path: Path, file: Path):
    added: list[dict[str, Any]] = [{"judge": "left", "score": 2}, {"judge": None, "score": None, "odd": {}}]
    study = finished_study(tmp_path, [whole_run(answers=[{**ANSWER, **more} for more in added])])
    pull([str(study)], file)
    row = read([str(file)], PARTS).frame.iloc[0]
    assert list(row["answers.judge"]) == ["left", None]
    assert row["answers.score"][0] == 2.0
    assert "answers.odd" not in row


def test_a_pull_that_fails_leaves_the_file_as_it_was(study: Path, file: Path, tmp_path: Path):
    pull([str(study)], file)
    before = file.read_bytes()
    with pytest.raises(NoRuns):
        pull([str(study), str(tmp_path / "nowhere")], file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_damaged_file_is_told_and_not_written_over(study: Path, file: Path):
    pull([str(study)], file)
    for damaged in (file.read_bytes()[:-200], b"rubbish", b""):
        file.write_bytes(damaged)
        with pytest.raises(NoRuns, match="is damaged"):
            read([str(file)])
        with pytest.raises(AnalysisError, match="it is left as it is; delete it"):
            pull([str(study)], file)
        assert file.read_bytes() == damaged


def test_damage_in_the_middle_is_told(study: Path, file: Path):
    pull([str(study)], file)
    content = bytearray(file.read_bytes())
    content[4:2000] = bytes(1996)
    file.write_bytes(content)
    with pytest.raises(NoRuns, match="is damaged"):
        read([str(file)], PARTS)


def test_a_parquet_file_of_somebody_else_is_told_and_not_written_over(study: Path, file: Path):
    file.parent.mkdir()
    pq.write_table(pa.table({"run_id": ["a"]}), file)
    with pytest.raises(NoRuns, match="not one that pull has made"):
        read([str(file)])
    with pytest.raises(AnalysisError, match="delete it, or name another"):
        pull([str(study)], file)


def test_a_file_that_is_not_there_is_told(file: Path):
    with pytest.raises(NoRuns, match=r"runs\.parquet: there is no such file"):
        read([str(file)])


def test_a_file_of_another_name_is_refused(study: Path, tmp_path: Path):
    with pytest.raises(BadQuestion, match=r"ends in \.parquet"):
        pull([str(study)], tmp_path / "runs.csv")


def test_a_folder_that_cannot_be_written_is_told(study: Path, tmp_path: Path):
    (tmp_path / "taken").touch()
    with pytest.raises(AnalysisError, match="cannot be made"):
        pull([str(study)], tmp_path / "taken" / "runs.parquet")


def test_a_study_without_any_sound_run_says_why(study: Path):
    for folder in folders(study):
        folder.spec.unlink()
    StudyFolder(study).log.touch()
    with pytest.raises(NoRuns, match=r"no run that could be read\n4 runs: spec\.json is missing"):
        read([str(study)])


def test_an_unknown_format_is_told(study: Path, file: Path):
    pull([str(study)], file)
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({b"prefsweep.runs": b'{"format": 99}'}), file)
    with pytest.raises(NoRuns, match="another version of prefsweep"):
        parquet.read(file)
