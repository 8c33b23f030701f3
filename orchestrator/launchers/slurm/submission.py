"""Submits runs as arrays of alike jobs, again and again where the scheduler does not take them, and none twice."""

import contextlib
import dataclasses
import shlex
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchestrator.attempts import attempts_made, leave_behind, make_ready
from orchestrator.launchers.base import Job, Unstarted
from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.batches import Allocation, Batch
from orchestrator.launchers.slurm.jobs import SLOWEST_POLL_S, Policy, SentBatch, SlurmJob, Task, UnderWay
from orchestrator.launchers.slurm.scheduler import NoAnswer, NotNow, Refused, Request, Scheduler
from orchestrator.resources import Resources
from orchestrator.retries import memory_times
from orchestrator.wording import count
from trainers.spec import RunResult, RunSpec

# How long sbatch may still be under way after its controller died.
SUBMISSION_S = 60.0
ALLOCATION = "orchestrator.launchers.slurm.allocation"


class Submission:
    """The way of batches to the scheduler, from being written down to having an id, or to being given up."""

    def __init__(
        self,
        root: Path,
        policy: Policy,
        scheduler: Scheduler,
        under_way: UnderWay,
        cancel: Callable[[SlurmJob, bool], None],
    ) -> None:
        """`cancel` is what jobs are to call when they are cancelled."""
        self._root, self._policy, self._scheduler = root, policy, scheduler
        self._under_way, self._clock, self._cancel = under_way, under_way.clock, cancel

    def submit(self, specs: Sequence[RunSpec]) -> list[Job]:
        """A job for each run, in their order."""
        jobs: dict[str, Job] = {}
        attempts: dict[str, int] = {}
        for spec in specs:
            try:
                attempts[spec.run_id] = make_ready(spec.folder)
            except OSError as error:
                jobs[spec.run_id] = Unstarted(spec, error)
        ready = [spec for spec in specs if spec.run_id in attempts]
        for resources, alike in self._by_resources(ready).items():
            per_array = self._policy.runs_per_job * self._policy.max_array
            for start in range(0, len(alike), per_array):
                some = alike[start : start + per_array]
                try:
                    made = self._submit_array(some, resources, attempts)
                    jobs |= {job.spec.run_id: job for job in made}
                except OSError as error:
                    jobs |= {spec.run_id: Unstarted(spec, error) for spec in some}
        self._under_way.some_ended |= any(job.done() for job in jobs.values())
        return [jobs[spec.run_id] for spec in specs]

    def _by_resources(self, specs: Sequence[RunSpec]) -> Mapping[Resources, list[RunSpec]]:
        alike: dict[Resources, list[RunSpec]] = defaultdict(list)
        for spec in specs:
            resources = self._policy.resources(spec)
            if resources.mem_gb is not None:
                resources = dataclasses.replace(resources, mem_gb=resources.mem_gb * memory_times(spec.folder))
            alike[resources].append(spec)
        return alike

    def _submit_array(
        self, specs: Sequence[RunSpec], resources: Resources, attempts: Mapping[str, int]
    ) -> list[SlurmJob]:
        size = self._policy.runs_per_job
        tasks = [[spec.run_id for spec in specs[start : start + size]] for start in range(0, len(specs), size)]
        allocation = self._policy.allocation(resources)
        made = {spec.run_id: attempts[spec.run_id] for spec in specs}
        batch = batches.create(self._root, self._policy.name, tasks, made, allocation)
        sent = SentBatch(batch, self._request(batch, resources, allocation))
        jobs = self.jobs_of(sent, {spec.run_id: spec for spec in specs})
        self._under_way.batches.append(sent)
        self._send(sent)
        return jobs

    def _request(self, batch: Batch, resources: Resources, allocation: Allocation) -> Request:
        return request_for(batch, resources, allocation, self._policy.python, self._policy.environment)

    def jobs_of(self, sent: SentBatch, specs: Mapping[str, RunSpec]) -> list[SlurmJob]:
        """Give a batch its tasks, with jobs for these runs alone."""
        jobs = []
        for index, run_ids in enumerate(sent.batch.tasks):
            task = Task(sent, index, self._clock())
            task.jobs = [SlurmJob(specs[run_id], task, self._cancel) for run_id in run_ids if run_id in specs]
            sent.tasks.append(task)
            jobs += task.jobs
        return jobs

    def _send(self, sent: SentBatch) -> NotNow | None:
        """Submit; what cannot be submitted now is tried again later, unless it is refused for good."""
        assert sent.request is not None
        try:
            self._submitted(sent, self._scheduler.submit(sent.request))
        except Refused as error:
            self._give_up(sent, f"sbatch: {error}")
        except NotNow as error:
            if error.limit and len(sent.tasks) > 1:
                return self._split(sent)
            self._put_off(sent, error)
            return error
        return None

    def _split(self, sent: SentBatch) -> NotNow | None:
        """Two arrays of half the size, since a limit on queued jobs refuses an array as a whole.

        Where the first half has no room the second is not even tried: the limit may stay full for hours.
        """
        middle = len(sent.tasks) // 2
        self._under_way.close(sent)
        refused: NotNow | None = None
        for tasks in (sent.tasks[:middle], sent.tasks[middle:]):
            try:
                half = self._remade(sent, tasks)
            except OSError as error:
                self._fail(tasks, f"could not start: {error}")
                continue
            self._under_way.batches.append(half)
            if refused is not None:
                self._put_off(half, refused)
            else:
                refused = self._send(half)
        return refused

    def _remade(self, sent: SentBatch, tasks: Sequence[Task]) -> SentBatch:
        """A batch of some of another's tasks."""
        assert sent.request is not None
        old = sent.batch
        run_ids = [old.tasks[task.index] for task in tasks]
        batch = batches.create(self._root, self._policy.name, run_ids, old.attempts, old.allocation)
        made = SentBatch(batch, self._request(batch, sent.request.resources, old.allocation))
        for index, task in enumerate(tasks):
            task.sent, task.index = made, index
            made.tasks.append(task)
        return made

    def _submitted(self, sent: SentBatch, job_id: str) -> None:
        sent.job_id, sent.unclear_since = job_id, None
        with contextlib.suppress(OSError):  # then it is found again by its name
            sent.batch.note_submitted(job_id)
        for task in sent.tasks:
            task.last_seen = self._clock()
        runs = sum(len(task.jobs) for task in sent.tasks)
        self._under_way.say(f"{count(runs, 'run')} submitted as job {job_id}")
        self._under_way.poll_within(self._policy.poll_s)

    def _put_off(self, sent: SentBatch, error: NotNow) -> None:
        sent.pause_s = min(max(self._policy.poll_s, sent.pause_s * 2), SLOWEST_POLL_S)
        sent.due = self._clock() + sent.pause_s
        if error.unclear and sent.unclear_since is None:
            sent.unclear_since = self._clock()
        if not sent.why.endswith(str(error)):
            hint = " (launcher.max_submitted keeps below such a limit)" if error.limit else ""
            self._under_way.say(f"not submitted yet, will be tried again: {error}{hint}")
        sent.why = f"not submitted yet: {error}"

    def _give_up(self, sent: SentBatch, why: str) -> None:
        self._fail(sent.open, f"could not start: {why}")
        self._under_way.close(sent)
        # Should it be there all the same, it has nothing to do.
        batches.touch(sent.batch.stop)

    def _fail(self, tasks: Sequence[Task], why: str) -> None:
        for job in (job for task in tasks for job in task.open_jobs):
            attempts = attempts_made(job.spec.folder)
            job.outcome = RunResult(job.spec.run_id, "failed", job.spec.params, attempts=attempts, error=why)
            leave_behind(job.outcome, job.spec.folder)
        self._under_way.some_ended = True

    # What has no id yet

    def submit_what_waits(self) -> None:
        """Try again what is due."""
        for sent in [sent for sent in self._under_way.unsent if sent.due <= self._clock()]:
            if sent.unclear_since is not None:
                self._look_for(sent)
            elif _nobody_wants(sent):
                self.withdraw(sent.open)
            else:
                refused = self._send(sent)
                if refused is not None and refused.limit:
                    # What there is no room for now there is no room for twice.
                    for other in self._under_way.unsent:
                        other.due = max(other.due, self._clock() + self._policy.poll_s)
                    return

    def _look_for(self, sent: SentBatch) -> None:
        """Whether a submission whose answer was lost has been accepted."""
        try:
            found = self._scheduler.find([sent.batch.name])
        except NoAnswer:
            sent.due = self._clock() + sent.pause_s
            return
        if sent.batch.name in found:
            self._submitted(sent, found[sent.batch.name])
        elif not self._would_be_there(sent):
            sent.due = self._clock() + self._policy.poll_s
        elif sent.request is None or _nobody_wants(sent):
            self._forget(sent)
        else:
            sent.unclear_since = None
            self._send(sent)

    def _would_be_there(self, sent: SentBatch) -> bool:
        """Whether a submission that was accepted would have come to light by now."""
        assert sent.unclear_since is not None
        return self._clock() - sent.unclear_since >= min(SUBMISSION_S, 10 * self._policy.poll_s)

    def take_over(self, sleep: Callable[[float], None]) -> None:
        """Of batches without an id, find those that were submitted all the same; the others are submitted no more."""
        unknown = self._under_way.unsent
        while unknown:
            try:
                found = self._scheduler.find([sent.batch.name for sent in unknown])
            except NoAnswer:
                return  # later, one by one
            for sent in unknown:
                if sent.batch.name in found:
                    self._submitted(sent, found[sent.batch.name])
            unknown = [sent for sent in unknown if sent.job_id is None]
            for sent in list(unknown):
                if self._would_be_there(sent):
                    unknown.remove(sent)
                    self._forget(sent)
            if unknown:
                sleep(min(1.0, self._policy.poll_s))

    def _forget(self, sent: SentBatch) -> None:
        """A batch that never reached the scheduler: its runs are submitted anew by whoever wants them."""
        self.withdraw(sent.tasks)
        self._under_way.close(sent)
        batches.touch(sent.batch.stop)

    def withdraw(self, tasks: Sequence[Task]) -> None:
        """Cancel tasks of a batch that was not submitted yet."""
        for job in (job for task in tasks for job in task.open_jobs):
            job.outcome = RunResult(job.spec.run_id, "cancelled", job.spec.params, error="never submitted")
        self._under_way.some_ended = True
        if tasks and not tasks[0].sent.open:
            self._under_way.close(tasks[0].sent)


def _nobody_wants(sent: SentBatch) -> bool:
    """Whether all that it was for has been cancelled."""
    return all(job.cancelled for task in sent.open for job in task.jobs)


def request_for(
    batch: Batch, resources: Resources, allocation: Allocation, python: str, environment: Mapping[str, str]
) -> Request:
    """The jobs of a batch, as they are asked for; runs that go on side by side need their resources at once."""
    side = allocation.runs_at_a_time
    command = f"{python} -u -m {ALLOCATION} {shlex.quote(str(batch.folder.absolute()))}"
    memory = None if resources.mem_gb is None else resources.mem_gb * side
    return Request(batch, resources, resources.gpus * side, resources.cpus * side, memory, command, environment)
