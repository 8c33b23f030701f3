"""Tasks of lm-evaluation-harness, put to a policy that is loaded already: its adapter and its 4 bits included.

    measured(subject) -> Beside({"eval/lm_eval/arc_easy/acc": 0.71, "eval/lm_eval/arc_easy/acc_se": 0.01}, ...)

lm_eval is loaded when tasks are asked for, and only then. Its data sets come from where its task files say, which may
be the hub; HF_HUB_OFFLINE is respected.
"""

import contextlib
import functools
import json
import logging
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from trainers.config import RunConfig
from trainers.errors import InvalidInput
from trainers.evaluation.beside_harnesses import Beside
from trainers.evaluation.examine import Subject
from trainers.nearest import did_you_mean
from trainers.paths import local_path

PREFIX = "eval/lm_eval/"
# Of what the harness draws itself: worked examples before a question. The same for all runs.
_SEED = 1234
# Of standard errors that have no formula. The harness makes 100000, in a process for each core.
_BOOTSTRAPS = 1000
# Of its answer, what says how the numbers came about; never the questions' and answers' texts.
_KEPT = ("results", "groups", "versions", "n-shot", "n-samples", "higher_is_better")


def check_tasks(config: RunConfig) -> None:
    """Raises InvalidInput where a task is unknown or its data cannot be had. Loads both, if any task is asked for."""
    asked = config.evaluation.lm_eval
    if not asked.tasks:
        return
    with _quiet():
        manager = _manager(asked.include_path, tuple(asked.tasks))
        faults = [_unknown(task, manager.all_tasks) for task in asked.tasks if task not in manager.all_tasks]
        if not faults:
            try:
                manager.load(list(asked.tasks))
            except Exception as error:
                said = str(error).strip().splitlines() or [""]
                faults = [f"evaluation.lm_eval.tasks={','.join(asked.tasks)}: {type(error).__name__}: {said[0]}"]
    if faults:
        raise InvalidInput(faults)


def _unknown(task: str, known: Sequence[str]) -> str:
    return (
        f"evaluation.lm_eval.tasks: lm-eval knows no {task}: {did_you_mean(task, known)}its own are told by "
        "lm-eval ls tasks, and yours are added by evaluation.lm_eval.include_path=FOLDER"
    )


def measured(subject: Subject) -> Beside:
    """What the tasks say of the policy as it is now, on this rank alone; nothing where none is asked for.

    Random states, the model's mode, its tokenizer and logging are left as they were. Raises whatever the harness does,
    and Stopped in the middle where the run is asked to stop.
    """
    asked = subject.config.evaluation.lm_eval
    if not asked.tasks:
        return Beside()
    with _quiet(), _untouched(subject.policy.model):
        # Not above: the harness takes seconds to load, and need not be installed.
        model = import_module("trainers.evaluation.harness_model").AskedPolicy(
            subject.policy, asked.batch_size, subject.heed
        )
        found = import_module("lm_eval").simple_evaluate(
            model,
            tasks=list(asked.tasks),
            num_fewshot=asked.num_fewshot,
            limit=asked.limit,
            apply_chat_template=asked.apply_chat_template,
            bootstrap_iters=_BOOTSTRAPS,
            log_samples=False,
            task_manager=_manager(asked.include_path, tuple(asked.tasks)),
            random_seed=_SEED,
            numpy_random_seed=_SEED,
            torch_random_seed=_SEED,
            fewshot_random_seed=_SEED,
        )
    kept = {key: found[key] for key in _KEPT if key in found}
    content = json.dumps(kept, indent=1, ensure_ascii=True, default=str) + "\n"
    return Beside(metrics(found["results"]), {"lm_eval.json": content}, {"lm-eval": version("lm-eval")})


def metrics(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The harness's names as ours; what is no number is left out.

    {"arc": {"acc,none": 0.7, "acc_stderr,none": 0.1}} -> {"eval/lm_eval/arc/acc": 0.7, "eval/lm_eval/arc/acc_se": 0.1}
    Of a task that reads answers in several ways, each has its own: eval/lm_eval/gsm8k/exact_match.strict-match.
    """
    found = {}
    for task, values in results.items():
        for name, value in values.items():
            metric, comma, way = name.partition(",")
            if not comma or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            error = "_se" if metric.endswith("_stderr") else ""
            of_way = "" if way == "none" else f".{way}"
            found[f"{PREFIX}{task}/{metric.removesuffix('_stderr')}{of_way}{error}"] = float(value)
    return found


@functools.cache
def _manager(include_path: str | None, tasks: tuple[str, ...]) -> Any:
    """Of the user's own tasks where these are all that is asked for: the harness's are 14,000 files to be read."""
    manager = import_module("lm_eval.tasks").TaskManager
    if include_path is None:
        return manager()
    folder = str(local_path(include_path))
    own = manager(include_path=folder, include_defaults=False)
    return own if set(tasks) <= set(own.all_subtasks) else manager(include_path=folder)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While in here the harness logs errors alone, draws no bars, prints to stderr and starts no processes."""
    bars = _bars_off()
    logger = logging.getLogger("lm_eval")
    level, before = logger.level, os.environ.get("DISABLE_MULTIPROC")
    logger.setLevel(logging.ERROR)
    # Its bootstrap would fork this process, model and threads and all, once for each core.
    os.environ["DISABLE_MULTIPROC"] = "1"
    try:
        with bars, contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)
        if before is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = before


@contextlib.contextmanager
def _bars_off() -> Iterator[None]:
    """Those of data sets, and of the harness while it builds questions, which it has no setting for."""
    from datasets.utils import logging as of_datasets

    tasks: Any = import_module("lm_eval.api.task")
    drawn, bar = of_datasets.is_progress_bar_enabled(), tasks.tqdm
    of_datasets.disable_progress_bar()
    tasks.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        tasks.tqdm = bar
        if drawn:
            of_datasets.enable_progress_bar()


@contextlib.contextmanager
def _untouched(model: Any) -> Iterator[None]:
    """Afterwards all random states and the model's mode are what they were: the harness seeds and sets them."""
    training = model.training
    restore: list[Callable[[], None]] = [
        partial(random.setstate, random.getstate()),
        partial(np.random.set_state, np.random.get_state()),
    ]
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        for state in restore:
            state()
        model.train(training)
