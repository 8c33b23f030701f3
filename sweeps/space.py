"""The space that a study searches: which keys, which values, which of them go together.

    Space(
        {"method": Choice(("dpo", "simpo")), "training.learning_rate": Real(1e-7, 1e-5, log=True)},
        conditions=[
            When({"method": ["dpo"]}, Part({"beta": Real(0.005, 0.5, log=True)})),
            When({"method": ["simpo"]}, Part({"beta": Real(2, 10), "method.gamma": Real(0.3, 1.6)})),
        ],
        enqueue=[{"method": "simpo", "beta": 2.0, "method.gamma": 1.0}],
        constraints=["beta * training.learning_rate <= 1e-4"],
    )

A point is a mapping of keys to values: {"method": "dpo", "training.learning_rate": 1e-6, "beta": 0.1}.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sweeps.constraints import Constraint
from sweeps.dimensions import Choice, Dimension
from sweeps.errors import NoPoint, SpaceError
from sweeps.slots import Draw, Guard, Slot, locate, named, plain, together, walk
from sweeps.types import Params, Scalar, Trial

# How many points are drawn at random before it is said that the constraints leave nothing.
DRAWS = 10_000


@dataclass(frozen=True)
class Part:
    """Keys that are decided together: each of `dimensions`, keys that move together, one part of a union, conditions.

    `zips` maps keys that move together to equally many values each. Of `any_of` exactly one part is chosen for a point;
    `conditions` come last, and may ask for any key that comes before them.
    """

    dimensions: Mapping[str, Dimension] = field(default_factory=dict)
    zips: Sequence[Mapping[str, Sequence[Scalar]]] = ()
    conditions: Sequence["When"] = ()
    any_of: Sequence["Part"] = ()

    def __post_init__(self) -> None:
        zips = tuple({key: tuple(values) for key, values in columns.items()} for columns in self.zips)
        object.__setattr__(self, "zips", zips)
        object.__setattr__(self, "conditions", tuple(self.conditions))
        object.__setattr__(self, "any_of", tuple(self.any_of))


@dataclass(frozen=True)
class When:
    """A part that is there only where each of the `given` keys has one of its values."""

    given: Mapping[str, Sequence[Scalar]]
    then: Part

    def __post_init__(self) -> None:
        object.__setattr__(self, "given", {key: tuple(values) for key, values in self.given.items()})


@dataclass(frozen=True)
class Space(Part):
    """The whole of it, checked on making: raises SpaceError with every fault.

    `enqueue` are points to be tried first, in order; they may give some of the keys, and the rest is then sampled.
    `constraints` are comparisons that every point must keep (see `sweeps.constraints`).
    """

    enqueue: Sequence[Params] = ()
    constraints: Sequence[str] = ()

    def __post_init__(self) -> None:
        from sweeps.space_check import faults  # which itself walks spaces

        super().__post_init__()
        object.__setattr__(self, "enqueue", tuple(self.enqueue))
        object.__setattr__(self, "constraints", tuple(self.constraints))
        found = faults(self)
        if found:
            raise SpaceError(found)

    @cached_property
    def slots(self) -> Sequence[Slot]:
        """The decisions that make a point, in order."""
        return named(flatten(self))

    @cached_property
    def rules(self) -> Sequence[Constraint]:
        """The constraints, parsed."""
        return [Constraint(text) for text in self.constraints]

    @cached_property
    def keys(self) -> frozenset[str]:
        """Every key that some point has."""
        return frozenset(key for slot in self.slots for key in slot.keys)

    @property
    def finite(self) -> bool:
        """Whether the points can be counted."""
        return all(slot.dimension.count is not None for slot in self.slots)

    def locate(self, params: Params) -> dict[str, Scalar] | None:
        """What each slot holds at the point; None where the point is not of the space, whatever the constraints say."""
        return locate(self.slots, params)

    def excess(self, params: Params) -> float:
        """0 where the point keeps the constraints, above 0 by how much it does not."""
        return sum(rule.excess(params) for rule in self.rules)

    def broken(self, params: Params) -> list[str]:
        """The constraints that the point does not keep."""
        return [rule.text for rule in self.rules if rule.excess(params) > 0]

    def contains(self, params: Params) -> list[str]:
        """Why the point is not one of the space, a sentence each; empty where it is."""
        from sweeps.space_check import point_faults

        return point_faults(self, params)

    def fits(self, params: Params) -> bool:
        """Whether the point is one of the space."""
        return self.locate(params) is not None and not self.broken(params)

    def identity(self, params: Params) -> tuple[tuple[str, Scalar], ...]:
        """Equal for equal points, however their numbers were rounded or their keys ordered."""
        draw = self.locate(params) or params
        return tuple(sorted((name, f"{type(value) is bool}{value!r}") for name, value in draw.items()))

    def points(self) -> Iterator[dict[str, Scalar]]:
        """Every point once, enqueued ones first, the last key changing fastest. Raises SpaceError where endless."""
        from sweeps.enumeration import points

        return points(self)

    def corners(self) -> list[dict[str, Scalar]]:
        """A few points that between them use every choice and both ends of every range."""
        from sweeps.enumeration import corners

        return corners(self)

    def never_tried(self, trials: Sequence[Trial]) -> dict[str, list[Scalar]]:
        """By key, the values of choices and short ranges that no trial has had."""
        from sweeps.enumeration import never_tried

        return never_tried(self, trials)

    def sample(self, rng: random.Random, needs: Mapping[str, Sequence[Scalar]] | None = None) -> dict[str, Scalar]:
        """A random point that keeps the constraints; `needs` restricts slots by name. Raises NoPoint."""
        held = needs or {}

        def decide(slot: Slot) -> Scalar:
            return rng.choice(held[slot.name]) if slot.name in held else slot.dimension.sample(rng)

        for _ in range(DRAWS):
            _, params = walk(self.slots, decide)
            if not self.broken(params):
                return params
        raise NoPoint(
            f"{DRAWS:,} points drawn at random all break a constraint: {'; '.join(self.constraints)}. "
            "Loosen the constraints, or narrow the ranges"
        )

    def complete(self, draw: Draw) -> dict[str, Scalar]:
        """The params of a draw that fills every slot it should."""
        return walk(self.slots, lambda slot: draw[slot.name])[1]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON and YAML."""
        from sweeps.space_data import as_dict

        return as_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Space":
        """The space that plain data says (see `sweeps.space_data`). Raises SpaceError with every fault."""
        from sweeps.space_data import from_dict

        return from_dict(data)


def flatten(part: Part) -> list[Slot]:
    """The slots of a part and of what is in it, in the order in which they are decided."""
    unions = 0

    def visit(part: Part, guard: Guard) -> Iterator[Slot]:
        nonlocal unions
        for key, dimension in part.dimensions.items():
            yield plain(key, dimension, guard)
        for columns in part.zips:
            yield together(columns, guard)
        if part.any_of:
            unions += 1
            name = "part" if unions == 1 else f"part {unions}"
            labels = tuple(f"{name}: {place}" for place in range(1, len(part.any_of) + 1))
            yield Slot(name, (), Choice(labels), guard)
            for label, inner in zip(labels, part.any_of, strict=True):
                yield from visit(inner, Guard(guard.given, (*guard.parts, (name, label))))
        for when in part.conditions:
            given = tuple((key, tuple(values)) for key, values in when.given.items())
            yield from visit(when.then, Guard((*guard.given, *given), guard.parts))

    return list(visit(part, Guard()))
