"""Runs to be: every trial composed and checked, seed by seed, and runs that need others linked to them.

Draft(trial 1, ["method=ipo"], ["beta=0.1"]), seeds 0 and 1 -> two Planned, each with its config and fingerprint
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator import lineage
from orchestrator.config import Composer, run_sections
from orchestrator.faults import NO_TRIAL, Faults
from orchestrator.overrides import Sweep
from orchestrator.resources import run_resources
from orchestrator.settings import StudySettings
from orchestrator.trials import Draft
from orchestrator.worker import TRAIN
from sweeps.types import Scalar, Trial
from trainers import inputs
from trainers.config import RunConfig
from trainers.config_check import Examined, examine


@dataclass(frozen=True)
class Planned:
    """A run to be, before its study has a name."""

    trial: Trial
    config: RunConfig
    resources: Mapping[str, Scalar]
    # How its config was found: what is said of stand-ins in it is no fault.
    examined: Examined
    fingerprint: str = ""
    # The places among the planned of the runs that must complete before this one may begin.
    needs: Sequence[int] = ()


def planned_runs(
    compose: Composer, drafts: Sequence[Draft], seeds: Sweep | None, settings: StudySettings, faults: Faults
) -> list[Planned]:
    """Every run that could be made sense of, linked; a config at fault is mended, for what else may be wrong."""
    return _linked(_composed(compose, drafts, seeds, faults), settings, faults)


def _composed(compose: Composer, drafts: Sequence[Draft], seeds: Sweep | None, faults: Faults) -> list[Planned]:
    planned = []
    for draft in drafts:
        for seed in [[]] if seeds is None else [[seeds.override(value)] for value in seeds.values]:
            composed = compose.compose(draft.fixed, [*draft.swept, *seed])
            faults.add(draft.trial, composed.faults)
            resources, wrong = run_resources(composed.config)
            faults.add(draft.trial, wrong)
            defaults = run_sections(compose.options([*draft.fixed, *draft.swept]))
            examined = examine(run_sections(composed.config), defaults)
            faults.add(draft.trial, examined.faults)
            if examined.config is not None:
                planned.append(Planned(draft.trial, examined.config, resources, examined))
    return planned


def _linked(planned: Sequence[Planned], settings: StudySettings, faults: Faults) -> list[Planned]:
    """The runs with what they are to each other settled, and with that their fingerprints."""
    found = lineage.links([lineage.Member(run.trial, run.config) for run in planned])
    linked = list(planned)
    for place, own in found.items():
        run = planned[place]
        faults.add(run.trial, run.examined.beside(dict.fromkeys(link.fault for link in own.values() if link.fault)))
    sound = {place: own for place, own in found.items() if not any(link.fault for link in own.values())}
    for place in lineage.in_order(len(planned), sound):
        run, own = linked[place], sound.get(place, {})
        config = run.config
        for role, link in own.items():
            other = None if link.needed is None else linked[link.needed].fingerprint
            config = lineage.settled(config, role, other)
        run = replace(run, needs=lineage.needs(own), config=config)
        linked[place] = replace(run, fingerprint=fingerprint(config, settings.launcher.target))
    if any(run.needs for run in linked) and settings.launcher_detaches:
        faults.add(
            NO_TRIAL,
            [
                "launcher.detach=true: some runs wait for others of this study, and nobody would submit them then: "
                "use launcher.controller=slurm, which leaves a controller behind"
            ],
        )
    return linked


def fingerprint(config: RunConfig, target: str = TRAIN) -> str:
    """SHA-256, in hex, of what a run computes, and of what computes it where that is not ours."""
    what = inputs.identity(config) if target == TRAIN else {**inputs.identity(config), "target": target}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def grouped(planned: Sequence[Planned], key: Callable[[RunConfig], object]) -> Iterable[list[Planned]]:
    """The runs that are alike in `key`, together."""
    groups: dict[str, list[Planned]] = {}
    for run in planned:
        groups.setdefault(repr(key(run.config)), []).append(run)
    return groups.values()
