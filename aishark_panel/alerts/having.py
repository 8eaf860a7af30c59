"""`having`: a condition on what a window holds, as an expression over aggregates.

An *aggregate* is one number for each key: `packets`, `bytes`, `packets_per_s`, `bits_per_s`, a function of a column
(FUNCTIONS), `count('expression')`, and what one of these was in the windows before. They can be calculated with
(+ - * /), compared with numbers or each other, and joined by `and` and `or`. A comparison with a number that does not
exist (the mean of nothing, a division by zero) is false.
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
    "sum": "sum(payload_len): their sum",
    "mean": "mean(orig_len): their mean",
    "min": "min(ip_ttl): the smallest",
    "max": "max(orig_len): the largest",
    "p50": "p50(orig_len): the median, to 1 %",
    "p95": "p95(orig_len): which 95 % do not exceed, to 1 %",
    "p99": "p99(orig_len): which 99 % do not exceed, to 1 %",
    "count": "count('tcp_flags == 2'): how many of the packets match",
    "before": "before(packets): its mean in the five windows before",
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
    of: str = ""
    """of before: the name of the aggregate"""


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
                name = self._basic(node)
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
        if len(node.arguments) != 1 or node.options:
            raise self._misused(node)
        (argument,) = node.arguments
        match node.function, argument:
            case "before", syntax.Name():
                of = self._basic(argument)
            case "before", syntax.Call() if argument.function != "before":
                of = self._call(argument)
            case "count", syntax.Text():
                of = argument.text
            case function, syntax.Name() if function not in ("before", "count"):
                of = argument.text
            case _:
                raise self._misused(node)
        key = (node.function, of)
        if key not in self.aggregates:
            if len(self.aggregates) == _MAX_AGGREGATES:
                raise ExpressionError(f"a rule has at most {_MAX_AGGREGATES} aggregates", node.position)
            self.aggregates[key] = self._aggregate(node.function, of, argument.position)
        return self.aggregates[key].name

    def _misused(self, node: syntax.Call) -> ExpressionError:
        return ExpressionError(f"write it like {FUNCTIONS[node.function]}", node.position)

    def _basic(self, node: syntax.Name) -> str:
        if node.text not in BASIC:
            known = [*BASIC, *FUNCTIONS]
            raise ExpressionError(f"no aggregate {node.text[:40]!r}{suggestion(node.text, known)}", node.position)
        return node.text

    def _aggregate(self, function: str, of: str, position: int) -> Aggregate:
        if function == "before":
            return Aggregate(name=f"before_{of}", function=function, of=of)
        if function == "count":
            number = 1 + sum(name == "count" for name, _ in self.aggregates)
            try:
                predicate = compile_expression(of)
            except ExpressionError as error:
                raise ExpressionError(str(error), position + 1 + (error.position or 0)) from error  # the quote first
            return Aggregate(name=f"count_{number}", function=function, predicate=predicate)
        field = key_field(of, position)
        if function != "nunique" and field.kind not in NUMERIC:
            raise ExpressionError(f"{of} ({field.kind.value}) has no {function}", position)
        return Aggregate(name=f"{function}_{of.replace('.', '_')}", function=function, field=field)


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
