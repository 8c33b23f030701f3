"""Keeps log-probabilities that references gave to answers, for all runs, studies and machines that share a cache.

    <root>/<digest of what computed them>/identity.json        {"weights": "sha256:...", "dtype": "bfloat16", ...}
    <root>/<digest of what computed them>/<sha256>.safetensors  keys, logps, tokens of some answers

A file is named by the digest of its content: two writers of one name write the same, so that nobody needs a lock, and
what is damaged is found out when it is read. Files are only ever added, or replaced by one that holds all they held.
"""

import contextlib
import hashlib
import json
import sys
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from trainers.files import write_json, write_whole

Key = bytes
# Of a key, in bytes: two of 10^12 answers share one with a probability of 10^-15.
_KEY_BYTES = 16
# So many files are put together into one.
_MANY_SHARDS = 32
_ABANDONED_S = 24 * 3600.0
_SUFFIX = ".safetensors"


class Entry(NamedTuple):
    """Log-probability of an answer in nats, a float32 summed over its `tokens` tokens."""

    logp: float
    tokens: int


def key(prompt: Sequence[int], answer: Sequence[int]) -> Key:
    """Digest of an answer's token ids after those of its prompt; where the one ends and the other begins counts."""
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    digest.update(len(prompt).to_bytes(8, "little"))
    digest.update(_little(prompt))
    digest.update(_little(answer))
    return digest.digest()


def _little(ids: Sequence[int]) -> bytes:
    """Four bytes an id, the same on every machine."""
    numbers = array("I", ids)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


class ReferenceStore:
    """What one reference has said of answers so far.

    Anything may go wrong with the disk and no run fails for it: then there is less to find, which stderr is told once.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any]) -> None:
        """`identity` is all that decides the numbers, as JSON has it."""
        self._identity = dict(identity)
        written = json.dumps(self._identity, sort_keys=True)
        self.folder = root / hashlib.sha256(written.encode()).hexdigest()[:32]
        self._complained = False
        # Names of files that were read, or written.
        self._seen: set[str] = set()

    def find(self, wanted: Iterable[Key]) -> dict[Key, Entry]:
        """What is known of these keys. Of two different values of a key, every reader takes the same one."""
        self._seen.clear()
        return self.find_new(wanted)

    def find_new(self, wanted: Iterable[Key]) -> dict[Key, Entry]:
        """What others have added since the last look, of these keys."""
        keys = set(wanted)
        return _Shard.together(self._shards()).look_up(keys) if keys else {}

    def add(self, entries: Mapping[Key, Entry]) -> None:
        """Keep these. What is not finite is left out: should it have been an accident, it is not kept for ever."""
        names = sorted(name for name, entry in entries.items() if np.isfinite(entry.logp))
        if not names:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(_Shard.of(names, entries))
            if not (self.folder / "identity.json").exists():
                write_json(self.folder / "identity.json", self._identity, durable=False)
            self._tidy()
        except OSError as error:
            self._complain(f"cannot be written ({error.strerror or error}): the run goes on without")

    def _shards(self) -> Iterator["_Shard"]:
        """Each sound one. One that is gone by now was put together with others, into one that is looked for next."""
        while fresh := [path for path in self._paths() if path.name not in self._seen]:
            self._seen.update(path.name for path in fresh)
            for path in fresh:
                shard = self._read(path)
                if shard is not None:
                    yield shard

    def _paths(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if path.name.endswith(_SUFFIX))
        except FileNotFoundError:
            return []
        except OSError as error:
            self._complain(f"cannot be read ({error.strerror or error}): the run goes on without")
            return []

    def _read(self, path: Path) -> "_Shard | None":
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain(f"cannot be read ({error.strerror or error}): what is in it is computed again")
            return None
        shard = _Shard.read(content, path.name)
        if shard is None:
            print(
                f"reference log-probabilities: {path} is damaged: what was in it is computed again, as far as needed",
                file=sys.stderr,
            )
            # Out of the way, so that the next run need not say it again.
            with contextlib.suppress(OSError):
                path.replace(path.with_suffix(".damaged"))
        return shard

    def _write(self, shard: "_Shard") -> str:
        content = shard.content()
        name = hashlib.sha256(content).hexdigest() + _SUFFIX
        write_whole(self.folder / name, content)
        self._seen.add(name)
        return name

    def _tidy(self) -> None:
        """Put many files together into one, and delete what killed writers have left."""
        now = time.time()
        for part in self.folder.glob(".*.part"):
            with contextlib.suppress(OSError):
                if now - part.stat().st_mtime > _ABANDONED_S:
                    part.unlink()
        paths = self._paths()
        if len(paths) < _MANY_SHARDS:
            return
        read = {path: shard for path in paths if (shard := self._read(path)) is not None}
        together = _Shard.together(read.values()).look_up(None)
        # What holds all of them is there before any of them goes; another process may do the same at the same time.
        name = self._write(_Shard.of(sorted(together), together))
        for path in read:
            if path.name != name:
                path.unlink(missing_ok=True)

    def _complain(self, what: str) -> None:
        if not self._complained:
            print(f"reference log-probabilities: {self.folder} {what}", file=sys.stderr)
        self._complained = True


@dataclass(frozen=True)
class _Shard:
    """The content of a file: `keys` uint8 of shape (n, 16), `logps` float32 of shape (n,), `tokens` int32 of (n,)."""

    keys: np.ndarray
    logps: np.ndarray
    tokens: np.ndarray

    @classmethod
    def of(cls, names: Sequence[Key], entries: Mapping[Key, Entry]) -> "_Shard":
        return cls(
            np.frombuffer(b"".join(names), np.uint8).reshape(-1, _KEY_BYTES),
            np.array([entries[name].logp for name in names], np.float32),
            np.array([entries[name].tokens for name in names], np.int32),
        )

    @classmethod
    def read(cls, content: bytes, name: str) -> "_Shard | None":
        """None where the content is not what was written under that name."""
        if hashlib.sha256(content).hexdigest() + _SUFFIX != name:
            return None
        try:
            found = safetensors.numpy.load(content)
            return cls(found["keys"], found["logps"], found["tokens"])
        except (SafetensorError, KeyError):
            return None

    def content(self) -> bytes:
        return safetensors.numpy.save({"keys": self.keys, "logps": self.logps, "tokens": self.tokens})

    @classmethod
    def together(cls, shards: Iterable["_Shard"]) -> "_Shard":
        """All entries of all."""
        all_of_them = [*shards, cls.of([], {})]
        return cls(
            np.concatenate([shard.keys for shard in all_of_them]),
            np.concatenate([shard.logps for shard in all_of_them]),
            np.concatenate([shard.tokens for shard in all_of_them]),
        )

    def look_up(self, wanted: set[Key] | None) -> dict[Key, Entry]:
        """What is wanted of it; all, where None."""
        places = slice(None) if wanted is None else self._near(wanted)
        joined = self.keys[places].tobytes()
        names = (joined[start : start + _KEY_BYTES] for start in range(0, len(joined), _KEY_BYTES))
        found: dict[Key, Entry] = {}
        for name, *values in zip(names, self.logps[places].tolist(), self.tokens[places].tolist(), strict=True):
            if wanted is None or name in wanted:
                entry = Entry(*values)
                # Two runs may have computed the same answer, in batches that round otherwise.
                found[name] = min(entry, found[name]) if name in found else entry
        return found

    def _near(self, wanted: set[Key]) -> np.ndarray:
        """Places of keys that begin as a wanted one: most of a large store need not become objects of Python."""
        starts = np.frombuffer(b"".join(name[:8] for name in wanted), np.uint64)
        own = np.ascontiguousarray(self.keys[:, :8]).view(np.uint64).ravel()
        return np.isin(own, starts).nonzero()[0]
