"""A search of a real plan in a study's folder, whose runs end as a script says."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import search_summary
from orchestrator.config import Source
from orchestrator.plan import make_plan
from orchestrator.search_work import search_work
from orchestrator.settings import StudySettings, study_settings
from orchestrator.store import StudyFolder, StudyRecord
from orchestrator.study import Study
from sweeps.types import Outcome
from tests.fakes.instant import InstantLauncher, Script, Witness, completes
from trainers.machine import Machine
from trainers.spec import RunResult, RunSpec

LAPTOP = Machine(ram_bytes=16 << 30, gpu_bytes=(), cores=4)


class Killed(BaseException):
    """In the place of SIGKILL: the controller does nothing more."""


def killed_after(runs: int, script: Script = completes) -> Script:
    """Carries out so many, and is killed with the next."""
    done: list[str] = []

    def carry_out(spec: RunSpec) -> RunResult:
        if len(done) == runs:
            raise Killed
        done.append(spec.run_id)
        return script(spec)

    return carry_out


@dataclass
class Carried:
    """What a controller did: runs in the order they were submitted, what was said, and what came of the trials."""

    submitted: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    told: dict[int, Outcome] = field(default_factory=dict)
    summary: list[str] = field(default_factory=list)
    left: str = ""

    @property
    def trials(self) -> list[int]:
        """The numbers of the trials whose runs were submitted."""
        return [int(run_id[1:5]) for run_id in self.submitted]


@dataclass
class SmallSearch:
    """A study named s under `out`, made by a command."""

    folder: StudyFolder
    record: StudyRecord

    @classmethod
    def of(cls, out: Path, *overrides: str) -> "SmallSearch":
        """Nothing is carried out; one that is there goes on."""
        words = ["tracking=disabled", "study=s", f"output_root={out}", *overrides]
        plan = make_plan(words, sweep=True, source=Source(), machine=LAPTOP)
        assert plan.search is not None
        record = StudyRecord(
            name=plan.name, identity=plan.identity, command="", created="", space=plan.space,
            settings=plan.settings.model_dump(by_alias=True), source={"config_name": "config", "config_dir": None},
            runs=[], data={}, search=plan.search.record(), trials=len(plan.trials),
        )  # fmt: skip
        folder = StudyFolder(plan.root)
        if folder.record() is None:
            folder.root.mkdir(parents=True)
            folder.create(record, [])
        return cls(folder, record)

    @property
    def settings(self) -> StudySettings:
        return study_settings(self.record.settings)

    def specs(self) -> Sequence[RunSpec]:
        return self.folder.specs(self.record)

    def asking(self, **search: object) -> "SmallSearch":
        """The same study, asked for something else."""
        assert self.record.search is not None
        return dataclasses.replace(
            self, record=dataclasses.replace(self.record, search={**self.record.search, **search})
        )

    def carry_out(self, script: Script = completes, capacity: int = 1) -> Carried:
        """As `orchestrator.working` does, until it is done or killed."""
        launcher, witness, carried = InstantLauncher(script, capacity), Witness(), Carried()
        with search_work(self.folder, self.record, self.settings) as work:
            study = Study(
                self.folder, work.runs, sweeper=work.asked, launcher=launcher, observer=witness,
                limits=work.limits, watch=work.watch, failed_again=False,
            )  # fmt: skip
            try:
                study.carry_out()
            except Killed:
                pass
            else:
                carried.summary = list(search_summary.told(work, self.settings, study.all_results()))
                carried.left = work.left_of(work.runs.known(), study.all_results())
            carried.told = {trial.number: outcome for trial, outcome in work.sweeper.told}
        carried.submitted, carried.said = launcher.submitted, witness.said
        return carried
