"""What a person sees of a plan: its trials, what its runs take and learn from, and what is not here yet."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from orchestrator import forecast, lineage, search_plan
from orchestrator.errors import BadCommand
from orchestrator.exit_codes import COMPLETED, UNFIT
from orchestrator.launchers import choose, cluster
from orchestrator.plan import Plan
from orchestrator.progress import values_of
from orchestrator.search_plan import SearchPlan, dimension_told
from orchestrator.store import StudyFolder
from orchestrator.table import NOT_THERE, in_common
from orchestrator.terminal import tell
from orchestrator.trial_runs import by_trial
from orchestrator.wording import count, one_line
from trainers.config_check import check
from trainers.machine import Machine
from trainers.spec import RunSpec
from trainers.units import gib


def show_plan(plan: Plan, multirun: bool, console: Console) -> int:
    """Tell what would be done; returns the exit code, UNFIT where that would be refused."""
    if plan.search is not None:
        _show_search(plan, plan.search, console)
    else:
        _show_trials(plan, console)
    _show_rest(plan, multirun, console)
    return UNFIT if plan.unfit else COMPLETED


def _show_search(plan: Plan, search: SearchPlan, console: Console) -> None:
    """What is searched, key by key, and how."""
    table = RichTable(box=None, pad_edge=False)
    for heading in ("key", "values", "where"):
        table.add_column(heading)
    for slot in search.searched.space.slots:
        given = " and ".join(f"{key}={','.join(map(str, values))}" for key, values in slot.guard.given)
        values = dimension_told(slot.dimension)
        table.add_row(escape(one_line(", ".join(slot.keys) or slot.name)), escape(one_line(values)), escape(given))
    console.print(table)
    tell(console, "")
    for line in search_plan.told(plan.settings, search):
        tell(console, line)


def _show_trials(plan: Plan, console: Console) -> None:
    done = StudyFolder(plan.root).results(plan.runs)
    table = RichTable(box=None, pad_edge=False)
    others = {"starts from": lineage.named_by(plan.runs, "start"), "held to": lineage.named_by(plan.runs, "reference")}
    others = {heading: named for heading, named in others.items() if named}
    for heading in ("trial", *plan.space, *others, "seeds", "done"):
        table.add_column(escape(heading), no_wrap=True)
    for number, runs in by_trial(plan.runs).items():
        over = sum(done[run.run_id].final for run in runs if run.run_id in done)
        params = plan.trials[number].params
        values = (escape(one_line(str(params.get(key, NOT_THERE)))) for key in plan.space)
        seeds = one_line(", ".join(str(run.seed) for run in runs), limit=40)
        named = (_trial(by_run.get(runs[0].run_id)) for by_run in others.values())
        table.add_row(str(number), *values, *named, seeds, f"{over}/{len(runs)}")
    console.print(table)
    distinct = len({run.fingerprint for run in plan.runs})
    less = f", {distinct} of them different" if distinct < len(plan.runs) else ""
    tell(console, f"\n{count(len(plan.trials), 'trial')}, {count(len(plan.runs), 'run')}{less}")
    common = in_common([run.config for run in plan.runs], plan.space)
    if common:
        tell(console, f"all: {', '.join(common)}")


def _show_rest(plan: Plan, multirun: bool, console: Console) -> None:
    waiting = sum(bool(run.needs) for run in plan.runs)
    if waiting:
        tell(console, f"{count(waiting, 'run')} of them after others of the study, which they begin at or are held to")
    for step in plan.steps:
        sharing = sum(step.run_id in run.after for run in plan.runs)
        tell(console, f"before them, {step.run_id}: {values_of(step)} ({sharing})")
    for line in (*_resources(plan), *_training(plan)):
        tell(console, line)
    _say_what_runs_take(plan, console)
    say_what_was_found(plan, console)
    say_what_is_not_swept(plan, multirun, console)
    for note in plan.notes:
        tell(console, note, style="yellow")
    for many, text in cluster.preview(plan.settings.launcher, plan.root, plan.runs):
        tell(console, f"\nsbatch would be given, for {count(many, 'run')}:\n\n{text.rstrip()}\n", style="dim")
    tell(console, f"would lie in {plan.root}")
    for fault in plan.absent:
        tell(console, f"not here yet: {fault}", style="yellow")
    for fault in plan.unfit:
        tell(console, fault, style="red")


def _trial(other: RunSpec | None) -> str:
    """Of the run that has a role for those of a row, which is each seed's own."""
    return "" if other is None else f"trial {other.trial}"


def _say_what_runs_take(plan: Plan, console: Console) -> None:
    if plan.memory:
        tell(console, "")
        shown = forecast.table(plan.memory)
        if console.measure(shown, options=console.options.update(max_width=1000)).maximum <= console.width:
            console.print(shown)
        else:
            for line in forecast.lines(plan.memory):
                tell(console, line)
        for line in forecast.words(plan.memory):
            tell(console, line)
        tell(console, "")


def _resources(plan: Plan) -> Iterator[str]:
    machine = Machine.here()
    if plan.settings.gpu is not None:
        yield f"planned for gpu={plan.settings.gpu}"
    elif cluster.machine(plan.settings.launcher, {}) is None:
        gpus = count(len(machine.gpu_bytes), "GPU") if machine.gpu_bytes else "no GPU"
        yield f"this machine: {count(machine.cores, 'core')}, {gpus}, {gib(machine.ram_bytes)} of memory"
    launcher = plan.settings.launcher
    fitting = forecast.fitting_needs(plan.memory)
    if plan.memory and not fitting:
        yield f"launcher {launcher.kind}: none of the runs fits"
        return
    try:
        told = choose.describe(launcher, plan.machine, plan.runs, forecast.largest(fitting))
    except BadCommand as error:  # not told before, where some runs do not fit at all
        told = "; ".join(error.faults)
    yield f"launcher {launcher.kind}: {told}{', of those that fit' if len(fitting) < len(plan.memory) else ''}"


def _training(plan: Plan) -> Iterator[str]:
    """How runs train, a line for each way: what a person wants to see before hours go by."""
    for name, report in plan.data.items():
        if report is not None:
            yield f"data {name}: {report.summary()}"
    ways = {
        f"training: learning rate {t['learning_rate']:g}, {_rows_a_step(run)} a step, "
        + (count(t["max_steps"], "step") if t["max_steps"] > 0 else count(t["epochs"], "epoch"))
        + f", at most {t['max_length']} tokens"
        for run in plan.runs
        for t in (run.config["training"],)
    }
    yield from sorted(ways)[:5]
    starts = [run.config["start"] for run in plan.runs]
    paths = dict.fromkeys(start["path"] for start in starts if start["kind"] in ("adapter", "checkpoint"))
    yield from (f"start: {one_line(path)}" for path in paths)


def _rows_a_step(run: RunSpec) -> str:
    answers = check(run.config).answers_a_step if run.config["data"]["kind"] == "unpaired" else None
    if answers is not None:
        return f"{answers} answers"
    return f"{run.config['training']['batch_size'] * run.config['training']['gradient_accumulation']} pairs"


def say_what_is_not_swept(plan: Plan, multirun: bool, console: Console) -> None:
    """An experiment's own sweep does nothing without -m."""
    if plan.settings.sweep and not multirun:
        tell(console, f"without -m the sweep over {', '.join(plan.settings.sweep)} is left out", style="yellow")


def say_what_was_found(plan: Plan, console: Console) -> None:
    """What of the command no run has; warnings of the data and of what runs train with."""
    for sentence in plan.left_out:
        tell(console, sentence, style="yellow")
    for name, report in plan.data.items():
        for warning in report.warnings() if report is not None else ():
            tell(console, f"data {name}: {warning}", style="yellow")
    for warning in plan.warnings:
        tell(console, warning, style="yellow")
    for sentence in plan.advice:
        tell(console, f"data: {sentence}", style="yellow")
