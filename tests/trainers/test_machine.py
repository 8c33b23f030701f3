"""What this machine offers, as far as this process may use it."""

import pytest

from trainers.machine import core_quota


@pytest.mark.parametrize(
    ("content", "cores"), [("150000 100000\n", [2]), ("50000 100000\n", [1]), ("max 100000\n", []), ("", [])]
)
def test_a_quota_of_cores_counts(tmp_path, content, cores):
    (tmp_path / "cpu.max").write_text(content)
    assert core_quota(tmp_path) == cores


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert core_quota(tmp_path) == []
