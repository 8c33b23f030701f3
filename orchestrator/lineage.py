"""Which runs of a study must complete before others may begin, because their policies are the others' references.

method=sft,dpo reference=run 'reference.run={method:sft}' -> each dpo run needs the sft run of its seed
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.types import Scalar, Trial
from trainers.config import RunConfig
from trainers.reference_config import RunReference, SelfReference


@dataclass(frozen=True)
class Member:
    """A run to be, as far as others may name it."""

    trial: Trial
    config: RunConfig


@dataclass(frozen=True)
class Link:
    """What a run's reference is: another member by its place, itself (None), or a fault."""

    needed: int | None = None
    fault: str = ""


def links(members: Sequence[Member]) -> dict[int, Link]:
    """For each member with reference=run, by its place, which other it needs; circles are faults of all in them."""
    found = {
        place: _link(place, members)
        for place, member in enumerate(members)
        if isinstance(member.config.reference, RunReference)
    }
    round_about = Link(fault="reference.run: the runs that it names need each other, in a circle")
    return {place: round_about if _goes_round(place, found) else link for place, link in found.items()}


def in_order(count: int, found: Mapping[int, Link]) -> list[int]:
    """All places, each after the one that it needs. There must be no circle."""

    def depth(place: int | None) -> int:
        return 0 if place is None or place not in found else 1 + depth(found[place].needed)

    return sorted(range(count), key=depth)


def with_reference(config: RunConfig, fingerprint: str | None) -> RunConfig:
    """The config with its reference settled: the run of that fingerprint, or itself as it was before training."""
    reference = config.reference
    assert isinstance(reference, RunReference)
    settled = SelfReference(kind="self") if fingerprint is None else reference.model_copy(update={"of": fingerprint})
    return config.model_copy(update={"reference": settled})


def _link(place: int, members: Sequence[Member]) -> Link:
    asking = members[place]
    wanted = asking.config.reference
    assert isinstance(wanted, RunReference)
    named = [
        other
        for other, member in enumerate(members)
        if member.config.seed == asking.config.seed
        and all(_same(_value(member, key), value) for key, value in wanted.run.items())
    ]
    told = ", ".join(f"{key}={value}" for key, value in wanted.run.items())
    if not named:
        return Link(fault=f"reference.run: no run of this study has {told} (and seed={asking.config.seed})")
    if place in named:
        return Link()
    # Of several, those that are most like the run that asks: the same model, the same data.
    like = {other: _likeness(asking, members[other], set(wanted.run)) for other in named}
    nearest = [other for other in named if like[other] == max(like.values())]
    if len({members[other].config.model_dump_json(exclude={"tracking"}) for other in nearest}) > 1:
        return Link(fault=f"reference.run: {len(nearest)} runs of this study have {told}: name one, by more keys")
    return Link(nearest[0])


def _goes_round(place: int, found: Mapping[int, Link]) -> bool:
    seen: set[int] = set()
    at: int | None = place
    while at is not None and at in found:
        if at in seen:
            return True
        seen.add(at)
        at = found[at].needed
    return False


def _likeness(one: Member, other: Member, named: Iterable[str]) -> int:
    keys = set(one.trial.params) - set(named)
    return sum(one.trial.params[key] == other.trial.params.get(key) for key in keys)


def _value(member: Member, key: str) -> Any:
    """A swept value, or one of the run's config by its dotted key."""
    if key in member.trial.params:
        return member.trial.params[key]
    config = member.config
    short: Mapping[str, Any] = {
        "method": config.method.name, "model": config.model.name, "beta": config.strength, "seed": config.seed,
    }  # fmt: skip
    if key in short:
        return short[key]
    node: Any = config.model_dump(by_alias=True)
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _same(value: Any, wanted: Scalar) -> bool:
    if isinstance(value, int | float) and isinstance(wanted, int | float) and not isinstance(value, bool):
        return float(value) == float(wanted)
    return str(value) == str(wanted)
