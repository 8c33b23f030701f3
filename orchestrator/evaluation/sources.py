"""Which policies a command means: folders of studies, runs and checkpoints to policies that can be measured.

["outputs/s"] -> a Subject for each completed run; what cannot be measured is told with the reason, and left out
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.attempts import is_busy
from orchestrator.errors import BadCommand, NoStudy
from orchestrator.store import StudyFolder, StudyRecord
from trainers import checkpoints
from trainers.spec import FINAL, RunFolder, RunResult, RunSpec
from trainers.weights_folders import is_adapter, is_model

# From a checkpoint's folder up to its run's: RUN/checkpoints/stage-2/checkpoint-50.
_DEPTH = 3


@dataclass(frozen=True)
class Subject:
    """A policy of a run. `study` is None where the run lies in none."""

    spec: RunSpec
    policy: str
    study: StudyFolder | None
    record: StudyRecord | None

    @property
    def name(self) -> str:
        """Of it on the terminal."""
        run_id = self.spec.run_dir.name
        return run_id if self.policy == FINAL else f"{run_id} {self.policy}"


@dataclass
class Found:
    """Policies that can be measured; names of others by the reason why not; what is wrong with the folders named."""

    subjects: list[Subject] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, name: str, why: str) -> None:
        """Not to be measured, and no fault."""
        self.left_out.setdefault(why, []).append(name)


@dataclass(frozen=True)
class Wanted:
    """Which policies of a run: the last one, or checkpoints: "last", "all", or those of some steps."""

    checkpoints: str | tuple[int, ...] | None = None

    @classmethod
    def parse(cls, text: str | None) -> "Wanted":
        """Raises BadCommand."""
        if text in (None, "last", "all"):
            return cls(text)
        assert text is not None
        if not re.fullmatch(r"\d+(,\d+)*", text):
            raise BadCommand([f"--checkpoint {text!r}: give last, all, or steps as 40,80"])
        return cls(tuple(dict.fromkeys(map(int, text.split(",")))))


@dataclass(frozen=True)
class _Place:
    """A run's folder, where it belongs, and the one policy that was named, if one was."""

    run: Path
    study: StudyFolder | None
    record: StudyRecord | None
    policy: str | None = None


def find(folders: Sequence[Path], wanted: Wanted) -> Found:
    """The policies; a folder that is none of a study, a run or a checkpoint is a fault."""
    found, places = Found(), []
    for folder in folders:
        try:
            places += list(_places(folder, wanted))
        except (NoStudy, BadCommand) as error:
            found.faults.append(str(error))
    known: set[tuple[Path, str]] = set()
    for place in places:
        for subject in _subjects(place, wanted, found):
            # Runs that compute the same were trained once, and folders may be named twice.
            which = subject.spec.run_dir, subject.policy
            if which not in known:
                known.add(which)
                found.subjects.append(subject)
    return found


def _places(folder: Path, wanted: Wanted) -> Iterator[_Place]:
    root = folder.expanduser().resolve()
    if not root.is_dir():
        raise BadCommand([f"{folder}: there is no folder of that name"])
    if StudyFolder(root).yaml.exists():
        study = StudyFolder(root)
        record = study.record()
        assert record is not None
        for run_id in record.runs:
            yield _Place(study.run(run_id), study, record)
        return
    run = next((near for near in [root, *root.parents[:_DEPTH]] if RunFolder(near).spec.exists()), None)
    if run is None:
        raise BadCommand([f"{folder} is not the folder of a study, of a run or of a checkpoint"])
    policy = None
    if run != root:
        below = RunFolder(run).checkpoints
        if root not in checkpoints.whole(below):
            raise BadCommand([f"{folder} is no whole checkpoint of {run.name}: give the run, or one of {below}"])
        if wanted.checkpoints is not None:
            raise BadCommand([f"{folder} is a checkpoint: leave --checkpoint out, or give its run"])
        policy = str(root.relative_to(below))
    yield _Place(run, *_study_of(run), policy)


def _study_of(run: Path) -> tuple[StudyFolder | None, StudyRecord | None]:
    study = StudyFolder(run.parent.parent)
    if study.run(run.name) != run:
        return None, None
    try:
        return study, study.record()
    except NoStudy:
        return study, None


def _subjects(place: _Place, wanted: Wanted, found: Found) -> Iterator[Subject]:
    name = place.run.name
    try:
        spec = RunSpec.read(place.run)
    except FileNotFoundError:
        found.leave_out(name, "spec.json is missing or damaged")
        return
    if spec.step is not None:
        found.leave_out(name, "a step of a study, which has no policy")
        return
    result = RunResult.read(spec.folder)
    if result is not None and result.same_as is not None:
        leader = place.run.parent / result.same_as
        yield from _subjects(_Place(leader, place.study, place.record, place.policy), wanted, found)
        return
    if is_busy(spec.folder) and (result is None or result.status != "completed"):
        found.leave_out(name, "under way")
        return
    for policy in [place.policy] if place.policy else _policies(spec, wanted, result, found):
        yield Subject(spec, policy, place.study, place.record)


def _policies(spec: RunSpec, wanted: Wanted, result: RunResult | None, found: Found) -> Iterator[str]:
    name, folder = spec.run_dir.name, spec.folder
    there = checkpoints.whole(folder.checkpoints)
    if wanted.checkpoints is None:
        if result is None or result.status != "completed":
            hint = "; --checkpoint last measures how far it came" if there else ""
            found.leave_out(name, f"not complete ({'no result' if result is None else result.status}){hint}")
        elif not any(is_adapter(at) or is_model(at) for at in (folder.adapter, folder.model)):
            training = spec.config.get("training", {})
            kept = training.get("save_final") is not False
            found.leave_out(name, "its weights are gone" if kept else "kept no weights (training.save_final=false)")
        else:
            yield FINAL
        return
    if not there:
        found.leave_out(
            name, "no whole checkpoint is there (a completed run keeps them with training.save_checkpoints=true)"
        )
        return
    if isinstance(wanted.checkpoints, str):
        chosen = there if wanted.checkpoints == "all" else there[-1:]
    else:
        chosen = [at for at in there if checkpoints.step(at) in wanted.checkpoints]
        for step in wanted.checkpoints:
            if step not in map(checkpoints.step, there):
                steps = ", ".join(str(checkpoints.step(at)) for at in there)
                found.leave_out(name, f"no checkpoint-{step} (there are: {steps})")
    for at in chosen:
        yield str(at.relative_to(folder.checkpoints))
