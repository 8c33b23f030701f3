"""What an evaluation leaves in its folder."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fakes.examined import examined_config
from trainers.evaluation.examine import Findings
from trainers.evaluation.folder import write
from trainers.evaluation.of_policy import Final
from trainers.spec import EvaluationFolder

PAIRS = pa.table({"pair": ["0" * 16], "chosen_logp": pa.array([-1.0], pa.float32())})
ROW: dict[str, Any] = {"prompt": "0" * 16, "text": "\x1b[31m<script>\u2028é\n", "kl": None}


def found(**changes: Any) -> Findings:
    return Findings(
        **{"metrics": {}, "answers": [ROW, ROW], "tokens": {"eos": {"token": "é\x00"}}, "degenerate": "kl"} | changes
    )


def test_all_of_it_is_there_and_all_is_ascii(tmp_path: Path) -> None:
    place = EvaluationFolder(tmp_path / "run" / "evaluation")
    metrics = {"eval/kl": 1.5, "eval/kl_se": math.nan}
    write(place, examined_config(), Final(metrics, PAIRS, found()), {"torch": "1"})
    assert pq.read_table(place.pairs).to_pydict() == PAIRS.to_pydict()
    assert [json.loads(line) for line in place.answers.read_text().splitlines()] == [ROW, ROW]
    assert json.loads(place.tokens.read_text()) == {"eos": {"token": "é\x00"}}
    for path in (place.answers, place.tokens, place.metrics):
        assert path.read_bytes().isascii()
        assert b"\x1b" not in path.read_bytes()
    told = json.loads(place.metrics.read_text())
    assert told["metrics"] == {"eval/kl": 1.5, "eval/kl_se": None}
    assert (told["degenerate"], told["policy"], told["versions"]) == ("kl", "final", {"torch": "1"})
    assert told["settings"]["samples"] == 8


def test_what_an_earlier_evaluation_left_and_this_one_has_not_goes(tmp_path: Path) -> None:
    place = EvaluationFolder(tmp_path)
    write(place, examined_config(), Final({}, PAIRS, found()), {})
    write(place, examined_config(), Final({"eval/pairs": 1.0}), {}, "checkpoint-4")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert json.loads(place.metrics.read_text())["policy"] == "checkpoint-4"


def test_a_folder_that_could_not_be_written_to_its_end_does_not_count(tmp_path: Path) -> None:
    place = EvaluationFolder(tmp_path)
    write(place, examined_config(), Final({}, PAIRS, found()), {})
    place.tokens.unlink()
    place.tokens.mkdir()
    with pytest.raises(IsADirectoryError):
        write(place, examined_config(), Final({}, PAIRS, found()), {})
    assert not place.metrics.exists()
