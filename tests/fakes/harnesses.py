"""What other harnesses are asked in tests: a task of a few questions, an annotator that prefers long answers."""

import json
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.judge_server import Said

_TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: gold
doc_to_choice: "{{{{choices}}}}"
target_delimiter: ""
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
"""
_ANNOTATOR = """\
longer:
  prompt_template: longer/prompt.txt
  fn_completions: openai_completions
  completions_kwargs:
    model_name: gpt-4-judge
    max_tokens: 5
    temperature: 0
    price_per_token: 0.0
  fn_completion_parser: regex_parser
  completion_parser_kwargs:
    outputs_to_match:
      1: first
      2: second
  batch_size: 1
"""
_PROMPT = """\
<|im_start|>user
{instruction}
=====
{output_1}
=====
{output_2}
<|im_end|>
"""


def needs(package: str) -> pytest.MarkDecorator:
    """Skips where it is not installed, unless it must be: then its tests fail."""
    missing = find_spec(package) is None and not os.environ.get("PREFSWEEP_EVAL_REQUIRED")
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: pip install -e '.[eval]'")


def write_task(folder: Path, questions: Sequence[dict[str, Any]], name: str = "few_choices") -> Path:
    """A task of questions {"question", "choices", "gold"}, for `evaluation.lm_eval.include_path`."""
    folder.mkdir(exist_ok=True)
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(question) + "\n" for question in questions))
    (folder / f"{name}.yaml").write_text(_TASK.format(name=name, data=data))
    return folder


def write_annotator(folder: Path) -> Path:
    """An annotator for `evaluation.alpaca_eval.annotators_config`: a folder, whose name alpaca_eval wants longer."""
    folder.mkdir()
    (folder / "configs.yaml").write_text(_ANNOTATOR)
    (folder / "prompt.txt").write_text(_PROMPT)
    return folder


def says_longer(body: dict[str, Any]) -> Said:
    """Replies as that annotator's parser reads them: which of two answers has more letters."""
    _, first, second = body["messages"][-1]["content"].split("=====")
    return "first" if len(first.strip()) > len(second.strip()) else "second"
