"""Computes the reference log-probabilities that runs will need, before they start: a step of its own.

`python -m trainers.reference outputs/STUDY/runs/RUN ...`, or `--study outputs/STUDY` for all runs of a study. Where it
runs must be a machine like the runs' own: a GPU rounds otherwise than a CPU, and what the one has computed is not
looked up by the other. Exit codes: 0 all is there now, 1 something failed, 2 a fault in the command or in a config.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from trainers import inputs, reference_kinds, start_kinds
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.distributed import World
from trainers.errors import InvalidInput, Stopped
from trainers.methods import METHODS
from trainers.models import load_tokenizer, resolve_precision
from trainers.needed_runs import settled
from trainers.quiet import be_quiet
from trainers.reference_models import Keeper, StandIn, Tally
from trainers.spec import Reporter, RunFolder, RunResult, RunSpec, Status


def carry_out(step: RunSpec, reporter: Reporter) -> RunResult:
    """Do a study's step: what the runs that come after it will look up. What goes wrong is a failed result."""
    if not World.here().first:  # which does it for all of them
        return RunResult(step.run_id, "completed")
    be_quiet()
    started = time.monotonic()
    status: Status = "completed"
    error = None
    tallies: list[Tally] = []

    def heed() -> None:
        if reporter.stop_asked():
            raise Stopped

    try:
        reporter.begin("scoring")
        tallies = prepare([step], heed=heed)
    except Stopped:
        status = "cancelled"
    except Exception as problem:
        traceback.print_exc()
        status, error = "failed", f"{type(problem).__name__}: {problem}"
    known, computed = sum(tally.known for tally in tallies), sum(tally.computed for tally in tallies)
    return RunResult(
        step.run_id,
        status,
        metrics={"reference/known": known, "reference/computed": computed},
        seconds=time.monotonic() - started,
        error=error,
    )


def prepare(
    specs: Sequence[RunSpec], told: Callable[[str], None] = print, heed: Callable[[], None] = lambda: None
) -> list[Tally]:
    """Fill the store with all that these runs will look up; a model is loaded once, and only if something is missing.

    Returns what was known and what was computed, a model and its settings each, and has `told` told of it. Raises
    InvalidInput with every fault of the specs' configs, before anything is loaded, and what `heed` does, which is
    called now and then.
    """
    # Runs that differ in other things than these look up the same.
    distinct = {_needs(config, spec): (config, spec) for config, spec in _checked(specs, told)}
    tallies: dict[str, Tally] = {}
    for group in _by_reference(list(distinct.values())):
        _fill(group, tallies, heed)
    for tally in tallies.values():
        told(str(tally))
    return list(tallies.values())


def _fill(group: Sequence[tuple[RunConfig, RunSpec]], tallies: dict[str, Tally], heed: Callable[[], None]) -> None:
    """What runs of one reference need; its model stays in memory from one to the next."""
    # It imports TRL, for seconds, which a fault in the command need not wait for.
    from trainers.measures import score_reference

    keeper = Keeper()
    try:
        for config, spec in group:
            tokenizer = load_tokenizer(config, spec.cache_dir)
            stand_in = StandIn(None, tokenizer, resolve_precision(config), keeper=keeper, tallies=tallies)
            score_reference(config, stand_in, spec.cache_dir, heed)
    finally:
        keeper.close()


def _checked(specs: Sequence[RunSpec], told: Callable[[str], None]) -> list[tuple[RunConfig, RunSpec]]:
    """Configs with their specs, without those that need a run that has not come to its end."""
    checked: list[tuple[RunConfig, RunSpec]] = []
    faults: dict[str, None] = {}
    for spec in specs:
        try:
            config = check(spec.config)
            faults |= dict.fromkeys([*inputs.changed(config, spec.inputs), *_faults(config)])
        except InvalidInput as error:
            faults |= dict.fromkeys(error.faults)
            continue
        try:
            checked.append((settled(config, spec), spec))
        except InvalidInput as error:
            told(f"{spec.run_id}: left out, what it needs is not there yet ({'; '.join(error.faults)})")
    if faults:
        raise InvalidInput(list(faults))
    return checked


def _faults(config: RunConfig) -> list[str]:
    return start_kinds.faults(config) or reference_kinds.faults(config)


def _needs(config: RunConfig, spec: RunSpec) -> str:
    """Equal for runs whose pairs and references are the same: strengths, adapters and optimisers do not count."""
    sections = {"model", "start", "reference", "data", "quantization", "evaluation"}
    method, training = METHODS[config.method.name], config.training
    # Methods that make other pairs of them may draw by the seed.
    drawn = () if method.data_format in ("pairs", "demonstrations") else (method.name, config.seed)
    kept = config.model_dump(mode="json", by_alias=True, include=sections)
    length = (training.max_length, training.precision, config.peft.kind)
    return repr((kept, length, method.reference, drawn, str(spec.cache_dir)))


def _by_reference(runs: Sequence[tuple[RunConfig, RunSpec]]) -> list[list[tuple[RunConfig, RunSpec]]]:
    """Those of one reference together, so that its model is loaded once."""
    groups: dict[str, list[tuple[RunConfig, RunSpec]]] = {}
    for config, spec in runs:
        kept = (
            config.reference,
            config.start,
            config.model,
            config.quantization,
            config.training.precision,
            config.peft.kind,
        )
        groups.setdefault(repr((kept, config.peft.kind)), []).append((config, spec))
    return list(groups.values())


def main(words: Sequence[str]) -> int:
    """Words of the command line -> exit code."""
    asked = _parsed(words)
    be_quiet()
    try:
        prepare(_specs(asked))
    except InvalidInput as error:
        print("\n".join(error.faults), file=sys.stderr)
        return 2
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m trainers.reference",
        description="Compute and keep the reference log-probabilities that runs will look up.",
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN_DIR", help="folder of a run, with its spec.json")
    parser.add_argument("--study", type=Path, metavar="STUDY_DIR", help="all runs of this study")
    asked = parser.parse_args(words)
    if not asked.runs and asked.study is None:
        parser.error("give a RUN_DIR, or --study STUDY_DIR")
    return asked


def _specs(asked: argparse.Namespace) -> list[RunSpec]:
    folders: list[Path] = list(asked.runs)
    faults = []
    if asked.study is not None:
        found = sorted(path.parent for path in asked.study.glob(f"runs/*/{RunFolder(Path()).spec.name}"))
        folders += found
        if not found:
            faults.append(f"--study {asked.study}: there are no runs in it")
    specs = []
    for folder in folders:
        try:
            specs.append(RunSpec.read(folder.absolute()))
        except FileNotFoundError as error:
            faults.append(f"{folder}: {error}")
    if faults:
        raise InvalidInput(faults)
    return specs
