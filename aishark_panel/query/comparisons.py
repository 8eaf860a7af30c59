"""One comparison, by the kind of column: what may be compared with what, and how in few passes over the rows.

An `Atom` answers for rows that have values; which rows do follows from its fields, and is the compiler's business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from aishark_panel.errors import ExpressionError
from aishark_panel.jit import kernel
from aishark_panel.query import literals
from aishark_panel.query.arithmetic import Quantity, constant, quantity
from aishark_panel.query.names import Field, Presence, protocol_named
from aishark_panel.query.rows import Mask, Rows, Test
from aishark_panel.query.syntax import Items, Literal, Range
from aishark_panel.query.texts import Decision, among, ordered, text_test
from aishark_panel.wire.layers import FLAG_NAMES
from aishark_panel.wire.schema import Kind, ipv6_layer

__all__ = [
    "MULTICAST", "NUMERIC", "PRIVATE", "TEXTUAL", "Atom", "compare_fields", "compare_literal", "compare_quantities",
    "has_flags", "in_networks", "in_set", "numbers_in_set", "on_text",
]  # fmt: skip

NUMERIC: Final = frozenset({Kind.INTEGER, Kind.FLAGS, Kind.BOOLEAN})
TEXTUAL: Final = frozenset({Kind.TEXT, Kind.PROTOCOL, Kind.INTERFACE})
PRIVATE: Final = (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
    "100.64.0.0/10",  # shared by a provider's customers, RFC 6598
    "169.254.0.0/16", "fe80::/10",  # of one link, RFC 3927 and 4291
    "127.0.0.0/8", "::1/128",  # of one host, RFC 1122 and 4291
    "fc00::/7",  # RFC 4193
)  # fmt: skip
"""Networks whose addresses nobody on the internet has."""
MULTICAST: Final = ("224.0.0.0/4", "ff00::/8")
"""RFC 5771 and 4291"""

_ORDERED: Final = NUMERIC | {Kind.TIME, Kind.TEXT}

_UFUNCS: Final[dict[str, np.ufunc]] = {
    "==": np.equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip
_TABLE_BITS: Final = 16
"""Sets of numbers up to this size are looked up in a table, larger ones by binary search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Atom:
    """One condition on some fields."""

    test: Test
    fields: tuple[Field, ...] = ()
    """null where one of these is"""
    presence: tuple[Presence, ...] = ()
    """null unless all of these hold"""
    defined: Test | None = None
    """null where this is false"""
    columns: frozenset[str] = frozenset()
    """further columns it reads"""


def compare_literal(operator: str, field: Field, literal: Literal) -> Atom:
    """Compare a field with a value. Raises ExpressionError where their kinds do not fit."""
    if operator != "==" and field.kind not in _ORDERED:
        raise ExpressionError(f"{field.name} has no order; compare it with ==, != or in", literal.position)
    stored = field.stored
    match field.kind:
        case Kind.ADDRESS:
            return in_networks(field, [literal])
        case Kind.MAC:
            return Atom(test=_versus(np.equal, stored, literals.mac(literal)), fields=(field,))
        case Kind.TIME:
            return Atom(test=_versus(_UFUNCS[operator], stored, literals.time_ns(literal)), fields=(field,))
        case Kind.TEXT | Kind.PROTOCOL | Kind.INTERFACE:
            return on_text(field, ordered(operator, _text(field, literal)))
        case _:
            return compare_quantities(operator, quantity(field), constant(literals.integer(literal, field.name)))


def compare_fields(operator: str, left: Field, right: Field, position: int) -> Atom:
    """Compare two fields of the same kind."""
    fields, a, b = (left, right), left.stored, right.stored
    if left.kind in NUMERIC and right.kind in NUMERIC:
        return compare_quantities(operator, quantity(left), quantity(right))
    if left.kind is not right.kind or left.kind is Kind.INTERFACE:
        raise ExpressionError(
            f"{left.name} ({left.kind.value}) cannot be compared with {right.name} ({right.kind.value})", position
        )
    if operator != "==" and left.kind is not Kind.TIME:
        raise ExpressionError(f"{left.name} and {right.name} compare with == and != only", position)
    if left.kind is Kind.ADDRESS:
        return Atom(test=lambda rows: _same_addresses(rows.values(a), rows.values(b)), fields=fields)
    ufunc = _UFUNCS[operator]
    return Atom(test=lambda rows: ufunc(rows.values(a), rows.values(b)), fields=fields)


def compare_quantities(operator: str, left: Quantity, right: Quantity) -> Atom:
    """Compare two numbers, at least one of which differs from row to row."""
    ufunc, a, b = _UFUNCS[operator], left.values, right.values
    inexact = [q for q in (left, right) if not q.exact and q.constant is None]

    def defined(rows: Rows) -> Mask:
        mask = inexact[0].defined(rows)
        for other in inexact[1:]:
            mask = mask & other.defined(rows)
        return mask

    return Atom(
        test=lambda rows: ufunc(a(rows), b(rows)),
        fields=left.fields + right.fields,
        defined=defined if inexact else None,
    )


def in_set(field: Field, items: Items) -> Atom:
    """Is the field one of these values? Raises ExpressionError where their kinds do not fit."""
    if field.kind in NUMERIC:
        return numbers_in_set(quantity(field), items, field.name)
    values = _without_ranges(field, items)
    match field.kind:
        case Kind.ADDRESS:
            return in_networks(field, values)
        case Kind.MAC | Kind.TIME:
            convert = literals.mac if field.kind is Kind.MAC else literals.time_ns
            points = [(point, point) for point in map(convert, values)]
            return Atom(
                test=_in_intervals(lambda rows: rows.values(field.stored), field.dtype, points), fields=(field,)
            )
        case _:
            return on_text(field, among([_text(field, value) for value in values]))


def numbers_in_set(subject: Quantity, items: Items, name: str) -> Atom:
    """Is the number one of these, or within one of these ranges?"""
    if not subject.exact:
        raise ExpressionError("a fraction is not looked up in a set; compare it with < and >", items.position)
    intervals = []
    for item in items.members:
        ends = (item.low, item.high) if isinstance(item, Range) else (item, item)
        low, high = (literals.integer(end, name) for end in ends)
        if not isinstance(low, int) or not isinstance(high, int):
            raise ExpressionError("a set of numbers holds whole numbers", item.position)
        intervals.append((low, high))
    return Atom(test=_in_intervals(subject.values, subject.dtype, intervals), fields=subject.fields)


def in_networks(field: Field, values: Sequence[Literal]) -> Atom:
    """Is the address one of these, or in one of these networks?

    An IPv6 packet may carry ::ffff:a.b.c.d, which is stored like the IPv4 address a.b.c.d but is not that address.
    """
    if field.kind is not Kind.ADDRESS:
        raise ExpressionError(f"{field.name} holds no IP addresses; src_ip and dst_ip do", values[0].position)
    stored, networks = field.stored, [literals.network(value) for value in values]
    ipv6 = Presence("layers", int(ipv6_layer(stored)))
    wanted = np.array([network.value for network in networks], np.uint64)
    masks = np.array([network.mask for network in networks], np.uint64)
    v6 = np.array([network.is_v6 for network in networks], np.bool_)

    def test(rows: Rows) -> Mask:
        found = np.empty(len(rows), np.bool_)
        _search_networks(rows.values(stored), rows.present(ipv6), wanted, masks, v6, found)
        return found

    return Atom(test=test, fields=(field,), columns=frozenset({ipv6.column}))


def has_flags(field: Field, names: Sequence[Literal]) -> Atom:
    """Are all these flags set?"""
    stored, known = field.stored, FLAG_NAMES.get(field.stored, ())
    if not known or field.bit:
        raise ExpressionError(f"has() looks at {' or '.join(FLAG_NAMES)}: has(tcp_flags, 'SYN')", names[0].position)
    bits = 0
    for name in names:
        if name.text.upper() not in known:
            raise ExpressionError(f"{name.text[:20]!r} is no flag of {stored}: {', '.join(known)}", name.position)
        bits |= 1 << known.index(name.text.upper())
    return Atom(test=lambda rows: (rows.values(stored) & bits) == bits, fields=(field,))


def on_text(field: Field, decision: Decision) -> Atom:
    """What `decision` says of the field's text."""
    return Atom(test=text_test(field, decision), fields=(field,))


def _versus(ufunc: np.ufunc, stored: str, value: int) -> Test:
    return lambda rows: ufunc(rows.values(stored), value)


def _text(field: Field, literal: Literal) -> str:
    text = literals.string(literal, field.name)
    return protocol_named(text, literal.position) if field.kind is Kind.PROTOCOL else text


def _without_ranges(field: Field, items: Items) -> list[Literal]:
    for item in items.members:
        if isinstance(item, Range):
            raise ExpressionError(f"{field.name} takes no ranges; only numbers do", item.position)
    return [item for item in items.members if not isinstance(item, Range)]


def _same_addresses(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> Mask:
    equal: Mask = a[:, 1] == b[:, 1]
    equal &= a[:, 0] == b[:, 0]
    return equal


@kernel
def _search_networks(
    addresses: npt.NDArray[np.uint64],
    is_v6: Mask,
    wanted: npt.NDArray[np.uint64],
    masks: npt.NDArray[np.uint64],
    v6: Mask,
    found: Mask,
) -> None:
    """Set found[i] to whether address i is in one of the networks."""
    for i in range(len(addresses)):
        found[i] = False
        for k in range(len(wanted)):
            # The second half tells IPv4 addresses apart.
            if (
                addresses[i, 1] & masks[k, 1] == wanted[k, 1]
                and addresses[i, 0] & masks[k, 0] == wanted[k, 0]
                and is_v6[i] == v6[k]
            ):
                found[i] = True
                break


def _in_intervals(values: Callable[[Rows], Any], dtype: str, intervals: Sequence[tuple[int, int]]) -> Test:
    """Which values lie in one of the closed intervals."""
    limits = np.iinfo(dtype)
    smallest, largest = int(limits.min), int(limits.max)
    merged: list[list[int]] = []
    for low, high in sorted((max(low, smallest), min(high, largest)) for low, high in intervals):
        if merged and low <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], high)
        elif low <= high:
            merged.append([low, high])
    if limits.bits <= _TABLE_BITS and smallest == 0:
        table = np.zeros(largest + 1, np.bool_)
        for low, high in merged:
            table[low : high + 1] = True
        return lambda rows: table[values(rows)]
    # Before the first interval ends nothing: its place 0 is never hit.
    lows, highs = np.array([[0, 0], *merged], dtype).T

    def test(rows: Rows) -> Mask:
        numbers = values(rows)
        place = np.searchsorted(lows[1:], numbers, side="right")
        found: Mask = (numbers <= highs[place]) & (place > 0)
        return found

    return test
