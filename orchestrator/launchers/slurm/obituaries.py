"""Says how a run ended whose job is gone: by the result that it left, or by what the scheduler says of the job."""

from orchestrator.attempts import RunFolderBusy, alone_in, attempts_made, count_attempt, leave_behind, tail
from orchestrator.launchers.slurm.jobs import SlurmJob, Task
from orchestrator.launchers.slurm.place import CAUSES
from orchestrator.launchers.slurm.scheduler import SETUP_FAILED, State
from orchestrator.reporter import last_metrics
from trainers.spec import Cause, RunFolder, RunResult, RunSpec, Status


def obituary(job: SlurmJob) -> RunResult:
    """The result that stands, left in the run's folder unless the run had not begun."""
    task, spec = job.task, job.spec
    word = task.state.word if task.state is not None else ""
    if task.note is not None and spec.run_id in task.note.errors:
        error = task.note.errors[spec.run_id]
        return RunResult(spec.run_id, "failed", spec.params, error=error, cause="error")
    known = RunResult.read(spec.folder)
    earlier = task.sent.batch.attempts.get(spec.run_id, 0)
    told = known is not None and known.attempts > earlier and not _died_since(spec, known)
    # An end that was asked for without a cause is for the scheduler to explain, and so is one that it caused.
    explained = known is not None and (known.cause is not None or job.cancelled) and word != "CANCELLED"
    if known is not None and told and (known.status != "cancelled" or explained):
        return known
    cause = _cause(job, word)
    status: Status = "cancelled" if cause is None else "failed"
    steps, metrics = last_metrics(spec.folder)
    error = f"its job {job.id} {_ended_how(task.state, task.node)}{_last_words(task)}"
    made = attempts_made(spec.folder)
    if made == earlier and task.note is not None and _another_began(task):
        # Its turn in the job had not come: the job's end is none of its own.
        return RunResult(spec.run_id, status, spec.params, metrics, steps, 0.0, made, error, cause=cause)
    attempt = made if made > earlier else _count(spec)
    result = RunResult(spec.run_id, status, spec.params, metrics, steps, 0.0, attempt, error, cause=cause)
    leave_behind(result, spec.folder)
    return result


def _died_since(spec: RunSpec, known: RunResult) -> bool:
    """Whether an attempt has begun after the one that the result is of."""
    return attempts_made(spec.folder) > known.attempts


def _cause(job: SlurmJob, word: str) -> Cause | None:
    """None where the end was wanted."""
    note = job.task.note
    if job.task.hopeless:
        return "node_failure"
    if word in CAUSES:
        return CAUSES[word]
    if job.cancelled or word == "CANCELLED" or job.task.stopped():
        return None
    if note is not None and note.state == "over" and note.cause is not None:
        return note.cause
    if word == "FAILED" and note is None and SETUP_FAILED in _last_words(job.task):
        return "error"
    # What else fails before our own program has begun may be the node's fault, as where a file system is missing.
    return "killed" if word == "FAILED" and note is not None else "lost"


def _ended_how(state: State | None, node: str) -> str:
    """ "ended as NODE_FAIL on node1"."""
    where = f" on {node}" if node else ""
    if state is None:
        return f"is not known to Slurm any more, and left no result{where}"
    how = f" by signal {state.signal}" if state.signal else ""
    return f"ended as {state.word}{how}{where}"


def _last_words(task: Task) -> str:
    """The end of what a job printed that did not get as far as to say anything else."""
    if task.note is not None:
        return ""
    printed = sorted(task.sent.batch.folder.glob(f"{task.sent.job_id}_{task.index}_*.out"))
    words = tail(printed[0]) if printed else ""
    return f"; its output ({printed[0]}) ends: {words}" if words else ""


def _another_began(task: Task) -> bool:
    """Whether the job came as far as to begin one of its runs."""
    batch = task.sent.batch
    return any(
        attempts_made(RunFolder(batch.run_dir(run_id))) > batch.attempts.get(run_id, 0)
        for run_id in batch.tasks[task.index]
    )


def _count(spec: RunSpec) -> int:
    """A job that died before our program began has made an attempt too, or it would go on like that for ever."""
    try:
        with alone_in(spec.folder) as lock:
            return count_attempt(lock, spec.folder)
    except (RunFolderBusy, OSError):
        return attempts_made(spec.folder) + 1
