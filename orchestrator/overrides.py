"""From the command line's words to overrides with one value and overrides that sweep, by Hydra's grammar.

    ["method=dpo,ipo", "beta=0.1"] -> fixed ["beta=0.1"], sweeps [method: dpo ipo]

Nothing is composed here: whether there is such a key, and what may stand there, is for `orchestrator.config`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from orchestrator.wording import one_line
from sweeps.dimensions import Choice, Dimension, Integer, Real
from sweeps.errors import SpaceError
from sweeps.types import Scalar
from trainers.nearest import did_you_mean

# Of an experiment.
SIZES = ("full", "small")


@dataclass(frozen=True)
class Sweep:
    """The values of one swept key: `texts` as Hydra's grammar writes them, `values` as the config will hold them.

    A continuous range has its two ends as values, and says what lies between as its `dimension`.
    """

    key: str
    texts: tuple[str, ...]
    values: tuple[Scalar, ...]
    # What a search may choose from, and how that was written: of a list its values, of a range all within its ends.
    dimension: Dimension | None = None
    written: str = ""

    def override(self, value: Scalar) -> str:
        """The override that sets the key to one of its values, or to one between them."""
        return f"{self.key}={self._text_of.get((type(value), value)) or text_of(value)}"

    @property
    def continuous(self) -> bool:
        """Whether there are values between those that are listed, so that no grid can have them all."""
        return self.dimension is not None and self.dimension.count is None

    def searched(self) -> Dimension:
        """What a search chooses from."""
        return self.dimension or Choice(self.values)

    @cached_property
    def _text_of(self) -> dict[tuple[type, Scalar], str]:
        # By type too: true is no 1.
        return {(type(value), value): text for value, text in zip(self.values, self.texts, strict=True)}

    def __str__(self) -> str:
        return f"{self.key}={self.written or ','.join(self.texts)}"


@dataclass(frozen=True)
class Parsed:
    """A command's overrides: those with one value, those that sweep, and what is wrong with the rest."""

    fixed: Sequence[str]
    sweeps: Sequence[Sweep]
    faults: Sequence[str]


class Grammar:
    """Hydra's grammar of overrides; what it has parsed it keeps."""

    def __init__(self, parser: OverridesParser) -> None:
        self._parser = parser
        self._known: dict[str, Override] = {}

    def override(self, text: str) -> Override:
        """Kept, because the same overrides come with each of ten thousand trials, and parsing is slow."""
        if text not in self._known:
            self._known[text] = self._parser.parse_overrides([text])[0]
        return self._known[text]

    def parse(self, overrides: Sequence[str]) -> Parsed:
        """Sort overrides into those with one value and those that sweep."""
        fixed: list[str] = []
        sweeps: list[Sweep] = []
        faults: list[str] = []
        for text in overrides:
            try:
                parsed = self.override(text)
                if not parsed.is_sweep_override():
                    fixed.append(text)
                elif parsed.is_discrete_sweep():
                    sweeps.append(_sweep(parsed))
                else:
                    sweeps.append(_interval(parsed))
            except SpaceError as error:
                faults += [f"{one_line(text)}: {fault}" for fault in error.faults]
            except (HydraException, ValueError) as error:
                faults.append(f"{one_line(repr(text))} is not an override of the form key=value: {_reason(error)}")
        faults += [f"{sweep.key}: sweeps over nothing: no value matches" for sweep in sweeps if not sweep.texts]
        faults += _given_twice([*(self.override(text).get_key_element() for text in fixed), *(s.key for s in sweeps)])
        return self._sized(Parsed(fixed, [sweep for sweep in sweeps if sweep.texts], faults))

    def _sized(self, parsed: Parsed) -> Parsed:
        """size=small +experiment=NAME is +experiment=small/NAME: no key could put other options in a file's place."""
        given = next((text for text in parsed.fixed if self.override(text).key_or_group == "size"), None)
        size = SIZES[0] if given is None else given.partition("=")[2]
        if size == SIZES[0]:
            return parsed
        names = [text for text in parsed.fixed if self.override(text).key_or_group == "experiment"]
        if size not in SIZES:
            known = f"an experiment has the sizes {' and '.join(SIZES)}"
            fault = f"size={one_line(size)}: no such size; {did_you_mean(size, SIZES)}{known}"
        elif not names:
            fault = f"size={size}: only an experiment has sizes: give one, +experiment=NAME"
        else:
            sized = names[0].replace("experiment=", f"experiment={size}/", 1)
            return replace(parsed, fixed=[sized if text == names[0] else text for text in parsed.fixed])
        # What is told here is left out, lest it be told again of the config.
        return replace(parsed, fixed=[text for text in parsed.fixed if text != given], faults=[*parsed.faults, fault])


def _reason(error: Exception) -> str:
    """A parser's complaint without its repetition of the input and its lists of tokens."""
    lines = [line for line in str(error).splitlines() if not line.startswith(("Error parsing override", "See http"))]
    return one_line(" ".join(lines).split(" expecting {")[0]) or "it does not parse"


def _sweep(override: Override) -> Sweep:
    texts = list(override.sweep_string_iterator())
    key = override.get_key_element()
    values = [OverridesParser.create().parse_overrides([f"{key}={text}"])[0].value() for text in texts]
    scalars = [v if isinstance(v, str | int | float | bool | None) else t for v, t in zip(values, texts, strict=True)]
    # Told apart by type too: true is no 1.
    unique = {(type(value) is bool, value): (value, text) for value, text in zip(scalars, texts, strict=True)}
    found = [value for value, _ in unique.values()]
    return Sweep(key, tuple(text for _, text in unique.values()), tuple(found), _stepped(override, found))


def _stepped(override: Override, values: Sequence[Scalar]) -> Dimension | None:
    """range(1,9,2) to a search: 1, 3, 5, 7 in their order. As in Hydra, the end of a range is no part of it."""
    found = override.value()
    if not isinstance(found, RangeSweep) or found.shuffle or len(values) < 2:
        return None
    numbers = sorted(value for value in values if isinstance(value, int | float))
    if all(isinstance(value, int) for value in numbers):
        if "log" in found.tags:
            return Integer(int(numbers[0]), int(numbers[-1]), log=True) if numbers[1] - numbers[0] == 1 else None
        return Integer(int(numbers[0]), int(numbers[-1]), step=int(numbers[1] - numbers[0]))
    return Real(float(numbers[0]), float(numbers[-1]), step=float(found.step or 1))


def _interval(override: Override) -> Sweep:
    """interval(0.005,0.5), int(interval(1,8)), tag(log,interval(0.005,0.5)): both ends are within."""
    found = override.value()
    assert isinstance(found, IntervalSweep)
    foreign = sorted(found.tags - {"log"})
    if foreign:
        raise ValueError(f"no such tag: {', '.join(foreign)}; log is the only one")
    low, high = found.start, found.end
    if low is None or high is None:
        raise ValueError("an interval has two ends, interval(0.005,0.5)")
    log = "log" in found.tags
    whole = isinstance(low, int) and isinstance(high, int) and override.input_line is not None
    dimension: Dimension
    if whole and _cast_to_int(override):
        dimension = Integer(int(low), int(high), log=log)
    else:
        dimension = Real(float(low), float(high), log=log)
    ends = tuple(dict.fromkeys((dimension.low, dimension.high)))
    return Sweep(override.get_key_element(), tuple(map(text_of, ends)), ends, dimension, _written(override))


def _cast_to_int(override: Override) -> bool:
    """interval(1,8) is of numbers, int(interval(1,8)) of whole ones; the parser makes both the same."""
    return re.match(r"^(tag\(\s*log\s*,\s*)?int\(", _written(override).replace(" ", "")) is not None


def _written(override: Override) -> str:
    return str(override.input_line).partition("=")[2].strip()


def text_of(value: Scalar) -> str:
    """A value as Hydra's grammar writes it: what is no plain word is quoted."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if re.fullmatch(r"[A-Za-z_][\w./:-]*", value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    # A backslash stands for itself but before a quote, and at the end.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"


def _given_twice(keys: Sequence[str]) -> list[str]:
    twice = dict.fromkeys(key for key in keys if keys.count(key) > 1)
    return [f"{key} is given more than once" for key in twice]
