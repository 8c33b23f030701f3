"""From a planned run to its spec, as its folder will have it.

Planned(trial 3, config, fingerprint 1a2b3c4d…) -> RunSpec in runs/t0003-s0-1a2b3c4d
"""

import secrets
from pathlib import Path

from orchestrator.planned import Planned
from orchestrator.store import StudyFolder
from trainers import inputs
from trainers.spec import RunSpec


def spec_of(run: Planned, study: str, folder: StudyFolder, cache_dir: Path) -> RunSpec:
    """Nothing is written."""
    spec = RunSpec(
        study=study,
        trial=run.trial.number,
        seed=run.config.seed,
        method=run.config.method.name,
        params=run.trial.params,
        config=inputs.resolved(run.config),
        fingerprint=run.fingerprint,
        run_dir=folder.root,
        cache_dir=cache_dir,
        tracking_id=secrets.token_hex(8),
        inputs=inputs.digests(run.config),
        resources=run.resources,
    )
    return spec.at(folder.run(spec.run_id))
