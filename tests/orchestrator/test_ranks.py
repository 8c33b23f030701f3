"""What each of a run's ranks leaves behind, and with what it exits."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.attempts import alone_in
from orchestrator.ranks import main, run
from orchestrator.worker import BUSY, NO_RUN, STOP_SIGNALS
from tests.contracts.small_runs import spec_in
from tests.fakes.small_ranks import HERE
from trainers.distributed import World
from trainers.spec import RunFolder, RunResult

FIRST, SECOND = World(0, 2), World(1, 2)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return spec_in(tmp_path).folder


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """A rank's process ends with its run, and so puts none back."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def error_of(folder: RunFolder, rank: int = 1) -> Path:
    return folder.root / f"rank-{rank}.error"


def result_of(folder: RunFolder) -> RunResult:
    result = RunResult.read(folder)
    assert result is not None
    return result


def test_importing_it_imports_nothing_heavy(repository: Path) -> None:
    program = "import sys, orchestrator.ranks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=repository).returncode == 0


def test_the_first_rank_writes_what_a_worker_does(folder: RunFolder) -> None:
    assert run(folder.root, f"{HERE}:completes", FIRST) == 0
    assert (result_of(folder).status, result_of(folder).attempts) == ("completed", 1)
    assert folder.metrics.exists()


def test_another_rank_writes_nothing(folder: RunFolder) -> None:
    before = sorted(folder.root.iterdir())
    assert run(folder.root, f"{HERE}:completes", SECOND) == 0
    assert sorted(folder.root.iterdir()) == before


@pytest.mark.parametrize("world", [FIRST, SECOND])
def test_a_rank_that_stops_for_a_signal_exits_as_agreed(folder: RunFolder, world: World) -> None:
    """With anything but 0, torchrun would end the others."""
    assert run(folder.root, f"{HERE}:stops", world) == 0


@pytest.mark.parametrize("target", ["fails", "raises"])
def test_another_rank_that_fails_leaves_its_error(folder: RunFolder, target: str) -> None:
    assert run(folder.root, f"{HERE}:{target}", SECOND) == 1
    assert error_of(folder).read_text() == "ValueError: no such thing\n"


def test_another_rank_that_only_follows_one_leaves_no_error(folder: RunFolder) -> None:
    assert run(folder.root, f"{HERE}:loses_another", SECOND) == 1
    assert not error_of(folder).exists()


def test_a_ranks_error_goes_with_its_next_attempt(folder: RunFolder) -> None:
    error_of(folder).write_text("old")
    assert run(folder.root, f"{HERE}:completes", SECOND) == 0
    assert not error_of(folder).exists()


def test_the_error_of_the_rank_that_failed_is_the_runs(folder: RunFolder) -> None:
    assert run(folder.root, f"{HERE}:another_fails", FIRST) == 1
    result = result_of(folder)
    assert result.error == "OutOfMemoryError: the GPU's memory is full (rank 1)"
    assert result.cause == "out_of_memory"


def test_the_first_ranks_own_error_is_the_runs(folder: RunFolder) -> None:
    assert run(folder.root, f"{HERE}:both_fail", FIRST) == 1
    assert result_of(folder).error == "ValueError: no such thing"


def test_a_rank_that_is_gone_without_a_word_was_killed(folder: RunFolder) -> None:
    error_of(folder).write_text("of an earlier attempt")
    assert run(folder.root, f"{HERE}:loses_another", FIRST) == 1
    assert result_of(folder).error == (
        "RankLost: another rank of the run was killed, or died without a word; see the log"
    )
    assert result_of(folder).cause == "killed"


def test_a_first_rank_that_waits_for_one_that_failed_is_ended_with_its_error(
    folder: RunFolder, repository: Path
) -> None:
    program = (
        "import sys, pathlib, orchestrator.ranks as ranks;"
        f"ranks.run(pathlib.Path(sys.argv[1]), '{HERE}:waits_for_ever_for_another', ranks.World(0, 2), 0.1)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder.root)], cwd=repository, timeout=20)
    assert done.returncode == 1
    result = result_of(folder)
    assert (result.status, result.error) == ("failed", "OutOfMemoryError: the GPU's memory is full (rank 1)")
    assert (result.attempts, result.cause) == (1, "out_of_memory")


def test_a_run_that_has_completed_is_left_as_it_is_by_all(folder: RunFolder) -> None:
    RunResult(folder.root.name, "completed", steps=7).write(folder)
    assert [run(folder.root, f"{HERE}:raises", world) for world in (FIRST, SECOND)] == [0, 0]
    assert result_of(folder).steps == 7


def test_a_run_that_was_pruned_is_left_as_it_is_by_all(folder: RunFolder) -> None:
    RunResult(folder.root.name, "pruned", steps=7).write(folder)
    assert [run(folder.root, f"{HERE}:raises", world) for world in (FIRST, SECOND)] == [0, 0]
    assert result_of(folder).steps == 7


def test_ranks_of_a_run_that_is_to_be_pruned_find_out_together(folder: RunFolder) -> None:
    """The others may have begun before the decision, and wait for the first."""
    folder.prune.touch()
    assert run(folder.root, f"{HERE}:tells_whether_asked", FIRST) == 0
    assert (folder.root / "begun").exists()
    assert result_of(folder).status == "pruned"


def test_a_folder_in_which_another_process_works_is_refused(folder: RunFolder) -> None:
    with alone_in(folder):
        assert run(folder.root, f"{HERE}:completes", FIRST) == BUSY


@pytest.mark.parametrize("world", [FIRST, SECOND])
def test_a_folder_without_a_run_is_refused(tmp_path: Path, world: World) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", f"{HERE}:completes", world) == NO_RUN


def test_alone_it_is_a_worker(folder: RunFolder) -> None:
    assert main([str(folder.root), "--train", f"{HERE}:completes"]) == 0
    assert result_of(folder).status == "completed"
