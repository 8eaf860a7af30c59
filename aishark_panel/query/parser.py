"""Parse an expression into its syntax tree: precedence climbing (Pratt) over the tokens.

From loosest to tightest: `or | ||`, `and &&`, `&`, `not !`, comparisons, `+ -`, `* / // %`, unary `- ~`.
`&` and `|` bind like `and` and `or`, as in pandas and unlike Python: `a == 1 & b == 2` needs no brackets.

The grammar is the allow list: there is no attribute access, no index, no lambda, and only FUNCTIONS can be called.
"""

from collections.abc import Collection
from typing import Final

from aishark_panel.errors import ExpressionError
from aishark_panel.query import syntax
from aishark_panel.query.tokens import Token, tokenize

__all__ = ["FUNCTIONS", "MAX_DEPTH", "parse"]

MAX_DEPTH: Final = 50
"""How deep brackets and negations may nest."""

FUNCTIONS: Final = {
    "has": "has(tcp_flags, 'SYN', ...): all these flags are set; tcp_problem has some too",
    "in_net": "in_net(src_ip, '10.0.0.0/8', ...): the address is in one of these networks",
    "is_private": "is_private(src_ip): nobody on the internet has this address",
    "is_multicast": "is_multicast(dst_ip): the address stands for a group",
    "entropy": "entropy(dns_query): how mixed a text is, in bits per character; random letters have more than words",
    "str.contains": "column.str.contains('regex'): found anywhere; regex=False for plain text, case=False for any case",
    "str.match": "column.str.match('regex'): found at the start; case=False for any case",
    "str.fullmatch": "column.str.fullmatch('regex'): matches the whole text; case=False for any case",
    "str.startswith": "column.str.startswith('text')",
    "str.endswith": "column.str.endswith('text')",
    "str.len": "column.str.len(): how many characters the text has",
}
"""What can be called, and how; `str.` functions stand behind a column's name."""

_COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=")
_OR, _AND, _BIT_AND, _NOT, _COMPARE, _SUM, _PRODUCT, _UNARY = range(1, 9)
_POWERS: Final = {
    "or": _OR, "|": _OR, "and": _AND, "&": _BIT_AND,
    **dict.fromkeys((*_COMPARISONS, "in", "not", "contains", "matches", "~"), _COMPARE),
    "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "//": _PRODUCT, "%": _PRODUCT,
}  # fmt: skip
_ASSIGNS: Final = "'=' assigns; compare with '=='"
_CLOSING: Final = {"[": "]", "{": "}", "(": ")"}


def parse(text: str, functions: Collection[str] = FUNCTIONS) -> syntax.Node:
    """Syntax tree of an expression that is not blank, in which only `functions` can be called.

    Raises ExpressionError with the position of the first error.
    """
    parser = _Parser(tokenize(text), functions)
    tree = parser.expression(0)
    parser.expect_end()
    return tree


class _Parser:
    def __init__(self, tokens: list[Token], functions: Collection[str]) -> None:
        self._tokens = tokens
        self._functions = functions
        self._at = 0
        self._depth = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._token
        self._at += token.kind != "end"
        return token

    def _sees(self, *symbols: str) -> bool:
        return self._token.kind == "symbol" and self._token.text in symbols

    def _accept(self, *symbols: str) -> bool:
        if self._sees(*symbols):
            self._at += 1
            return True
        return False

    def _expect(self, symbol: str, opened: Token) -> None:
        if self._sees("="):
            raise ExpressionError(_ASSIGNS, self._token.position, meant="==")
        if not self._accept(symbol):
            raise ExpressionError(
                f"expected {symbol!r} to close the {opened.text!r} at {opened.position}, not {self._token}",
                self._token.position,
            )

    def expect_end(self) -> None:
        """Refuse what follows a complete expression."""
        token = self._token
        if token.kind == "end":
            return
        if self._sees("="):
            raise ExpressionError(_ASSIGNS, token.position, meant="==")
        if self._sees(")", "]", "}"):
            raise ExpressionError(f"this {token} closes nothing", token.position)
        raise ExpressionError(f"expected an operator such as 'and' before {token}", token.position)

    def expression(self, minimum: int) -> syntax.Node:
        """Parse what binds tighter than `minimum`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"brackets and negations nest more than {MAX_DEPTH} deep", self._token.position)
        left = self._prefix(minimum)
        while self._token.kind == "symbol" and (power := _POWERS.get(self._token.text, 0)) > minimum:
            left = self._infix(left, power)
        self._depth -= 1
        return left

    def _prefix(self, minimum: int) -> syntax.Node:
        token = self._next()
        match token.kind, token.text:
            case "number" | "text" | "bare", _:
                return _literal(token)
            case "name", _:
                return self._call(token) if self._sees("(") else syntax.Name(token.position, token.text)
            case "symbol", "(":
                inner = self.expression(0)
                self._expect(")", token)
                return inner
            case "symbol", "[" | "{":
                return self._items(token)
            case "symbol", "not":
                if minimum >= _COMPARE:
                    raise ExpressionError("put brackets around the negation: (not ...)", token.position)
                return syntax.Not(token.position, self.expression(_NOT))
            case "symbol", "~":
                return syntax.Not(token.position, self.expression(_UNARY))
            case "symbol", "-":
                return syntax.Negative(token.position, self.expression(_UNARY))
            case "symbol", "+":
                return self.expression(_UNARY)
            case _:
                raise ExpressionError(f"expected a column or a value, not {token}", token.position)

    def _infix(self, left: syntax.Node, power: int) -> syntax.Node:
        if power in (_OR, _AND, _BIT_AND):
            return self._logic(left, power)
        if power in (_SUM, _PRODUCT):
            return self._arithmetic(left, power)
        node = self._comparison(left) if self._sees(*_COMPARISONS) else self._relation(left)
        following = self._token
        if following.kind == "symbol" and _POWERS.get(following.text) == _COMPARE:
            raise ExpressionError(f"{following} cannot follow a comparison; join them with 'and'", following.position)
        return node

    def _relation(self, left: syntax.Node) -> syntax.Node:
        """`in`, `not in`, `contains`, `matches` and what stands to their right."""
        token = self._next()
        if token.text in ("contains", "matches", "~"):
            operator = "contains" if token.text == "contains" else "matches"
            return syntax.Match(token.position, left, operator, self._value(f"'{operator}'"))
        negated = token.text == "not"
        if negated and not self._accept("in"):
            raise ExpressionError("expected 'in' after 'not', or 'and' before it", token.position)
        opening = self._next()
        if opening.kind != "symbol" or opening.text not in _CLOSING:
            raise ExpressionError(f"'in' is followed by a set such as [80, 443], not {opening}", opening.position)
        node = syntax.Membership(token.position, left, self._items(opening))
        return syntax.Not(token.position, node) if negated else node

    def _logic(self, left: syntax.Node, power: int) -> syntax.Node:
        position = self._token.position
        terms, symbols = [left], set()
        while self._token.kind == "symbol" and _POWERS.get(self._token.text) == power:
            symbols.add(self._next().text)
            terms.append(self.expression(power))
        operator = symbols.pop() if len(symbols) == 1 else "or"  # only | and `or` share a power
        return syntax.Logic(position, operator, tuple(terms))

    def _arithmetic(self, left: syntax.Node, power: int) -> syntax.Node:
        position = self._token.position
        steps = []
        while self._token.kind == "symbol" and _POWERS.get(self._token.text) == power:
            operator = self._next().text
            steps.append((operator, self.expression(power)))
        return syntax.Arithmetic(position, left, tuple(steps))

    def _comparison(self, left: syntax.Node) -> syntax.Node:
        position = self._token.position
        operators, operands = [], [left]
        while self._sees(*_COMPARISONS):
            operators.append(self._next().text)
            operands.append(self.expression(_COMPARE))
        return syntax.Comparison(position, tuple(operators), tuple(operands))

    def _value(self, after: str) -> syntax.Literal:
        token = self._next()
        if token.kind not in ("number", "text", "bare"):
            raise ExpressionError(f"expected a value such as 'text' after {after}, not {token}", token.position)
        return _literal(token)

    def _items(self, opening: Token) -> syntax.Items:
        """Members of a set, its opening bracket already read; a trailing comma is allowed."""
        closing = _CLOSING[opening.text]
        members: list[syntax.Literal | syntax.Range] = []
        while not self._sees(closing):
            members.append(self._member())
            if not self._accept(","):
                break
        self._expect(closing, opening)
        if not members:
            raise ExpressionError("the set is empty; nothing is in it", opening.position)
        return syntax.Items(opening.position, tuple(members))

    def _member(self) -> syntax.Literal | syntax.Range:
        low = self._signed()
        if not self._accept(".."):
            return low
        high = self._signed()
        if not isinstance(low, syntax.Number) or not isinstance(high, syntax.Number):
            raise ExpressionError("a range such as 8000..8100 has numbers at both ends", low.position)
        if high.value < low.value:
            raise ExpressionError(f"the range ends ({high.text}) before it starts ({low.text})", low.position)
        return syntax.Range(low.position, low, high)

    def _signed(self) -> syntax.Literal:
        minus = self._token
        if not self._accept("-"):
            return self._value("a bracket or comma")
        number = self._value("'-'")
        if not isinstance(number, syntax.Number):
            raise ExpressionError("'-' goes before numbers only", minus.position)
        return syntax.Number(minus.position, f"-{number.text}", -number.value)

    def _call(self, name: Token) -> syntax.Node:
        subject, method, function = name.text.rpartition(".str.")
        function = f"str.{function}" if method else function
        if function not in self._functions:
            raise ExpressionError(
                f"{name.text} cannot be called; the functions are {', '.join(self._functions)}", name.position
            )
        opening = self._next()
        arguments: list[syntax.Node] = [syntax.Name(name.position, subject)] if method else []
        options: list[tuple[str, syntax.Literal]] = []
        while not self._sees(")"):
            keyword = self._token
            following = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
            if keyword.kind == "name" and (following.kind, following.text) == ("symbol", "="):
                self._at += 2
                options.append((keyword.text, self._value(f"'{keyword.text}='")))
            else:
                arguments.append(self.expression(0))
            if not self._accept(","):
                break
        self._expect(")", opening)
        return syntax.Call(name.position, function, tuple(arguments), tuple(options))


def _literal(token: Token) -> syntax.Literal:
    if token.kind == "number":
        return syntax.Number(token.position, token.text, token.value)
    return syntax.Text(token.position, token.text) if token.kind == "text" else syntax.Bare(token.position, token.text)
