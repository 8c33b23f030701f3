"""Carries out runs as jobs of a cluster, and loses none of them, whatever happens to jobs, nodes, Slurm, or itself.

Three witnesses tell how a run is: its folder (result, heartbeat), the note that its job rewrites every few seconds, and
the scheduler. The folder is believed first; the scheduler is needed only for what cannot speak for itself: jobs that
wait, and jobs that died. Each batch is written down before sbatch is asked, under a name of its own, so that a
controller that dies at any line leaves nothing that the next one cannot find.
"""

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.attempts import leave_behind
from orchestrator.launchers.base import Job
from orchestrator.launchers.slurm import batches
from orchestrator.launchers.slurm.jobs import SLOWEST_POLL_S, Policy, SentBatch, SlurmJob, Task, UnderWay
from orchestrator.launchers.slurm.nodes import NodeWatch, hardware
from orchestrator.launchers.slurm.obituaries import obituary
from orchestrator.launchers.slurm.scheduler import NoAnswer, Scheduler, State, States
from orchestrator.launchers.slurm.submission import Submission
from orchestrator.wording import count
from trainers.spec import RunResult, RunSpec

# Jobs that wait are asked for their reasons once in so many polls.
REASONS_EVERY = 20
# What a job is called for a moment by accounting when slurmctld queues it again.
PASSING = frozenset({"NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "REQUEUED", "REVOKED"})
HELD = "launch failed requeued held"


class SlurmLauncher:
    """Keeps the contract of launchers on a cluster; its jobs outlive it."""

    outlives = True

    def __init__(
        self,
        root: Path,
        policy: Policy,
        scheduler: Scheduler,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`root` is the study's folder; `clock` and `sleep` are the simulation's where there is one."""
        self._root, self._policy, self._scheduler = root, policy, scheduler
        self._clock, self._sleep = clock, sleep
        self._under_way = UnderWay(clock)
        self._submission = Submission(root, policy, scheduler, self._under_way, self._cancel)
        self._nodes = NodeWatch(policy.bad_node_after)
        # Tasks to be taken from the scheduler together: each scancel is work for it.
        self._unwanted: list[Task] = []
        self._cancel_due = 0.0
        self._uncancelled = False
        self._polls = 0
        self._silent_since: float | None = None
        self._pause_s = policy.poll_s

    @property
    def capacity(self) -> int:
        """Runs that may be queued or running."""
        return self._policy.max_submitted * self._policy.runs_per_job

    @property
    def free(self) -> int:
        """Runs that fit in the jobs that may still be submitted."""
        return max(0, self._policy.max_submitted - len(self._under_way.present)) * self._policy.runs_per_job

    @property
    def unsent(self) -> int:
        """Runs whose jobs the scheduler has not taken yet."""
        return sum(len(task.jobs) for sent in self._under_way.unsent for task in sent.open)

    def news(self) -> list[str]:
        """What people should know, once."""
        news, self._under_way.news = self._under_way.news, []
        return news

    def submit(self, specs: Sequence[RunSpec]) -> list[Job]:
        """Submit the runs in arrays of alike jobs."""
        return self._submission.submit(specs)

    # What an earlier controller left

    def adopt(self, specs: Sequence[RunSpec]) -> list[Job]:
        """The jobs of the study's open batches, by whichever controller they were submitted."""
        wanted = {spec.run_id: spec for spec in specs}
        found: dict[str, SlurmJob] = {}
        for batch in batches.open_batches(self._root):
            sent = SentBatch(batch, None, batch.job_id(), why="looking for its job")
            jobs = self._submission.jobs_of(sent, wanted)
            if not jobs:
                continue
            if sent.job_id is None:
                sent.pause_s = self._policy.poll_s
                age = max(0.0, time.time() - batch.created)
                sent.unclear_since = self._clock() - age
                sent.due = self._clock() + sent.pause_s
            for task in sent.tasks:
                # Whether it has begun is not known: its folders are looked at as if it had.
                task.begun = task.adopted = True
            self._under_way.batches.append(sent)
            for job in jobs:  # of a run that was tried again, the newest counts
                older = found.get(job.spec.run_id)
                if older is not None:
                    older.task.jobs.remove(older)
                found[job.spec.run_id] = job
        self._under_way.next_poll = 0.0
        self._submission.take_over(self._sleep)
        return [job for job in found.values() if job.outcome is None]

    # Watching

    def wait(self, timeout_s: float) -> None:
        """Sleep until a run ends, a job makes room for another, or the time is over; ask the scheduler when due."""
        until = self._clock() + timeout_s
        while not self._under_way.some_ended and self._under_way.batches:
            self._scancel()
            self._submission.submit_what_waits()
            if self._clock() >= self._under_way.next_poll:
                self.poll()
                continue
            if self._clock() >= until:
                break
            left = min(until, self._under_way.next_poll) - self._clock()
            self._sleep(max(0.0, left))
        self._under_way.some_ended = False

    def poll(self) -> None:
        """Look at all jobs: one question to the scheduler, and the folders of those that are under way."""
        ids = [sent.job_id for sent in self._under_way.batches if sent.job_id is not None]
        states: States | None = None
        if ids:
            try:
                states = self._scheduler.states(ids)
                self._heard()
            except NoAnswer as error:
                self._unheard(error)
        doubtful: list[Task] = []
        for sent in self._under_way.batches:
            if sent.job_id is not None:
                for task in sent.present:
                    known = None if states is None else task.said(states)
                    if task.open and self._look(task, known, answered=states is not None):
                        doubtful.append(task)
                    if not task.open:
                        self._see_off(task, known)
        self._polls += 1
        if states is not None and self._polls % REASONS_EVERY == 1:
            doubtful += self._ask_again()
        self._bury(doubtful)
        for sent in [sent for sent in self._under_way.batches if not sent.open]:
            batches.touch(sent.batch.closed)
            if not sent.present:
                self._under_way.batches.remove(sent)
        self._under_way.next_poll = self._clock() + self._pause_s

    def _ask_again(self) -> list[Task]:
        """Ask slurmctld itself about what waits or is silent: accounting tells no reasons, and forgets nothing.

        A slurmctld that crashed may have lost a job that accounting goes on to call pending or running. Returns the
        tasks that it does not know, though it has been asked twice.
        """
        now = self._clock()
        unsure = [
            task
            for task in self._under_way.open
            if task.sent.job_id is not None and (task.waiting or now - task.last_note > self._policy.lost_after_s)
        ]
        ids = sorted({task.sent.job_id for task in unsure if task.sent.job_id is not None})
        told = self._scheduler.still_alive(ids) if ids else None
        if told is None:
            return []
        for task in unsure:
            state = task.said(told)
            task.unknown = 0 if state is not None else task.unknown + 1
            task.state = state or task.state
        self._release([task for task in unsure if task.state is not None and HELD in task.state.reason])
        return [task for task in unsure if task.unknown > 1]

    def _release(self, held: Sequence[Task]) -> None:
        for task in held:
            task.released += 1
        hopeless = [task for task in held if task.hopeless]
        # They are taken from the queue, and their runs submitted again.
        self._unwanted += hopeless
        some = [task for task in held if not task.hopeless]
        if some:
            self._scheduler.release([f"{task.sent.job_id}_{task.index}" for task in some])
            self._under_way.say(f"{count(len(some), 'job')} that a node failed to start held by Slurm, and released")

    def _heard(self) -> None:
        if self._silent_since is not None:
            self._under_way.say(f"Slurm answers again, after {self._clock() - self._silent_since:.0f} s")
        self._silent_since, self._pause_s = None, self._policy.poll_s

    def _unheard(self, error: NoAnswer) -> None:
        if self._silent_since is None:
            self._silent_since = self._clock()
            self._under_way.say(f"Slurm does not answer; jobs go on, and their folders are watched ({error})")
        self._pause_s = min(self._pause_s * 2, max(SLOWEST_POLL_S, self._policy.poll_s))

    def _look(self, task: Task, state: State | None, *, answered: bool) -> bool:
        """Take what its folders tell of a task; whether it may be dead."""
        now = self._clock()
        if answered:
            task.hear(state)
        if state is not None and state.waiting:
            task.last_seen, task.said_over = now, 0
            if task.begun and task.read_note():
                self._take_results(task)
            return False
        if state is not None and state.node:
            task.node = state.node
        if task.read_note():
            task.begun, task.last_seen, task.last_note = True, now, now
        self._take_results(task)
        if not task.open:
            return False
        if state is not None and state.alive:
            task.last_seen, task.said_over = now, 0
            return False
        if state is not None:
            task.said_over += 1
            return task.said_over > 1 or (task.note is not None and task.note.state == "over")
        # Where nobody answers nothing can be concluded: it may be waiting still.
        return answered and now - task.last_seen > self._policy.lost_after_s

    def _see_off(self, task: Task, state: State | None) -> None:
        """Whether a job whose runs have all ended has left the scheduler too."""
        silent = self._clock() - task.last_seen > self._policy.lost_after_s
        task.idle = task.idle + 1 if task.jobs and state is not None and state.waiting else 0
        if task.idle == 2:  # accounting may be late to hear that it has begun
            self._take_out(task)
        # Accounting may not have heard yet of a job that is over already.
        task.gone = (state is not None and not state.alive) or silent
        self._under_way.some_ended = self._under_way.some_ended or task.gone

    def _take_out(self, task: Task) -> None:
        """Queued again after its last run had ended, a job has nothing left to do."""
        if not task.unwanted:
            task.unwanted = True
            self._unwanted.append(task)

    def _take_results(self, task: Task) -> None:
        """Results that stand: those of runs that completed or were pruned, and of those that the job has done with."""
        over = set(task.note.over) if task.note is not None else set()
        left = task.note is not None and task.note.state == "over"
        for job in task.open_jobs:
            run_id = job.spec.run_id
            if not (run_id in over or left or task.note is None):
                continue
            result = RunResult.read(job.spec.folder)
            if result is None:
                continue
            fresh = result.attempts > task.sent.batch.attempts.get(run_id, 0)
            # A run that was not wanted any more has been cancelled without an attempt.
            if result.final or (run_id in over and (fresh or result.status == "cancelled")):
                self._settle(job, result)

    def _bury(self, tasks: Sequence[Task]) -> None:
        """Tasks that seem to be dead: make sure that Slurm has not queued them again, then say how their runs ended."""
        if not tasks:
            return
        ids = sorted({task.sent.job_id for task in tasks if task.sent.job_id is not None})
        alive = self._scheduler.still_alive(ids)
        for task in tasks:
            state = None if alive is None else task.said(alive)
            if state is not None and state.alive:
                task.state, task.last_seen, task.said_over = state, self._clock(), 0
                continue
            if alive is None and (task.state is None or task.state.word in PASSING):
                continue  # slurmctld may have queued it again, and is not there to say so
            self._take_results(task)
            for job in task.open_jobs:
                self._settle(job, obituary(job))

    def _settle(self, job: SlurmJob, result: RunResult) -> None:
        if hardware(result) and result.cause == "error":
            result = dataclasses.replace(result, cause="node_failure")
            leave_behind(result, job.spec.folder)
        job.outcome = result
        self._under_way.some_ended = True
        node = job.task.node
        if self._nodes.note(node, result):
            self._under_way.say(f"node {node} is avoided from now on: run after run has failed there")
            waiting = {task.sent.job_id for task in self._under_way.open if task.waiting}
            self._scheduler.avoid(sorted(filter(None, waiting)), sorted(self._nodes.bad))

    # The end

    def _cancel(self, job: SlurmJob, at_once: bool) -> None:
        """A run alone in its job ends with it; of a job of several, only the run is asked to stop."""
        task = job.task
        batches.touch(job.spec.folder.stop)
        if all(other.cancelled or other.done() for other in task.jobs):
            batches.touch(task.sent.batch.stop_task(task.index))
            if not task.begun or (task.adopted and task.note is None) or task.waiting or at_once:
                self._unwanted.append(task)
                self._cancel_due = self._clock()
        self._under_way.poll_within(min(1.0, self._policy.poll_s))

    def _scancel(self) -> None:
        """Take from the scheduler what is not wanted any more, an array at a time."""
        if not self._unwanted or self._clock() < self._cancel_due:
            return
        unwanted, self._unwanted = self._unwanted, []
        by_batch: dict[SentBatch, list[Task]] = defaultdict(list)
        for task in unwanted:
            by_batch[task.sent].append(task)
        for sent, tasks in by_batch.items():
            if sent.job_id is None:
                if sent.unclear_since is None:
                    self._submission.withdraw(tasks)
                else:
                    self._unwanted += tasks  # until it is known whether it was submitted
                continue
            all_of_it = set(sent.present) <= set(tasks)
            some = None if all_of_it else [task.index for task in tasks]
            try:
                self._scheduler.cancel(sent.batch.name, sent.job_id, some)
                self._uncancelled = False
            except NoAnswer as error:
                if not self._uncancelled:
                    self._under_way.say(f"not cancelled yet, will be tried again: {error}")
                self._uncancelled = True
                self._unwanted += tasks
        self._cancel_due = self._clock() + self._policy.poll_s

    def close(self) -> None:
        """Leave the jobs as they are, but for those that were cancelled, and those that have nothing left to do."""
        over = [sent.job_id for sent in self._under_way.batches if sent.job_id is not None and not sent.open]
        queued = (self._scheduler.still_alive(over) if over else None) or {}
        for task in [task for task in self._under_way.present if not task.open and task.sent.job_id]:
            state = task.said(queued)
            if task.jobs and state is not None and state.waiting:
                self._take_out(task)
        self._cancel_due = 0.0
        self._scancel()
        self._under_way.batches.clear()
