"""A scheduler in memory, with a clock of its own: what it says, and when it says nothing, is up to the test."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from orchestrator.launchers.slurm.scheduler import NoAnswer, NotNow, Request, State, States


class FakeClock:
    """Time passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.001)


@dataclasses.dataclass(frozen=True)
class Cancelled:
    """A call of `cancel`."""

    job_id: str
    tasks: tuple[int, ...] | None


class FakeScheduler:
    """Keeps the protocol of `Scheduler`.

    `says` is what it knows of each task of each array, and `accounting`, where it is set, what sacct says instead.
    `answers` are what the next submissions raise, None for those that are accepted; with `accepted_unheard` those that
    raise are accepted all the same. `room` is how many tasks may be queued.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.says: dict[tuple[str, int], State] = {}
        self.accounting: dict[tuple[str, int], State] | None = None
        self.answers: list[Exception | None] = []
        self.accepted_unheard = False
        self.room: int | None = None
        self.silent = self.queue_silent = False
        # After each submission that was accepted.
        self.on_accepted: Callable[[Request], None] = lambda request: None
        self.calls: Counter[str] = Counter()
        # Every submission that was tried, with its time; and the array of each that was accepted.
        self.tried: list[tuple[float, Request]] = []
        self.accepted: dict[str, Request] = {}
        self.asked: list[float] = []
        self.cancelled: list[Cancelled] = []
        self.released: list[str] = []
        self.avoided: list[tuple[list[str], list[str]]] = []

    def submit(self, request: Request) -> str:
        self.tried.append((self._clock(), request))
        answer = self.answers.pop(0) if self.answers else None
        queued = sum(state.alive for state in self.says.values())
        if self.room is not None and queued + len(request.batch.tasks) > self.room:
            answer = NotNow("AssocMaxSubmitJobLimit", unclear=False, limit=True)
        if answer is not None and not self.accepted_unheard:
            raise answer
        job_id = str(17 + len(self.accepted))
        self.accepted[job_id] = request
        for task in range(len(request.batch.tasks)):
            self.says[job_id, task] = State("PENDING", reason="Priority", name=request.batch.name)
        self.on_accepted(request)
        if answer is not None:
            raise answer
        return job_id

    def states(self, job_ids: Sequence[str]) -> States:
        self.calls["states"] += 1
        self.asked.append(self._clock())
        if self.silent:
            raise NoAnswer("neither sacct nor squeue answers")
        known = self.says if self.accounting is None else self.accounting
        return {
            # sacct tells no reasons.
            key: dataclasses.replace(state, reason="")
            for key, state in known.items()
            if key[0] in job_ids
        }

    def still_alive(self, job_ids: Sequence[str]) -> States | None:
        self.calls["still_alive"] += 1
        if self.silent or self.queue_silent:
            return None
        return {key: state for key, state in self.says.items() if key[0] in job_ids}

    def find(self, names: Sequence[str]) -> Mapping[str, str]:
        self.calls["find"] += 1
        if self.silent or self.queue_silent:
            raise NoAnswer("squeue does not answer")
        found = {request.batch.name: job_id for job_id, request in self.accepted.items()}
        return {name: found[name] for name in names if name in found}

    def cancel(self, name: str, job_id: str, tasks: Sequence[int] | None, *, waiting_only: bool = False) -> None:
        self.calls["cancel"] += 1
        if self.silent or self.queue_silent:
            raise NoAnswer("scancel: Unable to contact slurm controller")
        self.cancelled.append(Cancelled(job_id, None if tasks is None else tuple(sorted(tasks))))

    def release(self, job_ids: Sequence[str]) -> None:
        self.released += job_ids

    def avoid(self, job_ids: Sequence[str], nodes: Sequence[str]) -> None:
        self.avoided.append((list(job_ids), list(nodes)))
