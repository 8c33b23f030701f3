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
    """An annotator for `evaluation.alpaca_eval.annotators_config`, in a folder `longer`, which it says itself."""
    folder.mkdir()
    (folder / "configs.yaml").write_text(_ANNOTATOR)
    (folder / "prompt.txt").write_text(_PROMPT)
    return folder


def says_longer(body: dict[str, Any]) -> Said:
    """Replies as that annotator's parser reads them: which of two answers has more letters."""
    _, first, second = body["messages"][-1]["content"].split("=====")
    return "first" if len(first.strip()) > len(second.strip()) else "second"


def write_difficulties(hub: Path, count: int) -> None:
    """A hub's cache with the file that alpaca_eval's length-controlled rate is fitted beside: so many prompts."""
    repository = hub / "datasets--tatsu-lab--alpaca_eval"
    snapshot = repository / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    lines = ["index,model,preference,std_delta_len,instruction_difficulty,not_gamed_baseline"]
    for gamed, shift in (("concise", -1.0), ("verbose", 1.0)):
        lines += [f"{n},{gamed},{(n % 5) / 4},{shift + n / count},{(n % 7) / 7 - 0.5},False" for n in range(count)]
    (snapshot / "df_gamed.csv").write_text("\n".join(lines) + "\n")
