"""Which columns a list of names chooses: a table's own names, and Wireshark's where they stand for exactly one."""

from collections.abc import Iterable, Sequence

from aishark_panel.errors import ConfigError, ExpressionError
from aishark_panel.query.names import resolve, suggestion, vocabulary

__all__ = ["choose_columns"]


def choose_columns(names: Iterable[object], known: Sequence[str]) -> list[str]:
    """The columns that the names choose, by their own names and each once, in order.

    Raises ConfigError for what is none of the `known` columns, with the nearest name, and for what stands for two.
    """
    return list(dict.fromkeys(_choose(name, known) for name in names))


def _choose(name: object, known: Sequence[str]) -> str:
    if not isinstance(name, str):
        raise ConfigError(f"a column is chosen by its name, not by {name!r:.50}")
    if name in known:
        return name
    columns = _columns(name)
    if len(columns) > 1:
        raise ConfigError(f"{name} stands for two columns, {' and '.join(columns)}; name the one you want, or both")
    if columns and columns[0] in known:
        return columns[0]
    near = suggestion(name, [*known, *(word.name for word in vocabulary() if _is_one(word.name, known))])
    raise ConfigError(f"there is no column {name!r:.50}{near or '; columns are ' + ', '.join(known)}")


def _columns(name: str) -> list[str]:
    """The columns a name stands for; none for protocols and for single bits of a column."""
    try:
        meaning = resolve(name, 0)
    except ExpressionError:
        return []
    return [field.name for field in meaning.fields if not field.bit]


def _is_one(name: str, known: Sequence[str]) -> bool:
    columns = _columns(name)
    return len(columns) == 1 and columns[0] in known
