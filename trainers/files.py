"""Writes files that are there whole or not at all, also when the writer is killed or the disk is full."""

import json
import os
import secrets
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Replace `path` by `content` in one step: write beside, fsync, rename.

    `durable=False` leaves out the fsync, for files that may be lost with the machine but never seen half-written.
    Raises OSError, and leaves the old file, where the new one cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    # Not the process id: on a shared file system two machines have the same ones.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """`value` as JSON for people and programs: NaN and infinities, which JSON has not, must be gone by now."""
    write_whole(path, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n", durable=durable)


def read_json(path: Path) -> Any | None:
    """What `path` holds, or None where it is missing, unreadable or not JSON (then `write_json` did not write it)."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
