import pytest

from aishark_panel.errors import ExpressionError
from aishark_panel.query import syntax
from aishark_panel.query.parser import MAX_DEPTH, parse


def shape(node: object) -> str:
    """A tree as text with all its brackets."""
    match node:
        case syntax.Name() | syntax.Number() | syntax.Bare() | syntax.Text():
            return node.text
        case syntax.Not():
            return f"(not {shape(node.operand)})"
        case syntax.Negative():
            return f"(-{shape(node.operand)})"
        case syntax.Logic():
            return "(" + f" {node.operator} ".join(map(shape, node.terms)) + ")"
        case syntax.Arithmetic():
            return "(" + shape(node.first) + "".join(f" {symbol} {shape(term)}" for symbol, term in node.steps) + ")"
        case syntax.Comparison():
            pairs = zip(node.operators, node.operands[1:], strict=True)
            return "(" + shape(node.operands[0]) + "".join(f" {op} {shape(term)}" for op, term in pairs) + ")"
        case syntax.Membership():
            return f"({shape(node.subject)} in {len(node.items.members)})"
        case syntax.Match():
            return f"({shape(node.subject)} {node.operator} {shape(node.pattern)})"
        case syntax.Call():
            return f"{node.function}({', '.join(map(shape, node.arguments))})"
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a == 1 & b == 2", "((a == 1) & (b == 2))"),
        ("a == 1 | b == 2 and c == 3", "((a == 1) | ((b == 2) and (c == 3)))"),
        ("a or b or c", "(a or b or c)"),
        ("a or b | c or d", "(a or b or c or d)"),
        ("a and b & c", "(a and (b & c))"),
        ("not a == 1 and b", "((not (a == 1)) and b)"),
        ("!a == 1 && b", "((not (a == 1)) and b)"),
        ("~a & b", "((not a) & b)"),
        ("~(a == 1) & b", "((not (a == 1)) & b)"),
        ("not not a", "(not (not a))"),
        ("1 < a <= 5", "(1 < a <= 5)"),
        ("a + b * c - 1 == -d // 2", "((a + (b * c) - 1) == ((-d) // 2))"),
        ("a in [1, 2, 3..9,]", "(a in 3)"),
        ("a not in (1, -2)", "(not (a in 2))"),
        ("a in {1} or b", "((a in 1) or b)"),
        ("a contains 'x' and b ~ 'y'", "((a contains x) and (b matches y))"),
        ("http.host.str.contains('x')", "str.contains(http.host, x)"),
        ("has(a, 'x', 'y')", "has(a, x, y)"),
        ("((a))", "a"),
    ],
)
def test_operators_bind_as_in_pandas(text: str, expected: str) -> None:
    assert shape(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("a ==", 4, "expected a column or a value, not the end"),
        ("a == and b", 5, "not 'and'"),
        ("(a == 1", 7, "expected ')' to close the '(' at 0"),
        ("a == 1)", 6, "closes nothing"),
        ("a 80", 2, "expected an operator such as 'and' before '80'"),
        ("a = 80", 2, "compare with '=='"),
        ("(a = 80)", 3, "compare with '=='"),
        ("a == not b", 5, "brackets around the negation"),
        ("a not b", 2, "'in' after 'not'"),
        ("a in 80", 5, "a set such as [80, 443]"),
        ("a in []", 5, "the set is empty"),
        ("a in [b]", 6, "expected a value"),
        ("a in [1 2]", 8, "expected ']'"),
        ("a in {9..1}", 6, "ends (1) before it starts (9)"),
        ("a in {1..'x'}", 6, "numbers at both ends"),
        ("a in {-'x'}", 6, "before numbers only"),
        ("a in {1} in {2}", 9, "join them with 'and'"),
        ("a == 1 in [2]", 7, "join them with 'and'"),
        ("a contains b", 11, "expected a value such as 'text' after 'contains'"),
        ("open('x')", 0, "open cannot be called; the functions are has,"),
        ("a.str.upper()", 0, "cannot be called"),
        ("a[0]", 1, "before '['"),
        ("a ** 2", 3, "not '*'"),
        ("(" * (MAX_DEPTH + 1), MAX_DEPTH, "more than 50 deep"),
    ],
)
def test_an_error_points_at_its_place(text: str, position: int, says: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert caught.value.position == position
    assert says in str(caught.value)


def test_long_chains_are_not_deep() -> None:
    assert isinstance(parse(" or ".join(["tcp"] * 280)), syntax.Logic)
    assert isinstance(parse("+".join(["1"] * 990)), syntax.Arithmetic)
    assert isinstance(parse("(" * (MAX_DEPTH - 1) + "a" + ")" * (MAX_DEPTH - 1)), syntax.Name)
