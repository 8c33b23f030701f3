"""A file that matters is there whole or not at all."""

import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainers.files import read_json, write_json, write_whole

# Writes one of two long contents over and over, until it is killed.
WRITER = """
import itertools, pathlib, sys
from trainers.files import write_whole
for letter in itertools.cycle("ab"):
    write_whole(pathlib.Path(sys.argv[1]), letter * 3_000_000, durable=False)
"""


def test_a_reader_sees_one_whole_content_or_the_other_also_after_a_kill(tmp_path: Path, repository: Path):
    path = tmp_path / "file"
    write_whole(path, "a" * 3_000_000)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=repository)
    until = time.monotonic() + 1.5
    seen = set()
    while time.monotonic() < until:
        content = path.read_bytes()
        assert len(content) == 3_000_000
        assert len(set(content)) == 1
        seen.add(content[0])
    writer.kill()
    writer.wait()
    assert len(seen) == 2, "the writer wrote while we read"
    assert len(path.read_bytes()) == 3_000_000


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path):
    path = tmp_path / "file"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": math.nan})
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", "text")
    assert read_json(path) == {"a": 1}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_reads_as_nothing(tmp_path: Path, content: bytes):
    (tmp_path / "file").write_bytes(content)
    assert read_json(tmp_path / "file") is None
    assert read_json(tmp_path / "missing") is None
