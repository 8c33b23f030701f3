"""How things are said to people: lengths of time, the time, and text of unknown origin on one line."""

import time


def one_line(text: str, limit: int = 300) -> str:
    """Text of unknown origin on one line, without control characters, cut at `limit`."""
    flat = "".join(ch if ch.isprintable() else " " for ch in text)
    flat = " ".join(flat.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def duration(seconds: float) -> str:
    """Seconds as people say them: 6.1 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def clock() -> str:
    """The time now, for logs: local, with its offset."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def count(number: float, what: str) -> str:
    """1 run, 2 runs, 0.5 epochs."""
    return f"{number:g} {what}" if number == 1 else f"{number:,g} {what}s".replace(",", "")


def short(value: object) -> str:
    """A value of a swept key: 0.01240897 of what a search drew, and all that a person would write as it stands."""
    if isinstance(value, float) and value == value and len(repr(value)) > 9:
        return f"{value:.4g}"
    return str(value)
