"""Whole runs that are held to each kind of reference."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.tiny_runs import Recorder, run_spec
from tests.trainers.reference_setting import Setting, adapter_of, finished_run, near, reversed_vocabulary, specs
from trainers.train import train


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adapter", "mixture", "other tokenizer"])
def test_a_run_trains_against_each_kind(here: Setting, kind: str) -> None:
    config = here.config()
    reference = {
        "adapter": lambda: {"kind": "adapter", "path": str(adapter_of(here.base, config, here.folder / "adapter"))},
        "mixture": lambda: {
            "kind": "mixture", "first": str(finished_run(here, "adapter")), "second": "self", "weight": 0.5
        },
        "other tokenizer": lambda: {
            "kind": "model", "path": str(reversed_vocabulary(here.base, here.folder / "other"))
        },
    }[kind]()  # fmt: skip
    spec = run_spec(here.folder / "trained", here.cache, here.config(reference=reference).model_dump(by_alias=True))
    result = train(spec, Recorder())
    assert (result.status, result.error) == ("completed", None)


@pytest.mark.slow
def test_two_ranks_share_the_scoring_and_keep_what_one_looks_up(here: Setting, repository: Path) -> None:
    config = here.config()
    (spec,) = specs(here, config)
    words = ["--standalone", "--nproc-per-node=2", "-m", "orchestrator.ranks", str(spec.run_dir)]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, "--train", "trainers.train:train"],
        cwd=repository,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert json.loads(spec.folder.result.read_text())["status"] == "completed", done.stderr
    found = here.scores(config)
    assert here.computed == 0
    assert near(found, here.afresh(config))
