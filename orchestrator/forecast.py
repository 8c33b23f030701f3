"""What the runs of a plan will take of memory and of time, as far as that can be told before they run.

Two betas of QLoRA on a 7B model -> one Need: 2 runs, 4.5 GB of weights, ..., 11 GB at the peak, fits, 1.3 h each
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from orchestrator.launchers.cluster import UNKNOWN_BYTES
from orchestrator.wording import count, one_line
from trainers import duration, footprint
from trainers.config import RunConfig
from trainers.data import Report
from trainers.footprint import Estimate, Machine

PARTS = {
    "weights": "weights", "adapter": "adapter", "gradients": "gradients", "optimizer": "optimiser",
    "activations": "activations", "logits": "logits", "reference": "reference", "overhead": "other",
}  # fmt: skip


@dataclass(frozen=True)
class Need:
    """What one run takes, and how many of a plan's different runs take just that."""

    model: str
    methods: tuple[str, ...]
    how: str
    estimate: Estimate
    machine: Machine
    runs: int
    # GPU-hours a run, None where the GPU or the work is not known, and whether they are a bound.
    hours: float | None
    bound: bool

    @property
    def fits(self) -> bool | None:
        """None where it is not known what there is."""
        return None if self.machine.training_bytes >= UNKNOWN_BYTES else footprint.fits(self.estimate, self.machine)


def needs(runs: Iterable[tuple[RunConfig, Report | None, Machine]]) -> list[Need]:
    """What different runs take, those together that take the same; runs of models of unknown size are left out."""
    alike: dict[object, Need] = {}
    for config, report, machine in runs:
        found = footprint.estimate(config, machine, None if report is None else report.longest_tokens)
        if found is None:
            continue
        work = duration.work(config, report) if machine.gpu_model else None
        hours = work.hours(machine.gpu_model) if work is not None and machine.gpu_model else None
        how = footprint.adapters(config) + (", 4 bits" if footprint.quantised(config) else "")
        key = (config.model.name, how, found, machine, hours)
        known = alike.get(key)
        methods = dict.fromkeys((*(known.methods if known else ()), config.method.name))
        alike[key] = Need(
            config.model.name, tuple(methods), how, found, machine, known.runs + 1 if known else 1, hours,
            bound=work is not None and work.bound,
        )  # fmt: skip
    return list(alike.values())


def largest(memory: Sequence[Need]) -> int | None:
    """Bytes of the largest run, None where no model's size is known."""
    return max((need.estimate.total for need in memory), default=None)


def table(memory: Sequence[Need]) -> Table:
    """A row for each different need, the parts that some need has, the peak, and whether that fits."""
    parts = [part for part in PARTS if any(getattr(need.estimate, part) for need in memory)]
    timed = any(need.hours is not None for need in memory)
    shown = Table(box=None, pad_edge=False)
    for heading in ("memory of", "methods", "trained by", "runs"):
        shown.add_column(heading, no_wrap=True)
    for heading in (*(PARTS[part] for part in parts), "peak", *(["GPU-h each"] if timed else [])):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("fits", no_wrap=True)
    for need in memory:
        cells = [size(getattr(need.estimate, part)) for part in parts]
        hours = [_hours(need)] if timed else []
        shown.add_row(
            escape(one_line(need.model, limit=24)), ", ".join(need.methods), need.how.partition(" (")[0],
            str(need.runs), *cells, size(need.estimate.total), *hours, _FITS[need.fits],
            style="red" if need.fits is False else "",
        )  # fmt: skip
    return shown


def lines(memory: Sequence[Need]) -> Iterator[str]:
    """What the table says, a sentence for each row, for screens that are too narrow for it."""
    for need in memory:
        parts = {PARTS[part]: getattr(need.estimate, part) for part in PARTS}
        shown = ", ".join(f"{name} {size(number)}" for name, number in parts.items() if number)
        hours = "" if need.hours is None else f"; GPU-hours each {_hours(need)}"
        yield (
            f"{need.model}, {', '.join(need.methods)}, {need.how.partition(' (')[0]}, {count(need.runs, 'run')}: peak "
            f"{size(need.estimate.total)} of {shown}{hours}; fits: {_FITS[need.fits]}"
        )


_FITS = {True: "yes", False: "NO", None: "?"}


def words(memory: Sequence[Need]) -> Iterator[str]:
    """What the table's figures are, for who has to rely on them."""
    if not memory:
        return
    peaks = ", ".join(dict.fromkeys(need.estimate.peak for need in memory))
    yield (
        f"memory is an estimate from layer sizes, for sequences as long as the longest; the peak is in {peaks}, "
        "when not all parts are there"
    )
    if any(need.estimate.paged for need in memory):
        yield "a paged optimiser's state may move to main memory where the GPU is full"
    rooms: Mapping[str, None] = dict.fromkeys(str(need.machine) for need in memory if need.fits is not None)
    for room in rooms:
        yield f"room: {room}; 5 % of it are taken to be lost"
    if any(need.fits is None for need in memory):
        yield "fits: what the job's GPU or node has is not known; say so with gpu=... or launcher.gpu_mem_gb, mem_gb"
    if any(need.hours is not None for need in memory):
        yield _time(memory)


def _time(memory: Sequence[Need]) -> str:
    total = sum(need.hours * need.runs for need in memory if need.hours is not None)
    atmost = "at most " if any(need.bound for need in memory) else ""
    runs = sum(need.runs for need in memory if need.hours is not None)
    bound = "; tokens were not counted, but taken for training.max_length" if atmost else ""
    return (
        f"time is an estimate too: {atmost}{_shown(total)} GPU-hours for {count(runs, 'run')}, as operations of "
        f"matrices at {duration.UTILISATION:.0%} of the GPU's dense peak; loading and saving come to it{bound}"
    )


def _hours(need: Need) -> str:
    if need.hours is None:
        return "?"
    return f"<= {_shown(need.hours)}" if need.bound else _shown(need.hours)


def _shown(hours: float) -> str:
    return f"{hours:.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"


def size(number: float) -> str:
    """Bytes in a table: 7_240_000_000 -> "7.2 GB", 310_000 -> "0.3 MB"."""
    if number >= 0.1e9:
        return footprint.gb(number)
    return f"{number / 1e6:.0f} MB" if number >= 10e6 else f"{number / 1e6:.1f} MB" if number else "-"
