"""The store of reference log-probabilities: what is read is what was written, whoever else writes, whatever breaks."""

import os
import random
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from trainers.reference_store import Entry, Key, ReferenceStore, key

IDENTITY = {"weights": "sha256:1a2b", "dtype": "torch.float32"}
# A writer of entries of its own: words are the root, the writer's number, and how many times it writes.
WRITER = """
import sys
from pathlib import Path
from trainers.reference_store import Entry, ReferenceStore, key
root, writer, times = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for turn in range(times):
    store = ReferenceStore(root, {"weights": "sha256:1a2b", "dtype": "torch.float32"})
    # The first half of each turn is what all writers write.
    common = {key([turn], [place]): Entry(-0.5 * place, 1) for place in range(20)}
    own = {key([writer, turn], [place]): Entry(-1.0 - writer, 2) for place in range(20)}
    store.add(common | own)
    print(turn, flush=True)
"""


def some(count: int, seed: int = 0) -> dict[Key, Entry]:
    drawn = random.Random(seed)
    return {
        key([seed], [place]): Entry(float(np.float32(-drawn.expovariate(0.01))), drawn.randint(1, 500))
        for place in range(count)
    }


def shards(store: ReferenceStore) -> list[Path]:
    return sorted(store.folder.glob("*.safetensors"))


@pytest.fixture
def store(tmp_path: Path) -> ReferenceStore:
    return ReferenceStore(tmp_path / "reference", IDENTITY)


def test_what_is_read_is_what_was_written_bit_by_bit(store: ReferenceStore) -> None:
    entries = some(500)
    store.add(entries)
    assert store.find(entries) == entries


def test_what_nobody_has_written_is_not_found(store: ReferenceStore) -> None:
    assert store.find([key([1], [2])]) == {}
    store.add(some(3))
    assert store.find([key([1], [2])]) == {}


def test_a_key_depends_on_every_token_and_on_where_the_answer_begins() -> None:
    keys = [key([1, 2], [3]), key([1], [2, 3]), key([1, 2], [4]), key([5, 2], [3]), key([1, 2, 3], []), key([], [1])]
    assert len(set(keys)) == len(keys)
    assert key([1, 2], [3]) == key((1, 2), (3,))


def test_what_another_identity_said_is_not_found(store: ReferenceStore, tmp_path: Path) -> None:
    entries = some(3)
    store.add(entries)
    for changed in ({**IDENTITY, "dtype": "torch.bfloat16"}, {**IDENTITY, "adapter": "sha256:2b3c"}):
        assert ReferenceStore(tmp_path / "reference", changed).find(entries) == {}


def test_a_second_writer_adds_to_the_first(store: ReferenceStore) -> None:
    first, second = some(5, seed=1), some(5, seed=2)
    store.add(first)
    store.add(second)
    assert store.find([*first, *second]) == first | second


def test_writers_of_the_same_leave_one_file(store: ReferenceStore) -> None:
    for _ in range(3):
        store.add(some(5))
    assert len(shards(store)) == 1


def test_of_two_values_of_a_key_every_reader_takes_the_same(store: ReferenceStore) -> None:
    """Whichever file is read first, and also after the two were put together."""
    name = key([1], [2])
    store.add({name: Entry(-1.5, 1)})
    store.add({name: Entry(-1.25, 1)})
    assert store.find([name]) == {name: Entry(-1.5, 1)}
    for seed in range(40):
        store.add(some(1, seed=seed))
    assert store.find([name]) == {name: Entry(-1.5, 1)}


def test_what_others_add_is_found_without_reading_all_again(store: ReferenceStore, tmp_path: Path) -> None:
    first, second = some(5, seed=1), some(5, seed=2)
    store.add(first)
    assert store.find_new([*first, *second]) == {}, "one's own is known"
    ReferenceStore(tmp_path / "reference", IDENTITY).add(second)
    assert store.find_new([*first, *second]) == second
    assert store.find_new([*first, *second]) == {}
    assert store.find([*first, *second]) == first | second


def test_many_files_become_one_and_nothing_is_lost(store: ReferenceStore) -> None:
    written: dict[Key, Entry] = {}
    for seed in range(100):
        written |= some(3, seed=seed)
        store.add(some(3, seed=seed))
    assert len(shards(store)) < 40
    assert store.find(written) == written


@pytest.mark.parametrize("broken", [float("nan"), float("-inf")])
def test_what_is_not_finite_is_not_kept(store: ReferenceStore, broken: float) -> None:
    name = key([1], [2])
    store.add({name: Entry(broken, 1)})
    assert store.find([name]) == {}


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_another_form(path: Path) -> None:
    path.write_text("not what it says")


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, empty, of_another_form])
def test_a_damaged_file_is_told_once_and_never_served(
    store: ReferenceStore, capfd: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    sound, spoilt = some(5, seed=1), some(5, seed=2)
    store.add(sound)
    (before,) = shards(store)
    store.add(spoilt)
    (damaged,) = set(shards(store)) - {before}
    damage(damaged)
    assert store.find([*sound, *spoilt]) == sound
    assert store.find([*sound, *spoilt]) == sound
    said = capfd.readouterr().err
    assert said.count("is damaged: what was in it is computed again") == 1
    assert str(damaged) in said
    store.add(spoilt)
    assert store.find([*sound, *spoilt]) == sound | spoilt
    assert capfd.readouterr().err == ""


def test_a_file_under_a_name_that_is_not_its_own_is_not_served(store: ReferenceStore) -> None:
    """As after a restore that mixed up names: the content is sound, and may be another reference's."""
    store.add(some(5))
    (path,) = shards(store)
    path.rename(path.with_name(f"{'0' * 64}.safetensors"))
    assert store.find(some(5)) == {}


def in_the_way(root: Path) -> None:
    root.write_text("a file where the folder would be")


def a_folder_in_the_way(root: Path) -> None:
    """The store's own folder is a link to nowhere."""
    root.mkdir()
    ReferenceStore(root, IDENTITY).folder.symlink_to(root / "nowhere" / "at all")


@pytest.mark.parametrize("hinder", [in_the_way, a_folder_in_the_way])
def test_where_nothing_can_be_written_that_is_told_once_and_no_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], hinder: Callable[[Path], None]
) -> None:
    root = tmp_path / "reference"
    hinder(root)
    store = ReferenceStore(root, IDENTITY)
    for seed in range(3):
        assert store.find(some(2, seed=seed)) == {}
        store.add(some(2, seed=seed))
    assert capfd.readouterr().err.count("the run goes on without") == 1


def test_a_full_disk_is_told_once_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """As the file system would say it: no file may grow beyond 4 KiB."""
    script = """
import resource, signal, sys
from pathlib import Path
from trainers.reference_store import Entry, ReferenceStore, key
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = ReferenceStore(Path(sys.argv[1]), {})
store.add({key([1], [1]): Entry(-1.0, 1)})
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for turn in range(2):
    store.add({key([turn], [place]): Entry(-2.0, 1) for place in range(1000)})
found = store.find([key([1], [1]), key([0], [5])])
assert found == {key([1], [1]): Entry(-1.0, 1)}, found
print(*(path.name for path in store.folder.iterdir()))
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr.count("cannot be written (File too large): the run goes on without") == 1
    assert len(done.stdout.split()) == 2, "one file of entries, and identity.json"


def test_a_writer_killed_before_its_file_has_its_name_leaves_what_was_there(store: ReferenceStore) -> None:
    """What it has left behind is deleted once nobody can be writing it any more."""
    entries = some(5)
    store.add(entries)
    left = store.folder / f".{'ab' * 32}.safetensors.0123456789ab.part"
    left.write_bytes(shards(store)[0].read_bytes()[:50])
    assert store.find(entries) == entries
    store.add(some(5, seed=1))
    assert left.exists()
    yesterday = time.time() - 2 * 24 * 3600
    os.utime(left, (yesterday, yesterday))
    store.add(some(5, seed=2))
    assert not left.exists()


def started(root: Path, repository: Path, writer: int, times: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(root), str(writer), str(times)]
    return subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True)


def written(writers: range, turns: Mapping[int, int]) -> dict[Key, Entry]:
    entries: dict[Key, Entry] = {}
    for writer in writers:
        for turn in range(turns[writer]):
            entries |= {key([turn], [place]): Entry(-0.5 * place, 1) for place in range(20)}
            entries |= {key([writer, turn], [place]): Entry(-1.0 - writer, 2) for place in range(20)}
    return entries


@pytest.mark.slow
def test_many_writers_at_once_lose_nothing_while_others_read(
    tmp_path: Path, repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each writes 40 times, so that files are put together by several of them at the same time."""
    writers = [started(tmp_path, repository, number, 40) for number in range(6)]
    store = ReferenceStore(tmp_path, IDENTITY)
    first = written(range(1), {0: 1})
    seen = 0
    while any(writer.poll() is None for writer in writers):
        found = store.find(first)
        assert set(found) <= set(first)
        assert len(found) in (0, 20, 40), "whole files, or none"
        assert len(found) >= seen, "what was there once stays there"
        seen = len(found)
    assert [writer.wait() for writer in writers] == [0] * 6
    everything = written(range(6), dict.fromkeys(range(6), 40))
    assert store.find(everything) == everything
    assert len(shards(store)) < 64
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_writers_killed_at_any_moment_lose_no_more_than_they_were_writing(
    tmp_path: Path, repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = {}
    for number in range(6):
        writer = started(tmp_path, repository, number, 10_000)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05 + 0.07 * number)
        writer.send_signal(signal.SIGKILL)
        done[number] = 1 + len(writer.stdout.read().split())
        writer.wait()
    everything = written(range(6), done)
    assert ReferenceStore(tmp_path, IDENTITY).find(everything) == everything
    assert capfd.readouterr().err == ""


def test_a_hundred_thousand_entries_are_found_again(store: ReferenceStore) -> None:
    for seed in range(10):
        store.add(some(10_000, seed=seed))
    assert len(store.find([name for seed in range(10) for name in some(10_000, seed=seed)])) == 100_000


def test_what_is_kept_may_be_read_by_others_of_the_group(store: ReferenceStore) -> None:
    """A cache that is shared by people is no use where each can read their own files only."""
    before = os.umask(0o022)
    try:
        store.add(some(1))
    finally:
        os.umask(before)
    assert all(path.stat().st_mode & stat.S_IRGRP for path in store.folder.iterdir())
