"""Where a study's trials are kept: a journal file, or any database that Optuna takes.

"outputs/my-study/optuna.journal" -> JournalStorage; "postgresql+psycopg://user@host/base" -> RDBStorage

A controller that is killed while it writes leaves half a line at the end of a journal, and perhaps the lock. Both are
mended on opening: one controller owns the journal, so nobody else is in the middle of writing.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.errors import StorageError
from sweeps.quiet import quietly

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

# A lock that was left behind is broken after so long; it is held for milliseconds.
LOCK_PATIENCE_S = 5


def open_storage(where: str | Path) -> tuple["BaseStorage", list[str]]:
    """The storage, and what had to be mended, a sentence each. Raises StorageError with one clear message."""
    if "://" in str(where):
        return _database(str(where)), []
    path = Path(where).absolute()  # the lock is a link to it
    with told_clearly(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        news = _mend(path)
        return _journal(path), news


def in_memory() -> "BaseStorage":
    """A storage that ends with its owner."""
    from optuna.storages import InMemoryStorage

    return InMemoryStorage()


def _journal(path: Path) -> "BaseStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    with quietly():
        lock = JournalFileSymlinkLock(str(path), grace_period=LOCK_PATIENCE_S)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


def _mend(path: Path) -> list[str]:
    """Cut off what was half written; put aside a journal that cannot be read."""
    if not path.exists():
        return []
    text = path.read_bytes()
    whole, newline, rest = text.rpartition(b"\n")
    if not all(_record(line) for line in whole.splitlines()):
        aside = _free(path)
        path.rename(aside)
        return [f"{path.name} was damaged: it is now {aside.name}, and a new one is made from the folders of the runs"]
    if rest:
        with path.open("r+b") as file:
            file.truncate(len(whole) + len(newline))
            os.fsync(file.fileno())
        return [f"the last line of {path.name} was half written, and is cut off"]
    return []


def _record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _free(path: Path) -> Path:
    return next(aside for n in range(1, 10_000) if not (aside := path.with_name(f"{path.name}.damaged-{n}")).exists())


def _database(url: str) -> "BaseStorage":
    from optuna.storages import RDBStorage, get_storage

    with told_clearly(url), quietly():
        # A connection that the server has dropped over hours is made anew.
        return get_storage(RDBStorage(url, engine_kwargs={"pool_pre_ping": True}))


@contextlib.contextmanager
def told_clearly(where: str) -> Iterator[None]:
    """Turns what a storage may raise into StorageError."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except ModuleNotFoundError as error:
        raise StorageError(
            f"{_without_password(where)}: needs the package {error.name}, which is not installed"
        ) from None
    except (StorageInternalError, SQLAlchemyError, OSError, ValueError, RuntimeError, ImportError) as error:
        cause = error.__cause__ or error
        why = " ".join(str(cause).split("\n(Background")[0].split())
        raise StorageError(
            f"the storage {_without_password(where)} cannot be used: {why[:500].rstrip('.') or type(cause).__name__}. "
            "Set sweeper.storage to a file, or to a URL of a database that answers"
        ) from None


def _without_password(where: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(where).render_as_string(hide_password=True) if "://" in where else where
    except (ArgumentError, ValueError):
        return "(an URL that does not parse)"
