"""Which runs of a study must complete before others may begin, as these begin at their policies or are held to them.

method=sft,dpo start=run 'start.run={method:sft}' -> each dpo run needs the sft run of its seed, and begins at its end
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sweeps.types import Scalar, Trial
from trainers import start_kinds
from trainers.config import RunConfig
from trainers.reference_config import RunReference, SelfReference
from trainers.spec import RunSpec
from trainers.start_config import BaseStart, RunStart
from trainers.weights_folders import needed_id

# What another run may be to a run; in the config a section of that name.
Role = Literal["start", "reference"]
ROLES: tuple[Role, ...] = ("start", "reference")


@dataclass(frozen=True)
class Member:
    """A run to be, as far as others may name it."""

    trial: Trial
    config: RunConfig


@dataclass(frozen=True)
class Link:
    """Which run has a role for another: a member by its place, none because it is the very run (None), or a fault."""

    needed: int | None = None
    fault: str = ""


# Of each member that names others, by its place.
Links = Mapping[int, Mapping[Role, Link]]


def links(members: Sequence[Member]) -> Links:
    """For each member with start=run or reference=run which others it needs; circles are faults of all in them."""
    found: dict[int, dict[Role, Link]] = {}
    for place, member in enumerate(members):
        for role in ROLES:
            if _named(member.config, role) is not None:
                found.setdefault(place, {})[role] = _link(place, role, members)
    return {place: {role: _unless_round(place, role, own[role], found) for role in own} for place, own in found.items()}


def in_order(count: int, found: Links) -> list[int]:
    """All places, each after those that it needs. There must be no circle."""

    def depth(place: int) -> int:
        return max((1 + depth(needed) for needed in needs(found.get(place, {}))), default=0)

    return sorted(range(count), key=depth)


def needs(own: Mapping[Role, Link]) -> list[int]:
    """The places of the runs that one needs, each once."""
    return list(dict.fromkeys(link.needed for link in own.values() if link.needed is not None))


def settled(config: RunConfig, role: Role, fingerprint: str | None) -> RunConfig:
    """The config with the run of that fingerprint in the role.

    None is the run itself: it begins at its model, or is held to its own start.
    """
    section = getattr(config, role)
    assert isinstance(section, RunStart | RunReference)
    itself = BaseStart(kind="base") if role == "start" else SelfReference(kind="self")
    known = itself if fingerprint is None else section.model_copy(update={"of": fingerprint})
    return config.model_copy(update={role: known})


def named_by(runs: Sequence[RunSpec], role: Role) -> dict[str, RunSpec]:
    """By the id of a planned run the other one of the study that has the role for it."""
    by_id = {run.run_id: run for run in runs}
    found = {}
    for run in runs:
        section = run.config.get(role)
        if isinstance(section, Mapping) and section.get("kind") == "run":
            needed = needed_id(run.needs, section.get("of"))
            if needed in by_id:
                found[run.run_id] = by_id[needed]
    return found


def _named(config: RunConfig, role: Role) -> Mapping[str, Scalar] | None:
    section = getattr(config, role)
    return section.run if isinstance(section, RunStart | RunReference) else None


def _link(place: int, role: Role, members: Sequence[Member]) -> Link:
    asking = members[place]
    wanted = _named(asking.config, role)
    assert wanted is not None
    named = [
        other
        for other, member in enumerate(members)
        if member.config.seed == asking.config.seed
        and all(_same(_value(member, key), value) for key, value in wanted.items())
    ]
    told = ", ".join(f"{key}={value}" for key, value in wanted.items())
    if not named:
        return Link(fault=f"{role}.run: no run of this study has {told} (and seed={asking.config.seed})")
    if place in named:
        return Link()
    # Of several, those that are most like the run that asks: the same model, the same data.
    like = {other: _likeness(asking, members[other], set(wanted)) for other in named}
    nearest = [other for other in named if like[other] == max(like.values())]
    if len({members[other].config.model_dump_json(exclude={"tracking"}) for other in nearest}) > 1:
        return Link(fault=f"{role}.run: {len(nearest)} runs of this study have {told}: name one, by more keys")
    if role == "start":
        unfit = list(start_kinds.of_runs(asking.config, members[nearest[0]].config))
        if unfit:
            return Link(fault=f"{role}.run: of the run that has {told}: {'; '.join(unfit)}")
    return Link(nearest[0])


def _unless_round(place: int, role: Role, link: Link, found: Links) -> Link:
    if link.needed is None or place not in _all_needed(place, found):
        return link
    return Link(fault=f"{role}.run: the runs that it names need each other, in a circle")


def _all_needed(place: int, found: Links) -> set[int]:
    """What a run needs, what that needs, and so on."""
    seen: set[int] = set()
    left = [place]
    while left:
        for needed in needs(found.get(left.pop(), {})):
            if needed not in seen:
                seen.add(needed)
                left.append(needed)
    return seen


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
