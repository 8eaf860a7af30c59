"""What a session's packets add up to, as tables: traffic by time, conversations, endpoints, layers, health of TCP.

Each takes an expression and answers for the packets that it selects. Without one, traffic by protocol and by problem,
conversations and endpoints are what the session counted as packets came in, evicted ones included; everything else is
a summary of what the ring held (streams/summaries.py), which `first_ts` and `complete` tell of.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aishark_panel.dissect.conversations import ConversationRows
from aishark_panel.errors import ConfigError
from aishark_panel.query import Predicate, compile_expression
from aishark_panel.streams.groupings import GROUPINGS, Grouped, GroupedBins
from aishark_panel.streams.layertree import LayerTree
from aishark_panel.streams.rollups import PROBLEMS, RESOLUTIONS_MS, BinCounts
from aishark_panel.streams.session import Session
from aishark_panel.streams.tables import (
    BIN_NAMES,
    CONVERSATION_NAMES,
    ENDPOINT_NAMES,
    bin_table,
    conversation_table,
    endpoint_table,
)
from aishark_panel.streams.talks import Ends, Talks, ends_of
from aishark_panel.wire.packets import address_text
from aishark_panel.wire.protocols import PROTOCOLS

__all__ = [
    "CONVERSATION_SORTS",
    "ENDPOINT_SORTS",
    "SUMMARY_ROWS",
    "conversation_lines",
    "conversations",
    "endpoints",
    "hierarchy",
    "rollup",
    "tcp_health",
]

SUMMARY_ROWS: Final = 2_000_000
"""Packets that one question counts at most, so that the first answer comes early; the next goes on."""

Answer = tuple[dict[str, Any], pa.RecordBatch]
Int64 = npt.NDArray[np.int64]


def rollup(session: Session, resolution_ms: int, since: int, where: str, by: str, having: str = "") -> Answer:
    """Packets and bytes of the bins from `since` on, by one of GROUPINGS, which names the groups' column.

    `having` chooses among bins and groups (tables.BIN_NAMES)."""
    chosen = compile_expression(having, BIN_NAMES | {by: BIN_NAMES["group"]})
    if resolution_ms not in RESOLUTIONS_MS:
        raise ConfigError(f"resolution_ms is {resolution_ms}; kept are {', '.join(map(str, RESOLUTIONS_MS))}")
    if by not in GROUPINGS:
        raise ConfigError(f"traffic is not counted by {by!r:.50}, only by {', '.join(GROUPINGS)}")
    info: dict[str, Any] = {"complete": True, "first_ts": session.first_ts}
    if not where.strip() and by == "protocol":
        found = Grouped(session.rollups.since(resolution_ms, since), list(PROTOCOLS))
    elif not where.strip() and by == "problem":
        found = Grouped(session.rollups.problems_since(resolution_ms, since), list(PROBLEMS))
    else:
        summary = session.summaries.get(session, GroupedBins, resolution_ms, by, where=where)
        with summary.lock:
            info = summary.update(session, SUMMARY_ROWS).as_dict()
            found = summary.counter.since(since, session.interfaces)
    counts = found.counts
    if having.strip():
        mask = chosen.mask(bin_table(found), 0, len(counts.bin))
        counts = BinCounts(*(column[mask] for column in counts))
    used, codes = np.unique(counts.group, return_inverse=True)
    names = [found.names[k] for k in used]
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array(counts.bin),
            pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string())),
            pa.array(counts.packets),
            pa.array(counts.bytes),
        ],
        names=["bin", by, "packets", "bytes"],
    )
    return {"resolution_ms": resolution_ms, **info}, batch


CONVERSATION_SORTS: Final[dict[str, Callable[[ConversationRows], Int64]]] = {
    "bytes": lambda rows: rows.bytes.sum(axis=1),
    "packets": lambda rows: rows.packets.sum(axis=1),
    "bytes_ab": lambda rows: rows.bytes[:, 0],
    "bytes_ba": lambda rows: rows.bytes[:, 1],
    "start": lambda rows: rows.first_ts,
    "last": lambda rows: rows.last_ts,
    "duration": lambda rows: rows.last_ts - rows.first_ts,
    "rtt": lambda rows: rows.handshake_rtt_ns,
    "problems": lambda rows: _problems(rows),
}
"""Numbers by which conversations can be sorted, the greatest first."""


def conversations(session: Session, limit: int, where: str, sort: str, having: str = "") -> Answer:
    """The `limit` first conversations by one of CONVERSATION_SORTS, of those that `having` chooses (tables.py)."""
    if sort not in CONVERSATION_SORTS:
        raise ConfigError(f"conversations are not sorted by {sort!r:.50}, only by {', '.join(CONVERSATION_SORTS)}")
    chosen = compile_expression(having, CONVERSATION_NAMES)
    key = ("conversations", limit, where, sort, having)
    return session.summaries.once(session, key, lambda: _conversation_table(session, limit, where, sort, chosen))


def _conversation_table(session: Session, limit: int, where: str, sort: str, having: Predicate) -> Answer:
    if not where.strip() and sort == "bytes" and not having.columns:
        top, info = session.conversations.top(limit), {"total": len(session.conversations), "complete": True}
    else:
        rows, info = _conversations(session, where)
        if having.columns:
            rows = _take(rows, np.flatnonzero(having.mask(conversation_table(rows), 0, len(rows.id))))
            info["total"] = len(rows.id)
        top = _take(rows, np.argsort(CONVERSATION_SORTS[sort](rows), kind="stable")[::-1][:limit])
    return info, conversation_lines(top)


def conversation_lines(top: ConversationRows) -> pa.RecordBatch:
    """Conversations as docs/protocol.md has them."""
    return pa.RecordBatch.from_pydict(
        {
            "conversation_id": top.id,
            "addr_a": _addresses(top.addr_a, top.v6),
            "addr_b": _addresses(top.addr_b, top.v6),
            "port_a": top.port_a,
            "port_b": top.port_b,
            "protocol": [PROTOCOLS[p] for p in top.protocol],
            "packets_ab": top.packets[:, 0],
            "packets_ba": top.packets[:, 1],
            "bytes_ab": top.bytes[:, 0],
            "bytes_ba": top.bytes[:, 1],
            "first_ts": top.first_ts,
            "last_ts": top.last_ts,
            "handshake_rtt_ns": _known(top.handshake_rtt_ns),
            "rtt_ab_ns": _known(top.rtt_ns[:, 0]),
            "rtt_ba_ns": _known(top.rtt_ns[:, 1]),
            **_by_direction("retransmissions", top.retransmissions),
            **_by_direction("out_of_order", top.out_of_order),
            **_by_direction("lost_segments", top.lost_segments),
            **_by_direction("duplicate_acks", top.duplicate_acks),
            **_by_direction("zero_windows", top.zero_windows),
        }
    )


ENDPOINT_SORTS: Final = ("bytes", "packets", "bytes_sent", "bytes_received", "conversations", "last")


def endpoints(session: Session, limit: int, where: str, sort: str, having: str = "") -> Answer:
    """The `limit` first addresses of the conversations by one of ENDPOINT_SORTS, of those that `having` chooses."""
    if sort not in ENDPOINT_SORTS:
        raise ConfigError(f"endpoints are not sorted by {sort!r:.50}, only by {', '.join(ENDPOINT_SORTS)}")
    chosen = compile_expression(having, ENDPOINT_NAMES)
    key = ("endpoints", limit, where, sort, having)
    return session.summaries.once(session, key, lambda: _endpoint_table(session, limit, where, sort, chosen))


def _endpoint_table(session: Session, limit: int, where: str, sort: str, having: Predicate) -> Answer:
    rows, info = _conversations(session, where)
    ends = ends_of(rows)
    if having.columns:
        mask = having.mask(endpoint_table(ends), 0, len(ends.v6))
        columns: list[Any] = [column[mask] for column in ends]
        ends = Ends(*columns)
    talks, packets_sent, sent, packets_received, received = ends.counts.T
    keys = (sent + received, packets_sent + packets_received, sent, received, talks, ends.last_ts)
    top = np.argsort(keys[ENDPOINT_SORTS.index(sort)], kind="stable")[::-1][:limit]
    batch = pa.RecordBatch.from_pydict(
        {
            "address": _addresses(ends.address[top], ends.v6[top]),
            "conversations": talks[top],
            "packets_sent": packets_sent[top],
            "packets_received": packets_received[top],
            "bytes_sent": sent[top],
            "bytes_received": received[top],
            "first_ts": ends.first_ts[top],
            "last_ts": ends.last_ts[top],
        }
    )
    return {**info, "total": len(ends.v6)}, batch


def hierarchy(session: Session, where: str) -> dict[str, Any]:
    """Lines of the layer tree (streams/layertree.py)."""
    summary = session.summaries.get(session, LayerTree, where=where)
    with summary.lock:
        progress = summary.update(session, SUMMARY_ROWS)
        lines = summary.counter.lines()
    return {"layers": lines, **progress.as_dict()}


def tcp_health(session: Session, where: str, since_ns: int) -> dict[str, Any]:
    """How long TCP handshakes took whose conversations began at `since_ns` or later: how many, p50 and p95 in ns."""
    ids, first_ts, took_ns = session.conversations.handshakes()
    info: dict[str, Any] = {"complete": True}
    chosen = first_ts >= since_ns
    if where.strip():
        summary = session.summaries.get(session, Talks, where=where)
        with summary.lock:
            info = summary.update(session, SUMMARY_ROWS).as_dict()
            chosen &= np.isin(ids, summary.counter.ids())
    p50, p95 = np.percentile(took_ns[chosen], (50, 95)) if chosen.any() else (0, 0)
    return {"handshakes": int(chosen.sum()), "rtt_p50_ns": int(p50) or None, "rtt_p95_ns": int(p95) or None, **info}


def _conversations(session: Session, where: str) -> tuple[ConversationRows, dict[str, Any]]:
    if not where.strip():
        return session.conversations.rows(), {"total": len(session.conversations), "complete": True}
    summary = session.summaries.get(session, Talks, where=where)
    with summary.lock:
        progress = summary.update(session, SUMMARY_ROWS)
        rows = summary.counter.rows(session.conversations)
    return rows, {"total": len(rows.id), **progress.as_dict()}


def _take(rows: ConversationRows, which: npt.NDArray[np.intp]) -> ConversationRows:
    columns: list[Any] = [column[which] for column in rows]
    return ConversationRows(*columns)


def _problems(rows: ConversationRows) -> Int64:
    kinds = (rows.retransmissions, rows.out_of_order, rows.lost_segments, rows.duplicate_acks, rows.zero_windows)
    total: Int64 = np.sum([kind.sum(axis=1, dtype=np.int64) for kind in kinds], axis=0)
    return total


def _known(values: Int64) -> pa.Array:
    return pa.array(values, mask=values == 0)


def _by_direction(name: str, counts: npt.NDArray[np.uint32]) -> dict[str, npt.NDArray[np.uint32]]:
    return {f"{name}_ab": counts[:, 0], f"{name}_ba": counts[:, 1]}


def _addresses(values: npt.NDArray[np.uint64], v6: npt.NDArray[np.bool_]) -> list[str]:
    return [address_text(row.tobytes(), v6=bool(is_v6)) for row, is_v6 in zip(values, v6, strict=True)]
