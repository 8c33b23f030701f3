"""Digests of model weights by their content, each large file read once for all who share a cache.

`of_folder(Path("/models/opt"), cache_dir)` -> "sha256:9f86d0…", the same for a copy elsewhere.
"""

import contextlib
import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from trainers.files import read_json, write_json

# What from_pretrained reads of a model or an adapter; optimizer states and logs may lie beside it.
_NAMES = ("config.json", "adapter_config.json", "*.safetensors", "*.bin", "*.index.json")
# Smaller ones are read as fast as what is known of them.
_REMEMBERED_BYTES = 1 << 20
# A file so young may change again without its times saying so: some file systems count in seconds.
_SETTLED_S = 2.0
# Network file systems serve several readers faster than one.
_READERS = 4


def of_folder(folder: Path, cache_dir: Path) -> str:
    """A digest of the weights' names and contents. Raises OSError where they cannot be read, or there are none."""
    files = sorted({path for name in _NAMES for path in folder.glob(name) if path.is_file()})
    if not files:
        raise FileNotFoundError(f"{folder} holds no weights")
    with ThreadPoolExecutor(_READERS) as readers:
        digests: Sequence[str] = list(readers.map(lambda path: _of_file(path, cache_dir / "digests"), files))
    lines = [f"{path.name} {digest}" for path, digest in zip(files, digests, strict=True)]
    return f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"


def _of_file(path: Path, memory: Path) -> str:
    state = _state(path)
    if path.stat().st_size < _REMEMBERED_BYTES:
        return _read(path)
    note = memory / f"{hashlib.sha256(repr(state).encode()).hexdigest()[:32]}.json"
    known = read_json(note)
    if isinstance(known, dict) and isinstance(known.get("sha256"), str):
        return str(known["sha256"])
    digest = _read(path)
    if _state(path) == state and time.time() - max(path.stat().st_mtime, path.stat().st_ctime) > _SETTLED_S:
        # Only the time that it takes to read it again is lost where this cannot be written.
        with contextlib.suppress(OSError):
            memory.mkdir(parents=True, exist_ok=True)
            write_json(note, {"path": str(path), "sha256": digest}, durable=False)
    return digest


def _state(path: Path) -> tuple[Any, ...]:
    """Changes whenever the file does: nobody can set back the time of its last change of state, as one can mtime.

    Not the device, which machines that share a file system number differently.
    """
    status = path.stat()
    return (str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
