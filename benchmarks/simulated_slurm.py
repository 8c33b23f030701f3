"""A Slurm that is simulated: a clock that moves when the controller waits, a queue, and stand-ins for its commands."""

import contextlib
import heapq
import itertools
import os
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from orchestrator import ledger
from orchestrator.launchers.slurm.batches import Batch, TaskNote
from orchestrator.launchers.slurm.scheduler import Request, SbatchOptions, Slurm, States
from trainers.spec import RunFolder, RunResult

# The model of the cluster, in seconds.
SBATCH_S, SBATCH_TASK_S = 0.5, 0.002
SACCT_S, SACCT_TASK_S = 0.3, 0.0001
START_S = (1.0, 15.0)
RUN_S = (45.0, 75.0)
SLOTS_A_NODE = 10


class OnBehalf:
    """Time that the simulation takes, to be told apart from the controller's."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self.cpu_s += time.process_time() - cpu
            self.wall_s += time.perf_counter() - wall


@dataclass(eq=False)
class SimulatedTask:
    """A task of an array: it waits, begins, carries out its runs one by one, and ends."""

    batch: Batch
    job_id: str
    index: int
    word: str = "PENDING"
    node: str = ""
    over: list[str] = field(default_factory=list)

    def note(self, state: str) -> None:
        note = TaskNote(state, f"{self.job_id}_{self.index}", self.node, time.time(), tuple(self.over))  # type: ignore[arg-type]
        note.write(self.batch.task(self.index))


class Cluster:
    """Slots, a queue, and a clock that moves when the controller sleeps or waits for an answer."""

    def __init__(self, slots: int) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._free = [f"node{slot // SLOTS_A_NODE:03d}" for slot in reversed(range(slots))]
        self._queue: deque[SimulatedTask] = deque()
        self._running: dict[SimulatedTask, None] = {}
        self._draw = random.Random(0)
        self.arrays: dict[str, list[SimulatedTask]] = {}

    def advance(self, seconds: float) -> None:
        """Let time pass, and happen what happens meanwhile."""
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        self.now = until

    def _after(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), happen))

    def accept(self, batch: Batch, job_id: str) -> None:
        self.arrays[job_id] = [SimulatedTask(batch, job_id, index) for index in range(len(batch.tasks))]
        for task in self.arrays[job_id]:
            self._after(self._draw.uniform(*START_S), partial(self._enqueue, task))

    def _enqueue(self, task: SimulatedTask) -> None:
        self._queue.append(task)
        self._begin()

    def _begin(self) -> None:
        while self._queue and self._free:
            task = self._queue.popleft()
            task.word, task.node = "RUNNING", self._free.pop()
            self._running[task] = None
            task.note("running")
            self._run(task)

    def _run(self, task: SimulatedTask) -> None:
        seconds = self._draw.uniform(*RUN_S)
        folder = RunFolder(task.batch.run_dir(task.batch.tasks[task.index][len(task.over)]))
        ledger.note_began(folder, 1)
        self._after(seconds, partial(self._ended, task, folder, seconds))

    def _ended(self, task: SimulatedTask, folder: RunFolder, seconds: float) -> None:
        run_id = folder.root.name
        result = RunResult(run_id, "completed", {}, {"eval/reward_accuracy": 0.5}, steps=1, seconds=seconds)
        result.write(folder)
        ledger.note_ended(folder, result)
        task.over.append(run_id)
        if len(task.over) < len(task.batch.tasks[task.index]):
            self._run(task)
            return
        task.note("over")
        task.word = "COMPLETED"
        del self._running[task]
        self._free.append(task.node)
        self._begin()

    def beat(self) -> None:
        """What running jobs do every few seconds; of their beats only the last before a look is ever seen."""
        for task in self._running:
            task.note("running")

    def sacct(self, job_ids: Sequence[str]) -> tuple[str, int]:
        """What it prints, and of how many tasks; those that wait are one line an array."""
        lines = ["JobID|State|NodeList|ExitCode|JobName"]
        for job_id in job_ids:
            tasks = self.arrays[job_id]
            waiting = [str(task.index) for task in tasks if task.word == "PENDING"]
            name = tasks[0].batch.name
            if waiting:
                lines.append(f"{job_id}_[{','.join(waiting)}]|PENDING|None assigned|0:0|{name}")
            lines += [f"{job_id}_{t.index}|{t.word}|{t.node}|0:0|{name}" for t in tasks if t.word != "PENDING"]
        return "\n".join(lines) + "\n", sum(len(self.arrays[job_id]) for job_id in job_ids)

    def squeue(self) -> str:
        alive = [task for tasks in self.arrays.values() for task in tasks if task.word in ("PENDING", "RUNNING")]
        return "".join(
            f"{t.job_id}|{t.index}|{t.word}|{t.node}|{t.batch.name}|{'Resources' if t.word == 'PENDING' else 'None'}\n"
            for t in alive
        )


class SimulatedSlurm(Slurm):
    """Slurm as the product asks it, with stand-ins for its commands, each of which takes its simulated time."""

    def __init__(self, options: SbatchOptions, cluster: Cluster, on_behalf: OnBehalf, folder: Path) -> None:
        super().__init__(options)
        self._cluster, self._on_behalf, self._folder = cluster, on_behalf, folder
        self._ids = itertools.count(1)
        self.calls: Counter[str] = Counter()
        self.sacct_at: list[float] = []
        folder.mkdir(parents=True)
        for command in ("sbatch", "sacct", "squeue", "scontrol"):
            program = folder / command
            program.write_text(f'#!/bin/sh\nexec cat "{folder}/{command}.txt"\n')
            program.chmod(0o755)
        (folder / "scontrol.txt").write_text("MaxArraySize            = 1001\n")
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"

    def _will_say(self, command: str, text: str) -> None:
        self.calls[command] += 1
        (self._folder / f"{command}.txt").write_text(text)

    def submit(self, request: Request) -> str:
        with self._on_behalf():
            self._will_say("sbatch", f"Submitted batch job {next(self._ids)}\n")
        job_id = super().submit(request)
        with self._on_behalf():
            self._cluster.advance(SBATCH_S + SBATCH_TASK_S * len(request.batch.tasks))
            self._cluster.accept(request.batch, job_id)
        return job_id

    def states(self, job_ids: Sequence[str]) -> States:
        with self._on_behalf():
            self.sacct_at.append(self._cluster.now)
            self._cluster.beat()
            text, count = self._cluster.sacct(job_ids)
            self._will_say("sacct", text)
        states = super().states(job_ids)
        with self._on_behalf():
            self._cluster.advance(SACCT_S + SACCT_TASK_S * count)
        return states

    def still_alive(self, job_ids: Sequence[str]) -> States | None:
        with self._on_behalf():
            self._will_say("squeue", self._cluster.squeue())
        alive = super().still_alive(job_ids)
        with self._on_behalf():
            self._cluster.advance(SACCT_S)
        return alive
