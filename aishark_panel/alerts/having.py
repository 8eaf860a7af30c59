"""`having`: a condition on what a window holds, as an expression over aggregates.

An *aggregate* is one number for each key: `packets`, `bytes`, `packets_per_s`, `bits_per_s`, `nunique(column)`,
`mean(column)`, `max(column)` and `count('expression')`. They can be calculated with (+ - * /), compared with numbers
or each other, and joined by `and` and `or`. A comparison with a number that does not exist (the mean of nothing, a
division by zero) is false.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.alerts.keys import key_field
from aishark_panel.errors import ExpressionError
from aishark_panel.query import Predicate, compile_expression, syntax
from aishark_panel.query.comparisons import NUMERIC
from aishark_panel.query.names import Field, suggestion
from aishark_panel.query.parser import parse

__all__ = ["BASIC", "FUNCTIONS", "Aggregate", "Having", "Numbers", "compile_having"]

FUNCTIONS: Final = {
    "nunique": "nunique(dst_port): how many different values",
    "mean": "mean(orig_len): their mean",
    "max": "max(orig_len): the largest",
    "count": "count('tcp_flags == 2'): how many of the packets match",
}
BASIC: Final = ("packets", "bytes", "packets_per_s", "bits_per_s")
"""Aggregates that every window has; bytes are those on the wire."""

_MAX_AGGREGATES: Final = 16
_COMPARE: Final[dict[str, np.ufunc]] = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip
_CALCULATE: Final[dict[str, np.ufunc]] = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.true_divide}

Numbers = Mapping[str, npt.NDArray[np.float64]]
"""Name of each aggregate to its number for each key; NaN where there is none."""
_Condition = Callable[[Numbers], npt.NDArray[np.bool_]]
_Number = Callable[[Numbers], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """A call in a condition: one number for each key."""

    name: str
    """how values and templates call it: nunique_dst_port, count_1"""
    function: str
    """one of FUNCTIONS"""
    field: Field | None = None
    predicate: Predicate | None = None
    """of count"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Having:
    """A compiled condition."""

    text: str
    aggregates: tuple[Aggregate, ...]
    """what it needs beside BASIC"""
    test: _Condition
    """which keys meet it"""


def compile_having(text: str) -> Having:
    """Compile a condition. Raises ExpressionError with the position of the error."""
    compiler = _Compiler()
    test = compiler.condition(parse(text, FUNCTIONS))
    return Having(text=text, aggregates=tuple(compiler.aggregates.values()), test=test)


class _Compiler:
    def __init__(self) -> None:
        self.aggregates: dict[tuple[str, str], Aggregate] = {}

    def condition(self, node: syntax.Node) -> _Condition:
        match node:
            case syntax.Logic(operator="and" | "&"):
                return _joined(np.logical_and, [self.condition(term) for term in node.terms])
            case syntax.Logic():
                return _joined(np.logical_or, [self.condition(term) for term in node.terms])
            case syntax.Comparison():
                numbers = [self.number(operand) for operand in node.operands]
                pairs = zip(node.operators, numbers, numbers[1:], strict=False)
                return _joined(np.logical_and, [_compared(_COMPARE[o], left, right) for o, left, right in pairs])
            case _:
                raise ExpressionError("expected a comparison here, such as packets >= 100", node.position)

    def number(self, node: syntax.Node) -> _Number:
        match node:
            case syntax.Number():
                value = float(node.value)
                return lambda _: value
            case syntax.Negative():
                operand = self.number(node.operand)
                return lambda numbers: -operand(numbers)
            case syntax.Arithmetic():
                return self._arithmetic(node)
            case syntax.Name():
                name = node.text
                if name not in BASIC:
                    known = [*BASIC, *FUNCTIONS]
                    raise ExpressionError(f"no aggregate {name[:40]!r}{suggestion(name, known)}", node.position)
                return lambda numbers: numbers[name]
            case syntax.Call():
                called = self._call(node)
                return lambda numbers: numbers[called]
            case _:
                raise ExpressionError("expected a number or an aggregate such as nunique(dst_port)", node.position)

    def _arithmetic(self, node: syntax.Arithmetic) -> _Number:
        steps = []
        for symbol, operand in node.steps:
            if symbol not in _CALCULATE:
                raise ExpressionError(f"{symbol!r} is not for aggregates; + - * / are", node.position)
            steps.append((_CALCULATE[symbol], self.number(operand)))
        first = self.number(node.first)

        def calculate(numbers: Numbers) -> Any:
            total = first(numbers)
            for ufunc, operand in steps:
                total = ufunc(total, operand(numbers))
            return total

        return calculate

    def _call(self, node: syntax.Call) -> str:
        """The name of the aggregate that a call means; equal calls mean the same one."""
        expected = syntax.Text if node.function == "count" else syntax.Name
        if len(node.arguments) != 1 or not isinstance(node.arguments[0], expected) or node.options:
            raise ExpressionError(f"write it like {FUNCTIONS[node.function]}", node.position)
        argument = node.arguments[0]
        assert isinstance(argument, syntax.Text | syntax.Name)
        key = (node.function, argument.text)
        if key not in self.aggregates:
            if len(self.aggregates) == _MAX_AGGREGATES:
                raise ExpressionError(f"a rule has at most {_MAX_AGGREGATES} aggregates", node.position)
            self.aggregates[key] = self._aggregate(node.function, argument)
        return self.aggregates[key].name

    def _aggregate(self, function: str, argument: syntax.Text | syntax.Name) -> Aggregate:
        if function == "count":
            number = 1 + sum(name == "count" for name, _ in self.aggregates)
            try:
                predicate = compile_expression(argument.text)
            except ExpressionError as error:
                position = argument.position + 1 + (error.position or 0)  # the quote comes first
                raise ExpressionError(str(error), position) from error
            return Aggregate(name=f"count_{number}", function=function, predicate=predicate)
        field = key_field(argument.text, argument.position)
        if function != "nunique" and field.kind not in NUMERIC:
            raise ExpressionError(f"{argument.text} ({field.kind.value}) has no {function}", argument.position)
        return Aggregate(name=f"{function}_{argument.text.replace('.', '_')}", function=function, field=field)


def _joined(ufunc: np.ufunc, conditions: list[_Condition]) -> _Condition:
    def test(numbers: Numbers) -> npt.NDArray[np.bool_]:
        verdict = conditions[0](numbers)
        for condition in conditions[1:]:
            verdict = ufunc(verdict, condition(numbers))
        return verdict

    return test


def _compared(ufunc: np.ufunc, left: _Number, right: _Number) -> _Condition:
    def test(numbers: Numbers) -> npt.NDArray[np.bool_]:
        with np.errstate(all="ignore"):
            a, b = left(numbers), right(numbers)
            verdict = ufunc(a, b) & np.isfinite(a) & np.isfinite(b)
        return np.broadcast_to(verdict, numbers["packets"].shape)

    return test
