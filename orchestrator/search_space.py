"""From swept keys to the space that a search chooses from, in which a trial has the keys that its options know.

method=dpo,simpo 'method.gamma=interval(0,1.6)' -> method: dpo or simpo; where it is simpo, method.gamma from 0 to 1.6

How keys hang together beyond that says `search` in the config: `orchestrator.search_settings.StructureSettings`.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.config import Composer
from orchestrator.errors import BadCommand
from orchestrator.overrides import Parsed, Sweep, text_of
from orchestrator.search_settings import StructureSettings, Swept, WhenSettings
from orchestrator.trials import Draft, Drafts, Options, choices_of, lacks, left_out, nowhere, unknown
from orchestrator.wording import one_line
from sweeps.dimensions import Choice
from sweeps.errors import SpaceError
from sweeps.space import Part, Space, When
from sweeps.types import Scalar, Trial


@dataclass(frozen=True)
class Searched:
    """A space, and how its points become trials: what the command gives besides, and how values are written."""

    space: Space
    fixed: Sequence[str]
    # Each swept key as it was written, for people.
    told: Mapping[str, str]
    texts: Mapping[str, Sequence[Sweep]]

    def draft(self, compose: Composer, trial: Trial) -> Draft:
        """The trial before it is composed; a fixed override that its options have no use for is left out."""
        swept = [self._override(key, value) for key, value in trial.params.items()]
        options = [text for text in (*self.fixed, *swept) if compose.is_option(text)]
        config = compose.options(options)
        fixed = [text for text in self.fixed if compose.is_option(text) or not lacks(config, compose.key(text))]
        return Draft(trial, fixed, swept)

    def _override(self, key: str, value: Scalar) -> str:
        for sweep in self.texts.get(key, ()):
            if value in sweep.values:
                return sweep.override(value)
        return f"{key}={text_of(value)}"


def draft_search(compose: Composer, parsed: Parsed, structure: StructureSettings) -> tuple[Searched, Drafts]:
    """The space of a command, and its corners as trials to be looked at. Raises BadCommand where nothing composes."""
    faults: list[str] = []
    sweeps = [sweep for sweep in parsed.sweeps if sweep.key != "seed"]
    parts = _Parts(compose, structure, faults)
    options = [sweep for sweep in sweeps if compose.is_option(sweep.override(sweep.values[0]))]
    keys = {compose.key(text): text for text in parsed.fixed if not compose.is_option(text)}
    keys |= {sweep.key: str(sweep) for sweep in sweeps if sweep not in options}
    choices = choices_of(compose, parsed.fixed, options, keys)
    possible = [choice for choice in choices if choice.mismatch is None]
    without = nowhere(keys, possible)
    whens = [when for sweep in sweeps for when in _present(sweep, options, possible, without)]
    whens = _overruled(whens, parts.when, {sweep.key: sweep for sweep in sweeps}, faults)
    dimensions = {key: dimension for when in whens if not when.given for key, dimension in when.then.dimensions.items()}
    try:
        space = Space(
            dimensions,
            zips=parts.zips,
            conditions=[*(when for when in whens if when.given), *parts.whens()],
            any_of=parts.any_of,
            enqueue=structure.enqueue,
            constraints=structure.constraints,
        )
    except SpaceError as error:
        faults += [f"search: {fault}" for fault in error.faults]
        space = Space(dimensions)
    written = [*sweeps, *parts.sweeps]
    texts = {key: [sweep for sweep in written if sweep.key == key] for key in dict.fromkeys(s.key for s in written)}
    searched = Searched(space, parsed.fixed, {key: _told(own) for key, own in texts.items()}, texts)
    corners = [Trial(number, params) for number, params in enumerate(space.corners())]
    shown = {key: [str(value) for sweep in own for value in sweep.values] for key, own in texts.items()}
    return searched, Drafts(
        [searched.draft(compose, trial) for trial in corners],
        shown,
        left_out(keys, possible, options, {sweep.key for sweep in sweeps}),
        [*faults, *unknown(without, possible, compose)],
    )


def every_point(compose: Composer, searched: Searched, drafted: Drafts) -> Drafts:
    """The trials of a grid over the space. Raises BadCommand where it is not finite."""
    try:
        points = [Trial(number, dict(point)) for number, point in enumerate(searched.space.points())]
    except SpaceError as error:
        raise BadCommand([*drafted.faults, *error.faults]) from None
    return replace(drafted, drafts=[searched.draft(compose, trial) for trial in points])


class _Parts:
    """What the structure adds to the swept keys, parsed; what is wrong with it goes to `faults`."""

    def __init__(self, compose: Composer, structure: StructureSettings, faults: list[str]) -> None:
        self._compose, self._faults = compose, faults
        self.sweeps: list[Sweep] = []
        self.when = [(one, self._parsed(one.sweep, f"search.when[{at}]")) for at, one in enumerate(structure.when)]
        zips = [self._parsed(group, f"search.zip[{at}]") for at, group in enumerate(structure.zip)]
        parts = [self._parsed(part, f"search.any_of[{at}]") for at, part in enumerate(structure.any_of)]
        for at, group in enumerate(zips):
            faults += [
                f"search.zip[{at}]: {sweep}: keys that move together have lists of values, and this is a range"
                for sweep in group
                if sweep.continuous
            ]
        self.zips = [{sweep.key: sweep.values for sweep in group} for group in zips]
        self.any_of = [Part({sweep.key: sweep.searched() for sweep in part}) for part in parts]

    def whens(self) -> Iterator[When]:
        """The conditions as the space has them."""
        for one, sweeps in self.when:
            yield When(_given(one), Part({sweep.key: sweep.searched() for sweep in sweeps}))

    def _parsed(self, swept: Swept, where: str) -> list[Sweep]:
        parsed = self._compose.parse([f"{key}={value}" for key, value in swept.items()])
        self._faults += [f"{where}: {fault}" for fault in parsed.faults]
        fixed = [self._single(text) for text in parsed.fixed]
        order = list(swept)
        found = sorted([*parsed.sweeps, *fixed], key=lambda sweep: order.index(sweep.key))
        self.sweeps += found
        return found

    def _single(self, text: str) -> Sweep:
        """A key with one value."""
        return Sweep(self._compose.key(text), (text.partition("=")[2],), (self._compose.value(text),))


def _given(when: WhenSettings) -> dict[str, list[Scalar]]:
    return {key: list(value) if isinstance(value, list) else [value] for key, value in when.given.items()}


def _present(
    sweep: Sweep, options: Sequence[Sweep], possible: Sequence[Options], without: Iterable[str]
) -> Iterator[When]:
    """Under which options the key is there; with nothing given where it always is, and none where it never is."""
    if sweep in options:
        yield from _possible(sweep, options, possible)
        return
    if sweep.key in without:
        return
    having = [choice.options for choice in possible if sweep.key not in choice.lacks]
    lacking = [choice.options for choice in possible if sweep.key in choice.lacks]
    for given in _deciding([option.key for option in options], having, lacking):
        yield When(given, Part({sweep.key: sweep.searched()}))


def _possible(sweep: Sweep, options: Sequence[Sweep], possible: Sequence[Options]) -> Iterator[When]:
    """Of an option that not every option before it goes with, those that do: orpo has no use for a reference."""
    before = [option.key for option in options[: options.index(sweep)]]
    beside: dict[tuple[Scalar, ...], dict[Scalar, None]] = {}
    for choice in possible:
        chosen = tuple(choice.options[key] for key in before)
        beside.setdefault(chosen, {})[choice.options[sweep.key]] = None
    if len({tuple(values) for values in beside.values()}) <= 1:
        yield When({}, Part({sweep.key: sweep.searched()}))
        return
    groups: dict[tuple[Scalar, ...], list[Mapping[str, Scalar]]] = {}
    for chosen, values in beside.items():
        groups.setdefault(tuple(values), []).append(dict(zip(before, chosen, strict=True)))
    every = [point for points in groups.values() for point in points]
    for allowed, points in groups.items():
        others = [point for point in every if point not in points]
        for given in _deciding(before, points, others):
            yield When(given, Part({sweep.key: Choice(allowed)}))


def _deciding(
    keys: Sequence[str], having: Sequence[Mapping[str, Scalar]], lacking: Sequence[Mapping[str, Scalar]]
) -> list[dict[str, list[Scalar]]]:
    """The fewest keys that tell those that have something from those that have not, and their values.

    [{}] where there is nothing to tell apart.
    """
    if not lacking:
        return [{}]
    for few in range(1, len(keys) + 1):
        for deciding in itertools.combinations(keys, few):
            yes = dict.fromkeys(tuple(point[key] for key in deciding) for point in having)
            no = {tuple(point[key] for key in deciding) for point in lacking}
            if not no.intersection(yes):
                if few == 1:
                    return [{deciding[0]: [values[0] for values in yes]}]
                return [{key: [value] for key, value in zip(deciding, values, strict=True)} for values in yes]
    raise AssertionError("all options together decide")


def _overruled(
    whens: Sequence[When],
    own: Sequence[tuple[WhenSettings, Sequence[Sweep]]],
    swept: Mapping[str, Sweep],
    faults: list[str],
) -> list[When]:
    """What is swept for every trial, without those trials for which a `when` says something else of the same key."""
    kept = list(whens)
    for at, (one, sweeps) in enumerate(own):
        for key in {sweep.key for sweep in sweeps} & {key for when in kept for key in when.then.dimensions}:
            given = _given(one)
            (decides, values), *more = given.items()
            if more or decides not in swept or swept[decides].continuous:
                faults.append(
                    f"search.when[{at}]: {key} is swept for every trial too: let one key that is swept over a list "
                    "decide, or give each case a when of its own"
                )
                continue
            left = [value for value in swept[decides].values if value not in values]
            kept = [narrowed for when in kept for narrowed in _narrowed(when, key, decides, left)]
    return kept


def _narrowed(when: When, key: str, decides: str, left: Sequence[Scalar]) -> Iterator[When]:
    if key not in when.then.dimensions:
        yield when
        return
    before = when.given.get(decides)
    allowed = [value for value in left if before is None or value in before]
    if allowed:
        yield replace(when, given={**when.given, decides: allowed})


def _told(sweeps: Sequence[Sweep]) -> str:
    return one_line(" or ".join(dict.fromkeys(str(sweep).partition("=")[2] for sweep in sweeps)))
