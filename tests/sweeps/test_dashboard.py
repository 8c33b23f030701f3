"""Optuna's dashboard opens the journal of a study as it is."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sweeps.dimensions import Real
from sweeps.optuna_sweeper import OptunaSweeper
from sweeps.samplers import SamplerSettings
from sweeps.space import Space
from sweeps.types import Outcome

pytestmark = pytest.mark.slow

PATIENCE_S = 60


def test_the_dashboard_shows_the_trials_of_a_journal(tmp_path: Path):
    journal = tmp_path / "optuna.journal"
    sweeper = OptunaSweeper(Space({"beta": Real(0, 1)}), SamplerSettings("random"), storage=journal, study_name="demo")
    trials = sweeper.ask(3)
    sweeper.tell(trials[0], Outcome("complete", (0.5,)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = str(Path(sys.executable).with_name("optuna-dashboard"))
    server = subprocess.Popen(
        [program, str(journal), "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        (study,) = asked(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
        assert study["study_name"] == "demo"
        detail = asked(f"http://127.0.0.1:{port}/api/studies/{study['study_id']}?after=0")
        assert [trial["state"] for trial in detail["trials"]] == ["Complete", "Running", "Running"]
    finally:
        server.terminate()
        server.wait()


def asked(url: str) -> dict:
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < until, "the dashboard does not answer"
            time.sleep(0.2)
