"""Built-in chat templates, as a tokenizer renders them."""

from pathlib import Path

import pytest

from trainers.chat_templates import TEMPLATES, named
from trainers.data import Pair, tokenise
from trainers.world_build import EOS_ID, _new_tokenizer

ASKED = ({"role": "user", "content": "q"},)


@pytest.mark.parametrize(
    ("name", "prompt", "answer"),
    [
        ("builtin:plain", b"user: q\nassistant: ", [*b"yes", EOS_ID, *b"\n"]),
        (
            "builtin:chatml",
            b"<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n",
            [*b"yes<|im_end|>", EOS_ID, *b"\n"],
        ),
    ],
)
def test_a_template_marks_who_speaks_and_ends_an_answer(name: str, prompt: bytes, answer: list[int]):
    tokenizer = _new_tokenizer()
    tokenizer.chat_template = TEMPLATES[name]
    yes, no = (({"role": "assistant", "content": text},) for text in ("yes", "no"))
    (found,) = tokenise([Pair(ASKED, yes, no)], tokenizer, 128)
    assert bytes(found.prompt_ids) == prompt
    assert found.chosen_ids == answer


def test_other_names_are_files():
    assert named("mine.jinja") is None


def test_base_models_among_the_presets_have_one(repository: Path):
    for name in ("mistral7b", "llama3-8b", "opt-350m", "phi-2"):
        assert "chat_template: builtin:chatml" in (repository / "conf" / "model" / f"{name}.yaml").read_text()
