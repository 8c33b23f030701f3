"""What is found in the data and models of runs to be, each looked at once, and what is wrong with them.

six runs on pairs.jsonl -> Found(reports={"pairs.jsonl": DataReport(...)}), and its faults with the trials they concern
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.faults import NO_TRIAL, Faults
from orchestrator.forecast import Need, needs
from orchestrator.planned import Planned, grouped
from sweeps.types import Trial
from trainers import limits, schedule, tracking, workload
from trainers.at_hand import missing
from trainers.config import RunConfig
from trainers.data import Report, advice, inspect
from trainers.errors import InvalidInput
from trainers.fitting import step_too_large, too_large
from trainers.machine import Machine
from trainers.methods import METHODS


@dataclass(frozen=True)
class Found:
    """What was found in the data: by the name of the set, and by the fingerprint of the run."""

    reports: Mapping[str, Report | None]
    by_run: Mapping[str, Report | None]

    def of(self, run: Planned) -> Report | None:
        """None where only the run can look."""
        return self.by_run.get(run.fingerprint)

    def longest(self, run: Planned) -> int | None:
        """Tokens of the longest sequence, where they were counted."""
        report = self.of(run)
        return None if report is None else report.longest_tokens


def look(planned: Sequence[Planned], faults: Faults) -> Found:
    """Look at the data and models that the runs ask for; what is wrong with them goes to `faults`."""
    reports: dict[str, Report | None] = {}
    by_run: dict[str, Report | None] = {}
    for runs in grouped(planned, lambda c: (c.data, c.model, c.training.max_length, _batch(c), _learns_from(c))):
        config = runs[0].config
        name = str(getattr(config.data, "path", config.data.kind))
        try:
            report = inspect(config)
            by_run.update((run.fingerprint, report) for run in runs)
            if reports.get(name, report) != report:  # another tokenizer cuts other answers
                name = f"{name} with model={config.model.name}, max_length={config.training.max_length}"
            reports[name] = report
        except InvalidInput as error:
            faults.add_all((run.trial for run in runs), runs[0].examined.beside(error.faults))
    for runs in grouped(planned, lambda c: c.tracking):
        faults.add_all((run.trial for run in runs), tracking.missing_key(runs[0].config.tracking))
    for runs in grouped(
        planned, lambda c: (c.model, c.start, c.peft, c.reference, *_rated_by(c), c.evaluation, c.data)
    ):
        faults.add_all((run.trial for run in runs), runs[0].examined.beside(missing(runs[0].config)))
    return Found(reports, by_run)


def too_large_for(
    planned: Sequence[Planned],
    found: Found,
    machine_of: Callable[[Planned], Machine],
    before: Mapping[str, bool],
    trials: Sequence[Trial],
) -> Faults:
    """The runs and steps that do not fit, and what would; `before` is as `reference_step.scored_before` tells."""
    unfit = Faults(trials)
    for runs in grouped(planned, _weighed):
        first, told = runs[0], (runs[0].config, machine_of(runs[0]), found.longest(runs[0]))
        unfit.add_all((run.trial for run in runs), too_large(*told, scored_before=first.fingerprint in before))
        if first.fingerprint in before:
            unfit.add(NO_TRIAL, step_too_large(*told))
    return unfit


def memory(
    planned: Sequence[Planned], found: Found, machine_of: Callable[[Planned], Machine], before: Mapping[str, bool]
) -> list[Need]:
    """What the different runs take, and the steps before them."""
    different = {run.fingerprint: run for run in planned}.values()
    return needs((run.config, found.of(run), machine_of(run), before.get(run.fingerprint)) for run in different)


def warnings(planned: Sequence[Planned], found: Found, trials: Sequence[Trial]) -> list[str]:
    """What the runs ask of their models beyond what these were made for, and what they will never come to do."""
    beyond = [
        told
        for runs in grouped(planned, lambda c: (c.model, c.training.max_length, c.data))
        for told in limits.warnings(runs[0].config, found.longest(runs[0]))
    ]
    short = Faults(trials)
    for runs in grouped(planned, lambda c: (c.reference, c.training, c.data, METHODS[c.method.name].data_format)):
        short.add_all((run.trial for run in runs), schedule.warnings(runs[0].config, found.of(runs[0])))
    return [*dict.fromkeys(beyond), *short.told()]


def advised(planned: Sequence[Planned], trials: Sequence[Trial]) -> list[str]:
    """What methods should be set to on their data, and are not; for data that are sound."""
    told = Faults(trials)
    for runs in grouped(planned, lambda c: (c.data, c.method)):
        told.add_all((run.trial for run in runs), advice(runs[0].config))
    return told.told()


def _weighed(config: RunConfig) -> object:
    """All that a run's memory depends on."""
    parts = (config.method.name, config.model, config.start, config.reference, config.peft, config.quantization)
    sampled = (workload.drawing(config), workload.stages(config), workload.reward_model(config))
    return (*parts, *sampled, config.training, config.data, config.evaluation)


def _rated_by(config: RunConfig) -> tuple[str | None, ...]:
    evaluation = config.evaluation
    return (getattr(config.method, "reward_model", None), evaluation.reward_model, evaluation.opponent)


def _batch(config: RunConfig) -> int:
    return config.training.batch_size * config.training.gradient_accumulation


def _learns_from(config: RunConfig) -> str:
    """What of the data the method learns from, where these may be too few or of one kind for some methods alone."""
    return METHODS[config.method.name].data_format if config.answers_a_step else ""
