"""The tools that are compared: the command a user would type for each, and where it leaves what its runs came to."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.setup import BENCH_PYTHON
from benchmarks.work import MAX_LENGTH

PRODUCT = "product"


@dataclass(frozen=True)
class Task:
    """What a tool is asked to do: one run for each beta with the files in `work`, leaving all it writes in `out`."""

    work: Path
    out: Path
    betas: Sequence[float]
    workers: int

    @property
    def listed(self) -> str:
        return ",".join(map(str, self.betas))


@dataclass(frozen=True)
class Tool:
    """`command` is what a user would type for a task; `outcomes` finds what each run came to in the folder it left."""

    label: str
    command: Callable[[Task], list[str]]
    outcomes: Callable[[Path], Iterator[dict[str, float]]]


def product(task: Task) -> list[str]:
    return [
        *(sys.executable, "-m", "orchestrator"),
        *("method=dpo", "model=hf", f"model.path={task.work}/model"),
        *("data=jsonl", f"data.path={task.work}/train.jsonl", f"data.eval_path={task.work}/heldout.jsonl"),
        *("peft=lora", "peft.r=8", "peft.alpha=16", "tracking=disabled"),
        *("training.learning_rate=1e-3", f"training.max_length={MAX_LENGTH}"),
        *("launcher=local", f"launcher.workers={task.workers}", "launcher.threads=1"),
        *(f"output_root={task.out}/outputs", f"cache_dir={task.out}/cache"),
        *("-m", f"beta={task.listed}"),
    ]


def shell(task: Task) -> list[str]:
    script = Path(__file__).with_name("shell_loop.sh")
    fixed = [str(script), sys.executable, str(task.work), str(task.out), str(task.workers)]
    return ["sh", *fixed, *map(str, task.betas)]


def hydra(*launcher: str) -> Callable[[Task], list[str]]:
    def command(task: Task) -> list[str]:
        options = [option.format(workers=task.workers) for option in launcher]
        given = [f"work={task.work}", f"out={task.out}", f"beta={task.listed}"]
        return [str(BENCH_PYTHON), "-m", "benchmarks.hydra_app", "-m", *options, *given]

    return command


def ray(*flags: str) -> Callable[[Task], list[str]]:
    def command(task: Task) -> list[str]:
        fixed = [str(task.work), str(task.out), task.listed, "--workers", str(task.workers)]
        return [str(BENCH_PYTHON), "-m", "benchmarks.ray_tune", *fixed, *flags]

    return command


def plain_outcomes(out: Path) -> Iterator[dict[str, float]]:
    for path in out.glob("*/result.json"):
        yield json.loads(path.read_text())


def product_outcomes(out: Path) -> Iterator[dict[str, float]]:
    for path in out.glob("outputs/*/runs/*/result.json"):
        metrics = json.loads(path.read_text())["metrics"]
        yield {
            "beta": json.loads(path.with_name("spec.json").read_text())["config"]["method"]["beta"],
            "train_loss": metrics["train/loss_mean"],
            "accuracy": metrics["eval/reward_accuracy"],
            "margin_nats": metrics["eval/margin_nats"],
        }


TOOLS: Mapping[str, Tool] = {
    PRODUCT: Tool("this product", product, product_outcomes),
    "shell": Tool("shell loop (xargs -P)", shell, plain_outcomes),
    "joblib": Tool(
        "Hydra, joblib launcher", hydra("hydra/launcher=joblib", "hydra.launcher.n_jobs={workers}"), plain_outcomes
    ),
    "submitit": Tool("Hydra, submitit_local launcher", hydra("hydra/launcher=submitit_local"), plain_outcomes),
    "ray": Tool("Ray Tune", ray(), plain_outcomes),
    "ray_reuse": Tool("Ray Tune, reuse_actors", ray("--reuse-actors"), plain_outcomes),
}
