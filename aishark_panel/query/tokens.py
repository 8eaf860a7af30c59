"""Cut the text of an expression into tokens, each with its position.

pandas and Wireshark spell some operators differently; a token's `text` is the one spelling the parser knows (`&&` and
`and` both give `and`). `&`, `|` and `~` stay what they are: pandas also uses them on numbers.

Every character is accounted for: what is not part of the language is refused by name, so that a look-alike pasted from
a document (a typographic quote, a full-width equals sign) does not puzzle its reader.
"""

import re
import unicodedata
from typing import Final, NamedTuple

from aishark_panel.errors import ExpressionError

__all__ = ["MAX_TEXT_CHARS", "SPELLINGS", "Token", "tokenize"]

MAX_TEXT_CHARS: Final = 2_000
"""Longest expression accepted; so a set has fewer than 1,000 members, and all conditions together are few."""
_MAX_NUMBER_CHARS: Final = 40
_MAX_INTEGER: Final = 2**64 - 1

SPELLINGS: Final = {
    "and": "and", "or": "or", "not": "not", "in": "in", "contains": "contains", "matches": "matches",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
    "&&": "and", "||": "or", "!": "not",
}  # fmt: skip
"""Words and signs for operators, and the one sign or word that the parser knows each by."""
_BOOLEANS: Final = {"True": 1, "true": 1, "TRUE": 1, "False": 0, "false": 0, "FALSE": 0}

_TOKEN: Final = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<prefixed>(?:[fFbBuU][rR]?|[rR][fFbB])(?=["']))
  | (?P<quoted>[rR]?(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))
  | (?P<unclosed>[rR]?["'])
    # fe80::1/64, 00:11:22:33:44:55, and two or more bytes as 47:45
  | (?P<bare>(?:[0-9A-Fa-f]{0,4}:){2}[0-9A-Fa-f:]*(?:\.\d{1,3}){0,3}(?:/\d{1,3})?(?!\w)
      | [0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}(?![\w:])
      | \d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\w)(?:/\d{1,3}(?!\w))?)
  | (?P<number>0[xX][0-9A-Fa-f]+(?!\w)|0[bB][01]+(?!\w)|0[oO][0-7]+(?!\w)
      | \d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?(?!\w))
  | (?P<name>[A-Za-z_]\w*(?:\.\w+)*)
  | (?P<symbol>&&|\|\||==|!=|<=|>=|//|\.\.|[-+*/%<>&|~!=()\[\]{},])
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""JSON can carry these; UTF-8 and so Arrow cannot."""
_SPOKEN: Final = {"'": "a plain quote", " ": "a plain space"}
_ESCAPE: Final = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_ESCAPED: Final = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t", "0": "\0"}


class Token(NamedTuple):
    """One word of an expression."""

    kind: str
    """name, number, text (was quoted), bare (an address or bytes without quotes), symbol (operators too), end"""
    text: str
    """as the parser knows it; of a text token, what the quotes enclose"""
    position: int
    value: int | float = 0
    """of a number"""

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text)


def tokenize(text: str) -> list[Token]:
    """Tokens of `text`, the last one of kind "end". Raises ExpressionError at the first character out of place."""
    if len(text) > MAX_TEXT_CHARS:
        raise ExpressionError(
            f"the expression has {len(text):,} characters; at most {MAX_TEXT_CHARS:,} are accepted", MAX_TEXT_CHARS
        )
    if half := _SURROGATE.search(text):
        raise ExpressionError(f"U+{ord(half.group()):04X} is half of a character; no text holds it", half.start())
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _refused(text, position)
        if match.lastgroup != "space":
            tokens.append(_token(str(match.lastgroup), match.group(), position))
        position = match.end()
    tokens.append(Token("end", "", len(text)))
    return tokens


def _token(kind: str, text: str, position: int) -> Token:
    match kind:
        case "prefixed":
            raise ExpressionError(f"strings take no prefix {text!r}; use plain quotes, or r'...' for a regex", position)
        case "unclosed":
            raise ExpressionError(f"the string that starts here is not closed; add {text[-1]} at its end", position)
        case "quoted":
            return Token("text", _unquoted(text), position)
        case "number":
            return Token("number", text, position, _number(text, position))
        case "name" if text in _BOOLEANS:
            return Token("number", text, position, _BOOLEANS[text])
        case "name" | "symbol" if text in SPELLINGS:
            return Token("symbol", SPELLINGS[text], position)
        case _:
            return Token(kind, text, position)


def _unquoted(text: str) -> str:
    """What the quotes enclose. An unknown escape stays as it is, as in Python: '\\.com$' is a regex without r''."""
    if text[0] in "rR":
        return text[2:-1]

    def unescape(match: re.Match[str]) -> str:
        escape = match.group(1)
        return chr(int(escape[1:], 16)) if len(escape) == 3 else _ESCAPED.get(escape, match.group())

    return _ESCAPE.sub(unescape, text[1:-1])


def _number(text: str, position: int) -> int | float:
    if len(text) > _MAX_NUMBER_CHARS:
        raise ExpressionError(f"a number has at most {_MAX_NUMBER_CHARS} characters, this one {len(text)}", position)
    try:
        value: int | float = int(text, 0)
    except ValueError:
        try:
            value = float(text)
        except ValueError:
            raise ExpressionError(f"{text!r} is not a number", position) from None
        if text.isdecimal():
            raise ExpressionError(f"{text!r} starts with 0; octal numbers are written 0o...", position) from None
    if value > _MAX_INTEGER:
        raise ExpressionError(f"{text} is larger than any column can hold (2**64 - 1)", position)
    return value


def _refused(text: str, position: int) -> ExpressionError:
    """Name the character that belongs to no token, and what may have been meant."""
    character = text[position]
    if character.isascii() and character.isdigit():
        return ExpressionError("this number runs into letters; put a space or an operator between", position)
    if character == "@":
        return ExpressionError("'@' is not allowed: an expression sees the columns only, no variables", position)
    if character.isascii() and character.isprintable():
        return ExpressionError(f"{character!r} is not part of the language", position)
    name = unicodedata.name(character, "without a name")
    meant = _look_alike(character)
    shown = _SPOKEN.get(meant, repr(meant))
    advice = f"; did you mean {shown}?" if meant else "; such characters are allowed within quotes only"
    return ExpressionError(
        f"the character U+{ord(character):04X} ({name}) is not allowed here{advice}", position, meant
    )


def _look_alike(character: str) -> str:
    """The ASCII character this one is easily taken for; '' if there is none."""
    if unicodedata.category(character) in ("Pi", "Pf"):
        return "'"
    if unicodedata.category(character) == "Pd" or character == "\N{MINUS SIGN}":
        return "-"
    plain = unicodedata.normalize("NFKD", character)[:1]
    return plain if plain.isascii() and plain.isprintable() else ""
