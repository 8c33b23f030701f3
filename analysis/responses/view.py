"""Shows answers side by side: on a terminal, as Markdown, JSON or HTML. What policies wrote is shown, never obeyed."""

import dataclasses
import json
from collections.abc import Sequence

from rich import box
from rich.columns import Columns
from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from analysis.ranking.view import tell
from analysis.responses.answers import Prompt, Response, Responses
from analysis.texts import fenced, for_html, for_markdown, visible, visible_line

# Columns of a terminal that an answer needs to be read beside another.
_NARROWEST = 36


def show(found: Responses, console: Console) -> None:
    """The prompt, then the answers in boxes beside each other as far as there is room."""
    for prompt in found.prompts:
        console.print(Panel(Text(visible(prompt.text)), title=Text(f"prompt {prompt.number}"), title_align="left",
                            box=box.SQUARE))  # fmt: skip
        across = max(1, min(len(prompt.responses), console.width // _NARROWEST))
        width = console.width // across - 1
        boxes = [_box(response, width) for response in prompt.responses]
        console.print(Columns(boxes, width=width, padding=(0, 1), expand=False))
    for line in found.told:
        tell(console, line)


def _box(response: Response, width: int) -> Panel:
    said = Text(visible(response.text) or "(empty)", "" if response.text else "dim")
    return Panel(
        Group(said, Text(visible_line(measures(response)), "italic cyan")),
        title=Text(visible_line(response.who), "bold"),
        width=width,
        box=box.ROUNDED,
    )


def measures(response: Response) -> str:
    """reward 1.40, 23 tokens, KL 7.1 nats, beats start."""
    told = [] if response.reward is None else [f"reward {response.reward:.2f}"]
    told += [] if response.tokens is None else ["1 token" if response.tokens == 1 else f"{response.tokens} tokens"]
    told += [] if response.kl is None else [f"KL {response.kl:.1f} nats"]
    if response.win is not None and response.against is not None:
        verb = {1.0: "beats", 0.5: "ties with", 0.0: "loses to"}.get(response.win)
        told.append(f"{verb} {response.against}" if verb else f"wins {response.win:g} against {response.against}")
    told += [] if response.degenerate is None else [f"degenerate: {response.degenerate}"]
    return ", ".join(told)


def markdown(found: Responses) -> str:
    """A section a prompt, each answer in a fenced block."""
    parts = []
    for prompt in found.prompts:
        parts += [f"## Prompt {prompt.number}", fenced(prompt.text)]
        for response in prompt.responses:
            told = measures(response)
            parts += [f"**{for_markdown(response.who)}**{f' ({for_markdown(told)})' if told else ''}",
                      fenced(response.text)]  # fmt: skip
    return "\n\n".join([*parts, *map(for_markdown, found.told)]) + "\n"


def as_json(found: Responses) -> str:
    """All of it, ASCII."""
    return json.dumps(dataclasses.asdict(found), indent=1, allow_nan=False) + "\n"


def html(found: Responses) -> str:
    """A <section> a prompt, a column an answer, to be put into a page."""
    parts = [_section(prompt) for prompt in found.prompts]
    return "\n".join([*parts, *(f"<p>{for_html(visible_line(line))}</p>" for line in found.told)]) + "\n"


def _section(prompt: Prompt) -> str:
    return "\n".join([
        "<section>",
        f"<h3>Prompt {prompt.number}</h3>",
        f'<pre style="white-space: pre-wrap">{for_html(prompt.text)}</pre>',
        '<div style="display: flex; flex-wrap: wrap; gap: 1em">',
        *_articles(prompt.responses),
        "</div>",
        "</section>",
    ])  # fmt: skip


def _articles(responses: Sequence[Response]) -> list[str]:
    return [
        f'<article style="flex: 1 1 20em"><h4>{for_html(visible_line(response.who))}</h4>'
        f'<pre style="white-space: pre-wrap">{for_html(response.text)}</pre>'
        f"<p>{for_html(visible_line(measures(response)))}</p></article>"
        for response in responses
    ]


FORMS = {"md": markdown, "json": as_json, "html": html}
