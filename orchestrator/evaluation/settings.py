"""By which settings runs are measured once more: each run's own, with those of the command over them.

["evaluation.samples=256", "launcher.workers=2"] -> each run's config with 256 samples; the launcher's settings
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.command_settings import changed_settings
from orchestrator.config import Source, composer
from orchestrator.errors import BadCommand
from orchestrator.evaluation.sources import Subject
from orchestrator.settings import InlineSettings, LauncherSettings, SlurmSettings, study_settings
from orchestrator.wording import one_line
from orchestrator.worker import TRAIN
from trainers.config_check import check
from trainers.errors import InvalidInput
from trainers.evaluation_config import Evaluation

# What makes no difference to what is measured: when, and how many at a time.
_INDIFFERENT = {"every", "samples_every", "batch_size", "sampling_batch"}


def foreign(overrides: Sequence[str]) -> list[str]:
    """A fault for each override that concerns neither the evaluation nor the launcher."""
    return [
        f"{one_line(text)}: evaluate changes evaluation.* and launcher.* alone; how a run was trained stays"
        for text in overrides
        if not re.match(r"(evaluation|launcher)(\.[\w.]+)?=", text)
    ]


def configs(subjects: Sequence[Subject], overrides: Sequence[str]) -> list[dict[str, Any]]:
    """The config by which each is measured. Raises BadCommand with every fault of the overrides.

    A run whose own config is not understood (any more) keeps it as it is: what is wrong with it, its check will tell.
    """
    given = [text for text in overrides if re.match(r"evaluation\b", text)]
    made = []
    with composer(Source()) as compose:
        parsed = compose.parse(given)
        several = [f"{sweep}: evaluate takes one value of a key" for sweep in parsed.sweeps]
        faults = dict.fromkeys([*parsed.faults, *several])
        options = [text for text in parsed.fixed if compose.key(text) == "evaluation"]
        values = [text for text in parsed.fixed if text not in options]
        option = compose.compose(options).sound()["evaluation"] if options else None
        for subject in subjects:
            own = _own(subject)
            if own is None:
                made.append(dict(subject.spec.config))
                continue
            composed = compose.changed({"evaluation": own if option is None else option}, values)
            config = {**subject.spec.config, "evaluation": composed.config["evaluation"]}
            faults |= dict.fromkeys(composed.faults)
            made.append(config)
            try:
                check(config)
            except InvalidInput as error:
                faults |= dict.fromkeys(error.faults)
    if faults:
        raise BadCommand(list(faults))
    return made


def _own(subject: Subject) -> dict[str, Any] | None:
    """The run's settings, those that it knew nothing of at their defaults; None where its config is at fault."""
    try:
        return check(subject.spec.config).evaluation.model_dump()
    except InvalidInput:
        return None


def alike(said: Any, evaluation: Mapping[str, Any]) -> bool:
    """Whether an evaluation by the settings of some metrics.json has measured what these ask for."""
    try:
        before = Evaluation.model_validate(said)
        return before.model_dump(exclude=_INDIFFERENT) == Evaluation.model_validate(evaluation).model_dump(
            exclude=_INDIFFERENT
        )
    except ValueError:
        return False


def launcher_of(subject: Subject, overrides: Sequence[str]) -> LauncherSettings:
    """Where the run's study had its runs carried out, with the command's changes. Raises BadCommand."""
    given = [text for text in overrides if re.match(r"launcher\b", text)]
    source = _source(subject)
    with composer(source) as compose:
        known = study_settings(compose.compose([]).config).model_dump()
    if subject.record is not None:
        known |= subject.record.settings
    launcher = changed_settings(known, given, source).launcher
    # Whatever trained the runs, this is how policies are measured; and the command stays until they are.
    if isinstance(launcher, SlurmSettings):
        changes = {"target": TRAIN, "detach": False, "controller": "here", "snapshot": False}
        return launcher.model_copy(update=changes)
    preload = {} if isinstance(launcher, InlineSettings) or launcher.target == TRAIN else {"preload": _PRELOAD}
    return launcher.model_copy(update={"target": TRAIN, **preload})


_PRELOAD = ["trainers.preload"]


def _source(subject: Subject) -> Source:
    """The configs of the study, as far as they are still there."""
    if subject.record is None:
        return Source()
    source = Source(**subject.record.source)
    return source if source.config_dir is None or Path(source.config_dir).is_dir() else Source()
