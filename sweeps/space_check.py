"""What is wrong with a space, or with a point of it, in sentences."""

import itertools
import random
from collections.abc import Iterator, Sequence

from sweeps.constraints import Constraint
from sweeps.dimensions import Choice, Real
from sweeps.enumeration import every, ways
from sweeps.errors import NoPoint, SpaceError
from sweeps.slots import Guard, Slot
from sweeps.space import Part, Space, flatten
from sweeps.types import Params, Scalar

# How often the rest of an enqueued point is drawn before it is said that none fits.
TRIES = 20


def faults(space: Space) -> list[str]:
    """Every fault of a space; what could not be looked at because of them is left out."""
    found = list(_malformed(space, "the space"))
    rules = []
    for text in space.constraints:
        try:
            rules.append(Constraint(text))
        except SpaceError as error:
            found += error.faults
    if found:
        return found
    slots = flatten(space)
    found += _undecided(slots)
    found += _twice(slots)
    found += _misnamed(slots, rules)
    return found or _empty(space) or list(_enqueued(space))


def _empty(space: Space) -> list[str]:
    """Whether the constraints leave nothing."""
    if not space.constraints or (space.finite and next(every(space), None) is not None):
        return []
    try:
        space.sample(random.Random(0))
    except NoPoint as error:
        return [str(error)]
    return []


def _malformed(part: Part, where: str) -> Iterator[str]:
    for columns in part.zips:
        lengths = {key: len(values) for key, values in columns.items()}
        told = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        if len(columns) < 2:
            yield f"{where}: keys that move together are two at least, not {', '.join(columns) or 'none'}"
        elif len(set(lengths.values())) > 1 or not all(lengths.values()):
            yield f"{where}: keys that move together have equally many values, but {told}"
        else:
            rows = list(zip(*columns.values(), strict=True))
            if len(set(map(repr, rows))) < len(rows):
                yield f"{where}: {' + '.join(columns)} has the same values together more than once"
            for key, values in columns.items():
                yield from _values(key, values)
    if len(part.any_of) == 1:
        yield f"{where}: any_of needs two parts at least"
    for place, inner in enumerate(part.any_of, start=1):
        yield from _malformed(inner, f"part {place} of any_of")
    for when in part.conditions:
        if not when.given or not all(when.given.values()):
            yield f"{where}: a condition says which values of which keys it is for"
        yield from _malformed(when.then, f"under {Guard(tuple((k, tuple(v)) for k, v in when.given.items()))}")


def _values(key: str, values: Sequence[Scalar]) -> Iterator[str]:
    for value in values:
        try:
            Choice((value,))
        except SpaceError as error:
            yield f"{key}: {error}"


def _undecided(slots: Sequence[Slot]) -> Iterator[str]:
    """Conditions that ask for a key that nothing has decided before, or for a value that it cannot have."""
    before: list[Slot] = []
    for slot in slots:
        for key, values in slot.guard.given:
            deciding = [one for one in before if key in one.keys]
            if not deciding:
                yield f"a condition asks for {key}, which nothing before it decides"
            for value in values:
                if deciding and not any(_can_be(one, key, value) for one in deciding):
                    yield f"a condition asks for {key}={value}, which it can never be"
        before.append(slot)


def _can_be(slot: Slot, key: str, value: Scalar) -> bool:
    if slot.rows:
        return any(slot.params(label)[key] == value for label in slot.rows)
    return bool(slot.read({key: value}))


def _twice(slots: Sequence[Slot]) -> Iterator[str]:
    for one, other in itertools.combinations(slots, 2):
        for key in set(one.keys) & set(other.keys):
            if not one.guard.excludes(other.guard):
                where = " and ".join(
                    dict.fromkeys(f"under {s.guard}" if str(s.guard) else "always" for s in (one, other))
                )
                yield f"{key} has two dimensions at once ({where}); it may have others only under conditions that exclude each other"  # noqa: E501


def _misnamed(slots: Sequence[Slot], rules: Sequence[Constraint]) -> Iterator[str]:
    keys = {key for slot in slots for key in slot.keys}
    for rule in rules:
        for key in sorted(rule.keys - keys):
            yield f"constraint {rule.text}: there is no key {key}; there are {', '.join(sorted(keys))}"
        for slot in slots:
            for key in sorted(rule.keys & set(slot.keys)):
                values = [slot.params(label)[key] for label in slot.dimension.all()] if _is_choice(slot) else []
                if any(not isinstance(value, int | float) for value in values):
                    yield f"constraint {rule.text}: {key} is not always a number"


def _is_choice(slot: Slot) -> bool:
    return isinstance(slot.dimension, Choice)


def _enqueued(space: Space) -> Iterator[str]:
    """Points to be tried first that are not of the space."""
    whole = set()
    for place, point in enumerate(space.enqueue, start=1):
        told = f"enqueue, point {place} ({shown(point)})"
        if space.fits(point):
            if space.identity(point) in whole:
                yield f"{told}: it is there more than once"
            whole.add(space.identity(point))
        elif wrong := _no_way(space, point):
            yield f"{told}: {wrong}"


def _no_way(space: Space, point: Params) -> str:
    """Why no point of the space has these values; empty where one has."""
    if not point:
        return "it gives no key"
    wrong = [*_strange(space, point)]
    if wrong:
        return "; ".join(wrong)
    if broken := space.broken(point):
        return f"it breaks {'; '.join(broken)}"
    rng = random.Random(0)
    try:
        for needs in ways(space, point):
            for _ in range(TRIES):
                found = space.sample(rng, needs)
                if point.keys() <= found.keys():
                    return ""
    except NoPoint:
        return "no values of the other keys keep the constraints beside it"
    return "no point has these values together"


def point_faults(space: Space, params: Params) -> list[str]:
    """Why the point is not one of the space; empty where it is."""
    if space.locate(params) is not None:
        return [f"{shown(params)} breaks {text}" for text in space.broken(params)]
    strange = list(_strange(space, params))
    return strange or [_misfit(space, params)]


def _strange(space: Space, params: Params) -> Iterator[str]:
    """Keys that there are not, and values that they can never have."""
    for key, value in params.items():
        slots = [slot for slot in space.slots if key in slot.keys]
        if not slots:
            yield f"there is no key {key}; there are {', '.join(sorted(space.keys)) or 'none'}"
        elif not any(_can_be(slot, key, value) for slot in slots):
            yield f"{key}={value!r} is none of {' or '.join(dict.fromkeys(_told(slot, key) for slot in slots))}"


def _told(slot: Slot, key: str) -> str:
    dimension = slot.dimension
    if slot.rows:
        return ", ".join(str(slot.params(label)[key]) for label in slot.rows)
    if isinstance(dimension, Choice):
        return ", ".join(map(str, dimension.values))
    step = "" if dimension.step is None or (dimension.step == 1 and not isinstance(dimension, Real)) else dimension.step
    return f"{dimension.low} to {dimension.high}" + (f" in steps of {step}" if step else "")


def _misfit(space: Space, params: Params) -> str:
    """What does not go together, of keys and values that are each possible."""
    draw: dict[str, Scalar] = {}
    missing = []
    used: set[str] = set()
    for slot in space.slots:
        if not slot.keys or not slot.guard.holds(params, draw) or slot.guard.parts:
            continue
        lacking = [key for key in slot.keys if key not in params]
        missing += lacking
        used.update(slot.keys)
        if not lacking and not slot.read(params):
            return f"{', '.join(f'{key}={params[key]!r}' for key in slot.keys)} is not possible here: {_allowed(slot)}"
    extra = [] if any(slot.guard.parts for slot in space.slots) else [key for key in params if key not in used]
    if missing:
        return f"{', '.join(missing)} is missing"
    if extra:
        return f"{', '.join(extra)} has no place beside the other values"
    return "no part of any_of has these keys and values together"


def _allowed(slot: Slot) -> str:
    if slot.rows:
        return " or ".join(map(str, slot.rows))
    where = f" under {slot.guard}" if str(slot.guard) else ""
    return f"{_told(slot, slot.keys[0])}{where}"


def shown(params: Params) -> str:
    """ "beta=0.1, method=dpo"."""
    return ", ".join(f"{key}={value}" for key, value in params.items())
