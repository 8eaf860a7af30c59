"""How large a regular expression is, told before it is compiled.

RE2 searches in a time that is linear in the text, but compiling takes a time that grows with the square of what
repetitions stand for: 26 s for one that has 1,300 characters. So its size is estimated first.
"""

import re
from typing import Final

from aishark_panel.errors import ExpressionError

__all__ = ["MAX_REGEX_SIZE", "RegexBudget"]

MAX_REGEX_SIZE: Final = 2_000
"""In characters once repetitions are written out; compiling takes some 10 ms then."""

_PROPERTY_SIZE: Final = 100
"""Of \\pL and its like, which are hundreds of ranges."""
_SIZES: Final = {"property": _PROPERTY_SIZE, "class": 4, "escape": 4, "dot": 4}
"""Of what is more than one character; classes may have several bytes in UTF-8."""

_PIECE: Final = re.compile(
    r"""
    (?P<nothing>\(\?[a-zA-Z-]*\)|\\Q\\E|\\E)
  | (?P<literal>\\Q.*?(?:\\E|\Z))
  | (?P<property>\\[pP](?:\{[^}]*\}|.))
  | (?P<escape>\\.)
  | (?P<class>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]?)
  | (?P<repeat>\{(?P<low>\d+)(?:,(?P<high>\d*))?\})
  | (?P<open>\()
  | (?P<close>\))
  | (?P<dot>\.)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


class RegexBudget:
    """What the regular expressions of one expression may come to together."""

    def __init__(self) -> None:
        self._left = MAX_REGEX_SIZE

    def take(self, regex: str, position: int) -> None:
        """Raise ExpressionError where compiling this one too would take long."""
        size = _size(regex)
        self._left -= size
        if self._left < 0:
            raise ExpressionError(
                f"this regular expression is too large: with its repetitions written out it has some {size:,} parts; "
                f"all of them together may have {MAX_REGEX_SIZE:,}",
                position,
            )


def _size(regex: str) -> int:
    """Never less than it is; more where the expression is odd."""
    sizes, last = [0], 0  # of the groups that are open, and of what a repetition would repeat
    for piece in _PIECE.finditer(regex):
        match piece.lastgroup:
            case "nothing":  # a repetition behind it repeats what is before
                continue
            case "open":
                sizes.append(0)
                continue
            case "close":
                last = sizes.pop() if len(sizes) > 1 else 0
            case "repeat":
                times = min(max(int(number) for number in piece.group("low", "high") if number), 10**6)
                sizes[-1] += last * max(times - 1, 0)
                last *= max(times, 1)
                continue
            case kind:
                last = _SIZES.get(str(kind), 1) * (len(piece.group()) if kind == "literal" else 1)
                last += _PROPERTY_SIZE * (piece.group().lower().count("\\p") if kind == "class" else 0)
        sizes[-1] += last
    return sum(sizes)
