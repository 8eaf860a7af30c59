"""A compiled expression: which packets of a block it selects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from aishark_panel.query.compiler import compile_tree
from aishark_panel.query.names import PACKET_NAMES, Meaning
from aishark_panel.query.parser import parse
from aishark_panel.query.rows import CHUNK_ROWS, Rows, Test
from aishark_panel.wire.packets import Interface, Packets

__all__ = ["Predicate", "compile_expression"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """A condition on packets; made by `compile_expression`, and safe to use from several threads."""

    text: str
    """as it was written"""
    columns: frozenset[str]
    """columns of wire.packets.Columns it reads, `layers` included where it asks what is null"""
    needs_frames: bool
    """it reads the frames' bytes, not only columns"""
    test: Test = field(repr=False, compare=False)
    """the condition on rows that it shares with other expressions"""

    def mask(
        self, packets: Packets, start: int, stop: int, interfaces: Sequence[Interface] = ()
    ) -> npt.NDArray[np.bool_]:
        """Which of the block's rows [start, stop) are selected, (stop - start,).

        `interfaces` are the session's, in the order of the `iface` column; only `iface` and `agent` look at them.
        """
        Rows(packets, start, stop, interfaces)  # refuses rows that are not there
        mask = np.empty(stop - start, np.bool_)
        for first in range(start, stop, CHUNK_ROWS):
            end = min(first + CHUNK_ROWS, stop)
            mask[first - start : end - start] = self.test(Rows(packets, first, end, interfaces))
        return mask


def compile_expression(text: str, names: Mapping[str, Meaning] = PACKET_NAMES) -> Predicate:
    """Compile an expression over PACKETS, or a table with other `names`; one without text selects every row.

    The language is pandas' (`src_port == 443 & ~http_host.str.contains('example')`) with Wireshark's spellings
    (`tcp.port == 443 && !(http.host contains "example")`) in the same expression.

    Nulls: a comparison with null is false, its negation too. Raises ExpressionError with the position of the error.
    """
    if not text.strip(" \t\r\n"):
        return Predicate(text=text, columns=frozenset(), needs_frames=False, test=Rows.everything)
    test, columns, needs_frames = compile_tree(parse(text), names)
    return Predicate(text=text, columns=columns, needs_frames=needs_frames, test=test)
