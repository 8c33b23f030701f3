"""Which checkpoints count, in folders without a model."""

from pathlib import Path

from trainers import checkpoints


def checkpoint(root: Path, step: int, *, whole: bool = True) -> Path:
    folder = root / f"checkpoint-{step}"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "weights").write_bytes(b"0")
    if whole:
        checkpoints.mark_whole(folder)
    return folder


def test_without_a_folder_there_is_none_to_go_on_from(tmp_path: Path) -> None:
    checkpoints.drop_halves(tmp_path / "checkpoints")
    assert checkpoints.newest_whole(tmp_path / "checkpoints") is None


def test_the_newest_is_that_of_the_most_steps_not_of_the_last_letter(tmp_path: Path) -> None:
    newest = checkpoint(tmp_path, 100)
    checkpoint(tmp_path, 50)
    checkpoint(tmp_path, 9)
    assert checkpoints.newest_whole(tmp_path) == newest


def test_a_half_written_one_does_not_count_and_is_deleted(tmp_path: Path) -> None:
    whole, half = checkpoint(tmp_path, 50), checkpoint(tmp_path, 100, whole=False)
    assert checkpoints.newest_whole(tmp_path) == whole
    checkpoints.drop_halves(tmp_path)
    assert whole.exists()
    assert not half.exists()


def test_the_oldest_go_and_so_many_stay(tmp_path: Path) -> None:
    for step in (2, 10, 4, 8):
        checkpoint(tmp_path, step)
    checkpoints.drop_oldest(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-8"]


def test_what_is_no_checkpoint_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    checkpoint(tmp_path, 1, whole=False)
    checkpoints.drop_halves(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
