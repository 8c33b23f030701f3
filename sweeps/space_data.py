"""A space as plain data, as files and JSON hold it.

dimensions:
  method: [dpo, simpo]                                    # one of some values
  training.learning_rate: {range: [1e-7, 1e-5], log: true}  # a number, both ends included; or with a step:
  training.epochs: {integers: [1, 3]}                     # a whole number; or with a step, or with log
zips:                                                     # keys that move together
  - {data.noise: [0.0, 0.2], training.steps: [100, 200]}
conditions:
  - given: {method: [simpo]}                              # also: method: simpo
    then: {dimensions: {beta: {range: [2, 10]}, method.gamma: [0.5, 1.0]}}
any_of:                                                   # one of these parts
  - {dimensions: {...}}
enqueue:                                                  # tried first
  - {method: simpo, beta: 2.0}
constraints: ["beta * training.learning_rate <= 1e-3"]
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sweeps.dimensions import Choice, Dimension, Integer, Real
from sweeps.errors import SpaceError
from sweeps.space import Part, Space, When
from sweeps.types import Scalar

_PART = ("dimensions", "zips", "conditions", "any_of")
_SPACE = (*_PART, "enqueue", "constraints")


def as_dict(space: Space) -> dict[str, Any]:
    """Only what there is; `from_dict` makes an equal space of it."""
    data = _part(space)
    if space.enqueue:
        data["enqueue"] = [dict(point) for point in space.enqueue]
    if space.constraints:
        data["constraints"] = list(space.constraints)
    return data


def _part(part: Part) -> dict[str, Any]:
    data: dict[str, Any] = {
        "dimensions": {key: _dimension(dimension) for key, dimension in part.dimensions.items()},
        "zips": [{key: list(values) for key, values in columns.items()} for columns in part.zips],
        "conditions": [
            {"given": {key: list(values) for key, values in when.given.items()}, "then": _part(when.then)}
            for when in part.conditions
        ],
        "any_of": [_part(inner) for inner in part.any_of],
    }
    return {name: value for name, value in data.items() if value}


def _dimension(dimension: Dimension) -> list[Scalar] | dict[str, Any]:
    if isinstance(dimension, Choice):
        return list(dimension.values)
    data: dict[str, Any] = {"range" if isinstance(dimension, Real) else "integers": [dimension.low, dimension.high]}
    if dimension.log:
        data["log"] = True
    if dimension.step is not None and dimension != Integer(int(dimension.low), int(dimension.high), dimension.log):
        data["step"] = dimension.step
    return data


def from_dict(data: Mapping[str, Any]) -> Space:
    """Raises SpaceError with every fault that can be seen at once."""
    faults: list[str] = []
    part = _read_part(data, "", faults, _SPACE)
    enqueue = _list(data, "enqueue", "", faults)
    constraints = _list(data, "constraints", "", faults)
    faults += [f"enqueue: {point!r} is no mapping of keys to values" for point in enqueue if not _mapping(point)]
    faults += [f"constraints: {text!r} is no text" for text in constraints if not isinstance(text, str)]
    if faults:
        raise SpaceError(faults)
    return Space(part.dimensions, part.zips, part.conditions, part.any_of, enqueue, constraints)


def _read_part(data: Any, where: str, faults: list[str], known: Sequence[str] = _PART) -> Part:
    if not _mapping(data):
        faults.append(f"{where or 'space: '}{data!r} is no mapping with some of {', '.join(known)}")
        return Part()
    faults += [f"{where}there is no {name}; there are {', '.join(known)}" for name in data if name not in known]
    dimensions = data.get("dimensions") or {}
    if not _mapping(dimensions):
        faults.append(f"{where}dimensions: {dimensions!r} is no mapping of keys to what they may be")
        dimensions = {}
    read = {key: _read_dimension(key, value, where, faults) for key, value in dimensions.items()}
    zips = []
    for columns in _list(data, "zips", where, faults):
        if _mapping(columns) and all(isinstance(values, list | tuple) for values in columns.values()):
            zips.append({key: list(values) for key, values in columns.items()})
        else:
            faults.append(f"{where}zips: {columns!r} is no mapping of keys to lists of values")
    conditions = []
    for place, when in enumerate(_list(data, "conditions", where, faults), start=1):
        inner = f"{where}condition {place}: "
        if not (_mapping(when) and when.keys() == {"given", "then"} and _mapping(when["given"])):
            faults.append(f"{inner}{when!r} has not the form given: {{key: [values]}}, then: {{...}}")
        else:
            given = {key: list(_listed(values)) for key, values in when["given"].items()}
            conditions.append(When(given, _read_part(when["then"], inner, faults)))
    any_of = [
        _read_part(inner, f"{where}part {place} of any_of: ", faults)
        for place, inner in enumerate(_list(data, "any_of", where, faults), start=1)
    ]
    return Part({key: found for key, found in read.items() if found is not None}, zips, conditions, any_of)


def _read_dimension(key: str, data: Any, where: str, faults: list[str]) -> Dimension | None:
    try:
        if not isinstance(key, str):
            raise SpaceError(["a key is a text"])
        if isinstance(data, list | tuple):
            return Choice(tuple(data))
        kinds: dict[str, Callable[..., Dimension]] = {"range": Real, "integers": Integer}
        kind = next((name for name in kinds if _mapping(data) and name in data), None)
        if kind is None:
            raise SpaceError([f"{data!r} is neither a list of values, nor has it a range or integers: [low, high]"])
        ends, settings = data[kind], {name: value for name, value in data.items() if name != kind}
        strange = [name for name in settings if name not in ("log", "step")]
        if strange:
            raise SpaceError([f"there is no {', '.join(strange)} beside {kind}: there are log and step"])
        if not isinstance(settings.get("log", False), bool):
            raise SpaceError([f"log is true or false, not {settings['log']!r}"])
        if not (isinstance(ends, list | tuple) and len(ends) == 2):
            raise SpaceError([f"{kind}: {ends!r} is no pair [low, high]"])
        return kinds[kind](*ends, **settings)
    except SpaceError as error:
        faults += [f"{where}{key}: {fault}" for fault in error.faults]
        return None


def _mapping(data: Any) -> bool:
    return isinstance(data, Mapping)


def _list(data: Any, name: str, where: str, faults: list[str]) -> list[Any]:
    found = (data.get(name) if _mapping(data) else None) or []
    if not isinstance(found, list | tuple):
        faults.append(f"{where}{name}: {found!r} is no list")
        return []
    return list(found)


def _listed(values: Any) -> Sequence[Scalar]:
    return values if isinstance(values, list | tuple) else [values]
