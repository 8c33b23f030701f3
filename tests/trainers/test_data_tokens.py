"""Token ids of pairs, worked out by hand with the byte-level tokenizer: byte b has id b, the end of sequence is 257."""

import pytest

from trainers.data import Answer, Pair, tokenise, tokenise_answers
from trainers.errors import InvalidInput
from trainers.world_build import EOS_ID, _new_tokenizer

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer():
    return _new_tokenizer()


def test_text_answers_end_in_the_end_of_sequence(tokenizer):
    (found,) = tokenise([Pair("ab:", "yes", "no")], tokenizer, 64)
    assert (found.prompt_ids, found.truncated) == ([97, 98, 58], False)
    assert (found.chosen_ids, found.rejected_ids) == ([121, 101, 115, EOS_ID], [110, 111, EOS_ID])


def test_an_end_of_sequence_already_there_is_not_doubled(tokenizer):
    (found,) = tokenise([Pair("a", "b" + tokenizer.eos_token, "c")], tokenizer, 64)
    assert found.chosen_ids == [98, EOS_ID]


def test_what_is_too_long_is_cut_at_the_end_of_the_answer(tokenizer):
    (found,) = tokenise([Pair("abcd", "efghij", "k")], tokenizer, 8)
    assert (bytes(found.prompt_ids), bytes(found.chosen_ids)) == (b"abcd", b"efgh")
    assert (found.rejected_ids, found.truncated) == ([107, EOS_ID], True)


@pytest.mark.parametrize("length", [8, 9, 20])
def test_a_prompt_that_fills_max_length_keeps_its_end_and_leaves_room(tokenizer, length):
    prompt = "".join(chr(97 + n % 26) for n in range(50))
    (found,) = tokenise([Pair(prompt, "x" * 30, "y")], tokenizer, length)
    assert prompt.endswith(bytes(found.prompt_ids).decode())
    assert len(found.prompt_ids) + len(found.chosen_ids) == length
    assert len(found.chosen_ids) == length // 2


def test_a_short_answer_to_a_long_prompt_is_kept_whole(tokenizer):
    (found,) = tokenise([Pair("p" * 50, "ab", "c")], tokenizer, 20)
    assert (found.chosen_ids, len(found.prompt_ids)) == ([97, 98, EOS_ID], 17)


@pytest.mark.parametrize("length", [8, 12, 20, 64])
@pytest.mark.parametrize("prompt", ["ab:", "p" * 15, "p" * 50])
def test_an_answer_by_itself_has_the_tokens_that_it_has_beside_a_shorter_one(tokenizer, prompt, length):
    (alone,) = tokenise_answers([Answer(prompt, "yes, yes", desirable=False)], tokenizer, length)
    (beside,) = tokenise([Pair(prompt, "yes, yes", "no")], tokenizer, length)
    assert (alone.prompt_ids, alone.answer_ids) == (beside.prompt_ids, beside.chosen_ids)
    assert (alone.truncated, alone.desirable) == (beside.truncated, False)


def test_text_is_byte_exact(tokenizer):
    text = "h\u00e9llo\0 \U0001f600\r\n\t  x\x1b[31m"
    (found,) = tokenise([Pair(text, text, "n")], tokenizer, 512)
    assert bytes(found.prompt_ids) == text.encode() == bytes(found.chosen_ids[:-1])
    assert tokenizer.decode(found.prompt_ids) == text


def test_chat_messages_without_a_template_are_refused():
    tokenizer = _new_tokenizer()
    tokenizer.chat_template = None
    asked, answer = ({"role": "user", "content": "q"},), ({"role": "assistant", "content": "a"},)
    with pytest.raises(InvalidInput, match=r"model\.chat_template=FILE"):
        tokenise([Pair(asked, answer, answer)], tokenizer, 64)


def test_the_built_in_model_has_a_template_of_plain_roles(tokenizer):
    asked, answer = ({"role": "user", "content": "q"},), ({"role": "assistant", "content": "yes"},)
    (found,) = tokenise([Pair(asked, answer, ({"role": "assistant", "content": "no"},))], tokenizer, 64)
    assert bytes(found.prompt_ids) == b"user: q\nassistant: "
    assert found.chosen_ids == [*b"yes", EOS_ID, *b"\n"]


def test_chat_messages_go_through_the_template():
    tokenizer = _new_tokenizer()
    tokenizer.chat_template = TEMPLATE
    asked = ({"role": "user", "content": "q"},)
    first, second = (({"role": "assistant", "content": text},) for text in ("yes", "no"))
    (found,) = tokenise([Pair(asked, first, second)], tokenizer, 64)
    assert bytes(found.prompt_ids) == b"<user>q\n<assistant>"
    assert (bytes(found.chosen_ids), bytes(found.rejected_ids)) == (b"yes\n", b"no\n")
