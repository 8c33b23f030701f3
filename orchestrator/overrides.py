"""From the command line's words to overrides with one value and overrides that sweep, by Hydra's grammar.

    ["method=dpo,ipo", "beta=0.1"] -> fixed ["beta=0.1"], sweeps [method: dpo ipo]

Nothing is composed here: whether there is such a key, and what may stand there, is for `orchestrator.config`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from orchestrator.wording import one_line
from sweeps.types import Scalar
from trainers.nearest import did_you_mean

# Of an experiment.
SIZES = ("full", "small")


@dataclass(frozen=True)
class Sweep:
    """The values of one swept key: `texts` as Hydra's grammar writes them, `values` as the config will hold them."""

    key: str
    texts: tuple[str, ...]
    values: tuple[Scalar, ...]

    def override(self, value: Scalar) -> str:
        """The override that sets the key to one of its values."""
        return f"{self.key}={self._text_of[type(value), value]}"

    @cached_property
    def _text_of(self) -> dict[tuple[type, Scalar], str]:
        # By type too: true is no 1.
        return {(type(value), value): text for value, text in zip(self.values, self.texts, strict=True)}

    def __str__(self) -> str:
        return f"{self.key}={','.join(self.texts)}"


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
                    faults.append(_continuous(parsed))
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
    return Sweep(key, tuple(text for _, text in unique.values()), tuple(value for value, _ in unique.values()))


def _continuous(override: Override) -> str:
    key = override.get_key_element()
    return (
        f"{override.input_line}: a grid cannot sweep over a continuous range; "
        f"name the values ({key}=0.05,0.1,0.5), or steps of a range ({key}=range(1,4))"
    )


def _given_twice(keys: Sequence[str]) -> list[str]:
    twice = dict.fromkeys(key for key in keys if keys.count(key) > 1)
    return [f"{key} is given more than once" for key in twice]
