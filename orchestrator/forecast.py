"""What the runs of a plan will take of memory and of time, as far as that can be told before they run.

Two betas of QLoRA on a 7B model -> one Need: 2 runs, 3.85 GiB of weights, ..., 8.6 GiB at the peak, fits, 1.3 h each
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.markup import escape
from rich.table import Table

from orchestrator.launchers.cluster import UNKNOWN_BYTES
from orchestrator.wording import count, one_line
from trainers import duration, fitting, footprint
from trainers.config import RunConfig
from trainers.data import Report
from trainers.duration import Work
from trainers.footprint import Estimate, Part
from trainers.holdings import quantised
from trainers.machine import Machine
from trainers.units import gib, number

# How the parts of a run's peak are called, in the order in which they stand there.
PARTS: Mapping[Part, str] = {
    "weights": "weights", "adapter": "adapter", "copy": "copy", "gradients": "gradients", "optimizer": "optimiser",
    "update": "its step", "cast": "16-bit copy", "activations": "activations", "logits": "logits",
    "cache": "keys+values", "reward model": "reward model", "reference": "reference", "other": "other", "lost": "lost",
}  # fmt: skip


@dataclass(frozen=True)
class Need:
    """What one run takes, and how many of a plan's different runs take just that; or a step before them."""

    model: str
    methods: tuple[str, ...]
    how: str
    estimate: Estimate
    machine: Machine
    runs: int
    # GPU-hours a run, None where the GPU or the work is not known, and whether they are a bound.
    hours: float | None
    bound: bool
    # It has a reference score pairs for the runs that come after it.
    step: bool = False
    # Some of its time is that of sampling, token by token.
    samples: bool = False

    @property
    def fits(self) -> bool | None:
        """None where it is not known what there is."""
        return None if self.machine.training_bytes >= UNKNOWN_BYTES else fitting.fits(self.estimate, self.machine)


def needs(runs: Iterable[tuple[RunConfig, Report | None, Machine, bool | None]]) -> list[Need]:
    """What different runs take, those together that take the same; runs of models of unknown size are left out.

    With each run comes whether a step like it (True), or like another one (False), has its reference score pairs before
    it; None where there is no such step.
    """
    alike: dict[object, Need] = {}
    for config, report, machine, before in runs:
        for need in _needs(config, report, machine, before):
            key = (need.model, need.how, need.estimate, machine, need.hours, need.step)
            known = alike.get(key)
            if known is not None:
                methods = tuple(dict.fromkeys((*known.methods, *need.methods)))
                need = replace(known, methods=methods, runs=known.runs + 1)
            alike[key] = need
    return sorted(alike.values(), key=lambda need: not need.step)


def _needs(config: RunConfig, report: Report | None, machine: Machine, before: bool | None) -> Iterator[Need]:
    longest = None if report is None else report.longest_tokens
    found = footprint.estimate(config, machine, longest, scored_before=before is not None)
    if found is not None:
        work = duration.work(config, report, scored_before=before is not None) if machine.gpu_model else None
        how = fitting.adapters(config) + (", 4 bits" if quantised(config) else "")
        yield _need(config, found, machine, how, work)
    scores = footprint.estimate_step(config, machine, longest) if before else None
    if scores is not None:
        work = duration.step_work(config, report) if machine.gpu_model else None
        named = f"reference={config.reference.kind}"
        yield replace(_need(config, scores, machine, "before the runs", work), model=named, methods=(), step=True)


def _need(config: RunConfig, found: Estimate, machine: Machine, how: str, work: Work | None) -> Need:
    hours = work.hours(machine.gpu_model) if work is not None and machine.gpu_model else None
    bound = work is not None and work.bound
    samples = work is not None and work.moved > 0
    return Need(config.model.name, (config.method.name,), how, found, machine, 1, hours, bound, samples=samples)


def largest(memory: Sequence[Need]) -> int | None:
    """Bytes of the largest run, None where no model's size is known."""
    return max((need.estimate.total for need in memory), default=None)


def fitting_needs(memory: Sequence[Need]) -> list[Need]:
    """Those that fit, or may."""
    return [need for need in memory if need.fits is not False]


def table(memory: Sequence[Need]) -> Table:
    """A row for each different need: the parts of its peak, which add up to it, when that is, and whether it fits."""
    parts = [part for part in PARTS if any(need.estimate.peak.of(part) for need in memory)]
    timed = any(need.hours is not None for need in memory)
    shown = Table(box=None, pad_edge=False)
    for heading in ("GiB of", "methods", "trained by", "runs"):
        shown.add_column(heading, no_wrap=True)
    for heading in (*(PARTS[part] for part in parts), "peak"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("in", no_wrap=True)
    if timed:
        shown.add_column("GPU-h each", justify="right", no_wrap=True)
    shown.add_column("fits", no_wrap=True)
    for need in memory:
        peak = need.estimate.peak
        cells = [number(peak.of(part)) if peak.of(part) else "-" for part in parts]
        shown.add_row(
            escape(one_line(need.model, limit=24)), ", ".join(need.methods) or "-", need.how.partition(" (")[0],
            _runs(need), *cells, number(peak.total), peak.name.removeprefix("the "), *([_hours(need)] if timed else []),
            _FITS[need.fits], style="red" if need.fits is False else "",
        )  # fmt: skip
    return shown


def lines(memory: Sequence[Need]) -> Iterator[str]:
    """What the table says, a sentence for each row, for screens that are too narrow for it."""
    for need in memory:
        peak = need.estimate.peak
        shown = " + ".join(f"{PARTS[part]} {number(peak.of(part))}" for part in PARTS if peak.of(part))
        hours = "" if need.hours is None else f"; GPU-hours each {_hours(need)}"
        yield (
            f"{_named(need)}, {count(need.runs, 'step' if need.step else 'run')}: peak {gib(peak.total)} in "
            f"{peak.name}, {shown}{hours}; fits: {_FITS[need.fits]}"
        )


_FITS = {True: "yes", False: "NO", None: "?"}


def words(memory: Sequence[Need]) -> Iterator[str]:
    """What the table's figures are, for who has to rely on them."""
    if not memory:
        return
    yield (
        "memory is an estimate from layer sizes, in GiB, for sequences as long as the longest: of each run's peak, "
        f"whose parts add up; lost: {footprint.LOSS:.0%} that an allocator cannot use"
    )
    if any(need.estimate.paged for need in memory):
        yield "a paged optimiser's state may move to main memory where the GPU is full"
    rooms: Mapping[str, None] = dict.fromkeys(str(need.machine) for need in memory if need.fits is not None)
    for room in rooms:
        yield f"room: {room}"
    if any(need.fits is None for need in memory):
        yield "fits: what the job's GPU or node has is not known; say so with gpu=... or launcher.gpu_mem_gb, mem_gb"
    if any(need.machine.gpu_model for need in memory):
        yield from _time(memory)


def _time(memory: Sequence[Need]) -> Iterator[str]:
    counted = [need for need in fitting_needs(memory) if need.hours is not None]
    left_out = [need for need in memory if need.fits is False]
    unknown = [need for need in fitting_needs(memory) if need.hours is None and need.machine.gpu_model]
    total = sum(need.hours * need.runs for need in counted if need.hours is not None)
    if counted:
        atmost = "at most " if any(need.bound for need in counted) else ""
        bound = "; tokens that could not be counted are taken for as many as there may be" if atmost else ""
        share = f"{duration.UTILISATION:.0%}"
        samples = any(need.samples for need in counted)
        sampled = f", and of bytes read for each token that is sampled at {share} of its bandwidth" if samples else ""
        yield (
            f"time is an estimate too: {atmost}{_shown(total)} GPU-hours for {_counted(counted)}, of operations of "
            f"matrices at {share} of the GPU's dense peak{sampled}; loading and saving come to it{bound}"
        )
    if left_out:
        yield f"no GPU-hours are counted for what does not fit: {_each(left_out)}"
    if unknown:
        yield f"GPU-hours of {_counted(unknown)} are not known, as the number of their pairs is not"


def _counted(memory: Sequence[Need]) -> str:
    runs, steps = (sum(need.runs for need in memory if need.step is step) for step in (False, True))
    return " and ".join(count(many, what) for many, what in ((runs, "run"), (steps, "step")) if many)


def _each(memory: Sequence[Need]) -> str:
    return "; ".join(f"{_named(need)} ({_counted([need])})" for need in memory)


def _named(need: Need) -> str:
    return ", ".join(filter(None, (one_line(need.model), ", ".join(need.methods), need.how.partition(" (")[0])))


def _runs(need: Need) -> str:
    return count(need.runs, "step") if need.step else str(need.runs)


def _hours(need: Need) -> str:
    if need.hours is None or need.fits is False:
        return "-" if need.fits is False else "?"
    return f"<= {_shown(need.hours)}" if need.bound else _shown(need.hours)


def _shown(hours: float) -> str:
    return f"{hours:.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"
