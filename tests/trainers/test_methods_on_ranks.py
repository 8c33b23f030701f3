"""The methods whose trainers keep something of their own, on two ranks beside one."""

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_runs import Recorder, run_config, run_spec
from tests.trainers.test_distributed import Ranks, measures
from trainers.train import train

EVEN = {"kind": "toy", "seed": 0, "max_train_samples": 16, "max_eval_samples": 9}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("kto", {}),
        ("trdpo", {"reference": {"kind": "moving", "mixup": 0.6, "sync_steps": 2}}),
        ("sdpo", {"method__stages": 2}),
    ],
)
def test_two_ranks_compute_what_one_does(
    tmp_path: Path, cache_dir: Path, repository: Path, method: str, own: dict[str, Any]
) -> None:
    """Of whole micro-batches: KTO's point of comparison would be another one of a shared one."""
    config = run_config(
        method,
        data=EVEN,
        training__batch_size=2,
        training__gradient_accumulation=2,
        training__learning_rate=3e-3,
        training__epochs=2,
        **own,
    )
    run_spec(tmp_path / "ranks", cache_dir, config).write()
    result = Ranks(tmp_path / "ranks", repository).carry_out()
    alone = train(run_spec(tmp_path / "alone", cache_dir, config), Recorder())
    assert (alone.status, result.status, result.error, result.steps) == ("completed", "completed", None, alone.steps)
    assert measures(result) == pytest.approx(measures(alone), abs=1e-4)
