"""Arithmetic on numeric columns.

Whole numbers are calculated in int64, exactly: a formula whose result might not fit is refused when it is compiled, by
the range of the columns in it. `/`, fractions and division by a column are calculated in float64; where there is no
result (division by zero) the row is null.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from aishark_panel.errors import ExpressionError
from aishark_panel.query.names import Field
from aishark_panel.query.rows import Mask, Rows

__all__ = ["Quantity", "arithmetic", "bitwise", "constant", "quantity"]

_LIMIT: Final = 2**53
"""Whole numbers within this range are exact in float64 too."""
_MAX_NUMBER: Final = 2**44
"""More packets than any session sees: half a year at a million a second."""
_PYTHON: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
    "/": operator.truediv, "//": operator.floordiv, "%": operator.mod,
}  # fmt: skip
_NUMPY: Final[dict[str, np.ufunc]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply,
    "/": np.true_divide, "//": np.floor_divide, "%": np.remainder,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number a row."""

    values: Callable[[Rows], Any]
    """(n,) numbers, a view perhaps; or one number for all rows"""
    low: int | float
    high: int | float
    dtype: str
    fields: tuple[Field, ...] = ()
    """null where one of these is"""
    constant: int | float | None = None

    @property
    def exact(self) -> bool:
        """Whole numbers; the others are null where they are not finite."""
        return self.dtype != "f8"

    def defined(self, rows: Rows) -> Mask:
        """Which rows have a result."""
        finite: Mask = np.isfinite(self.values(rows))
        return finite


def constant(value: int | float) -> Quantity:
    """The same number in every row."""
    dtype = "i8" if isinstance(value, int) else "f8"
    return Quantity(values=lambda _: value, low=value, high=value, dtype=dtype, constant=value)


def quantity(field: Field) -> Quantity:
    """The values of a numeric field."""
    stored, bit = field.stored, field.bit
    if not stored:
        return Quantity(values=Rows.numbers, low=1, high=_MAX_NUMBER, dtype="i8", fields=(field,))
    if bit:
        return Quantity(
            values=lambda rows: ((rows.values(stored) & bit) != 0).view(np.uint8),
            low=0, high=1, dtype="u1", fields=(field,),
        )  # fmt: skip
    limits = np.iinfo(field.dtype)
    low, high = field.limits or (int(limits.min), int(limits.max))
    return Quantity(
        values=lambda rows: rows.values(stored),
        low=low, high=high, dtype=field.dtype, fields=(field,),
    )  # fmt: skip


def arithmetic(first: Quantity, steps: Sequence[tuple[str, Quantity]], position: int) -> Quantity:
    """`first` with each step applied in turn. Raises ExpressionError where a result may not be exact or not exist."""
    result, operations = first, list[tuple[np.ufunc, str, Callable[[Rows], Any]]]()
    for symbol, operand in steps:
        if symbol in ("/", "//", "%") and operand.constant == 0:
            raise ExpressionError(f"{symbol!r} by zero has no result", position)
        if result.constant is not None and operand.constant is not None:
            result = _checked(constant(_folded(symbol, result.constant, operand.constant, position)), position)
            continue
        if not operations:
            first = result
        result = _bounded(symbol, _checked(result, position), _checked(operand, position))
        operations.append((_NUMPY[symbol], result.dtype, operand.values))
        _checked(result, position)
    if not operations:
        return result

    def values(rows: Rows) -> Any:
        total = first.values(rows)
        with np.errstate(all="ignore"):
            for ufunc, dtype, operand_values in operations:
                total = ufunc(total, operand_values(rows), dtype=dtype)
        return total

    fields = tuple(dict.fromkeys(field for q in (first, *(q for _, q in steps)) for field in q.fields))
    return Quantity(values=values, low=result.low, high=result.high, dtype=result.dtype, fields=fields)


def bitwise(symbol: str, terms: Sequence[Quantity], position: int) -> Quantity:
    """Terms joined by bitwise `&` or `|`; whole numbers from 0 up only."""
    if any(not term.exact or term.low < 0 for term in terms):
        raise ExpressionError(f"{symbol!r} on numbers takes whole numbers from 0 up", position)
    if all(term.constant is not None for term in terms):
        raise ExpressionError(f"{symbol!r} joins constants only; no column is in it", position)
    ufunc = np.bitwise_and if symbol == "&" else np.bitwise_or
    widest = [_checked(term, position).high for term in terms]

    def values(rows: Rows) -> Any:
        total = terms[0].values(rows)
        for term in terms[1:]:
            total = ufunc(total, term.values(rows), dtype="i8")
        return total

    high = min(widest) if symbol == "&" else (1 << int(max(widest)).bit_length()) - 1
    return Quantity(
        values=values, low=0, high=high, dtype="i8",
        fields=tuple(dict.fromkeys(field for term in terms for field in term.fields)),
    )  # fmt: skip


def _bounded(symbol: str, left: Quantity, right: Quantity) -> Quantity:
    """Range and type of one operation's result; its values are not looked at."""
    divides = symbol in ("/", "//", "%")
    if not left.exact or not right.exact or symbol == "/" or (divides and right.constant is None):
        low, high, dtype = -math.inf, math.inf, "f8"
    else:
        dtype = "i8"
        if symbol == "%":
            low, high = min(right.low + 1, 0), max(right.high - 1, 0)
        else:
            corners = [_PYTHON[symbol](a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
            low, high = min(corners), max(corners)
    return Quantity(values=left.values, low=low, high=high, dtype=dtype)


def _checked(operand: Quantity, position: int) -> Quantity:
    if operand.exact and max(-operand.low, operand.high) > _LIMIT:
        names = " and ".join(dict.fromkeys(field.name for field in operand.fields)) or "the result"
        raise ExpressionError(f"{names} may be too large to calculate with exactly (2**53)", position)
    return operand


def _folded(symbol: str, left: int | float, right: int | float, position: int) -> int | float:
    try:
        value: int | float = _PYTHON[symbol](left, right)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ExpressionError("the constants in it are too large", position)
    return value
