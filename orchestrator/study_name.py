"""What a study is called, where it would lie, and what is wrong with that place. Writes nothing.

dpo and ipo on tiny, data=toy -> "dpo-ipo_tiny_toy_1a2b3c" under output_root
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import BadCommand
from orchestrator.planned import Planned
from orchestrator.search_plan import SearchPlan
from orchestrator.settings import StudySettings
from orchestrator.store import StudyFolder
from orchestrator.wording import one_line
from trainers import inputs


def identity_of(planned: Sequence[Planned]) -> str:
    """A digest of the study's runs and what they stand for, whatever their order."""
    parts = sorted(json.dumps([dict(run.trial.params), run.fingerprint], sort_keys=True) for run in planned)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def search_identity(corners: Sequence[Planned], search: SearchPlan, settings: StudySettings) -> str:
    """A digest of what is searched, by its corners, for what, and on which seeds; not of how, nor for how long."""
    objective = list(settings.objective.directions.items())
    known = [identity_of(corners), search.searched.space.as_dict(), list(search.seeds), objective]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def name_of(planned: Sequence[Planned], identity: str) -> str:
    """A name for a study that the user has not named."""

    def distinct(part: Callable[[Any], str]) -> str:
        names = list(dict.fromkeys(_plain(part(run.config)) for run in planned))
        return "-".join(names[:4]) + ("-etc" if len(names) > 4 else "")

    return "_".join(
        (
            distinct(lambda config: config.method.name),
            distinct(lambda config: config.model.name),
            distinct(lambda config: config.data.kind),
            identity[:6],
        )
    )


def _plain(name: str) -> str:
    """A name as a folder may have it."""
    return re.sub(r"[^\w+-]+", "-", name)[:30].strip("-") or "x"


def root_of(settings: StudySettings, name: str) -> Path:
    """The folder of a study of that name. Raises BadCommand where there can be none."""
    return _path("output_root", settings.output_root) / name


def cache_of(settings: StudySettings) -> Path:
    """The folder of what studies share. Raises BadCommand where there can be none."""
    return _path("cache_dir", settings.cache_dir) if settings.cache_dir else usual_cache()


def usual_cache() -> Path:
    """The same where no study says which. Raises BadCommand where there can be none."""
    return _path("cache_dir", os.environ.get("PREFSWEEP_CACHE") or "~/.cache/prefsweep")


def _path(key: str, given: str) -> Path:
    """The absolute path that a user means."""
    try:
        path = Path(given).expanduser().resolve()
        path.exists()  # asks the file system, which may refuse the very name
    except (OSError, ValueError, RuntimeError) as error:
        raise BadCommand([f"{key}={one_line(given)}: {getattr(error, 'strerror', None) or error}"]) from None
    return path


def no_room(root: Path, needed_bytes: int) -> Iterable[str]:
    """Faults of the place where the study would lie, found without writing there."""
    place = root
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        yield f"output_root: {place} is not a folder; choose another with output_root=..."
    elif not os.access(place, os.W_OK | os.X_OK):
        yield f"output_root: {place} is not writable; choose another with output_root=..."
    elif (free := shutil.disk_usage(place).free) < needed_bytes:
        yield (
            f"output_root: {place} has {free >> 20} MiB left, and these runs need {needed_bytes >> 20} MiB at least; "
            "make room, or choose another disk with output_root=..."
        )


def held_by_another(
    folder: StudyFolder, name: str, identity: str, planned: Sequence[Planned], *, adopt: bool = False
) -> Iterable[str]:
    """A fault where there is a study of that name which is not this one.

    With `adopt` a search takes over one of another space.
    """
    record = folder.record()
    if record is None or record.identity == identity:
        return
    if record.search is not None and adopt:
        return
    what_changed = inputs.changed(planned[0].config, folder.specs(record)[0].inputs) if record.runs else []
    if record.search is not None:
        yield (
            f"study={name}: {folder.root} searches another space, or for another objective "
            f"({one_line(record.command)}): give this one another name, or search.adopt=true to go on there with those "
            "of its trials that fit"
        )
    elif what_changed:
        yield f"study={name}: {folder.root} was made on other inputs: {'; '.join(what_changed)}"
    else:
        yield (
            f"study={name}: {folder.root} holds another study ({one_line(record.command)}); "
            "give this one another name, or use resume to go on with that one"
        )
