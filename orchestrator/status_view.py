"""What a person sees of a study: its table so far, and where each run stands that has not ended."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from orchestrator.exit_codes import COMPLETED
from orchestrator.launchers import cluster
from orchestrator.launchers.cluster import Standing
from orchestrator.ledger import told_retries
from orchestrator.progress import State, under_way
from orchestrator.settings import study_settings
from orchestrator.store import holder, open_study
from orchestrator.study_table import study_table
from orchestrator.terminal import show, tell
from orchestrator.trial_runs import by_trial
from orchestrator.wording import count, one_line
from trainers.spec import RunResult, RunSpec


def show_status(root: Path, console: Console) -> int:
    """Tell how the study in a folder is; returns the exit code. Raises NoStudy where there is none."""
    folder, record = open_study(root)
    specs = folder.specs(record)
    results = folder.results(specs)
    who = holder(folder)
    settings = study_settings(record.settings)
    tell(console, f"{record.name}: {one_line(record.command, limit=1000)}")
    tell(console, f"held by {one_line(who)}" if who else "no controller works on it")
    jobs, silent = cluster.standings(settings.launcher, root)
    active = {run_id for run_id, job in jobs.items() if job.alive}
    over = {run_id for run_id, result in results.items() if result.final}
    running = [spec for spec in specs if spec.run_id not in over and _at_work(spec, jobs.get(spec.run_id), who)]
    at_work = {spec.run_id for spec in running}
    results = {run_id: result for run_id, result in results.items() if run_id not in at_work}
    table = study_table(record, settings, by_trial(specs), results, at_work)
    show(table, console)
    _tell_runs(specs, results, jobs, running, console)
    if silent is not None:
        tell(console, f"Slurm does not answer: {silent}", style="yellow")
    pruned = sum(results[run_id].status == "pruned" for run_id in over)
    told = f", {pruned} pruned" if pruned else ""
    tell(console, f"{len(over) - pruned} of {count(len(specs), 'run')} completed{told}")
    if who is None and jobs:
        queued = len(active - at_work - over)
        tell(console, f"{len(at_work)} running, {queued} queued on the cluster; gather with resume {root}")
    if who is None and results:
        with contextlib.suppress(OSError):
            table.write(folder)
    return COMPLETED


def _at_work(spec: RunSpec, job: Standing | None, who: str | None) -> bool:
    """Whether a run is under way: by its job where it has one to itself, else by its own signs of life."""
    if job is None:
        return who is not None and under_way(spec)
    return job.begun and (job.alone or under_way(spec))


def _tell_runs(
    specs: Sequence[RunSpec],
    results: Mapping[str, RunResult],
    jobs: Mapping[str, Standing],
    running: Sequence[RunSpec],
    console: Console,
) -> None:
    """A line for each run that there is something to say of; runs that wait for the same are one line."""
    at_work = {spec.run_id for spec in running}
    waiting: dict[str, list[str]] = {}
    for spec in specs:
        job, result, again = jobs.get(spec.run_id), results.get(spec.run_id), told_retries(spec.folder)
        again = f"; {again}" if again else ""
        if spec.run_id in at_work:
            now = State.of(spec)
            where = f" [{job.told()}]" if job is not None else ""
            tell(console, f"{spec.run_id}: {now.phase} {now.step} {now.loss}{where}{again}")
        elif result is not None and result.status == "failed":
            tell(console, f"{spec.run_id} failed: {one_line(result.error or '')}{again}", style="red")
        elif result is not None and result.status == "cancelled" and (job is None or not job.alive):
            waiting.setdefault("cancelled; resume goes on from its checkpoint", []).append(spec.run_id)
        elif again:
            tell(console, f"{spec.run_id}{again}{f' [{job.told()}]' if job is not None else ''}")
        elif job is not None and (result is None or not result.final):
            waiting.setdefault(job.why(), []).append(spec.run_id)
    for why, run_ids in waiting.items():
        first = f"{run_ids[0]} and {len(run_ids) - 1} more" if len(run_ids) > 1 else run_ids[0]
        tell(console, f"{first}: {why}")
