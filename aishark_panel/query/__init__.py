"""The one expression language: text in, a test over columns of packets out.

The stages, each in its module: `tokens` and `parser` turn text into a tree (`syntax`), `names` says what the names in
it stand for, `compiler` checks the kinds and composes vectorised tests from `comparisons`, `arithmetic`, `texts` and
`frames`; `predicate` is what callers hold. User text is never given to Python, pandas or numpy to evaluate.
"""

from aishark_panel.query.names import Word, vocabulary
from aishark_panel.query.predicate import Predicate, compile_expression

__all__ = ["Predicate", "Word", "compile_expression", "vocabulary"]
