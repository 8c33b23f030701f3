"""What is written down of the presets' models, against what the presets say, and what a plan then knows of them."""

from pathlib import Path

import pytest
import yaml

from trainers.known_models import CONFIGS
from trainers.parameters import config_at, from_config


def preset(repository: Path, name: str) -> dict[str, object]:
    values = yaml.safe_load((repository / "conf" / "model" / f"{name}.yaml").read_text())
    return dict(values.get("model", values))


PRESETS = ["llama3-70b", "llama3-8b", "llama3-8b-instruct", "mistral7b", "mistral7b-instruct", "mistral7b-sft",
           "opt-125m", "opt-350m", "opt-1.3b", "phi-2", "qwen2-1.5b", "tulu2-7b"]  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_sizes_make_the_parameters_that_the_preset_has(repository: Path, name: str) -> None:
    model = preset(repository, name)
    known = config_at(str(model["path"]), None)
    assert known is not None
    assert from_config(known) == pytest.approx(float(str(model["parameters_b"])) * 1e9, rel=0.005)
    assert ("quantization_config" in known) == model.get("prequantized", False)


def test_every_preset_that_names_its_parameters_is_known(repository: Path) -> None:
    models = [preset(repository, file.stem) for file in (repository / "conf" / "model").glob("*.yaml")]
    assert {model["path"] for model in models if model.get("parameters_b")} == set(CONFIGS)
