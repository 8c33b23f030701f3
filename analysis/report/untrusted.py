r"""Text of unknown origin, made visible: what would steer a screen or hide itself is spelled out.

"abc\x00\u202etxt" -> "abc␀⟨U+202E⟩txt"

Markup is no concern here: pages put text in by `textContent` or escape it, and figures draw it as it is.
"""

import re
import shlex
import unicodedata

_KEPT = "\n\t"
# Joiners that scripts and emoji need, although they are format characters.
_JOINERS = "\u200c\u200d"
_CONTROL_PICTURES = 0x2400
_SUSPECT = re.compile(r"[^\x20-\x7e\n]")


def visible(text: str, limit: int | None = None) -> str:
    """The text with controls, bidirectional overrides, separators and the like as signs; cut at `limit` characters."""
    left_out = len(text) - limit if limit is not None else 0
    if left_out > 0:
        text = text[:limit]
    shown = _SUSPECT.sub(lambda found: _sign(found.group()), text)
    return f"{shown} … ({left_out:,} characters more)" if left_out > 0 else shown


def visible_token(token: str, limit: int = 60) -> str:
    """A vocabulary item, in which spaces, tabs and line ends can be seen as well."""
    shown = visible(token[: limit + 1].replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥"))
    return (shown if len(token) <= limit else f"{shown[:limit]}…") or "(empty)"


def one_line(text: str, limit: int) -> str:
    """The same on one line, for labels: what else is white becomes a space, and what is too much an ellipsis."""
    flat = visible(" ".join(text[: 4 * limit].split()))
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"


def shell_word(word: str) -> str:
    """A word as a shell reads it back, in printable characters alone: bash's $'...' where others are in it."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(ch if ch.isprintable() else _escape(ch) for ch in escaped) + "'"


def _escape(ch: str) -> str:
    code = ord(ch)
    if 0xD800 <= code < 0xE000:
        return "\\uFFFD"  # half a character: no shell has it
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _sign(ch: str) -> str:
    code = ord(ch)
    if ch in _KEPT or ch in _JOINERS:
        return ch
    if code < 0x20:
        return chr(_CONTROL_PICTURES + code)
    if code == 0x7F:
        return "␡"
    # Cc, Cf, Cs, Cn (not assigned, and non-characters), Zl and Zp; private use is what odd fonts draw.
    if unicodedata.category(ch) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp", "Co"):
        return f"⟨U+{code:04X}⟩"
    return ch
