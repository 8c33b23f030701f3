"""From another run of the study, which a run begins at or is held to, to the folder with what that has trained.

start=run of a run that needs t0000-s0-1a2b3c4d -> start=checkpoint start.path=.../runs/t0000-s0-1a2b3c4d
"""

from pathlib import Path

from trainers import reference_kinds, start_kinds
from trainers.config import RunConfig
from trainers.errors import InvalidInput
from trainers.reference_config import CheckpointReference, RunReference
from trainers.spec import RunSpec
from trainers.start_config import CheckpointStart, RunStart
from trainers.weights_folders import needed_run


def settled(config: RunConfig, spec: RunSpec) -> RunConfig:
    """The config with the folders of the runs that it names. Raises InvalidInput where they hold no weights that fit.

    They have completed when a run that needs them begins, and are never trained again.
    """
    if isinstance(config.start, RunStart):
        start = CheckpointStart(kind="checkpoint", path=str(_folder("start", spec, config.start.of)))
        config = config.model_copy(update={"start": start})
    if faults := start_kinds.faults(config):
        raise InvalidInput(faults)
    if isinstance(config.reference, RunReference):
        reference = CheckpointReference(
            kind="checkpoint",
            path=str(_folder("reference", spec, config.reference.of)),
            quantization=config.reference.quantization,
        )
        config = config.model_copy(update={"reference": reference})
        reference_kinds.parts(config)
    return config


def _folder(group: str, spec: RunSpec, fingerprint: str | None) -> Path:
    found = needed_run(spec.run_dir, spec.needs, fingerprint)
    if found is None:
        raise InvalidInput([f"{group}=run: no run of the study was found for it when it was planned"])
    return found
