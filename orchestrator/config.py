"""From the command line's overrides to checked configs, one for each trial, through Hydra's grammar and config groups.

    ["method=dpo,ipo", "beta=0.1"] -> sweeps [method: dpo ipo], and per trial a dict for trainers.config_check.check

Hydra composes and does nothing else here. Every trial is composed with all its overrides at once, because an override
may be valid for one option of a swept group and unknown to another.
"""

import contextlib
import copy
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose as hydra_compose
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator.errors import BadCommand
from orchestrator.shortcuts import STRENGTHS, settle_shortcuts
from orchestrator.wording import one_line
from sweeps.types import Scalar
from trainers.config import RUN_SECTIONS
from trainers.config_check import unknown_key

CONF = Path(__file__).resolve().parent.parent / "conf"
# What Hydra lets through from a config file that is broken in whatever way.
COMPOSE_ERRORS = (
    HydraException,
    OmegaConfBaseException,
    yaml.YAMLError,
    ValueError,  # also of text that is not UTF-8
    TypeError,
    AttributeError,
    AssertionError,
    RecursionError,
    OSError,
)


@dataclass(frozen=True)
class Sweep:
    """The values of one swept key: `texts` as Hydra's grammar writes them, `values` as the config will hold them."""

    key: str
    texts: tuple[str, ...]
    values: tuple[Scalar, ...]

    def override(self, value: Scalar) -> str:
        """The override that sets the key to one of its values."""
        place = next(i for i, own in enumerate(self.values) if own == value and type(own) is type(value))
        return f"{self.key}={self.texts[place]}"


@dataclass(frozen=True)
class Parsed:
    """A command's overrides: those with one value, those that sweep, and what is wrong with the rest."""

    fixed: Sequence[str]
    sweeps: Sequence[Sweep]
    faults: Sequence[str]


@dataclass(frozen=True)
class Composed:
    """A config as plain values with its shortcuts settled, and what is wrong with the overrides left out of it.

    It is there in spite of faults, so that what is wrong with the rest can be told in the same breath.
    """

    config: dict[str, Any]
    faults: Sequence[str]

    def sound(self) -> dict[str, Any]:
        """The config. Raises BadCommand where there are faults."""
        if self.faults:
            raise BadCommand(self.faults)
        return self.config


@dataclass(frozen=True)
class Source:
    """Which configs a command is composed from."""

    config_name: str = "config"
    config_dir: str | None = None


@contextlib.contextmanager
def composer(source: Source) -> Iterator["Composer"]:
    """Opens the config folders, the user's own as Hydra's -cd does; raises BadCommand where that is missing."""
    search_path = create_config_search_path(str(CONF))
    if source.config_dir is not None:
        folder = Path(source.config_dir).expanduser()
        if not folder.is_dir():
            raise BadCommand([f"-cd {source.config_dir}: no such folder"])
        # Before ours, so that -cn finds the user's; an option of the same name is the user's too.
        search_path.prepend(provider="command-line", path=f"file://{folder.resolve()}")
    version.setbase("1.3")
    GlobalHydra.instance().clear()
    Hydra.create_main_hydra2(task_name="orchestrator", config_search_path=search_path)
    try:
        yield Composer(source)
    finally:
        GlobalHydra.instance().clear()


@dataclass(frozen=True)
class _Base:
    """A composition that trials share; None where interpolations make it more than values."""

    shared: dict[str, Any] | None
    faults: list[str]


# Compositions of our own files, which are read once in a process; by the top config's name and the overrides.
_OURS: dict[str, dict[tuple[str, ...], _Base]] = {}


class Composer:
    """Composes configs while the context of `composer` is open."""

    def __init__(self, source: Source) -> None:
        self._name = source.config_name
        self._parser = OverridesParser.create(GlobalHydra.instance().config_loader())
        self._groups = set(GlobalHydra.instance().config_loader().list_groups(""))
        self._bases = {} if source.config_dir is not None else _OURS.setdefault(source.config_name, {})
        self._overrides: dict[str, Override] = {}

    def parse(self, overrides: Sequence[str]) -> Parsed:
        """Sort overrides into those with one value and those that sweep."""
        fixed: list[str] = []
        sweeps: list[Sweep] = []
        faults: list[str] = []
        for text in overrides:
            try:
                parsed = self._parsed(text)
                if not parsed.is_sweep_override():
                    fixed.append(text)
                elif parsed.is_discrete_sweep():
                    sweeps.append(_sweep(parsed))
                else:
                    faults.append(_continuous(parsed))
            except (HydraException, ValueError) as error:
                faults.append(f"{one_line(repr(text))} is not an override of the form key=value: {_reason(error)}")
        faults += [f"{sweep.key}: sweeps over nothing: no value matches" for sweep in sweeps if not sweep.texts]
        faults += _given_twice([*(self._parsed(text).get_key_element() for text in fixed), *(s.key for s in sweeps)])
        return self._sized(Parsed(fixed, [sweep for sweep in sweeps if sweep.texts], faults))

    def with_own_sweep(self, parsed: Parsed) -> Parsed:
        """The command with the sweep that its configs bring along, `sweep: {beta: "0.1,0.5"}`, as if typed in front.

        A key that the command gives, swept or not, goes before. Faults of the configs are left for `compose` to tell.
        """
        try:
            own = self.compose(parsed.fixed).config.get("sweep")
        except BadCommand:
            return parsed
        if not isinstance(own, dict):
            return parsed
        given = {self._parsed(text).key_or_group for text in parsed.fixed} | {s.key.lstrip("+") for s in parsed.sweeps}
        # Names of one thing: with lambda=0.3 the experiment's beta is out of the way too.
        given |= set(STRENGTHS) if given & set(STRENGTHS) else set()
        brought = self.parse([f"{key}={values}" for key, values in own.items() if key not in given])
        faults = [f"sweep: {fault}" for fault in brought.faults]
        return Parsed([*brought.fixed, *parsed.fixed], [*brought.sweeps, *parsed.sweeps], [*parsed.faults, *faults])

    def _sized(self, parsed: Parsed) -> Parsed:
        """size=small +experiment=NAME is +experiment=small/NAME: no key could put other options in a file's place."""
        size = next((t.partition("=")[2] for t in parsed.fixed if self._parsed(t).key_or_group == "size"), "full")
        if size == "full":
            return parsed
        names = [text for text in parsed.fixed if self._parsed(text).key_or_group == "experiment"]
        if not names:
            fault = f"size={size}: only an experiment has sizes: give one, +experiment=NAME"
            return Parsed(parsed.fixed, parsed.sweeps, [*parsed.faults, fault])
        sized = names[0].replace("experiment=", f"experiment={size}/", 1)
        return Parsed([sized if text == names[0] else text for text in parsed.fixed], parsed.sweeps, parsed.faults)

    def compose(self, fixed: Sequence[str], swept: Sequence[str] = ()) -> Composed:
        """The whole config of a trial. Raises BadCommand where it does not compose at all.

        Hydra takes some 60 ms a composition, too long for each of ten thousand runs. What differs only in plain
        values therefore shares one composition, into which those values are set.
        """
        overrides = [*fixed, *swept]
        keys = {text: self._parsed(text).key_or_group for text in overrides}
        groups = tuple(filter(self._is_group, overrides))
        base = self._base(groups)
        # Hydra would have to compose again for each that it is told to leave out.
        unknown = [text for text in overrides if text not in groups and _is_missing(keys[text], base.shared)]
        known = [text for text in overrides if text not in unknown]
        config, faults = None, base.faults
        if base.shared is not None:
            config = _with_values(base.shared, [self._parsed(text) for text in known if text not in groups])
        if config is None:
            whole, faults = self._telling_all(known)
            config = _plain(whole)
        told = [_unknown(keys[text], base.shared) for text in unknown]
        return Composed(config, [*faults, *told, *settle_shortcuts(config, list(keys.values()))])

    def changed(self, config: Mapping[str, Any], overrides: Sequence[str]) -> Composed:
        """A config that was composed before, with some values changed."""
        plain, faults = copy.deepcopy(dict(config)), []
        for text in overrides:
            override = self._parsed(text)
            changed = _with_values(plain, [override])
            if changed is None:
                parent = override.key_or_group.rpartition(".")[0]
                node = plain.get(parent, {}) if parent else plain
                faults.append(unknown_key(override.key_or_group, node if isinstance(node, dict) else []))
            plain = plain if changed is None else changed
        return Composed(plain, faults)

    def _parsed(self, text: str) -> Override:
        """Kept, because the same overrides come with each of ten thousand trials, and parsing is slow."""
        if text not in self._overrides:
            self._overrides[text] = self._parser.parse_overrides([text])[0]
        return self._overrides[text]

    def _is_group(self, text: str) -> bool:
        """Whether it is more than a value: an option, a key added or taken away, or a setting of Hydra's."""
        override = self._parsed(text)
        key = override.key_or_group
        return override.type != OverrideType.CHANGE or key.split("/")[0] in self._groups or key.startswith("hydra.")

    def _base(self, overrides: tuple[str, ...]) -> "_Base":
        """The composition without values."""
        if overrides not in self._bases:
            config, faults = self._telling_all(list(overrides))
            plain = _unresolved(config)
            self._bases[overrides] = _Base(None if "${" in repr(plain) else plain, faults)
        return self._bases[overrides]

    def _telling_all(self, overrides: list[str]) -> tuple[DictConfig, list[str]]:
        """Compose; where an override is wrong leave it out and try on, so that all wrong ones are told."""
        faults: list[str] = []
        while True:
            try:
                return self._compose(overrides), faults
            except COMPOSE_ERRORS as error:
                culprit = self._culprit(overrides, error)
                faults.append(self._explain(error, culprit, [text for text in overrides if self._is_group(text)]))
                if culprit is None:
                    raise BadCommand(faults) from None
                overrides = [text for text in overrides if text != culprit]

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return cast(DictConfig, hydra_compose(self._name, list(overrides)))

    def _culprit(self, overrides: Sequence[str], error: Exception) -> str | None:
        """The override that the error names, or else the one without which it goes away."""
        for text in overrides:
            override = self._parsed(text)
            if any(f"'{name}'" in str(error) for name in _names(override)):
                return text
        for text in overrides:
            try:
                self._compose([other for other in overrides if other != text])
            except COMPOSE_ERRORS:
                continue
            return text
        return None

    def _explain(self, error: Exception, culprit: str | None, groups: list[str]) -> str:
        reason = one_line(str(error)) or type(error).__name__
        if culprit is None:
            return f"the config does not compose: {reason}"
        override = self._parsed(culprit)
        key, value = override.key_or_group, override.value()
        if key in self._groups:
            options = GlobalHydra.instance().config_loader().get_group_options(key)
            if value not in options:
                near = difflib.get_close_matches(str(value), options, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                return f"{one_line(culprit)}: no such option; {hint}valid are {', '.join(options)}"
            if "Could not override" in reason:
                return f"{culprit}: not in the defaults list; write +{culprit}"
            return f"{culprit}: its file does not compose: {reason}"
        if "not in struct" in repr(error.__cause__):
            return _unknown(key, _unresolved(self._chosen(groups)))
        return f"{one_line(culprit)}: {reason}"

    def _chosen(self, groups: list[str]) -> DictConfig:
        """The options that the command chose, or the defaults where these do not go together."""
        try:
            return self._compose(groups)
        except COMPOSE_ERRORS:
            return self._compose([])


def _is_missing(key: str, config: Mapping[str, Any] | None) -> bool:
    """Whether one of the sections that a dotted key names has no such key; False where that is Hydra's to say."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, dict):
            return False
        if part not in node:
            return True
        node = node[part]
    return False


def _unknown(key: str, config: Mapping[str, Any] | None) -> str:
    """Names the first part of a dotted key that is not there, in the options that the command chose."""
    node: Any = config
    parts = key.split(".")
    for place, part in enumerate(parts):
        if not isinstance(node, dict) or part not in node:
            within = _sections_with(part, node) if place == 0 else []
            if within:
                return f"{key}: no such key; did you mean {within[0]}.{key}?"
            return unknown_key(".".join(parts[: place + 1]), map(str, node) if isinstance(node, dict) else [])
        node = node[part]
    return f"{key}: no such key of the option that was chosen"


def _sections_with(key: str, config: Any) -> list[str]:
    """Sections that have a key of this name."""
    return [str(name) for name, section in config.items() if isinstance(section, dict) and key in section]


def run_sections(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a composed config that a run is made from."""
    return {key: config[key] for key in RUN_SECTIONS if key in config}


def _unresolved(config: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise BadCommand([f"the config does not resolve: {str(error).splitlines()[0]}"]) from None
    return cast(dict[str, Any], plain)


def _with_values(base: Mapping[str, Any], overrides: Sequence[Override]) -> dict[str, Any] | None:
    """A copy of the base with plain values set, or None where one is not a plain value of a key that is there."""
    config = copy.deepcopy(dict(base))
    for override in overrides:
        *parents, leaf = override.key_or_group.split(".")
        node: Any = config
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        value = override.value()
        if not isinstance(node, dict) or leaf not in node or isinstance(value, dict) or "${" in repr(value):
            return None
        node[leaf] = value
    return config


def _names(override: Override) -> tuple[str, str]:
    """How Hydra's errors name an override: by its key, or as an option of a group."""
    return override.key_or_group, f"{override.key_or_group}/{override.value()}"


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
