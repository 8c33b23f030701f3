"""The settings of a study as a command gives them, when it is planned and when it is resumed.

["launcher.workers=4", "objective.direction=minimize"] -> StudySettings(launcher=..., objective=...)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.config import Composer, Source, composer
from orchestrator.errors import BadCommand
from orchestrator.faults import NO_TRIAL, Faults
from orchestrator.overrides import Parsed, Sweep
from orchestrator.settings import RESOURCES, StudySettings, study_settings
from orchestrator.trials import Draft
from orchestrator.worker import TRAIN
from trainers.metric_names import EVAL_METRICS, LENGTHS, SAMPLE_METRICS
from trainers.nearest import did_you_mean


def settings_of(compose: Composer, parsed: Parsed, first: Draft, faults: Faults) -> StudySettings:
    """What concerns the study as a whole, as its first trial has it.

    Where it is at fault, defaults, so that the runs can be looked at all the same.
    """
    composed = compose.compose(first.fixed, first.swept)
    try:
        settings = study_settings(composed.config)
        faults.add(NO_TRIAL, _unknown_metric(settings))
        faults.add(NO_TRIAL, _sweep_in_sweep(settings, parsed))
        return settings
    except BadCommand as error:
        faults.add(NO_TRIAL, error.faults)
        return _defaults(compose, [text for text in first.fixed if compose.is_option(text)])


def _defaults(compose: Composer, options: Sequence[str]) -> StudySettings:
    """The settings that the options bring along, or else those of no command at all."""
    try:
        return study_settings(compose.compose(options).config)
    except BadCommand:
        return study_settings(compose.compose([]).config)


def changed_settings(settings: Mapping[str, Any], overrides: Sequence[str], source: Source) -> StudySettings:
    """A study's settings with some of them changed; `launcher=...` takes another launcher with its defaults.

    Raises BadCommand with every fault.
    """
    with composer(source) as compose:
        parsed = compose.parse(overrides)
        if parsed.faults or parsed.sweeps:
            raise BadCommand([*parsed.faults, *misplaced(parsed.sweeps, allowed=False)])
        groups = [text for text in parsed.fixed if text.startswith("launcher=")]
        known = {**settings, "launcher": compose.compose(groups).sound()["launcher"]} if groups else settings
        return study_settings(compose.changed(known, [text for text in parsed.fixed if text not in groups]).sound())


def misplaced(sweeps: Sequence[Sweep], *, allowed: bool) -> Iterable[str]:
    """Faults of sweeps where there may be none."""
    for sweep in sweeps:
        if not allowed:
            yield f"{sweep}: several values make a sweep: add -m, or quote the value"
        elif sweep.key.lstrip("+").split(".")[0] in {*StudySettings.model_fields, "hydra", "tracking", RESOURCES}:
            yield f"{sweep}: this concerns the study as a whole and cannot be swept"


def _sweep_in_sweep(settings: StudySettings, parsed: Parsed) -> Iterable[str]:
    """An experiment that is swept over would bring its own sweep for its trials alone, which no grid is."""
    if settings.sweep and any(sweep.key.lstrip("+") == "experiment" for sweep in parsed.sweeps):
        yield "experiment: these bring a sweep of their own, and cannot be swept together; run them one by one"


def _unknown_metric(settings: StudySettings) -> Iterable[str]:
    """A slip in the objective would only show in a table without a best."""
    known = (*EVAL_METRICS, *SAMPLE_METRICS)
    for metric in settings.objective.directions if settings.launcher.target == TRAIN else ():
        whole, _, length = metric.partition(".")
        by_length = whole in EVAL_METRICS and length in LENGTHS
        if metric.startswith("eval/") and metric not in known and not by_length:
            hint = did_you_mean(metric, known)
            yield f"objective.metric={metric}: no such metric; {hint}(metrics: {', '.join(known)}, or train/...)"
