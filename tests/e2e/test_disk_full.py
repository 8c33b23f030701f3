"""A disk that is full, or becomes full: told at once, or survived, and mended by making room and starting again."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli

pytestmark = pytest.mark.slow

# A small file system of the test's own, in a name space that ends with the script; no root needed where users may
# have name spaces.
IN_A_SMALL_DISK = """
set -u
mount -t tmpfs -o size={size} tmpfs "$1" || exit 99
cd "$2"
run() {{ "$3" -m orchestrator study=s output_root="$1/out" tracking=disabled launcher.workers=2 \
    launcher.target=tests.e2e.quick_run:train launcher.preload=[] -m 'beta=range(1,21)'; echo "exit $?"; }}
fill() {{ dd if=/dev/zero of="$1/filler" bs=4k 2>/dev/null; }}
results() {{ ls "$1"/out/s/runs/*/result.json 2>/dev/null | wc -l; }}
{script}
"""


def in_a_small_disk(cli: Cli, folder: Path, size: str, script: str) -> str:
    folder.mkdir()
    unshare = shutil.which("unshare")
    assert unshare, "util-linux is part of every Linux"
    command = [unshare, "-Urm", "bash", "-c", IN_A_SMALL_DISK.format(size=size, script=script), "bash"]
    done = subprocess.run(
        [*command, str(folder), str(cli.repository), sys.executable],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=cli.environment,
        timeout=120,
    )
    assert done.returncode != 99, f"no file system of one's own on this machine: {done.stdout}"
    return done.stdout


def test_a_disk_without_room_is_told_before_anything_is_written(cli: Cli, tmp_path: Path):
    said = in_a_small_disk(cli, tmp_path / "disk", "1m", 'run "$@"; ls "$1"')
    assert "MiB left" in said
    assert said.rstrip().endswith("exit 2"), said


def test_a_disk_that_fills_up_loses_no_finished_run_and_the_next_start_completes(cli: Cli, tmp_path: Path):
    script = """
    run "$@" & while [ "$(results "$@")" -lt 4 ]; do sleep 0.05; done
    fill "$@"; wait; echo "kept $(results "$@")"; rm "$1/filler"
    run "$@"; echo "in the end $(results "$@")"
    """
    said = in_a_small_disk(cli, tmp_path / "disk", "60m", script)
    assert "Traceback" not in said, said
    assert "is full" in said, said
    first, second = (line for line in said.splitlines() if line.startswith("exit"))
    assert first in ("exit 1", "exit 130"), said
    assert second == "exit 0", said
    assert "in the end 20" in said
