"""Runs at W&B: logged by the real client to a server on loopback, and read from there by the real client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import cli
from analysis.errors import AnalysisError, NoRuns
from analysis.filters import Filters
from analysis.frame import make_frame
from analysis.gather import Asked, Gathered
from analysis.patience import Patience
from analysis.pull import pull
from analysis.runs import PARTS
from analysis.sources import read
from analysis.told import Told
from analysis.wandb_rows import gather_wandb
from tests.analysis.conftest import whole_run
from tests.fakes.finished_study import Finished, finished_study
from tests.fakes.wandb_server import ENTITY, WandbServer
from tests.fakes.wandb_study import PROJECT, asked, forget, log_run, log_study, wandb_here
from trainers.tracking import wandb_id

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wandb_runs")]
SOURCE = f"wandb:{ENTITY}/{PROJECT}"


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def server(patch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    with wandb_here(patch, tmp_path_factory.mktemp("wandb")) as server:
        yield server


@pytest.fixture(scope="module")
def study(server: WandbServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose runs are in folders and at W&B."""
    runs = [
        whole_run(0.1),
        whole_run(1.0, degenerate="runaway length"),
        Finished("ipo", 0.5, metrics={"eval/kl": 2.5, "train/loss": None}, history=[{"step": 1, "train/loss": None}]),
        Finished(
            "orpo", 0.5, 1, "failed", {"train/loss": 2.0}, "out of memory", history=[{"step": 1, "train/loss": 2}]
        ),
    ]
    study = finished_study(tmp_path_factory.mktemp("studies"), runs, name="sweep")
    log_study(study)
    return study


@pytest.fixture(scope="module")
def foreign(server: WandbServer) -> None:
    """What other people's scripts leave: in a project of their own."""
    config = {"loss_type": ["sigmoid"], "f_divergence_type": "reverse_kl", "beta": 0.1, "seed": 3, "label_smoothing": 0,
              "_name_or_path": "org/sft-7b", "peft_config": {"default": {"r": 8}}}  # fmt: skip
    rows = [
        {"train/rewards/margins": 0.5, "train/loss": 0.5, "train/global_step": 10},
        {"eval/rewards/margins": 0.75, "eval/rewards/accuracies": 0.625, "train/global_step": 20},
    ]
    log_run("theirs", rows, config, project="trl", group=None)
    log_run("nothing", config={"note": "forgotten"}, project="trl")
    log_run("crashed", rows[:1], config, project="trl")
    server.runs["crashed"].crashed = True


@pytest.fixture(autouse=True)
def undisturbed(server: WandbServer) -> None:
    server.backend.most_a_page = 1000
    server.calm()
    forget(server)


def impatient() -> Patience:
    return Patience(first_s=0.01, most_s=0.02, tries=3)


def gathered(source: str = SOURCE, parts: Any = PARTS, patience: Patience | None = None) -> tuple[Gathered, Told]:
    told = Told()
    return gather_wandb(source, Asked(parts), told, patience=patience or impatient()), told


@pytest.mark.parametrize("parts", [(), PARTS], ids=["list", "all parts"])
def test_folders_and_wandb_say_the_same(study: Path, parts: Any, same: Any):
    folders, wandb = read([str(study)], parts), read([f"{SOURCE}/sweep"], parts)
    # Without its files, W&B knows that a policy is degenerate, and not why, nor what it was evaluated with.
    but = ("source", "tracking_url") if parts else ("source", "tracking_url", "degenerate", "evaluated")
    same(folders.frame, wandb.frame, but)
    assert folders.told == wandb.told == []


def test_runs_come_in_the_order_of_the_study_whichever_began_first(study: Path, server: WandbServer):
    expected = list(read([str(study)]).frame["run_id"])
    runs = list(server.runs.values())
    orders = [run.order for run in runs]
    for run, order in zip(runs, reversed(orders), strict=True):
        run.order = order
    try:
        assert list(read([SOURCE]).frame["run_id"]) == expected
    finally:
        for run, order in zip(runs, orders, strict=True):
            run.order = order


def test_source_and_address_are_those_at_wandb(study: Path, server: WandbServer):
    frame = read([SOURCE]).frame
    name = frame["source"][0].rpartition("/")[2]
    assert frame["source"][0] == f"{SOURCE}/{name}"
    assert frame["tracking_url"][0] == f"{server.url}/{ENTITY}/{PROJECT}/runs/{name}"


def test_runs_and_files_come_in_pages(study: Path, server: WandbServer, same: Any):
    server.backend.most_a_page = 3
    same(read([str(study)], PARTS).frame, read([SOURCE], PARTS).frame, ("source", "tracking_url"))
    assert asked(server)["Runs"] == 2


def test_older_lines_come_from_parquet_files(study: Path, server: WandbServer, same: Any):
    older = [run for run in server.runs.values() if len(run.lines) > 1]
    assert older
    try:
        for run in older:
            run.exported = len(run.lines) - 1
        same(read([str(study)], PARTS).frame, read([SOURCE], PARTS).frame, ("source", "tracking_url"))
    finally:
        for run in older:
            run.exported = 0


def test_a_history_of_few_steps_far_apart_takes_few_requests(server: WandbServer):
    log_run("sparse", [{"step": step, "train/loss": 1.0} for step in (0, 5000, 50_000)], project="sparse")
    forget(server)
    row = read(["wandb:somebody/sparse"], ["history"]).frame.iloc[0]
    assert list(row["history.step"]) == [0, 5000, 50_000]
    assert asked(server)["HistoryPage"] <= 6


def test_no_history_and_no_file_is_fetched_that_is_not_asked_for(study: Path, server: WandbServer):
    read([SOURCE])
    assert asked(server) == {"Runs": 1}
    read([SOURCE], ["history"])
    assert "RunFiles" not in asked(server)


def test_a_group_is_a_study(study: Path):
    assert len(read([f"{SOURCE}/sweep"])) == 4
    with pytest.raises(NoRuns, match="wandb:somebody/prefs/other: no runs there"):
        read([f"{SOURCE}/other"])


def test_the_server_chooses_by_tags_and_state(study: Path):
    assert list(read([SOURCE], filters=["tags=ipo,orpo", "state=failed"]).frame["method"]) == ["orpo"]


def test_other_filters_choose_before_anything_is_fetched(study: Path, server: WandbServer):
    runs = read([SOURCE], ["history"], filters=["method=ipo", "training.batch_size=4"])
    assert list(runs.frame["method"]) == ["ipo"]
    assert asked(server)["RunParquetHistory"] == 1


def test_a_project_that_is_not_there_is_told(study: Path):
    with pytest.raises(NoRuns, match="wandb:somebody/nowhere: there is no such project, or the key may not read it"):
        read(["wandb:somebody/nowhere"])


@pytest.mark.parametrize("source", ["wandb:", "wandb:project", "wandb:/project", "wandb:somebody/"])
def test_a_source_that_names_no_project_is_told(source: str):
    with pytest.raises(NoRuns, match="is wandb:entity/project or wandb:entity/project/group"):
        read([source])


@pytest.mark.parametrize(
    ("status", "operation"),
    [
        (429, "Viewer"),
        (429, "Runs"),
        (503, "Runs"),
        (429, "RunParquetHistory"),
        (500, "HistoryPage"),
        (429, "RunFiles"),
        (429, "files"),
        (500, "files"),
    ],
)
def test_what_fails_in_passing_is_asked_again(study: Path, server: WandbServer, status: int, operation: str, same: Any):
    waits: list[str] = []
    # The client itself tries twice, in each of four threads.
    server.fail(status, times=6, operation=operation)
    found, told = gathered(patience=Patience(0.01, 0.02, tries=4, say=waits.append))
    same(read([str(study)], PARTS).frame, make_frame(found.rows, PARTS), ("source", "tracking_url"))
    assert told.sentences() == []
    assert waits
    assert f"HTTP {status}" in waits[0] or f"status {status}" in waits[0]


def test_histories_that_cannot_be_fetched_are_told_and_the_rest_is_kept(
    study: Path, server: WandbServer, tmp_path: Path
):
    server.fail(500, times=1000, operation="HistoryPage")
    found, told = gathered()
    assert found.missed == 4
    assert found.marks == [""] * 4
    assert [row["eval/kl"] for row in found.rows if "eval/kl" in row] == [0.1, 1.0, 2.5]
    assert "not all of its history and files could be fetched (HTTP 500" in told.sentences()[0]


def test_a_server_that_fails_too_often_is_left_alone(study: Path, server: WandbServer):
    server.fail(429, times=1000, operation="RunParquetHistory")
    gathered(patience=Patience(0.01, 0.02, tries=2, too_often=2))
    # Twice two tries of two requests each, and as much again by threads that were already at it.
    assert asked(server)["RunParquetHistory"] <= 16


def test_a_server_that_refuses_says_why(study: Path, server: WandbServer):
    server.fail(403, times=10, operation="Runs")
    with pytest.raises(AnalysisError, match="not now"):
        read([SOURCE])


def test_a_second_pull_fetches_only_what_has_changed(study: Path, server: WandbServer, tmp_path: Path, same: Any):
    file = tmp_path / "runs.parquet"
    pull([SOURCE], file)
    forget(server)
    assert pull([SOURCE], file).unchanged == 4
    assert asked(server) == {"Runs": 1}
    changed = next(run for run in server.runs.values() if run.tags == ["ipo"])
    changed.heartbeat += 1
    forget(server)
    assert pull([SOURCE], file).unchanged == 3
    assert asked(server)["RunParquetHistory"] == 1
    same(read([str(study)], PARTS).frame, read([str(file)], PARTS).frame, ("source", "tracking_url"))


def test_a_run_under_way_is_fetched_each_time(study: Path, server: WandbServer, tmp_path: Path):
    run = next(run for run in server.runs.values() if run.tags == ["ipo"])
    run.complete = False
    try:
        pulled = [pull([SOURCE], tmp_path / "runs.parquet") for _ in range(2)]
    finally:
        run.complete = True
    assert "running" in list(pulled[1].runs.frame["status"])
    assert pulled[1].unchanged == 3


def test_a_run_in_a_folder_and_at_wandb_counts_once(study: Path):
    runs = read([str(study), SOURCE])
    assert not any(source.startswith("wandb:") for source in runs.frame["source"])
    assert runs.told[0].startswith("4 runs: given twice, and counted once")


def test_other_peoples_runs_are_recognised_and_their_margins_in_nats(foreign: None):
    row = read(["wandb:somebody/trl"], ["history"]).frame.iloc[0]
    assert (row["run_id"], row["study"], row["method"], row["model"]) == ("theirs", "trl", "dpo", "sft-7b")
    assert (row["beta"], row["seed"], row["steps"], row["reference"]) == (0.1, 3, 20, None)
    assert row["eval/margin_nats"] == pytest.approx(7.5)
    assert (row["eval/reward_accuracy"], row["eval/rewards/margins"]) == (0.625, 0.75)
    assert list(row["history.step"]) == [10, 20]
    assert row["history.train/margin_nats"][0] == pytest.approx(5.0)
    assert np.isnan(row["history.eval/margin_nats"][0])


def test_what_is_strange_about_runs_is_told(foreign: None, server: WandbServer):
    server.runs["theirs"].summary |= {"eval/loss": "much"}
    try:
        runs = read(["wandb:somebody/trl"], ["history"])
    finally:
        server.runs["theirs"].summary.pop("eval/loss")
    assert list(runs.frame["status"]) == ["completed", "completed", "failed"]
    assert "crashed at W&B" in runs.frame["error"][2]
    assert runs.told == [
        "1 run: eval/loss is no number, and counts as none (theirs)",
        "2 runs: config does not say its reference (crashed, theirs)",
        "1 run: config does not say its method, model, reference, beta (nothing)",
        "1 run: logged nothing: no history (nothing)",
    ]


def test_names_that_several_runs_share_are_told_apart(server: WandbServer):
    for number in (1, 2):
        log_run("the same", id=f"id{number}", project="names")
    assert list(read(["wandb:somebody/names"]).frame["run_id"]) == ["the same-id1", "the same-id2"]


def test_damaged_files_at_wandb_are_told(study: Path, server: WandbServer):
    run = next(run for run in server.runs.values() if "evaluation/pairs.parquet" in run.files)
    files = dict(run.files)
    run.files |= {"evaluation/pairs.parquet": b"rubbish", "evaluation/answers.jsonl": b"{}\n"}
    try:
        found, told = gathered()
    finally:
        run.files = files
    assert [sentence.split(" (")[0] for sentence in told.sentences()] == [
        "1 run: evaluation/pairs.parquet is damaged",
        "1 line: damaged in evaluation/answers.jsonl, and left out",
    ]
    assert sum("pairs.pair" in row for row in found.rows) == 1


def test_without_a_key_nobody_is_asked(study: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(AnalysisError, match=r"no key for 127\.0\.0\.1:\d+ .*: set WANDB_API_KEY, or use `wandb login`"):
        read([SOURCE])
    assert server.requests == []


def test_a_server_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(AnalysisError, match=r"127\.0\.0\.1:9: .*connection refused"):
        read([SOURCE])


def test_reading_leaves_no_files_behind(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    read([SOURCE], PARTS)
    assert list(tmp_path.iterdir()) == []


def test_the_commands_take_it_as_a_source(
    study: Path, server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    file = tmp_path / "runs.parquet"
    assert cli.main(["pull", SOURCE, "-o", str(file), "--filter", "status=completed"]) == 0
    assert capfd.readouterr() == (f"{file}: 3 runs, 0 of them as before\n", "")
    assert cli.main(["show", str(file)]) == 0
    assert "3 runs of 1 study: 3 completed" in capfd.readouterr().out
    assert cli.main(["show", "wandb:somebody/nowhere"]) == 2
    assert "there is no such project" in capfd.readouterr().err


def test_ids_are_those_of_the_runs_own_tracking(study: Path, server: WandbServer):
    from trainers.spec import RunSpec

    specs = [RunSpec.read(folder) for folder in (study / "runs").iterdir()]
    assert {wandb_id(spec) for spec in specs} <= server.runs.keys()
    assert Filters.parse(["tags=a"]).at_wandb == [{"tags": {"$in": ["a"]}}]
    assert json.loads(json.dumps(server.runs[wandb_id(specs[0])].config))["trial"] == specs[0].trial
