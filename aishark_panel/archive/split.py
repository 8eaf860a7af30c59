"""An SQL query over `packets` in two: one that workers put to their share of the files, and one that makes the answer
of what they found.

Where all that is asked are groups and what can be added up (count, sum, min, max, avg, count of distinct values), or
rows, workers send no more than that. Anything else (medians, windows, subqueries) gets the rows that the query chooses,
with the columns it names, and is answered where they come together. Both ways give what one DuckDB says of all files.
"""

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from aishark_panel.errors import ConfigError

__all__ = ["TABLE", "Split", "split"]

TABLE: Final = "packets"
_DIALECT: Final = "duckdb"
_ADDED: Final = (exp.Count, exp.Sum, exp.Min, exp.Max, exp.Avg)
_WHOLE: Final = (exp.With, exp.Subquery, exp.Join, exp.Window, exp.Qualify, exp.SetOperation, exp.Unnest, exp.Lateral)
"""What needs to see more than groups or rows by themselves."""


class Split(NamedTuple):
    """Two queries over the table `packets`."""

    share: str
    """of the packets of some files"""
    answer: str
    """of what the shares gave, one table behind the other"""


def split(query: str, columns: Collection[str]) -> Split:
    """Part a query over a table with these columns. Raises ConfigError where it does not parse, or asks about other
    tables. The columns of the answer may be called otherwise than DuckDB would call them.
    """
    try:
        found = sqlglot.parse(query, read=_DIALECT)
    except SqlglotError as error:
        raise ConfigError(f"this query cannot be parsed: {str(error).splitlines()[0]}") from None
    if len(found) != 1 or not isinstance(tree := found[0], exp.Query) or not tree.selects:
        raise ConfigError(f"a cluster answers one SELECT over the table {TABLE}")
    named = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if table.name not in named | {TABLE} or not isinstance(table.this, exp.Identifier):
            raise ConfigError(f"a cluster knows only the table {TABLE}, not {table.sql(_DIALECT):.60}")
    if not isinstance(tree, exp.Select) or tree.find(*_WHOLE) or not tree.args.get("from_"):
        return _of_rows(tree, columns, where=None)
    grouped = tree.args.get("group") is not None or any(_aggregates(tree))
    if not grouped:
        return _of_list(tree, columns)
    if tree.args.get("distinct") or not all(_is_added(node) for node in _aggregates(tree)) or tree.find(exp.Anonymous):
        return _of_rows(tree, columns, where=tree.args.get("where"))
    return _Groups(tree).split()


def _aggregates(tree: exp.Select) -> Iterator[exp.Expr]:
    """The aggregates of a query, with their FILTER."""
    for node in tree.find_all(exp.AggFunc):
        yield node.parent if isinstance(node.parent, exp.Filter) else node


def _is_added(node: exp.Expr) -> bool:
    function = node.this if isinstance(node, exp.Filter) else node
    if not isinstance(function, _ADDED) or function.expressions:
        return False
    distinct = function.this if isinstance(function.this, exp.Distinct) else None
    if distinct is not None:
        return isinstance(function, exp.Count) and len(distinct.expressions) == 1
    return not (isinstance(function, exp.Avg) and "ts" in {column.name for column in function.find_all(exp.Column)})


def _of_rows(tree: exp.Query, columns: Collection[str], where: exp.Expr | None) -> Split:
    """Whatever is asked, of rows with the columns that are named."""
    named = {column.name.lower() for column in tree.find_all(exp.Column)}
    names = [name for name in columns if name in named]
    stars = [star for star in tree.find_all(exp.Star) if not isinstance(star.parent, exp.Count)]
    asked = "*" if stars or not names else ", ".join(f'"{name}"' for name in names)
    condition = where.sql(_DIALECT) if where else ""
    return Split(f"SELECT {asked} FROM {TABLE} {condition}".strip(), tree.sql(_DIALECT))


def _of_list(tree: exp.Select, columns: Collection[str]) -> Split:
    """Rows one by one, of which each worker sends no more than are wanted in all."""
    share, answer = tree.copy(), tree.copy()
    order, limit, offset = (tree.args.get(name) for name in ("order", "limit", "offset"))
    is_plain_star = (
        len(tree.selects) == 1 and type(tree.selects[0]) is exp.Star and not any(tree.selects[0].args.values())
    )
    if (order or tree.is_star) and not is_plain_star:
        return _of_rows(tree, columns, where=tree.args.get("where"))  # it may be sorted by what is not selected
    if limit and offset:
        share.set(
            "limit", exp.Limit(expression=exp.Add(this=limit.expression.copy(), expression=offset.expression.copy()))
        )
    share.set("offset", None)
    answer.set("where", None)
    if not tree.is_star:
        names = [f"c{place}" for place in range(len(tree.selects))]
        share.set(
            "expressions", [exp.alias_(node.unalias(), name) for node, name in zip(share.selects, names, strict=True)]
        )
        answer.set(
            "expressions", [_named(node, exp.column(name)) for node, name in zip(answer.selects, names, strict=True)]
        )
    return Split(share.sql(_DIALECT), answer.sql(_DIALECT))


def _named(node: exp.Expr, value: exp.Expr) -> exp.Expr:
    """A value in the place of an expression of the SELECT, called as that was if it had a name."""
    return exp.alias_(value, node.alias, quoted=True) if node.alias else value


class _Groups:
    """A query with groups, whose aggregates can be added up."""

    def __init__(self, tree: exp.Select) -> None:
        self._tree = tree
        self._keys: dict[str, str] = {}
        """names of what is grouped by, by its SQL"""
        self._parts: dict[str, str] = {}
        """names of what workers count, by its SQL"""

    def split(self) -> Split:
        tree = self._tree
        for key in self._key_expressions():
            self._keys.setdefault(key.sql(_DIALECT), f"k{len(self._keys)}")
        answer = tree.copy()
        answer.set("where", None)
        answer.set("expressions", [_named(node, self._replaced(node.unalias())) for node in tree.selects])
        for name in ("having", "order"):
            if clause := tree.args.get(name):
                answer.set(name, self._replaced(clause))
        groups = [exp.column(name) for name in self._keys.values()]
        answer.set("group", exp.Group(expressions=groups) if groups else None)
        columns = [f"{sql} AS {name}" for sql, name in (*self._keys.items(), *self._parts.items())]
        where = [tree.args["where"].sql(_DIALECT)] if tree.args.get("where") else []
        by = [f"GROUP BY {', '.join(self._keys)}"] if self._keys else []
        return Split(" ".join([f"SELECT {', '.join(columns)} FROM {TABLE}", *where, *by]), answer.sql(_DIALECT))

    def _key_expressions(self) -> Iterator[exp.Expr]:
        group, selects = self._tree.args.get("group"), self._tree.selects
        if group is None:
            return
        aliases = {node.alias: node.unalias() for node in selects if node.alias}
        everything = bool(group.args.get("all"))
        for node in group.expressions:
            if isinstance(node, exp.Literal) and not node.is_string:
                place = int(node.name) - 1
                if not 0 <= place < len(selects):
                    raise ConfigError(f"GROUP BY {node.name}: the query selects {len(selects)} columns")
                yield selects[place].unalias()
            elif isinstance(node, exp.Column) and node.name.lower() == "all" and not node.table:
                everything = True
            else:
                yield aliases.get(node.name, node) if isinstance(node, exp.Column) else node
        if everything:
            yield from (node.unalias() for node in selects if not node.find(exp.AggFunc))

    def _replaced(self, node: exp.Expr) -> exp.Expr:
        """The same over what workers sent."""

        def replace(inner: exp.Expr) -> exp.Expr:
            if name := self._keys.get(inner.sql(_DIALECT)):
                return exp.column(name)
            if isinstance(inner, exp.Filter | exp.AggFunc):
                return self._added_up(inner)
            return inner

        return node.copy().transform(replace)

    def _added_up(self, node: exp.Expr) -> exp.Expr:
        function, condition = (
            (node.this, f" FILTER ({node.expression.sql(_DIALECT)})") if isinstance(node, exp.Filter) else (node, "")
        )
        argument = function.this
        if isinstance(function, exp.Count) and isinstance(argument, exp.Distinct):
            value = argument.expressions[0].sql(_DIALECT)
            wanted = f"{value} IS NOT NULL" + (f" AND ({node.expression.this.sql(_DIALECT)})" if condition else "")
            values = self._part(f"LIST(DISTINCT {value}) FILTER (WHERE {wanted})")
            return _parsed(f"COALESCE(LEN(LIST_DISTINCT(FLATTEN(LIST({values})))), 0)")
        if isinstance(function, exp.Avg):
            value = argument.sql(_DIALECT)
            total, count = (
                self._part(f"SUM(CAST({value} AS DOUBLE)){condition}"),
                self._part(f"COUNT({value}){condition}"),
            )
            return _parsed(f"SUM({total}) / NULLIF(SUM({count}), 0)")
        part = self._part(function.sql(_DIALECT) + condition)
        if isinstance(function, exp.Count):
            return _parsed(f"CAST(COALESCE(SUM({part}), 0) AS BIGINT)")
        if isinstance(function, exp.Sum):
            return _parsed(f"SUM({part})")
        return _parsed(f"{'MIN' if isinstance(function, exp.Min) else 'MAX'}({part})")

    def _part(self, sql: str) -> str:
        return self._parts.setdefault(sql, f"a{len(self._parts)}")


def _parsed(sql: str) -> exp.Expr:
    return sqlglot.parse_one(sql, read=_DIALECT)
