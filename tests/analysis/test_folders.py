"""Runs read from study folders: one row each, with what the run was and what came of it."""

import dataclasses
import json
import os
import socket
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.errors import BadQuestion, NoRuns
from analysis.folders import read_folders
from analysis.identity import reference_label
from analysis.runs import IDENTITY, PARTS
from orchestrator.store import StudyFolder
from tests.analysis.conftest import ANSWER, PAIRS, TOKENS, whole_run
from tests.fakes.finished_study import Finished, finished_study
from trainers.files import write_json
from trainers.spec import RunFolder, RunResult, RunSpec


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return finished_study(
        tmp_path,
        [
            Finished("dpo", 0.1, 0, metrics={"eval/reward": 1.5, "train/loss": 0.3}),
            Finished("dpo", 0.1, 1, metrics={"eval/reward": None}),
            Finished("ipo", 0.5, 0, status="failed", error="the loss became nan"),
            Finished("ipo", 0.5, 1, status=None),
        ],
    )


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return finished_study(tmp_path, [whole_run(0.1), whole_run(0.2)], name="whole")


def folders(study: Path) -> list[RunFolder]:
    return [RunFolder(path) for path in sorted((study / "runs").iterdir())]


def test_each_run_is_a_row_in_the_order_of_the_study(study: Path):
    frame = read_folders([study]).frame
    assert list(frame["method"]) == ["dpo", "dpo", "ipo", "ipo"]
    assert list(frame["beta"]) == [0.1, 0.1, 0.5, 0.5]
    assert list(frame["status"]) == ["completed", "completed", "failed", "missing"]
    assert list(frame.columns[: len(IDENTITY)]) == list(IDENTITY)


def test_text_that_a_run_has_not_is_none(study: Path):
    assert list(read_folders([study]).frame["error"]) == [None, None, "the loss became nan", None]


def test_a_metric_that_a_run_lacks_is_nan(study: Path):
    rewards = read_folders([study]).frame["eval/reward"]
    assert rewards[0] == 1.5
    assert rewards[1:].isna().all()


def test_a_key_is_looked_up_in_swept_values_then_in_the_config(study: Path):
    runs = read_folders([study])
    assert set(runs.values("training.learning_rate")) == {1e-3}
    assert list(runs.values("method")) == ["dpo", "dpo", "ipo", "ipo"]
    assert runs.swept() == ["beta", "method"]


def test_a_key_that_no_run_has_is_told_with_those_that_were_swept(study: Path):
    with pytest.raises(BadQuestion, match=r"training\.lr: no run has such a key; swept are beta, method"):
        read_folders([study]).values("training.lr")


def test_a_folder_without_a_study_is_told(tmp_path: Path):
    with pytest.raises(NoRuns, match=r"no study\.yaml"):
        read_folders([tmp_path])


def test_a_folder_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(NoRuns, match="there is no such folder"):
        read_folders([tmp_path / "outputs"])


def test_a_folder_of_studies_has_the_runs_of_all(tmp_path: Path):
    for name in ("first", "second"):
        finished_study(tmp_path / "outputs" / "deep", [Finished()], name=name)
    assert list(read_folders([tmp_path]).frame["study"]) == ["first", "second"]


def test_the_folder_of_a_single_run_is_a_source(study: Path):
    runs = read_folders([folders(study)[2].root])
    assert list(runs.frame["status"]) == ["failed"]


def test_the_folder_of_a_studys_runs_is_a_source(study: Path):
    assert len(read_folders([study / "runs"])) == 4


def test_a_run_that_is_given_twice_counts_once(study: Path):
    runs = read_folders([study, study, folders(study)[0].root])
    assert len(runs) == 4
    assert [sentence for sentence in runs.told if "5 runs: given twice, and counted once" in sentence]


def test_runs_of_a_study_without_its_record_are_read_all_the_same(study: Path):
    StudyFolder(study).yaml.unlink()
    runs = read_folders([study])
    assert len(runs) == 4
    assert "study.yaml is missing" in runs.told[0]


def test_a_damaged_record_is_told(study: Path):
    StudyFolder(study).yaml.write_bytes(b"\xff{{{")
    assert "study.yaml is damaged" in read_folders([study]).told[0]


def test_a_run_whose_spec_is_damaged_is_left_out_and_told(study: Path):
    first, second = folders(study)[:2]
    first.spec.write_bytes(b'{"study": "st')
    second.spec.write_text(json.dumps({**json.loads(second.spec.read_text()), "config": {"seed": 0}}))
    runs = read_folders([study])
    assert list(runs.frame["method"]) == ["ipo", "ipo"]
    assert runs.told == [
        f"1 run: spec.json is missing or damaged: left out ({first.root.name})",
        f"1 run: spec.json lacks a part of the config: left out ({second.root.name})",
    ]


def test_a_damaged_result_is_taken_for_missing_and_told(study: Path):
    folders(study)[0].result.write_bytes(b"{}")
    runs = read_folders([study])
    assert runs.frame["status"][0] == "missing"
    assert "result.json is damaged" in runs.told[0]


def test_what_a_study_does_once_for_several_runs_is_no_run(study: Path):
    folder = folders(study)[0]
    spec = RunSpec.read(folder.root)
    step = StudyFolder(study).run("t9999-s0-aaaaaaaa")
    step.mkdir()
    values = json.loads(spec.folder.spec.read_text())
    write_json(RunFolder(step).spec, {**values, "step": "reference"})
    StudyFolder(study).yaml.unlink()
    assert len(read_folders([study])) == 4


def test_a_run_that_is_the_same_as_another_counts_once(study: Path):
    first, second = folders(study)[:2]
    result = RunResult.read(first)
    assert result is not None
    RunResult(second.root.name, "completed", metrics=result.metrics, same_as=first.root.name).write(second)
    runs = read_folders([study])
    assert list(runs.frame["run_id"]) == [folder.root.name for folder in folders(study) if folder != second]
    assert runs.told == [f"1 run: the same as another of its study, and counted once ({second.root.name})"]


def heartbeat(folder: RunFolder, host: str, pid: int, age_s: float) -> None:
    write_json(folder.heartbeat, {"phase": "training", "step": 7, "steps": 10, "pid": pid, "host": host})
    then = time.time() - age_s
    os.utime(folder.heartbeat, (then, then))


@pytest.mark.parametrize(
    ("host", "pid", "age_s", "status"),
    [
        pytest.param(socket.gethostname(), os.getpid(), 1, "running", id="alive here"),
        pytest.param(socket.gethostname(), 2**22 + 1, 1, "missing", id="dead here"),
        pytest.param("elsewhere", 1, 1, "running", id="heard of from elsewhere"),
        pytest.param("elsewhere", 1, 600, "missing", id="not heard of for long"),
    ],
)
def test_a_run_without_a_result_is_running_while_its_heart_beats(
    study: Path, host: str, pid: int, age_s: float, status: str
):
    folder = folders(study)[3]
    folder.metrics.write_text('{"step": 7, "train/loss": 0.25}\n{"step": 8, "trai')
    heartbeat(folder, host, pid, age_s)
    runs = read_folders([study], ["history"])
    assert runs.frame["status"][3] == status
    # Half a line is what a run that is being read leaves.
    assert bool([told for told in runs.told if "damaged in metrics.jsonl" in told]) == (status == "missing")


def test_a_running_run_has_its_last_values(study: Path):
    folder = folders(study)[3]
    folder.metrics.write_text('{"step": 6, "train/loss": 0.5}\n{"step": 7, "train/loss": 0.25}\n')
    heartbeat(folder, socket.gethostname(), os.getpid(), 0)
    row = read_folders([study]).frame.iloc[3]
    assert (row["train/loss"], row["steps"]) == (0.25, 7)


def test_parts_come_when_they_are_asked_for(whole: Path):
    columns = read_folders([whole]).frame.columns
    assert not [name for name in columns if name.startswith(("history.", "pairs.", "answers.", "tokens"))]
    row = read_folders([whole], PARTS).frame.iloc[0]
    assert list(row["history.step"]) == [1, 2, 3]
    assert row["history.eval/kl"][2] == 0.1
    assert np.isnan(row["history.eval/kl"][:2]).all()
    assert {name: list(row[f"pairs.{name}"]) for name in PAIRS} == PAIRS
    assert list(row["answers.text"]) == [ANSWER["text"]] * 2
    assert row["answers.reward"].tolist()[1] == 2.5
    assert np.isnan(row["answers.win"][1])
    assert json.loads(row["tokens"]) == TOKENS


def test_a_part_that_a_run_has_not_is_none(study: Path):
    frame = read_folders([study], PARTS).frame
    for name in ("history.step", "pairs.pair", "answers.prompt", "tokens"):
        assert list(frame[name]) == [None] * 4


def test_a_later_evaluation_goes_before_the_result_key_by_key(whole: Path):
    later = {"metrics": {"eval/kl": 9.0, "eval/reward_accuracy": None}, "degenerate": "runaway length"}
    write_json(folders(whole)[0].evaluation.metrics, later)
    row = read_folders([whole]).frame.iloc[0]
    assert (row["eval/kl"], row["degenerate"]) == (9.0, "runaway length")
    assert np.isnan(row["eval/reward_accuracy"])
    assert row["train/loss"] == pytest.approx(0.4)


def test_an_evaluation_without_answers_leaves_the_verdict_of_the_run_s_end(whole: Path):
    folder = folders(whole)[0]
    result = RunResult.read(folder)
    assert result is not None
    dataclasses.replace(result, degenerate="length").write(folder)
    write_json(folder.evaluation.metrics, {"metrics": {"eval/policy_accuracy": 0.5}, "degenerate": None})
    assert read_folders([whole]).frame["degenerate"][0] == "length"


def test_a_half_written_evaluation_is_left_out_and_told(whole: Path):
    folder = folders(whole)[0]
    folder.evaluation.metrics.unlink()
    runs = read_folders([whole], PARTS)
    assert runs.frame["pairs.pair"][0] is None
    assert runs.frame["eval/kl"][0] == 0.1
    assert runs.told == [f"1 run: evaluation is half-written (no metrics.json), and left out ({folder.root.name})"]


def test_damaged_files_of_an_evaluation_are_left_out_each_and_told(whole: Path):
    place = folders(whole)[0].evaluation
    place.pairs.write_bytes(place.pairs.read_bytes()[:100])
    place.tokens.write_bytes(b"\xff\xfe")
    with place.answers.open("ab") as file:
        file.write(b'{"prompt": 5}\n{"prompt": "00", "te')
    runs = read_folders([whole], PARTS)
    row = runs.frame.iloc[0]
    assert (row["pairs.pair"], row["tokens"]) == (None, None)
    assert len(row["answers.prompt"]) == 2
    kinds = [sentence.split(" (")[0] for sentence in runs.told]
    assert kinds == [
        "1 run: evaluation/pairs.parquet is damaged",
        "2 lines: damaged in evaluation/answers.jsonl, and left out",
        "1 run: evaluation/tokens.json is damaged, and left out",
    ]


def test_lines_that_are_damaged_are_counted_over_all_runs(whole: Path):
    for folder in folders(whole):
        with folder.metrics.open("ab") as file:
            file.write(b"\xff\xff\n{}\n")
    runs = read_folders([whole], ["history"])
    assert [list(steps) for steps in runs.frame["history.step"]] == [[1, 2, 3]] * 2
    assert runs.told[0].startswith("4 lines: damaged in metrics.jsonl, and left out (")


def test_a_completed_run_that_logged_nothing_is_told(study: Path):
    told = read_folders([study], ["history"]).told
    assert told[0].startswith("2 runs: logged nothing: no history (t0000-s0-")


def test_an_infinite_measure_counts_as_none_and_is_told(study: Path):
    folder = folders(study)[0]
    folder.result.write_text(folder.result.read_text().replace("1.5", "Infinity"))
    runs = read_folders([study])
    assert np.isnan(runs.frame["eval/reward"][0])
    assert "eval/reward is infinite" in runs.told[0]


def test_halves_of_characters_are_replaced(study: Path):
    folder = folders(study)[2]
    folder.result.write_text(folder.result.read_text().replace("became nan", "became \\ud800"))
    assert read_folders([study]).frame["error"][2] == "the loss became \ufffd"


def test_columns_have_the_same_types_whatever_the_runs_are(tmp_path: Path, study: Path):
    empty = finished_study(tmp_path, [Finished(status=None)], name="empty")
    one, other = read_folders([empty], PARTS).frame, read_folders([study], PARTS).frame
    shared = [name for name in one.columns if name in other.columns]
    pd.testing.assert_series_equal(one[shared].dtypes, other[shared].dtypes)


@pytest.mark.parametrize(
    ("reference", "label"),
    [
        ({"kind": "self"}, "self"),
        ({"kind": "model", "path": "/models/larger"}, "model:larger"),
        ({"kind": "run", "run": {"method": "sft"}}, "run:method=sft"),
        ({"kind": "mixture", "first": "self", "second": "/m/b", "weight": 0.5}, "mixture:self+b@0.5"),
    ],
)
def test_a_reference_is_told_in_a_few_words(reference: dict[str, object], label: str):
    assert reference_label({"reference": reference}) == label


def test_models_and_data_by_path_are_told_apart(tmp_path: Path):
    models = [{"model__name": "hf", "model__path": f"/models/{name}"} for name in ("one", "two")]
    data = [{"data": {"kind": "jsonl", "path": f"/data/{name}.jsonl"}} for name in ("one", "two")]
    runs = [
        Finished(config={**model, **file}, params={"n": n})
        for n, (model, file) in enumerate(zip(models, data, strict=True))
    ]
    frame = read_folders([finished_study(tmp_path, runs)]).frame
    assert list(frame["model"]) == ["one", "two"]
    assert list(frame["data"]) == ["one.jsonl", "two.jsonl"]
