"""Folders that are built once and then shared: whole or not there, checked on use, built by one process at a time.

`built_once(Path("cache/world"), "policy-1a2b", build)` -> `cache/world/policy-1a2b`, filled by `build(folder)`.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from trainers.errors import InvalidInput
from trainers.files import read_json, write_json

MANIFEST = "manifest.json"


def built_once(root: Path, name: str, build: Callable[[Path], None]) -> Path:
    """The folder `root/name`, built now if it is missing or damaged.

    `build` fills the empty folder it is given. Processes that want the folder at once wait for the first of them.
    Raises InvalidInput where `root` cannot be written.
    """
    folder = root / name
    if is_whole(folder):
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{name}.lock"):
            if not is_whole(folder):
                _replace(folder, build)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise InvalidInput([f"cache_dir: {root} cannot be written ({error.strerror}): set cache_dir=..."]) from None
    return folder


def is_whole(folder: Path) -> bool:
    """True where the folder holds exactly what was built: every file of its manifest, with its size and SHA-256."""
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict):
        return False
    try:
        return all(_digest(folder / name) == digest for name, digest in manifest.items())
    except OSError:
        return False


def fingerprint(folder: Path) -> str:
    """Hex digest of a built folder's contents."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def _replace(folder: Path, build: Callable[[Path], None]) -> None:
    # Left by builders that were killed; none lives now, because the lock is ours.
    for leftover in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        beside.chmod(0o755)
        build(beside)
        write_json(beside / MANIFEST, {path.name: _digest(path) for path in sorted(beside.iterdir())})
        if folder.exists():
            os.replace(folder, beside.with_suffix(".damaged"))
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(beside.with_suffix(".damaged"), ignore_errors=True)


def _digest(path: Path) -> str:
    content = path.read_bytes()
    return f"{len(content)}:{hashlib.sha256(content).hexdigest()}"
