"""Large weights are digested once, and again when they have changed."""

import json
import os
import time
from pathlib import Path

from trainers import weights_digest


def test_large_weights_are_read_once_and_again_when_they_have_changed(tmp_path: Path) -> None:
    """Also where the change keeps size and time, as unpacking an archive does."""
    model, cache = tmp_path / "model", tmp_path / "cache"
    model.mkdir()
    (model / "config.json").write_text("{}")
    weights = model / "model.safetensors"
    weights.write_bytes(b"a" * 2_000_000)
    before = weights_digest.of_folder(model, cache)
    assert not list(cache.rglob("*.json")), "so young a file may change once more within the clock's grain"
    time.sleep(2.2)
    assert weights_digest.of_folder(model, cache) == before
    (note,) = cache.rglob("*.json")
    note.write_text(note.read_text().replace(json.loads(note.read_text())["sha256"], "remembered"))
    assert weights_digest.of_folder(model, cache) != before, "the note is what is asked"
    status = weights.stat()
    weights.write_bytes(b"b" * 2_000_000)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = weights_digest.of_folder(model, cache)
    weights.write_bytes(b"a" * 2_000_000)
    assert weights_digest.of_folder(model, cache) == before != changed
