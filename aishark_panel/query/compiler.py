"""Compile a syntax tree into one `Test`: names resolved, kinds checked, negations pushed down to the comparisons.

Nulls follow three-valued logic: a comparison with null is neither true nor false, `not` leaves it so, `and` is false
where a term is false, `or` true where one is true; what is still null at the end is not selected. So instead of
carrying a third value along, every condition is compiled for the verdict `wanted` (true or false): `not a` is `a` with
the other verdict wanted, `a and b` wanted false is `a or b` each wanted false, and only a comparison looks at nulls.

Equal conditions, of one expression or of several, are evaluated once on the same `Rows`.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from aishark_panel.errors import ExpressionError
from aishark_panel.query import syntax, texts
from aishark_panel.query.arithmetic import Quantity, arithmetic, bitwise, constant, quantity
from aishark_panel.query.comparisons import (
    MULTICAST,
    NUMERIC,
    PRIVATE,
    TEXTUAL,
    Atom,
    compare_fields,
    compare_literal,
    compare_quantities,
    has_flags,
    in_networks,
    in_set,
    numbers_in_set,
    on_text,
)
from aishark_panel.query.frames import FRAME_COLUMNS, frames_containing
from aishark_panel.query.literals import frame_bytes, integer, string
from aishark_panel.query.names import PAYLOADS, Field, Meaning, Presence, resolve
from aishark_panel.query.parser import FUNCTIONS
from aishark_panel.query.payloads import PAYLOAD_COLUMNS, payloads_containing
from aishark_panel.query.regexes import RegexBudget
from aishark_panel.query.rows import Mask, Rows, Test
from aishark_panel.query.tokens import MAX_TEXT_CHARS
from aishark_panel.wire.protocols import PROTOCOLS
from aishark_panel.wire.schema import Kind

__all__ = ["Compiled", "compile_tree"]

Compiled = tuple[Test, frozenset[str], bool]
"""The test, the stored columns it reads, and whether it reads frames."""

_FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_MEASURES: Final = frozenset({"entropy", "str.len"})
"""Functions that give a number."""
_NETWORKS: Final = {"is_private": PRIVATE, "is_multicast": MULTICAST}
_BYTES: Final = frozenset({"frame", *PAYLOADS})
"""Names of bytes, which are in no column."""
_VALUES: Final = {
    "has": (1, MAX_TEXT_CHARS), "in_net": (1, MAX_TEXT_CHARS),
    **dict.fromkeys(("is_private", "is_multicast", "entropy", "str.len"), (0, 0)),
}  # fmt: skip
"""How few and how many values a function takes behind what it is about; one, if it is not named here."""
_SWITCHES: Final = {"str.contains": ("regex", "case"), "str.match": ("case",), "str.fullmatch": ("case",)}
_PROTOCOL: Final = frozenset({"protocol"})
_CONSTANTS: Final = "this compares two constants; a column belongs on one side"
_BRACKETS: Final = "'&' and '|' bind like 'and' and 'or': write (tcp_flags & 2) == 2"


def compile_tree(tree: syntax.Node, names: Mapping[str, Meaning]) -> Compiled:
    """Compile a condition on what the names stand for. Raises ExpressionError where kinds do not fit."""
    compiler = _Compiler(names)
    test = compiler.condition(tree, True)
    return test, frozenset(compiler.columns), compiler.needs_frames


class _Compiler:
    def __init__(self, names: Mapping[str, Meaning]) -> None:
        self._names = names
        self.columns: set[str] = set()
        self.needs_frames = False
        self._regexes = RegexBudget()

    def condition(self, node: syntax.Node, wanted: bool) -> Test:
        """Where the condition has the verdict `wanted`."""
        if isinstance(node, syntax.Not):
            return self.condition(node.operand, not wanted)
        test = self._condition(node, wanted)
        key = sys.intern(f"{wanted} {node}")
        return lambda rows: rows.remembered(key, test)

    def _condition(self, node: syntax.Node, wanted: bool) -> Test:
        match node:
            case syntax.Logic():
                return self._logic(node, wanted)
            case syntax.Comparison():
                return self._comparison(node, wanted)
            case syntax.Membership():
                return self._any([_member(subject, node.items) for subject in self._subjects(node.subject)], wanted)
            case syntax.Match():
                return self._match(node, wanted)
            case syntax.Call():
                return self._call(node, wanted)
            case syntax.Name():
                return self._name(node, wanted)
            case _:
                raise ExpressionError("expected a condition here; compare this value with something", node.position)

    def _logic(self, node: syntax.Logic, wanted: bool) -> Test:
        if _is_number(node):
            return self._decide(compare_quantities(">", self._quantity(node), constant(0)), wanted)
        if node.operator in "&|" and any(_is_number(term) or _compares_numbers(term) for term in node.terms):
            raise ExpressionError(_BRACKETS, node.position)
        if (node.operator in ("and", "&")) is not wanted:
            return _either([self.condition(term, wanted) for term in node.terms])
        columns, frames = list[Test](), list[Test]()
        needs_frames = self.needs_frames
        for term in node.terms:
            self.needs_frames = False
            test = self.condition(term, wanted)
            (frames if self.needs_frames else columns).append(test)
            needs_frames |= self.needs_frames
        self.needs_frames = needs_frames
        return _all(columns, frames)

    def _comparison(self, node: syntax.Comparison, wanted: bool) -> Test:
        pairs = zip(node.operators, node.operands, node.operands[1:], strict=False)
        tests = [self._pair(operator, left, right, wanted, node.position) for operator, left, right in pairs]
        return _all(tests) if wanted else _either(tests)

    def _pair(self, operator: str, left: syntax.Node, right: syntax.Node, wanted: bool, position: int) -> Test:
        if operator == "!=":
            return self._pair("==", left, right, not wanted, position)
        if isinstance(right, syntax.Items) and operator == "==":  # pandas compares with a list as `in` does
            return self.condition(syntax.Membership(position, left, right), wanted)
        if isinstance(left, syntax.Literal):
            left, right, operator = right, left, _FLIPPED.get(operator, operator)
        others = [right] if isinstance(right, syntax.Literal) else self._subjects(right)
        return self._any(
            [_compare(operator, s, other, position) for s in self._subjects(left) for other in others], wanted
        )

    def _match(self, node: syntax.Match, wanted: bool) -> Test:
        if isinstance(node.subject, syntax.Name) and node.subject.text in _BYTES:
            return self._bytes(node, node.subject, wanted)
        subjects = self._texts(node.subject)
        text = string(node.pattern, subjects[0].name)
        if node.operator == "contains":
            decision = texts.containing(text)
        else:  # Wireshark's `matches` ignores case
            self._regexes.take(text, node.pattern.position)
            decision = texts.matching(text, node.pattern.position, ignore_case=True)
        return self._any([on_text(field, decision) for field in subjects], wanted)

    def _bytes(self, node: syntax.Match, subject: syntax.Name, wanted: bool) -> Test:
        if node.operator != "contains":
            raise ExpressionError(f"{subject.text} can be searched with 'contains' only", node.position)
        presence = resolve(subject.text, subject.position, self._names).presence
        self.needs_frames = True
        needle = frame_bytes(node.pattern)
        if subject.text not in PAYLOADS:
            return self._decide(Atom(test=frames_containing(needle), columns=frozenset(FRAME_COLUMNS)), wanted)
        atom = Atom(test=payloads_containing(needle), presence=presence, columns=frozenset(PAYLOAD_COLUMNS))
        return self._decide(atom, wanted)

    def _call(self, node: syntax.Call, wanted: bool) -> Test:
        if node.function in _MEASURES:
            raise ExpressionError("expected a condition here; compare this number with something", node.position)
        subject, values = _arguments(node)
        if node.function.startswith("str."):
            fields, decision = self._texts(subject), _text_decision(node, values, self._regexes)
            return self._any([on_text(field, decision) for field in fields], wanted)
        if node.options:
            raise ExpressionError(f"{node.function} has no options", node.options[0][1].position)
        if networks := _NETWORKS.get(node.function):
            values = [syntax.Text(node.arguments[0].position, network) for network in networks]
        condition = has_flags if node.function == "has" else in_networks
        return self._any([condition(_field(s, node), values) for s in self._subjects(subject)], wanted)

    def _name(self, node: syntax.Name, wanted: bool) -> Test:
        """A bare name: the value of a yes/no column, else whether there is any; of a protocol, its packets."""
        meaning = resolve(node.text, node.position, self._names)
        if meaning.protocols:
            return self._decide(Atom(test=_is_protocol(meaning.protocols), columns=_PROTOCOL), wanted)
        if any(field.kind is Kind.BOOLEAN and not field.bit for field in meaning.fields):
            return self._any([compare_quantities("==", quantity(f), constant(1)) for f in meaning.fields], wanted)
        alternatives = [field.presence for field in meaning.fields] or [meaning.presence]
        columns = frozenset(presence.column for presences in alternatives for presence in presences)
        tests = [_exists(presences) for presences in alternatives]
        return self._decide(Atom(test=_either(tests), columns=columns), wanted)

    def _any(self, atoms: Sequence[Atom], wanted: bool) -> Test:
        """Any of the atoms: a name that stands for two fields means either."""
        tests = [self._decide(atom, wanted) for atom in atoms]
        return _either(tests) if wanted else _all(tests)

    def _decide(self, atom: Atom, wanted: bool) -> Test:
        presences = tuple(
            dict.fromkeys([*(presence for field in atom.fields for presence in field.presence), *atom.presence])
        )
        self.columns.update(atom.columns, (presence.column for presence in presences))
        self.columns.update(field.stored for field in atom.fields if field.stored)
        test, defined = atom.test, atom.defined

        def decided(rows: Rows) -> Mask:
            for presence in presences:
                if not rows.present(presence).any():
                    return rows.present(presence)
            mask = test(rows)
            if not wanted:
                mask = ~mask
            for presence in presences:
                mask = mask & rows.present(presence)
            return mask if defined is None else mask & defined(rows)

        return decided

    def _subjects(self, node: syntax.Node) -> Sequence[Field | Quantity]:
        """What a comparison is about: the fields a name stands for, or a number."""
        return self._fields(node) if isinstance(node, syntax.Name) else [self._quantity(node)]

    def _fields(self, node: syntax.Name) -> tuple[Field, ...]:
        meaning = resolve(node.text, node.position, self._names)
        if not meaning.fields:
            shown = node.text[:40]
            raise ExpressionError(
                f"{shown!r} is a protocol and has no value; put it in quotes if it is one, or search frames: "
                "frame contains 'text'",
                node.position,
            )
        return meaning.fields

    def _texts(self, node: syntax.Node) -> tuple[Field, ...]:
        if not isinstance(node, syntax.Name):
            raise ExpressionError("a text is searched in a column: write its name here", node.position)
        fields = self._fields(node)
        if any(field.kind not in TEXTUAL for field in fields):
            raise ExpressionError(f"{node.text} is not text ({fields[0].kind.value})", node.position)
        return fields

    def _quantity(self, node: syntax.Node) -> Quantity:
        match node:
            case syntax.Number() | syntax.Text() | syntax.Bare():
                return _literal_number(node)
            case syntax.Name():
                fields = self._fields(node)
                if len(fields) > 1:
                    raise ExpressionError(f"{node.text} means two columns; calculate with one of them", node.position)
                return _number(fields[0], node.position)
            case syntax.Negative():
                return arithmetic(constant(0), [("-", self._quantity(node.operand))], node.position)
            case syntax.Arithmetic():
                return arithmetic(
                    self._quantity(node.first),
                    [(symbol, self._quantity(term)) for symbol, term in node.steps],
                    node.position,
                )
            case syntax.Logic() if node.operator in "&|":
                return bitwise(node.operator, [self._quantity(term) for term in node.terms], node.position)
            case syntax.Call() if node.function in _MEASURES:
                return self._measure(node)
            case syntax.Not():
                raise ExpressionError("a negation has no value; write not (a == b)", node.position)
            case _:
                raise ExpressionError(
                    f"a condition has no value to compare or calculate with. {_BRACKETS}", node.position
                )

    def _measure(self, node: syntax.Call) -> Quantity:
        subject, _ = _arguments(node)
        if node.options:
            raise ExpressionError(f"{node.function} has no options", node.options[0][1].position)
        (field,) = self._texts(subject)
        if node.function == "entropy":
            return Quantity(
                values=texts.text_numbers(field, texts.entropies, np.float64),
                low=0,
                high=8,
                dtype="f8",
                fields=(field,),
            )
        return Quantity(
            values=texts.text_numbers(field, texts.lengths, np.int32),
            low=0, high=np.iinfo(np.int32).max, dtype="i4", fields=(field,),
        )  # fmt: skip


def _all(columns: Sequence[Test], frames: Sequence[Test] = ()) -> Test:
    """Tests of columns come first: those that read frames then look only at the rows that are left."""
    if len(columns) + len(frames) == 1:
        return (*columns, *frames)[0]

    def test(rows: Rows) -> Mask:
        mask = rows.everything()
        for other in columns:
            mask = mask & other(rows)
            if not mask.any():
                return mask
        for other in frames:
            mask = mask & other(rows.narrowed(mask))
        return mask

    return test


def _either(tests: Sequence[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]

    def test(rows: Rows) -> Mask:
        mask = tests[0](rows)
        for other in tests[1:]:
            mask = mask | other(rows)
        return mask

    return test


def _exists(presences: Sequence[Presence]) -> Test:
    def test(rows: Rows) -> Mask:
        mask = rows.everything()
        for presence in presences:
            mask = mask & rows.present(presence)
        return mask

    return test


def _is_protocol(codes: tuple[int, ...]) -> Test:
    wanted = np.zeros(len(PROTOCOLS), np.bool_)
    wanted[list(codes)] = True
    return lambda rows: wanted.take(rows.values("protocol"))


def _is_number(node: syntax.Node) -> bool:
    """Is this certainly a number? A bare name may also ask whether there is a value."""
    if isinstance(node, syntax.Logic) and node.operator in "&|":
        certain = [_is_number(term) for term in node.terms]
        return any(certain) and all(
            sure or isinstance(term, syntax.Name) for sure, term in zip(certain, node.terms, strict=True)
        )
    if isinstance(node, syntax.Call):
        return node.function in _MEASURES
    return isinstance(node, syntax.Number | syntax.Negative | syntax.Arithmetic)


def _compares_numbers(node: syntax.Node) -> bool:
    """The right side of `tcp.flags & 2 == 2`, whose author meant other brackets."""
    return isinstance(node, syntax.Comparison) and all(isinstance(n, syntax.Number) for n in node.operands)


def _literal_number(literal: syntax.Literal) -> Quantity:
    if not isinstance(literal, syntax.Number):
        raise ExpressionError(f"{literal.text[:40]!r} is not a number", literal.position)
    return constant(integer(literal, "a number"))


def _number(subject: Field | Quantity, position: int) -> Quantity:
    if isinstance(subject, Quantity):
        return subject
    if subject.kind not in NUMERIC:
        raise ExpressionError(f"{subject.name} ({subject.kind.value}) is not a number", position)
    return quantity(subject)


def _field(subject: Field | Quantity, node: syntax.Call) -> Field:
    if isinstance(subject, Quantity):
        raise ExpressionError(f"{node.function} looks at a column: {FUNCTIONS[node.function]}", node.position)
    return subject


def _compare(operator: str, left: Field | Quantity, right: Field | Quantity | syntax.Literal, position: int) -> Atom:
    if isinstance(left, Field) and isinstance(right, syntax.Literal):
        return compare_literal(operator, left, right)
    if isinstance(left, Field) and isinstance(right, Field):
        return compare_fields(operator, left, right, position)
    other = _literal_number(right) if isinstance(right, syntax.Literal) else _number(right, position)
    number = _number(left, position)
    if number.constant is not None and other.constant is not None:
        raise ExpressionError(_CONSTANTS, position)
    return compare_quantities(operator, number, other)


def _member(subject: Field | Quantity, items: syntax.Items) -> Atom:
    if isinstance(subject, Field):
        return in_set(subject, items)
    if subject.constant is not None:
        raise ExpressionError("a constant is in a set or not; a column goes before 'in'", items.position)
    return numbers_in_set(subject, items, "the result")


def _text_decision(node: syntax.Call, values: Sequence[syntax.Literal], regexes: RegexBudget) -> texts.Decision:
    argument, text = values[0], string(values[0], node.function)
    switches = dict.fromkeys(_SWITCHES.get(node.function, ()), True)
    for name, value in node.options:
        if name not in switches:
            raise ExpressionError(f"{node.function} has no option {name[:20]!r}", value.position)
        if not isinstance(value, syntax.Number):
            raise ExpressionError(f"{name} is True or False", value.position)
        switches[name] = bool(value.value)
    if node.function in _SWITCHES and switches.get("regex", True):
        regexes.take(text, argument.position)
    match node.function:
        case "str.startswith":
            return texts.starting(text)
        case "str.endswith":
            return texts.ending(text)
        case "str.match":
            return texts.beginning(text, argument.position, ignore_case=not switches["case"])
        case "str.fullmatch":
            return texts.filling(text, argument.position, ignore_case=not switches["case"])
        case _ if switches["regex"]:
            return texts.matching(text, argument.position, ignore_case=not switches["case"])
        case _:
            return texts.containing(text, ignore_case=not switches["case"])


def _arguments(node: syntax.Call) -> tuple[syntax.Node, list[syntax.Literal]]:
    """What a function is about, and the values that follow. Raises ExpressionError where there are too few or many."""
    least, most = _VALUES.get(node.function, (1, 1))
    if len(node.arguments) < 1 + least:
        raise ExpressionError(f"{node.function} needs more: {FUNCTIONS[node.function]}", node.position)
    if len(node.arguments) > 1 + most:
        message = f"{node.function} takes no more than that: {FUNCTIONS[node.function]}"
        raise ExpressionError(message, node.arguments[1 + most].position)
    return node.arguments[0], [_literal(argument) for argument in node.arguments[1:]]


def _literal(node: syntax.Node) -> syntax.Literal:
    if not isinstance(node, syntax.Literal):
        raise ExpressionError("only a plain value such as 'text' can stand here", node.position)
    return node
