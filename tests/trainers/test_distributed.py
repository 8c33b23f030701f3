"""Runs on two ranks, started by torchrun, beside the same runs on one; and how ranks share a step."""

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes.examined import evaluated
from tests.fakes.tiny_runs import Recorder, run_config, run_spec
from trainers.data_parallel import DataParallel
from trainers.distributed import ALONE, World, micro_batches, shares
from trainers.errors import InvalidInput, NonFiniteLoss
from trainers.spec import RunFolder, RunResult
from trainers.train import train

RANKS = 2
# The last step of each epoch has one pair in one micro-batch: less than there are ranks.
UNEVEN = {"kind": "toy", "seed": 0, "max_train_samples": 17, "max_eval_samples": 9}
CHANGES: dict[str, Any] = {"data": UNEVEN, "training__epochs": 2, "training__learning_rate": 3e-3}
LATE_STOP: dict[str, Any] = {"training__learning_rate": 3e-3, "evaluation__every": 2}


@pytest.mark.parametrize(
    ("batch_size", "gradient_accumulation", "size", "each"),
    [(4, 2, 1, (4, 2)), (4, 2, 2, (4, 1)), (4, 1, 2, (2, 1)), (4, 2, 4, (2, 1)), (4, 6, 4, (2, 3)), (1, 8, 4, (1, 2))],
)
def test_the_ranks_micro_batches_make_the_same_step(
    batch_size: int, gradient_accumulation: int, size: int, each: tuple[int, int]
) -> None:
    assert micro_batches(batch_size, gradient_accumulation, size) == each
    assert math.prod(each) * size == batch_size * gradient_accumulation


def test_a_step_that_cannot_be_shared_says_what_to_set() -> None:
    with pytest.raises(InvalidInput, match=r"make one of the two a multiple of 4, or give .* as divide 6") as refused:
        micro_batches(3, 2, 4)
    assert "training.batch_size=3 x training.gradient_accumulation=2" in str(refused.value)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("steps_batches", [[4, 4, 4], [4, 4, 1], [3]])
def test_each_pair_of_a_step_is_one_ranks(size: int, steps_batches: list[int]) -> None:
    rows = [[(index, place) for place in range(length)] for index, length in enumerate(steps_batches)]
    taken = [
        row
        for rank in range(size)
        for share in shares(World(rank, size), 3, len(rows))
        for row in share.of(rows[share.micro_batch])
    ]
    assert sorted(taken) == sorted(itertools.chain(*rows))


def test_each_rank_has_as_many_turns() -> None:
    turns = [list(World(rank, 2).turns(range(5))) for rank in range(2)]
    assert turns == [[0, 2, 4], [1, 3, None]]


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "8"}, {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "a"}])
def test_a_process_that_torchrun_did_not_start_is_alone(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert World.here() == ALONE


def test_a_loss_of_another_rank_that_is_no_number_stops_this_one_too() -> None:
    class OtherIsBad(World):
        def gather(self, value: Any) -> list[Any]:
            return [value, math.nan]

    class Trainer:
        class state:
            global_step = 4

        def __init__(self) -> None:
            self.accelerator = self

        def _get_grad_norm(self) -> float:
            return 1.0

    class Ranked(DataParallel, Trainer):
        world = OtherIsBad(0, 2)

    with pytest.raises(NonFiniteLoss, match="nan at step 5"):
        Ranked()._get_grad_norm()


class Ranks:
    """A run on two ranks."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder, self._repository = RunFolder(folder), repository
        self.output = ""

    def carry_out(self, target: str = "trainers.train:train") -> RunResult:
        words = ["--standalone", f"--nproc-per-node={RANKS}", "-m", "orchestrator.ranks", str(self.folder.root)]
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", *words, "--train", target],
            cwd=self._repository,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.code, self.output = done.returncode, done.stderr
        result = RunResult.read(self.folder)
        assert result is not None, self.output
        return result

    def processes(self) -> list[int]:
        """Those that are left."""
        here = str(self.folder.root)
        return [found.pid for found in psutil.process_iter(["cmdline"]) if here in (found.info["cmdline"] or [])]


MakeRanks = Callable[..., Ranks]


@pytest.fixture
def ranks(tmp_path: Path, cache_dir: Path, repository: Path) -> MakeRanks:
    def make(method: str = "dpo", **changes: Any) -> Ranks:
        run_spec(tmp_path / "ranks", cache_dir, run_config(method, **changes)).write()
        return Ranks(tmp_path / "ranks", repository)

    return make


def on_one_rank(folder: Path, cache_dir: Path, method: str = "dpo", **changes: Any) -> RunResult:
    result = train(run_spec(folder, cache_dir, run_config(method, **changes)), Recorder())
    assert result.status == "completed"
    return result


def measures(result: RunResult) -> dict[str, float | None]:
    """What does not depend on how long it took, or on which tokens were averaged together."""
    alike = {"train/loss", "train/grad_norm", "train/learning_rate", "train/rewards/margins"}
    return {name: value for name, value in result.metrics.items() if name in alike or name.startswith("eval/")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "shape"), [("dpo", (2, 2)), ("orpo", (4, 1)), ("sft", (4, 1)), ("kto", (2, 2)), ("trdpo", (4, 1))]
)
def test_two_ranks_compute_what_one_does(
    tmp_path: Path, cache_dir: Path, ranks: MakeRanks, method: str, shape: tuple[int, int]
) -> None:
    changes = {**CHANGES, "training__batch_size": shape[0], "training__gradient_accumulation": shape[1]}
    result = ranks(method, **changes).carry_out()
    alone = on_one_rank(tmp_path / "alone", cache_dir, method, **changes)
    assert (result.status, result.error, result.steps) == ("completed", None, alone.steps)
    assert alone.steps == 10
    # They sum the same in another order: what differs is rounding.
    assert measures(result) == pytest.approx(measures(alone), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reward", "rloo"])
def test_two_ranks_rate_and_sample_what_one_does(tmp_path: Path, cache_dir: Path, ranks: MakeRanks, name: str) -> None:
    few = {"rounds": 2, "prompts_per_round": 4, "answers": 3, "max_new_tokens": 40, "reward_model": "builtin:gold"}
    changes: dict[str, Any] = {"data": UNEVEN, "training__learning_rate": 1e-3}
    if name == "rloo":
        changes |= {f"method__{key}": value for key, value in few.items()}
    result = ranks(name, **changes).carry_out()
    alone = on_one_rank(tmp_path / "alone", cache_dir, name, **changes)
    assert (result.status, result.error, result.steps) == ("completed", None, alone.steps)
    assert measures(result) == pytest.approx(measures(alone), abs=1e-3)


@pytest.mark.slow
def test_two_ranks_share_the_answers_of_an_examination(tmp_path: Path, cache_dir: Path, ranks: MakeRanks) -> None:
    changes = {**CHANGES, "evaluation": evaluated(7, sampling_batch=2, batch_size=1)}
    run = ranks(**changes)
    result = run.carry_out()
    alone = on_one_rank(tmp_path / "alone", cache_dir, **changes)
    assert (result.status, result.error) == ("completed", None)
    assert measures(result) == pytest.approx(measures(alone), abs=1e-3)
    assert {"eval/kl", "eval/win_rate"} <= set(measures(result))
    found, wanted = (
        [json.loads(line)["text"] for line in folder.evaluation.answers.read_text().splitlines()]
        for folder in (run.folder, RunFolder(tmp_path / "alone"))
    )
    assert found == wanted


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> RunResult:
    return on_one_rank(tmp_path_factory.mktemp("undisturbed"), cache_dir, **LATE_STOP)


@pytest.mark.slow
def test_a_stop_file_stops_both_ranks_at_one_step_from_which_they_go_on(
    ranks: MakeRanks, undisturbed: RunResult
) -> None:
    run = ranks(**LATE_STOP)
    stopped = run.carry_out("tests.fakes.rank_runs:stop_file")
    assert (stopped.status, stopped.steps, stopped.error, run.code) == ("cancelled", 3, None, 0)
    assert [path.name for path in run.folder.checkpoints.iterdir()] == ["checkpoint-3"]
    assert (run.folder.checkpoints / "checkpoint-3" / "WHOLE").exists()

    result = run.carry_out()
    assert (result.status, result.steps, result.attempts) == ("completed", 8, 2)
    assert measures(result) == pytest.approx(measures(undisturbed), abs=1e-3)
    assert not run.folder.checkpoints.exists()
    assert {path.name for path in run.folder.adapter.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


@pytest.mark.slow
def test_a_run_that_is_pruned_ends_on_both_ranks_at_one_step_and_keeps_its_metrics(ranks: MakeRanks) -> None:
    run = ranks(**LATE_STOP)
    result = run.carry_out("tests.fakes.rank_runs:prune_file")
    assert (result.status, result.steps, result.why, result.error, run.code) == ("pruned", 3, "too low", None, 0)
    assert "train/loss" in result.metrics
    assert not run.folder.checkpoints.exists()
    assert run.carry_out() == result


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_both_and_one_rank_can_go_on_alone(
    cache_dir: Path, ranks: MakeRanks, undisturbed: RunResult
) -> None:
    run = ranks(**LATE_STOP)
    stopped = run.carry_out("tests.fakes.rank_runs:signal_to_the_second")
    assert (stopped.status, stopped.steps, stopped.error, run.code) == ("cancelled", 3, None, 0)
    states = sorted(path.name for path in (run.folder.checkpoints / "checkpoint-3").glob("rng_state_*"))
    assert states == ["rng_state_0.pth", "rng_state_1.pth"]

    result = on_one_rank(run.folder.root, cache_dir, **LATE_STOP)
    assert measures(result) == pytest.approx(measures(undisturbed), abs=1e-3)


@pytest.mark.slow
def test_two_ranks_go_on_from_where_one_stopped(
    tmp_path: Path, cache_dir: Path, ranks: MakeRanks, undisturbed: RunResult
) -> None:
    run = ranks(**LATE_STOP)
    spec = run_spec(run.folder.root, cache_dir, run_config(**LATE_STOP))
    assert train(spec, Recorder(stop_at=3)).status == "cancelled"
    result = run.carry_out()
    assert (result.status, result.steps) == ("completed", 8)
    assert measures(result) == pytest.approx(measures(undisturbed), abs=1e-3)


@pytest.mark.slow
def test_an_error_of_one_rank_is_the_error_of_the_run(ranks: MakeRanks) -> None:
    run = ranks()
    result = run.carry_out("tests.fakes.rank_runs:error_on_the_second")
    assert (result.status, result.error) == ("failed", "ValueError: the second rank is out of luck (rank 1)")
    assert run.code == 1
    assert run.processes() == []
    assert "Traceback" in run.output


@pytest.mark.slow
def test_a_run_whose_rank_is_killed_says_so(ranks: MakeRanks) -> None:
    run = ranks()
    result = run.carry_out("tests.fakes.rank_runs:death_of_the_second")
    assert (result.status, result.cause) == ("failed", "killed")
    assert result.error is not None
    assert result.error.startswith("RankLost: another rank of the run was killed")
    assert run.processes() == []
