"""Chat templates that are built in, for chat data with base models, whose tokenizers have none.

`named("builtin:plain")` -> a Jinja template, by which [user: "Hi"] with a prompt for an answer becomes
"user: Hi\\nassistant: ". ChatML's marks are ordinary text to a tokenizer that does not know them, so no embedding is
added; an answer ends in the tokenizer's own end of sequence.
"""

from collections.abc import Mapping

TEMPLATES: Mapping[str, str] = {
    "builtin:plain": (
        "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}"
        "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    ),
    "builtin:chatml": (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' }}"
        "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
}


def named(value: str) -> str | None:
    """The built-in template of that name, None where it is no such name (then it is a file's)."""
    return TEMPLATES.get(value)
