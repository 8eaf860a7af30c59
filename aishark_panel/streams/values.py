"""The most common values of columns among the newest packets: what somebody who types a condition may mean.

An answer costs the same however much the ring holds: it looks at no more than LOOK_ROWS packets.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aishark_panel.query import compile_expression
from aishark_panel.streams.session import Session

__all__ = ["LOOK_ROWS", "MAX_VALUES", "common_values"]

LOOK_ROWS: Final = 65_536
"""Newest packets that are looked at."""
MAX_VALUES: Final = 50
"""Most values of one answer."""
_KEPT_OF_BLOCK: Final = 1_000
"""Values of one block of the ring that are compared with those of others, its most common."""


def common_values(
    session: Session, columns: Sequence[str], where: str, text: str, limit: int
) -> tuple[list[tuple[str, int]], int]:
    """(value as text, packets) of any of `columns` in packets that match `where`, and how many packets were looked at.

    Values that hold `text` in any case; those that begin with it first, then the most common. ExpressionError if
    `where` does not parse.
    """
    predicate = compile_expression(where)
    counts: Counter[str] = Counter()
    end = session.ring.end
    first = max(session.ring.first, end - LOOK_ROWS)
    with session.ring.read(first, end) as views:
        for packets, start, stop in views:
            rows = np.flatnonzero(predicate.mask(packets, start, stop, session.interfaces)) + start
            for array in packets.to_arrow(session.interfaces, columns, rows).columns:
                counts.update(_of_block(array, text))
    folded = text.lower()
    order = sorted(counts, key=lambda value: (not value.lower().startswith(folded), -counts[value], value))
    return [(value, counts[value]) for value in order[: max(0, min(limit, MAX_VALUES))]], end - first


def _of_block(array: pa.Array, text: str) -> dict[str, int]:
    found = pc.value_counts(array.drop_null())
    values = found.field("values")
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    table = pa.table({"value": values.cast(pa.string()), "packets": found.field("counts")})
    table = table.filter(pc.match_substring(table["value"], text, ignore_case=True))
    if table.num_rows > _KEPT_OF_BLOCK:
        table = table.take(pc.select_k_unstable(table, _KEPT_OF_BLOCK, sort_keys=[("packets", "descending")]))
    return dict(zip(table["value"].to_pylist(), table["packets"].to_pylist(), strict=True))
