"""Points of a space listed: all of them, those at its corners, those that begin as asked, and what was never tried."""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sweeps.dimensions import Choice, same
from sweeps.errors import NoPoint, SpaceError
from sweeps.slots import Guard, Slot
from sweeps.types import Params, Scalar, Trial

if TYPE_CHECKING:
    from sweeps.space import Space

# Slots by name, each with the values it may hold.
Needs = dict[str, tuple[Scalar, ...]]
# So many ways to come to given values are looked at.
MOST_WAYS = 200
# Ranges up to this many values are told value by value when they were not tried.
SHORT = 30
# Points that are drawn to make a corner that keeps the constraints.
TRIES = 50


def points(space: "Space") -> Iterator[dict[str, Scalar]]:
    """Every point that keeps the constraints, once. Raises SpaceError where there is no end to them."""
    endless = [slot for slot in space.slots if slot.dimension.count is None]
    if endless:
        names = ", ".join(slot.name for slot in endless)
        raise SpaceError(
            [
                f"a grid cannot sweep over the continuous range of {names}: give it a step or name its values, "
                "or choose a sweeper that samples (sweeper=tpe, random, gp, cmaes, qmc, nsga2, nsga3 or auto)"
            ]
        )
    return _once(space)


def _once(space: "Space") -> Iterator[dict[str, Scalar]]:
    seen = set()
    for params in itertools.chain(_first(space), _every(space.slots, 0, {}, {})):
        known = space.identity(params)
        if known not in seen and not space.broken(params):
            seen.add(known)
            yield params


def every(space: "Space") -> Iterator[dict[str, Scalar]]:
    """Points of a finite space that keep the constraints, some perhaps twice."""
    return (params for params in _every(space.slots, 0, {}, {}) if not space.broken(params))


def _first(space: "Space") -> Iterator[dict[str, Scalar]]:
    """Of each enqueued point the first that has its values."""
    for wanted in space.enqueue:
        for needs in ways(space, wanted):
            found = next(
                (p for p in _every(space.slots, 0, {}, {}, needs) if wanted.keys() <= p.keys() and not space.broken(p)),
                None,
            )
            if found is not None:
                yield found
                break


def _every(
    slots: Sequence[Slot], place: int, draw: Params, params: Params, needs: Mapping[str, Sequence[Scalar]] | None = None
) -> Iterator[dict[str, Scalar]]:
    while place < len(slots) and not slots[place].guard.holds(params, draw):
        place += 1
    if place == len(slots):
        yield dict(params)
        return
    slot = slots[place]
    for value in slot.dimension.all() if slot.name not in (needs or {}) else (needs or {})[slot.name]:
        yield from _every(slots, place + 1, {**draw, slot.name: value}, {**params, **slot.params(value)}, needs)


def ways(space: "Space", wanted: Params) -> Iterator[Needs]:
    """What slots must hold so that a point may have the values wanted, one way after the other."""
    return itertools.islice(_all_of(space.slots, [(key, (value,)) for key, value in wanted.items()]), MOST_WAYS)


def _all_of(slots: Sequence[Slot], given: Sequence[tuple[str, Sequence[Scalar]]]) -> Iterator[Needs]:
    if not given:
        yield {}
        return
    (key, values), *rest = given
    for needs in _providing(slots, key, values):
        for others in _all_of(slots, rest):
            together = _both(needs, others)
            if together is not None:
                yield together


def _providing(slots: Sequence[Slot], key: str, values: Sequence[Scalar]) -> Iterator[Needs]:
    """Ways in which the key comes to one of the values."""
    for slot in slots:
        if key in slot.keys:
            if slot.rows:
                held = [label for label in slot.rows if any(same(slot.params(label)[key], value) for value in values)]
            else:
                held = [reading for value in values for reading in slot.read({key: value})]
            if held:
                yield from _filled(slots, slot, tuple(dict.fromkeys(held)))


def _filled(slots: Sequence[Slot], slot: Slot, values: tuple[Scalar, ...]) -> Iterator[Needs]:
    """Ways in which the slot is filled, and with one of the values."""
    for needs in _held(slots, slot.guard):
        together = _both(needs, {slot.name: values})
        if together is not None:
            yield together


def _held(slots: Sequence[Slot], guard: Guard) -> Iterator[Needs]:
    unions: Needs = {union: (label,) for union, label in guard.parts}
    for needs in _all_of(slots, guard.given):
        together = _both(needs, unions)
        if together is not None:
            yield together


def _both(one: Needs, other: Needs) -> Needs | None:
    merged = dict(one)
    for name, values in other.items():
        left = tuple(value for value in merged.get(name, values) if any(same(value, also) for also in values))
        if not left:
            return None
        merged[name] = left
    return merged


def corners(space: "Space") -> list[dict[str, Scalar]]:
    """Points that between them use every choice and both ends of every range, as far as the constraints let them."""
    rng = random.Random(0)
    untried = {(slot.name, repr(value)): (slot, value) for slot in space.slots for value in slot.dimension.corners()}
    found: list[dict[str, Scalar]] = []
    while untried:
        slot, value = next(iter(untried.values()))
        del untried[slot.name, repr(value)]
        point = _corner(space, slot, value, untried, rng)
        if point is not None:
            found.append(point)
            for name, held in (space.locate(point) or {}).items():
                untried.pop((name, repr(held)), None)
    return found or [space.sample(rng)]


def _corner(
    space: "Space",
    slot: Slot,
    value: Scalar,
    untried: Mapping[tuple[str, str], tuple[Slot, Scalar]],
    rng: random.Random,
) -> dict[str, Scalar] | None:
    """A point whose slot holds the value, and whose others hold as much as they can of what is untried."""
    for needs in itertools.islice(_filled(space.slots, slot, (value,)), MOST_WAYS):
        for attempt in range(TRIES):
            held = dict(needs)
            for other in space.slots:
                ends = other.dimension.corners()
                fresh = [end for end in ends if (other.name, repr(end)) in untried]
                if other.name not in held:
                    held[other.name] = tuple((fresh or ends) if attempt < TRIES // 2 else ends)
            point = _drawn(space, held, rng)
            if point is not None and (space.locate(point) or {}).get(slot.name) == value:
                return point
        try:
            point = space.sample(rng, needs)
        except NoPoint:
            continue
        if (space.locate(point) or {}).get(slot.name) == value:
            return point
    return None


def _drawn(space: "Space", held: Mapping[str, Sequence[Scalar]], rng: random.Random) -> dict[str, Scalar] | None:
    from sweeps.slots import walk

    _, params = walk(space.slots, lambda slot: rng.choice(held[slot.name]))
    return None if space.broken(params) else params


def never_tried(space: "Space", trials: Sequence[Trial]) -> dict[str, list[Scalar]]:
    """By slot, the values of choices and of short ranges that no trial of the space has had; unions have none."""
    tried: dict[str, list[Scalar]] = {}
    for trial in trials:
        for name, value in (space.locate(trial.params) or {}).items():
            tried.setdefault(name, []).append(value)
    found: dict[str, list[Scalar]] = {}
    for slot in space.slots:
        count = slot.dimension.count
        if slot.keys and (isinstance(slot.dimension, Choice) or (count is not None and count <= SHORT)):
            had = {repr(value) for value in tried.get(slot.name, [])}
            left = [value for value in slot.dimension.all() if repr(value) not in had]
            if left:
                found[slot.name] = left
    return found
