"""What the controller finds in answers one by one before anything is trained, method by method."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.answers import section
from tests.fakes.tiny_runs import run_config
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.data import AnswersReport, advice, inspect
from trainers.errors import InvalidInput
from trainers.methods import METHODS

PAIRED = [name for name, method in METHODS.items() if method.data_format == "pairs"]


def config(folder: Path, good: int, bad: int, method: str = "kto", prompt: Any = "Q{}?", **changes: Any) -> RunConfig:
    """A run on so many answers, all of them "yes", and on two held-out pairs."""
    rows = [
        {"prompt": prompt.format(n) if isinstance(prompt, str) else prompt, "completion": "yes", "label": n < good}
        for n in range(good + bad)
    ]
    pairs = [{"prompt": f"held out {n}", "chosen": "a", "rejected": "b"} for n in range(2)]
    reference = {"kind": "moving", "mixup": 0.5, "sync_steps": 1} if METHODS[method].reference == "moving" else None
    given = {"reference": reference} if reference else {}
    return check(run_config(method, data=section(folder, rows, pairs), **given, **changes))


def found(made: RunConfig) -> AnswersReport:
    report = inspect(made)
    assert isinstance(report, AnswersReport)
    return report


def faults(made: RunConfig) -> str:
    with pytest.raises(InvalidInput) as caught:
        inspect(made)
    return "\n".join(caught.value.faults)


@pytest.mark.parametrize("method", PAIRED)
def test_a_method_that_learns_from_pairs_is_refused(tmp_path, method):
    with pytest.raises(InvalidInput) as caught:
        config(tmp_path, 10, 10, method)
    assert caught.value.faults == (
        f"method={method} learns from pairs, but data=unpaired has answers one by one: "
        "use method=kto or sft, or data with pairs",
    )


@pytest.mark.parametrize(
    ("method", "does"), [("reward", "learns from pairs"), ("backtranslation", "makes its own data of pairs")]
)
def test_a_method_that_makes_something_else_of_pairs_is_refused_in_its_own_words(tmp_path, method, does):
    with pytest.raises(InvalidInput) as caught:
        config(tmp_path, 10, 10, method)
    assert caught.value.faults == (
        f"method={method} {does}, but data=unpaired has answers one by one: use data with pairs",
    )


def test_answers_of_both_kinds_are_sound(tmp_path):
    report = found(config(tmp_path, 10, 9))
    assert (report.desirable, report.undesirable, report.heldout.heldout_pairs) == (10, 9, 2)


@pytest.mark.parametrize(("good", "bad", "kind"), [(20, 0, "desirable"), (0, 20, "undesirable")])
def test_kto_is_refused_answers_of_one_kind(tmp_path, good, bad, kind):
    told = faults(config(tmp_path, good, bad))
    assert f"all 20 answers are {kind}: method=kto raises good answers and lowers bad ones" in told
    assert ("use method=sft" in told) == (kind == "desirable")


def test_a_file_sorted_by_label_that_is_cut_says_what_cut_it(tmp_path):
    told = faults(config(tmp_path, 20, 20, data__max_train_samples=20))
    assert "data.max_train_samples keeps the file's first ones" in told


def test_sft_takes_good_answers_alone_and_no_bad_ones_alone(tmp_path):
    assert found(config(tmp_path, 20, 0, "sft")).desirable == 20
    assert "none of 20 answers is desirable" in faults(config(tmp_path, 0, 20, "sft"))


def test_a_batch_of_kto_is_two_answers_for_a_pair(tmp_path):
    """Four pairs, twice: sixteen answers."""
    found(config(tmp_path, 8, 8, training__gradient_accumulation=2))
    told = faults(config(tmp_path, 8, 7, training__gradient_accumulation=2))
    assert "15 answers do not fill one batch of 16" in told
    assert "x training.gradient_accumulation=2, two answers for a pair)" in told


def test_a_batch_of_sft_is_filled_by_the_good_answers(tmp_path):
    found(config(tmp_path, 4, 0, "sft"))
    assert "3 desirable answers do not fill one batch of 4" in faults(config(tmp_path, 3, 9, "sft"))


def test_cut_answers_and_pairs_are_counted_in_bytes_for_the_built_in_model(tmp_path):
    """Q7?yes and the end of sequence are 7 tokens, Q10?yes 8; the held-out pairs are longer than both."""
    report = found(config(tmp_path, 10, 5, prompt="Qa{}?", training__max_length=8))
    assert report.lengths is not None
    assert (report.lengths.truncated, report.heldout.truncated) == (5, 2)


def test_chat_messages_for_a_model_without_template_are_told(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text("{}")
    asked = [{"role": "user", "content": "q"}]
    told = faults(config(tmp_path, 10, 10, prompt=asked, model__path=str(tmp_path)))
    assert "model.chat_template=FILE" in told


def test_a_file_that_changed_is_read_again(tmp_path):
    assert [found(config(tmp_path, good, 10)).desirable for good in (10, 12)] == [10, 12]


def test_weights_that_do_not_make_up_for_the_ratio_are_advised_against(tmp_path):
    assert advice(config(tmp_path, 10, 10)) == []
    assert "method.undesirable_weight" in advice(config(tmp_path, 30, 10))[0]


def test_looking_imports_nothing_heavy(tmp_path):
    data = config(tmp_path, 10, 10).data.model_dump()
    code = (
        "import sys; from trainers.data import load_answers; from trainers.data_config import Unpaired;"
        f"load_answers(Unpaired(**{data!r}));"
        "print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
