"""What a study is called and where it would lie."""

from pathlib import Path

from orchestrator.study_name import no_room


def test_a_disk_without_room_is_refused(tmp_path: Path):
    """So many runs that their least need is beyond any disk: 2 MiB each."""
    (fault,) = no_room(tmp_path / "new", 1 << 60)
    assert "MiB left" in fault


def test_a_folder_that_is_not_there_yet_is_sound_where_it_could_be_made(tmp_path: Path):
    assert not list(no_room(tmp_path / "new" / "newer", 1))
