"""A space as a list of slots: the decisions that make a point, in the order in which they are taken.

    method: dpo or simpo; beta and learning rate together; for simpo gamma too
    -> method, beta + training.learning_rate, method.gamma (where method is simpo)

A slot is filled where its guard holds, which looks at the slots before it alone. So one walk along the list samples,
enumerates, recognises or suggests a point, whatever is nested in what.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sweeps.dimensions import Choice, Dimension, same
from sweeps.types import Params, Scalar

# What each slot of a point holds, by its name.
Draw = Mapping[str, Scalar]


@dataclass(frozen=True)
class Guard:
    """When a slot is filled: each of some keys has one of some values, and certain parts of unions were chosen."""

    given: tuple[tuple[str, tuple[Scalar, ...]], ...] = ()
    # The slot of a union, and the label of the part.
    parts: tuple[tuple[str, str], ...] = ()

    def holds(self, params: Params, draw: Draw) -> bool:
        """Whether it does, given what was decided before."""
        return all(
            key in params and any(same(params[key], value) for value in values) for key, values in self.given
        ) and all(draw.get(union) == label for union, label in self.parts)

    def excludes(self, other: "Guard") -> bool:
        """Whether both can never hold at once."""
        mine, theirs = dict(self.parts), dict(other.parts)
        if any(union in theirs and theirs[union] != label for union, label in mine.items()):
            return True
        return any(
            key == their_key and not any(same(a, b) for a in values for b in their_values)
            for key, values in self.given
            for their_key, their_values in other.given
        )

    def __str__(self) -> str:
        given = [f"{key}={'|'.join(map(str, values))}" for key, values in self.given]
        return ", ".join([*given, *(label for _, label in self.parts)])


@dataclass(frozen=True)
class Slot:
    """One decision: a key's value, a row of keys that move together, or which part of a union.

    `name` is the parameter's in Optuna: the key, with the guard where the key has several dimensions.
    """

    name: str
    keys: tuple[str, ...]
    dimension: Dimension
    guard: Guard
    # Of keys that move together: their values, by the labels of the dimension.
    rows: Mapping[Scalar, tuple[Scalar, ...]] = field(default_factory=dict)

    def params(self, value: Scalar) -> dict[str, Scalar]:
        """What the slot adds to a point when it holds the value: nothing, for a union."""
        if self.rows:
            return dict(zip(self.keys, self.rows[value], strict=True))
        return dict.fromkeys(self.keys, value)

    def read(self, params: Params) -> list[Scalar]:
        """The values it may hold at the point: one for a key that has it, any for a union."""
        if not self.keys:
            return list(self.dimension.all())
        if not all(key in params for key in self.keys):
            return []
        if self.rows:
            wanted = tuple(params[key] for key in self.keys)
            return [label for label, row in self.rows.items() if all(map(same, row, wanted))]
        try:
            return [self.dimension.read(params[self.keys[0]])]
        except ValueError:
            return []


def plain(key: str, dimension: Dimension, guard: Guard) -> Slot:
    """The slot of one key."""
    return Slot(key, (key,), dimension, guard)


def together(columns: Mapping[str, Sequence[Scalar]], guard: Guard) -> Slot:
    """The slot of keys that move together."""
    rows = list(zip(*columns.values(), strict=True))
    labels = [", ".join(f"{key}={value}" for key, value in zip(columns, row, strict=True)) for row in rows]
    labels = [
        label if labels.count(label) == 1 else f"{label} ({place})" for place, label in enumerate(labels, start=1)
    ]
    return Slot(" + ".join(columns), tuple(columns), Choice(tuple(labels)), guard, dict(zip(labels, rows, strict=True)))


def named(slots: Sequence[Slot]) -> list[Slot]:
    """The slots, so named that different dimensions are told apart; equal ones of a key share a name."""
    by_name: dict[str, list[Slot]] = {}
    for slot in slots:
        by_name.setdefault(slot.name, []).append(slot)
    found: list[Slot] = []
    taken: dict[str, Dimension] = {}
    for slot in slots:
        alike = [one for one in by_name[slot.name] if one.dimension == slot.dimension]
        name = slot.name if len(alike) == len(by_name[slot.name]) else f"{slot.name} [{alike[0].guard}]"
        while taken.setdefault(name, slot.dimension) != slot.dimension:
            name += "'"
        found.append(replace(slot, name=name))
    return found


def walk(slots: Iterable[Slot], decide: Callable[[Slot], Scalar]) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
    """Fill the slots whose guards hold, in order; the draw, and the params that it makes."""
    draw: dict[str, Scalar] = {}
    params: dict[str, Scalar] = {}
    for slot in slots:
        if slot.guard.holds(params, draw):
            draw[slot.name] = decide(slot)
            params |= slot.params(draw[slot.name])
    return draw, params


def locate(slots: Sequence[Slot], params: Params) -> dict[str, Scalar] | None:
    """The draw that makes the params; None where none does. Of a union the first part that fits is taken."""

    def search(place: int, draw: dict[str, Scalar], made: dict[str, Scalar]) -> dict[str, Scalar] | None:
        while place < len(slots) and not slots[place].guard.holds(made, draw):
            place += 1
        if place == len(slots):
            return draw if made.keys() == params.keys() else None
        slot = slots[place]
        for value in slot.read(params):
            found = search(place + 1, {**draw, slot.name: value}, {**made, **slot.params(value)})
            if found is not None:
                return found
        return None

    return search(0, {}, {})
