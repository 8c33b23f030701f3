"""Makes text of others harmless where it is shown: on a terminal, in Markdown, HTML, LaTeX and CSV.

What a policy writes, what runs and models are called, and what a file of published numbers holds may be anybody's.
"""

import html
import math
import re
import unicodedata

# Newlines and tabs are shown as they are; everything else that steers a terminal, or turns the direction of reading, or
# cannot be seen, is shown as its number.
_KEPT = "\n\t"
_STEERING = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "†": r"$^\dagger$", "√": r"$\sqrt{}$",
}  # fmt: skip
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|~$])")
# A spreadsheet reads a cell that begins so as a formula; the last four are the same as wide as a Chinese character.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", *(chr(0xFEE0 + ord(char)) for char in "=+-@"))


def visible(text: str) -> str:
    """Text without what steers a terminal: ESC becomes \\x1b, a right-to-left override \\u202e."""
    return "".join(char if char in _KEPT or not _steers(char) else _number(char) for char in text)


def visible_line(text: str) -> str:
    """The same on one line."""
    return " ".join(visible(text).split())


def _steers(char: str) -> bool:
    return unicodedata.category(char) in _STEERING


def _number(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def for_markdown(text: str) -> str:
    """Text on one line in which nothing is markup, in a table or outside."""
    return _MARKDOWN.sub(r"\\\1", html.escape(visible_line(text), quote=False))


def fenced(text: str) -> str:
    """Text as a block of Markdown, as it is: behind a fence that is longer than any in it."""
    shown = visible(text)
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shown}\n{fence}"


def for_html(text: str) -> str:
    """Text in which nothing is markup, between tags or in a quoted attribute."""
    return html.escape(visible(text), quote=True)


def for_latex(text: str) -> str:
    """Text in which nothing is a command."""
    return "".join(_LATEX.get(char, char) for char in visible_line(text))


def for_csv(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: what begins like one has an apostrophe before it.

    Numbers stay numbers, negative ones too.
    """
    if not text.startswith(_FORMULA):
        return text
    return text if _is_number(text) else f"'{text}"


def _is_number(text: str) -> bool:
    """What a spreadsheet takes for a plain number: digits, a point, an exponent, a sign."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return False
    return math.isfinite(float(text))
