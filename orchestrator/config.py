"""From overrides to configs, one for each trial, through Hydra's config groups.

    ["method=ipo", "beta=0.1"] -> {"method": {"name": "ipo", "tau": 0.1}, "model": ...} for trainers.config_check.check

Hydra composes and does nothing else here. Every trial is composed with all its overrides at once, because an override
may be valid for one option of a swept group and unknown to another.
"""

import contextlib
import copy
import re
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
from orchestrator.overrides import Grammar, Parsed
from orchestrator.shortcuts import STRENGTHS, settle_shortcuts
from orchestrator.wording import one_line
from trainers.config import RUN_SECTIONS
from trainers.config_faults import sweep_hint, unknown_key
from trainers.nearest import did_you_mean

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


# Keys whose names are not ours.
_OPEN = re.compile(r"(sweeper|pruner)\.arguments[.=]")


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
    """A composition that trials share; where it is not `whole`, interpolations make it more than values."""

    values: dict[str, Any]
    whole: bool
    faults: list[str]


# Compositions of our own files, which are read once in a process; by the top config's name and the overrides.
_OURS: dict[str, dict[tuple[str, ...], _Base]] = {}


class Composer:
    """Composes configs while the context of `composer` is open."""

    def __init__(self, source: Source) -> None:
        self._name = source.config_name
        self._grammar = Grammar(OverridesParser.create(GlobalHydra.instance().config_loader()))
        self._groups = set(GlobalHydra.instance().config_loader().list_groups(""))
        self._bases = {} if source.config_dir is not None else _OURS.setdefault(source.config_name, {})

    def parse(self, overrides: Sequence[str]) -> Parsed:
        """Sort overrides into those with one value and those that sweep."""
        parsed = self._grammar.parse([self._opened(text) for text in overrides])
        lists = [text for text in parsed.fixed if self._is_list_of_options(text)]
        faults = [f"{one_line(text)}: one option is asked for{sweep_hint(self.key(text), self.value(text))}"
                  for text in lists]  # fmt: skip
        return Parsed([text for text in parsed.fixed if text not in lists], parsed.sweeps, [*parsed.faults, *faults])

    def _opened(self, override: str) -> str:
        """sweeper.arguments.n_startup_trials=5 adds a key that no file of ours names: what is valid, Optuna says."""
        found = _OPEN.match(override)
        return f"++{override}" if found else override

    def key(self, override: str) -> str:
        """What it sets, without a sign before it: a dotted key, or a group."""
        return str(self._parsed(override).key_or_group)

    def is_option(self, override: str) -> bool:
        """Whether it chooses an option of a group, or adds or takes away keys: such decide which keys there are."""
        parsed = self._parsed(override)
        return parsed.type != OverrideType.CHANGE or parsed.key_or_group.split("/")[0] in self._groups

    def value(self, override: str) -> Any:
        """What it sets its key to."""
        return self._parsed(override).value()

    def _is_list_of_options(self, override: str) -> bool:
        """Hydra would put one over the other, which of ours makes no sense; of a user's own groups it may."""
        of_ours = self.key(override) in self._groups.intersection(RUN_SECTIONS)
        return of_ours and isinstance(self.value(override), list)

    def options(self, overrides: Sequence[str]) -> Mapping[str, Any]:
        """What the options among the overrides compose to, whatever values are set in it; interpolations are text.

        Raises BadCommand where they do not compose at all.
        """
        return self._base(tuple(text for text in overrides if self.is_option(text))).values

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

    def compose(self, fixed: Sequence[str], swept: Sequence[str] = ()) -> Composed:
        """The whole config of a trial. Raises BadCommand where it does not compose at all.

        Hydra takes some 60 ms a composition, too long for each of ten thousand runs. Trials that differ only in plain
        values therefore share one composition, into which those values are set.
        """
        options = [text for text in swept if self.is_option(text)]
        # What the options alone compose to serves for all plain values; or else the fixed ones are composed with them.
        for shared in ([text for text in fixed if self.is_option(text)], fixed):
            base = self._base((*shared, *options))
            own = [self._parsed(text) for text in (*fixed, *swept) if text not in (*shared, *options)]
            config, faults = _with_values(base.values, own) if base.whole else None, list(base.faults)
            if config is not None:
                break
        else:
            whole, faults = self._telling_all([*fixed, *swept])
            config = _plain(whole)
        given = [self._parsed(text).key_or_group for text in (*fixed, *swept)]
        return Composed(config, [*faults, *settle_shortcuts(config, given)])

    def changed(self, config: Mapping[str, Any], overrides: Sequence[str]) -> Composed:
        """A config that was composed before, with some values changed."""
        plain, faults = copy.deepcopy(dict(config)), []
        for text in overrides:
            override = self._parsed(text)
            changed = _with_values(plain, [override])
            if changed is None:
                key, beside = absent(plain, override.key_or_group) or (override.key_or_group, [])
                faults.append(unknown_key(key, beside))
            plain = plain if changed is None else changed
        return Composed(plain, faults)

    def _parsed(self, text: str) -> Override:
        return self._grammar.override(text)

    def _base(self, overrides: tuple[str, ...]) -> "_Base":
        """The composition without swept values."""
        if overrides not in self._bases:
            config, faults = self._telling_all(list(overrides))
            plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
            self._bases[overrides] = _Base(plain, "${" not in repr(plain), faults)
        return self._bases[overrides]

    def _telling_all(self, overrides: list[str]) -> tuple[DictConfig, list[str]]:
        """Compose; where an override is wrong leave it out and try on, so that all wrong ones are told."""
        faults: list[str] = []
        while True:
            try:
                return self._compose(overrides), faults
            except COMPOSE_ERRORS as error:
                culprit = self._culprit(overrides, error)
                faults.append(self._explain(error, culprit, [text for text in overrides if self.is_option(text)]))
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
                hint = did_you_mean(str(value), options)
                return f"{one_line(culprit)}: no such option; {hint}valid are {', '.join(options)}"
            if "Could not override" in reason:
                return f"{culprit}: not in the defaults list; write +{culprit}"
            return f"{culprit}: its file does not compose: {reason}"
        if "not in struct" in repr(error.__cause__):
            return self._unknown(key, groups)
        return f"{one_line(culprit)}: {reason}"

    def _unknown(self, key: str, groups: list[str]) -> str:
        """Names the first part of a dotted key that is not there, in the options that the command chose."""
        try:
            composed = self._compose(groups)
        except COMPOSE_ERRORS:
            composed = self._compose([])
        config = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=False))
        within = _sections_with(key.partition(".")[0], config)
        if key.partition(".")[0] not in config and within:
            return f"{key}: no such key; did you mean {within[0]}.{key}?"
        found = absent(config, key)
        if found is None:
            return f"{key}: no such key of the option that was chosen"
        return unknown_key(*found, elsewhere=self.options_with(key))

    def options_with(self, key: str) -> list[str]:
        """ "method=cdpo", ...: the options of its own group whose files have the key."""
        group, _, rest = key.partition(".")
        loader = GlobalHydra.instance().config_loader()
        found = []
        for option in loader.get_group_options(group) if group in self._groups else []:
            with contextlib.suppress(*COMPOSE_ERRORS):
                file = loader.repository.load_config(f"{group}/{option}").config
                values = cast(dict[str, Any], OmegaConf.to_container(file, resolve=False))
                # A file that sets keys of other groups too has its own under their name.
                if absent(values.get(group, values), rest) is None:
                    found.append(f"{group}={option}")
        return found


def absent(config: Mapping[str, Any], key: str) -> tuple[str, list[str]] | None:
    """The first part of a dotted key that the config has not, whole, with the keys beside it; None where all are there.

    "method.judge.model" in {"method": {"name": "dpo"}} -> ("method.judge", ["name"])
    """
    node: Any = config
    parts = key.split(".")
    for place, part in enumerate(parts):
        if isinstance(node, str) and "${" in node:
            return None  # whatever it stands for
        if not isinstance(node, Mapping) or part not in node:
            return ".".join(parts[: place + 1]), [str(name) for name in node] if isinstance(node, Mapping) else []
        node = node[part]
    return None


def _sections_with(key: str, config: Mapping[str, Any]) -> list[str]:
    """Sections that have a key of this name."""
    return [str(name) for name, section in config.items() if isinstance(section, Mapping) and key in section]


def run_sections(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a composed config that a run is made from."""
    return {key: config[key] for key in RUN_SECTIONS if key in config}


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
