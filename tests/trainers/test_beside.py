"""Models beside the policy: which are loaded, and how large they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.shapes import HEAD, LINEAR, PARAMETERS, model_folder
from tests.fakes.tiny_runs import method, run_config
from trainers import beside
from trainers.beside import rater, references
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.holdings import NF4_DOUBLE_BYTES, shape_of

# Of ten layers.
LARGER = 10 * LINEAR + 2 * HEAD + (2 * 10 + 1) * 8
IN_4_BITS = {"quantization_config": {"load_in_4bit": True}}


@pytest.fixture
def config(tmp_path: Path) -> Any:
    def build(name: str = "dpo", settings: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
        changed = {"model__path": model_folder(tmp_path / "policy"), **changes}
        return check(run_config(name, **{"method": method(name, **(settings or {})), **changed}))

    return build


def of_references(config: RunConfig, *, policy: bool = True) -> list[int]:
    own = shape_of(config)
    assert own is not None
    return [model.bytes for model in references(config, own, gpu=False, policy=policy)]


def of_rater(config: RunConfig) -> int | None:
    own = shape_of(config)
    assert own is not None
    found = rater(config, own, gpu=False)
    return None if found is None else found.bytes


def test_the_policys_start_needs_no_loading_beside_the_policy(config: Any) -> None:
    assert of_references(config()) == []
    assert of_references(config(), policy=False) == [PARAMETERS * 4]


def test_a_mixture_loads_its_models_one_after_the_other(config: Any, tmp_path: Path) -> None:
    first, second = (model_folder(tmp_path / name, num_hidden_layers=10) for name in ("first", "second"))
    mixed = {"kind": "mixture", "first": first, "second": second, "weight": 0.5}
    assert of_references(config(reference=mixed)) == [LARGER * 4, LARGER * 4]
    assert of_references(config(reference={**mixed, "first": "self"})) == [LARGER * 4]


def test_an_adapter_is_a_second_copy_of_the_runs_model(config: Any, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(bytes(100))
    assert of_references(config(reference={"kind": "adapter", "path": str(folder)})) == [PARAMETERS * 4 + 100]


def test_a_reference_may_be_in_4_bits_where_the_policy_is_not(config: Any, tmp_path: Path) -> None:
    """By the run's settings, or because it is stored so."""
    rest = LARGER - 10 * LINEAR
    packed = int(10 * LINEAR * NF4_DOUBLE_BYTES + rest * 4)
    larger = model_folder(tmp_path / "larger", num_hidden_layers=10)
    asked = {"kind": "model", "path": larger, "revision": None, "quantization": "nf4"}
    assert of_references(config(reference=asked)) == [pytest.approx(packed, abs=1)]
    stored = model_folder(tmp_path / "stored", num_hidden_layers=10, **IN_4_BITS)
    plain = {"kind": "model", "path": stored, "revision": None}
    assert of_references(config(reference=plain)) == [pytest.approx(packed, abs=1)]


def test_a_reward_model_has_no_head_and_the_policys_dtype(config: Any, tmp_path: Path) -> None:
    larger = model_folder(tmp_path / "larger", num_hidden_layers=10)
    assert of_rater(config("rso", {"reward_model": larger})) == (LARGER - HEAD) * 4
    assert of_rater(config("rso", {"reward_model": larger}, model__dtype="bfloat16")) == (LARGER - HEAD) * 2


def test_an_adapter_that_rates_brings_its_base(config: Any, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    base = model_folder(tmp_path / "base", num_hidden_layers=10)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "task_type": "SEQ_CLS"}))
    assert of_rater(config("rso", {"reward_model": str(folder)})) == (LARGER - HEAD) * 4


def test_what_is_not_known_of_is_taken_for_as_large_as_the_policy(config: Any) -> None:
    assert of_rater(config("rso", {"reward_model": "owner/rm"})) == (PARAMETERS - HEAD) * 4
    other = {"kind": "model", "path": "owner/other", "revision": None}
    assert of_references(config(reference=other)) == [PARAMETERS * 4]


def test_who_knows_the_reward_or_asks_a_judge_loads_nothing(config: Any) -> None:
    assert of_rater(config("rso", {"reward_model": "builtin:gold"})) is None
    assert of_rater(config()) is None


def test_who_rates_the_trained_policys_answers_is_loaded_for_that(config: Any, tmp_path: Path) -> None:
    larger = model_folder(tmp_path / "larger", num_hidden_layers=10)
    asked = config(evaluation__samples=8, evaluation__reward_model=larger)
    own = shape_of(asked)
    assert own is not None
    model = beside.evaluator(asked, own, gpu=False)
    assert model is not None
    assert model.bytes == (LARGER - HEAD) * 4
    assert beside.rater(asked, own, gpu=False) is None
    nobody = config(evaluation__samples=0)
    assert beside.evaluator(nobody, own, gpu=False) is None


def test_an_opponent_of_another_model_is_loaded(config: Any, tmp_path: Path) -> None:
    larger = model_folder(tmp_path / "larger", num_hidden_layers=10)
    asked = config(evaluation__samples=8, evaluation__opponent=larger)
    own = shape_of(asked)
    assert own is not None
    assert [model.bytes for model in beside.opponents(asked, own, gpu=False)] == [LARGER * 4]
    assert beside.opponents(config(evaluation__samples=8), own, gpu=False) == []
