"""From swept values to trials: each has the keys that its options have, and each is there once.

method=dpo,sft beta=0.1,0.5 -> {method: dpo, beta: 0.1}, {method: dpo, beta: 0.5}, {method: sft}

Methods differ in their settings, and so do the options of other groups. An override of such a key is for the trials
whose options have it, and left out of the others; it is at fault where no trial's have it. Where methods are swept
beside references, the combinations that cannot be are left out too.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.config import Composer, absent
from orchestrator.overrides import Parsed, Sweep
from orchestrator.shortcuts import STRENGTHS
from orchestrator.wording import count, one_line
from sweeps.grid import combinations
from sweeps.types import Scalar, Trial
from trainers.config_faults import unknown_key
from trainers.conflicts import Mismatch, mismatch
from trainers.methods import METHODS


@dataclass(frozen=True)
class Draft:
    """A trial before it is composed, with the overrides that are for it."""

    trial: Trial
    fixed: Sequence[str]
    swept: Sequence[str]


@dataclass(frozen=True)
class Drafts:
    """The trials of a command, numbered from 0; there is one at least."""

    drafts: Sequence[Draft]
    # The swept keys that some trial has, and their values, without the seed.
    space: Mapping[str, Sequence[Scalar]]
    # What the command asks for and not every trial has, a sentence each.
    left_out: Sequence[str]
    faults: Sequence[str]


@dataclass(frozen=True)
class Options:
    """A combination of the swept options: one of each group, what they compose to, and what that lacks."""

    options: Mapping[str, Scalar]
    config: Mapping[str, Any]
    # Keys of overrides.
    lacks: frozenset[str]
    # Why it is no trial.
    mismatch: Mismatch | None


def draft_trials(compose: Composer, parsed: Parsed) -> Drafts:
    """The distinct trials of a command. Raises BadCommand where its options do not compose at all."""
    sweeps = [sweep for sweep in parsed.sweeps if sweep.key != "seed"]
    options = [sweep for sweep in sweeps if compose.is_option(sweep.override(sweep.values[0]))]
    keys = {compose.key(text): text for text in parsed.fixed if not compose.is_option(text)}
    keys |= {sweep.key: str(sweep) for sweep in sweeps if sweep not in options}
    choices = choices_of(compose, parsed.fixed, options, keys)
    possible = [choice for choice in choices if choice.mismatch is None]
    without = nowhere(keys, possible)
    grid = _Grid(sweeps, options, {tuple(choice.options.values()): choice for choice in choices})
    grid.fill()
    swept = [sweep.key for sweep in sweeps]
    return Drafts(
        [
            Draft(
                Trial(number, params),
                [text for text in parsed.fixed if compose.key(text) not in choice.lacks],
                [sweep.override(params[sweep.key]) for sweep in sweeps if sweep.key in params],
            )
            for number, (params, choice) in enumerate(grid.points.values())
        ],
        {s.key: s.values for s in sweeps if any(s.key in params for params, _ in grid.points.values())},
        [*grid.told(), *left_out(keys, possible, options, swept)],
        unknown(without, possible, compose),
    )


def nowhere(keys: Collection[str], possible: Sequence[Options]) -> list[str]:
    """The keys that no trial has."""
    return [key for key in keys if all(key in choice.lacks for choice in possible)]


def left_out(
    keys: Mapping[str, str], possible: Sequence[Options], options: Sequence[Sweep], swept: Collection[str]
) -> list[str]:
    """What of the command is left out of some trials, a sentence each; `keys` are those of overrides."""
    told = _told(keys, possible, options, but={"beta", *swept})
    return [*told, *_without_strength(keys, nowhere(keys, possible), swept)]


def unknown(without: Sequence[str], possible: Sequence[Options], compose: Composer) -> list[str]:
    """Faults of keys that no trial has; a name for the strength is for the shortcuts to tell."""
    return [_unknown(key, possible, compose) for key in without if key not in STRENGTHS]


def choices_of(
    compose: Composer, fixed: Sequence[str], options: Sequence[Sweep], keys: Collection[str]
) -> list[Options]:
    """Every combination of the swept options."""
    found = []
    for chosen in combinations({sweep.key: sweep.values for sweep in options}):
        config = compose.options([*fixed, *(sweep.override(chosen[sweep.key]) for sweep in options)])
        found.append(Options(chosen, config, frozenset(key for key in keys if lacks(config, key)), _mismatch(config)))
    # A name for the strength that no method has is for the shortcuts to tell.
    misnamed = {key for key in ("lambda", "tau") if all(key in choice.lacks for choice in found)}
    return _without_lost(options, [replace(choice, lacks=choice.lacks - misnamed) for choice in found])


def _without_lost(options: Sequence[Sweep], choices: Sequence[Options]) -> list[Options]:
    """Mismatches that are no reason to leave a combination out are taken off: then they are faults of its trials.

    There must be several methods and several references, each of which some trial is left of: who names one wants it.
    """
    swept = {sweep.key: sweep.values for sweep in options if sweep.key in ("method", "reference")}
    if len(swept) < 2 or any(len(values) < 2 for values in swept.values()):
        return [replace(choice, mismatch=None) for choice in choices]
    left = {(key, choice.options[key]) for choice in choices if choice.mismatch is None for key in swept}
    return [
        choice if all((key, choice.options[key]) in left for key in swept) else replace(choice, mismatch=None)
        for choice in choices
    ]


def lacks(config: Mapping[str, Any], key: str) -> bool:
    """Whether the options that make up the config have no use for the key."""
    if key not in STRENGTHS:
        return "." in key and absent(config, key) is not None
    method = METHODS.get(_word(config, "method", "name"))
    if method is None:
        return False
    return method.strength is None if key == "beta" else method.strength != key


def _mismatch(config: Mapping[str, Any]) -> Mismatch | None:
    name = _word(config, "method", "name")
    return mismatch(name, _word(config, "reference", "kind")) if name in METHODS else None


def _word(config: Mapping[str, Any], section: str, key: str) -> str:
    values = config.get(section)
    return str(values.get(key)) if isinstance(values, Mapping) else ""


@dataclass
class _Grid:
    """The combinations of all swept values, each distinct one once."""

    sweeps: Sequence[Sweep]
    options: Sequence[Sweep]
    # By the values of the options.
    choices: Mapping[tuple[Scalar, ...], Options]
    points: dict[str, tuple[dict[str, Scalar], Options]] = field(default_factory=dict)
    impossible: dict[str, Options] = field(default_factory=dict)

    def fill(self) -> None:
        """Sort them into those that are trials and those that cannot be."""
        for values in combinations({sweep.key: sweep.values for sweep in self.sweeps}):
            choice = self.choices[tuple(values[sweep.key] for sweep in self.options)]
            params = {key: value for key, value in values.items() if key not in choice.lacks}
            if choice.mismatch is None:
                self.points.setdefault(repr(params), (params, choice))
            else:
                self.impossible.setdefault(repr(params), choice)

    def told(self) -> Iterable[str]:
        """ "left out: 2 trials, method=trdpo with reference=self: only a reference that moves will do"."""
        alike: dict[tuple[Scalar, str], list[Options]] = {}
        for choice in self.impossible.values():
            assert choice.mismatch is not None
            alike.setdefault((choice.options["reference"], choice.mismatch.why), []).append(choice)
        for (reference, why), choices in alike.items():
            methods = ",".join(dict.fromkeys(str(choice.options["method"]) for choice in choices))
            yield f"left out: {count(len(choices), 'trial')}, method={methods} with reference={reference}: {why}"


def _told(
    keys: Mapping[str, str], possible: Sequence[Options], options: Sequence[Sweep], but: Collection[str]
) -> Iterable[str]:
    """What is left out of some trials: "left out: method.epsilon=0.1 for method=dpo, which has no such key"."""
    for key, override in keys.items():
        lacking = [choice for choice in possible if key in choice.lacks]
        having = [choice for choice in possible if key not in choice.lacks]
        if key in but or not (lacking and having):
            continue
        # Told by the group that makes the difference, which for method.epsilon is most likely the method.
        for sweep in sorted(options, key=lambda sweep: sweep.key != key.partition(".")[0]):
            without = dict.fromkeys(choice.options[sweep.key] for choice in lacking)
            if not any(choice.options[sweep.key] in without for choice in having):
                whose = f"for {sweep.key}={','.join(map(str, without))}"
                break
        else:
            whose = "for some trials"
        yield f"left out: {one_line(override)} {whose}, which {'has' if len(without) == 1 else 'have'} no such key"


def _without_strength(keys: Mapping[str, str], nowhere: Collection[str], swept: Collection[str]) -> Iterable[str]:
    if "beta" in nowhere and "beta" in swept:
        yield f"left out: {one_line(keys['beta'])}, for want of a method with a strength"


def _unknown(key: str, choices: Sequence[Options], compose: Composer) -> str:
    """Names the first part of the key that no option has, and beside it what any has."""
    missing = [found for choice in choices if (found := absent(choice.config, key)) is not None]
    furthest = max((part for part, _ in missing), key=lambda part: part.count("."))
    beside = dict.fromkeys(name for part, names in missing if part == furthest for name in names)
    return unknown_key(furthest, beside, elsewhere=compose.options_with(key))
