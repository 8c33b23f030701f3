"""Constraints: comparisons of numbers and keys that a point must keep.

    beta * training.learning_rate <= 1e-3 and not beta > 0.4

Only numbers, keys, + - * / **, comparisons, and, or, not: the text is parsed, never run. A constraint that names a key
which a point lacks says nothing about that point.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from sweeps.errors import SpaceError
from sweeps.types import Params

LONGEST = 1000

_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ALLOWED = "numbers, keys, + - * / **, comparisons, and, or, not"


@dataclass(frozen=True)
class Constraint:
    """One constraint, checked on making. Raises SpaceError."""

    text: str

    def __post_init__(self) -> None:
        assert self.keys is not None

    @cached_property
    def _tree(self) -> ast.expr:
        if len(self.text) > LONGEST:
            raise SpaceError([f"constraint {self.text[:40]}...: longer than {LONGEST} characters"])
        try:
            tree = ast.parse(self.text.strip(), mode="eval").body
            _check_truth(tree)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            why = error.args[0] if isinstance(error, ValueError) and error.args else "it does not parse"
            raise SpaceError([f"constraint {self.text}: {why}; it may have {_ALLOWED}"]) from None
        return tree

    @cached_property
    def keys(self) -> frozenset[str]:
        """The keys it names."""
        return frozenset(_keys(self._tree))

    def excess(self, params: Params) -> float:
        """0 where the point keeps it, else by how much it does not, above 0.

        What cannot be computed (a division by zero, a number too large) is not kept.
        """
        if not self.keys <= params.keys():
            return 0.0
        values = {key: params[key] for key in self.keys}
        if any(not isinstance(value, int | float) for value in values.values()):
            raise SpaceError([f"constraint {self.text}: {_text_keys(values)} is no number"])
        numbers = {key: float(value) for key, value in values.items() if isinstance(value, int | float)}
        try:
            if _true(self._tree, numbers):
                return 0.0
            by = abs(_gap(self._tree, numbers))
        except (ArithmeticError, TypeError):  # a root of a negative number is complex, and not to be compared
            return 1.0
        return by if math.isfinite(by) and by > 0 else 1.0


def _text_keys(values: Params) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in values.items() if not isinstance(value, int | float))


def _check_truth(node: ast.expr) -> None:
    """Raises ValueError where the node is not a comparison of numbers, or and, or, not of such."""
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                _check_truth(value)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            _check_truth(operand)
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(op) in _COMPARISONS for op in ops):
            for each in (left, *others):
                _check_number(each)
        case _:
            raise ValueError(f"{_shown(node)} is no comparison of numbers")


def _check_number(node: ast.expr) -> None:
    match node:
        case ast.Constant(value=bool()):
            raise ValueError(f"{_shown(node)} is no number")
        case ast.Constant(value=int() | float()):
            float(ast.literal_eval(node))  # it may be too large
        case ast.Name():
            pass
        case ast.Attribute(value=inner):
            if not isinstance(inner, ast.Name | ast.Attribute):
                raise ValueError(f"{_shown(node)} is no key")
            _check_number(inner)
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
            _check_number(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            _check_number(left)
            _check_number(right)
        case _:
            raise ValueError(f"{_shown(node)} is neither a number nor a key")


def _shown(node: ast.expr) -> str:
    return ast.unparse(node)[:60]


def _keys(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Name | ast.Attribute):
        return {ast.unparse(node)}
    return {key for child in ast.iter_child_nodes(node) for key in _keys(child)}


def _number(node: ast.expr, values: Mapping[str, float]) -> float:
    match node:
        case ast.Constant():
            return float(ast.literal_eval(node))
        case ast.UnaryOp(op=op, operand=operand):
            return -_number(operand, values) if isinstance(op, ast.USub) else _number(operand, values)
        case ast.BinOp(left=left, op=op, right=right):
            return _ARITHMETIC[type(op)](_number(left, values), _number(right, values))
        case _:
            return values[ast.unparse(node)]


def _true(node: ast.expr, values: Mapping[str, float]) -> bool:
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_true(part, values) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_true(part, values) for part in parts)
        case ast.UnaryOp(operand=operand):
            return not _true(operand, values)
        case ast.Compare(left=left, ops=ops, comparators=others):
            numbers = [_number(each, values) for each in (left, *others)]
            pairs = zip(ops, numbers, numbers[1:], strict=False)
            return all(_COMPARISONS[type(op)](one, other) for op, one, other in pairs)
    raise AssertionError(node)


def _gap(node: ast.expr, values: Mapping[str, float]) -> float:
    """The distance of the two sides of a plain comparison; 1 for anything else."""
    match node:
        case ast.Compare(left=left, comparators=[right]):
            return _number(left, values) - _number(right, values)
    return 1.0
