"""samples.jsonl: nothing is made twice, a line is whole or not there, and hostile text stays text."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.fakes.tiny_runs import run_config
from tests.fakes.untrained import untrained
from trainers.config_check import check
from trainers.distributed import ALONE
from trainers.errors import Stopped
from trainers.generate import Sampling
from trainers.models import Policy, load_policy
from trainers.samples import Asked, Group, Label, Sample, SampleFile, Sampler

pytestmark = pytest.mark.slow

HOSTILE = '\x1b[2J\u202e"}\n{"phase": "round-0"}\u2028\x00'


@pytest.fixture(scope="module")
def tiny(cache_dir: Path) -> Policy:
    return load_policy(check(run_config(model__path=str(untrained(cache_dir)))), cache_dir)


def group(number: int, text: str = " I see it.", phase: str = "round-0") -> Group:
    return Group(
        phase,
        number,
        Asked([65, number], "A"),
        [Sample([66, 257], text, -1.25, ended=True)],
        Label([0.5], {"judge_requests": 2.0}),
    )


def kept(path: Path, count: int = 9) -> dict[int, Group]:
    return SampleFile(path).groups("round-0", {number: Asked([65, number], "A") for number in range(count)})


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    SampleFile(path).add([group(0), group(3)], lambda _: "A")
    SampleFile(path).add([group(1), group(0, phase="round-1")], lambda _: "A")
    assert kept(path) == {number: group(number) for number in (0, 1, 3)}


def test_a_line_cut_short_is_no_line_and_the_next_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    SampleFile(path).add([group(0), group(1)], lambda _: "A")
    whole = path.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 30, len(whole) // 2 + 3):
        path.write_bytes(whole[:cut])
        assert set(kept(path)) == {0}
        SampleFile(path).add([group(1)], lambda _: "A")
        assert path.read_bytes() == whole


def test_answers_to_another_prompt_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    SampleFile(path).add([group(0)], lambda _: "A")
    assert SampleFile(path).groups("round-0", {0: Asked([99], "B")}) == {}


def test_hostile_text_is_escaped_and_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    SampleFile(path).add([group(0, HOSTILE)], lambda _: HOSTILE)
    raw = path.read_bytes()
    assert raw.count(b"\n") == 1
    assert all(32 <= byte < 127 or byte == 10 for byte in raw)
    assert json.loads(raw)["prompt"] == HOSTILE
    assert kept(path)[0].answers[0].text == HOSTILE


class Counting:
    """A labeller that counts what it labels: an answer's length is its reward."""

    def __init__(self) -> None:
        self.labelled = 0

    def __call__(self, asked: Sequence[Asked], answers: Sequence[Sequence[Sample]]) -> list[Label]:
        self.labelled += len(asked)
        return [Label([float(len(answer.ids)) for answer in own]) for own in answers]


def sampler(policy: Policy, path: Path, stop_after: int = 1000) -> Sampler:
    left = [stop_after]

    def heed() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stopped

    return Sampler(policy, Sampling(40, 1.0, 4), path, 0, 200, heed, ALONE)


def asked() -> Mapping[int, Asked]:
    texts = ["Recall the sea:", "Describe the river:", "Write about the train:", "Speak of the city:", "Recall it:"]
    return {number: Asked(list(text.encode()), text) for number, text in enumerate(texts)}


def test_a_stopped_sampler_goes_on_where_it_was_and_ends_the_same(tmp_path: Path, tiny: Policy) -> None:
    once, first, second = Counting(), Counting(), Counting()
    whole = sampler(tiny, tmp_path / "whole.jsonl").groups("round-0", asked(), 2, once)
    with pytest.raises(Stopped):
        sampler(tiny, tmp_path / "parts.jsonl", stop_after=2).groups("round-0", asked(), 2, first)
    parts = sampler(tiny, tmp_path / "parts.jsonl").groups("round-0", asked(), 2, second)
    assert parts == whole
    assert (once.labelled, first.labelled, second.labelled) == (5, 4, 1)
    assert (tmp_path / "parts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_phases_draw_different_answers(tmp_path: Path, tiny: Policy) -> None:
    made = sampler(tiny, tmp_path / "samples.jsonl")
    first = made.groups("round-0", asked(), 2, Counting(), salt=0)
    second = made.groups("round-1", asked(), 2, Counting(), salt=1)
    assert [group.answers for group in first] != [group.answers for group in second]
