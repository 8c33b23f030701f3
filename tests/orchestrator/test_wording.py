"""How things are said to people."""

import pytest

from orchestrator.wording import duration, one_line


@pytest.mark.parametrize(
    ("seconds", "told"), [(6.14, "6.1 s"), (59.9, "59.9 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_are_told_as_people_say_them(seconds: float, told: str):
    assert duration(seconds) == told


def test_text_of_unknown_origin_stays_on_one_line_without_control_characters():
    assert one_line("a\n\x1b[31mb\x00\tc") == "a [31mb c"
    assert len(one_line("x" * 1000)) == 300
