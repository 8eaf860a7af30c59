"""The syntax tree of an expression, as the parser makes it and the compiler reads it.

Chains are flat (`a and b and c` is one node), so a tree is at most as deep as its brackets and negations.
Every node has the position in the text that an error about it points at. Its `repr` leaves that out, so it is the same
for conditions that mean the same, wherever they stand.
"""

from dataclasses import dataclass, field

__all__ = [
    "Arithmetic",
    "Bare",
    "Call",
    "Comparison",
    "Items",
    "Literal",
    "Logic",
    "Match",
    "Membership",
    "Name",
    "Negative",
    "Node",
    "Not",
    "Number",
    "Range",
    "Text",
]


@dataclass(frozen=True, slots=True)
class Node:
    """Any node."""

    position: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A column, a Wireshark field or a protocol."""

    text: str


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A number, True or False."""

    text: str
    value: int | float


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A quoted string; `text` is what the quotes enclose."""

    text: str


@dataclass(frozen=True, slots=True)
class Bare(Node):
    """An address, network, MAC address or bytes written without quotes."""

    text: str


Literal = Number | Text | Bare


@dataclass(frozen=True, slots=True)
class Range(Node):
    """`low..high` within a set; both ends belong to it."""

    low: Number
    high: Number


@dataclass(frozen=True, slots=True)
class Items(Node):
    """The members between the brackets of a set."""

    members: tuple[Literal | Range, ...]


@dataclass(frozen=True, slots=True)
class Negative(Node):
    """`-operand`"""

    operand: Node


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """`first` with each step's operator and operand applied in turn."""

    first: Node
    steps: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Logic(Node):
    """Terms joined by `and`, `or`, `&` or `|`; with the last two, bitwise where the terms are numbers."""

    operator: str
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not(Node):
    """`not operand`"""

    operand: Node


@dataclass(frozen=True, slots=True)
class Comparison(Node):
    """`operands[0] operators[0] operands[1] operators[1] ...`: all pairs hold."""

    operators: tuple[str, ...]
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Membership(Node):
    """`subject in items`"""

    subject: Node
    items: Items


@dataclass(frozen=True, slots=True)
class Match(Node):
    """`subject operator pattern` with `contains` or `matches`."""

    subject: Node
    operator: str
    pattern: Literal


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A listed function; `x.str.contains(...)` is the function "str.contains" with x as its first argument."""

    function: str
    arguments: tuple[Node, ...]
    options: tuple[tuple[str, Literal], ...]
