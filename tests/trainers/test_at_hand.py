"""Whether what a run reads is there: models, templates, reference and reward models."""

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.tiny_runs import method, run_config
from trainers.at_hand import missing
from trainers.config import RunConfig
from trainers.config_check import check


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"path": "builtin:huge"}, "not built in; there is builtin:tiny"),
        ({"path": "/no/such/folder"}, "there is no such folder"),
        ({"path": "nobody/such-model"}, "HF_HUB_OFFLINE is set"),
        ({"path": "/"}, "no folder with a config.json"),
        ({"chat_template": "none.jinja"}, "model.chat_template=none.jinja: there is no such file"),
    ],
)
def test_a_model_that_cannot_be_had_is_told(changes: dict[str, Any], told: str) -> None:
    faults = missing(check(run_config(**{f"model__{key}": value for key, value in changes.items()})))
    assert [told in fault for fault in faults] == [True]


def test_the_folder_of_a_reward_run_is_told_with_what_it_trained(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "spec.json").write_text("{}")
    (told,) = missing(rated_by(tmp_path))
    assert told.endswith(f"that is a run's folder: give what it trained, {tmp_path / 'adapter'}")


def test_an_adapter_of_a_model_that_writes_is_no_reward_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"task_type": "CAUSAL_LM"}')
    (told,) = missing(rated_by(tmp_path))
    assert "not of one that rates" in told


def rated_by(folder: Path) -> RunConfig:
    return check(run_config("rso", method=method("rso", reward_model=str(folder))))
