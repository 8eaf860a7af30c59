"""What clients may ask of a session, as plain functions: parameters in, (result, body) out.

`METHODS` is the whole query API of the client socket; docs/protocol.md lists it. Each function runs on a query thread
while ingest goes on. Bodies are Arrow IPC streams, or the bytes of a frame.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from aishark_panel.dissect.community_id import packet_community_id
from aishark_panel.dissect.info import info_text
from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.query import compile_expression
from aishark_panel.query.columns import choose_columns
from aishark_panel.streams import aggregates
from aishark_panel.streams.fingerprints import conversation_hello
from aishark_panel.streams.following import MAX_ANSWER_BYTES, payloads, traffic
from aishark_panel.streams.ledger import ledger
from aishark_panel.streams.matches import rows_of
from aishark_panel.streams.seeking import seek
from aishark_panel.streams.session import Session
from aishark_panel.streams.stats import stats
from aishark_panel.streams.values import common_values
from aishark_panel.wire.packets import ARROW_NAMES, LAYERS, Packets

__all__ = ["MAX_ROWS", "METHODS", "QueryMethod"]

MAX_ROWS: Final = 1_000
"""Most rows of one answer; pages are small, exports have their own way."""
MAX_TABLE_ROWS: Final = 65_536
"""Most rows of one piece of a table: some 15 MB with all columns."""
SCAN_ROWS: Final = 4_000_000
"""Rows a filter looks at within one answer, so that the first page comes early; the count then grows by itself."""
LIST_COLUMNS: Final = ("number", "ts", "src_ip", "dst_ip", "protocol", "orig_len", "info")

Answer = tuple[dict[str, Any], bytes | pa.Buffer]
QueryMethod = Callable[[Session, dict[str, Any]], Answer]


def _stats(session: Session, params: dict[str, Any]) -> Answer:
    return stats(session), b""


def _ledger(session: Session, params: dict[str, Any]) -> Answer:
    return ledger(session), b""


def _rollup(session: Session, params: dict[str, Any]) -> Answer:
    resolution_ms, since = _integer(params, "resolution_ms", 1_000), _integer(params, "since", 0)
    by = _text(params, "by") or "protocol"
    info, batch = aggregates.rollup(session, resolution_ms, since, _text(params, "where"), by, _text(params, "having"))
    return info, _stream([batch])


def _rows(session: Session, params: dict[str, Any]) -> Answer:
    first, count = _integer(params, "first", 1), min(_integer(params, "count", 50), MAX_ROWS)
    where, columns = _text(params, "where"), _columns(params, (*ARROW_NAMES, "info"), LIST_COLUMNS)
    numbers: npt.NDArray[np.int64]
    if where:
        match_set = session.matches.get(where)
        known = match_set.update(session.ring, session.interfaces, SCAN_ROWS)
        numbers = match_set.numbers(first, count)
        info = {"first": known.first, "end": known.end, "scanned_to": known.scanned_to}
    else:
        info = {"first": session.ring.first, "end": session.ring.end, "scanned_to": session.ring.end}
        low = max(first, info["first"])
        numbers = np.arange(low, max(low, min(first + count, info["end"])), dtype=np.int64)
    info["ring_first"], info["ring_end"] = session.ring.first, session.ring.end
    return info, _stream(_row_batches(session, numbers, columns))


def _seek(session: Session, params: dict[str, Any]) -> Answer:
    """Where in the list of what `where` selects the next packet stands that `only` selects as well: from `number` on,
    or with `back` from `number` downwards, and round the end of the list if there is none."""
    number, back = _integer(params, "number", 1), params.get("back") is True
    return seek(session, number, _text(params, "where"), _text(params, "only"), back=back)._asdict(), b""


def _row_batches(session: Session, numbers: npt.NDArray[np.int64], columns: Sequence[str]) -> list[pa.RecordBatch]:
    names = [c for c in columns if c != "info"]
    batches = []
    if len(numbers):
        with session.ring.read(int(numbers[0]), int(numbers[-1]) + 1) as views:
            for packets, rows in rows_of(list(views), numbers):
                batch = _plain(packets.to_arrow(session.interfaces, names, rows))
                arrays = dict(zip(names, batch.columns, strict=True))
                if "info" in columns:
                    arrays["info"] = pa.array([_info(session, packets, int(r)) for r in rows], pa.string())
                batches.append(pa.RecordBatch.from_arrays([arrays[c] for c in columns], names=list(columns)))
    if not batches:
        schema = pa.schema([(c, pa.string()) for c in columns])
        batches = [pa.RecordBatch.from_pylist([], schema)]
    return batches


def _table(session: Session, params: dict[str, Any]) -> Answer:
    """The last `count` packets before `end` that `where` selects; ask again with `end` = the answer's `first`."""
    count = max(1, min(_integer(params, "count", MAX_TABLE_ROWS), MAX_TABLE_ROWS))
    predicate = compile_expression(_text(params, "where"))
    columns = _columns(params, (*ARROW_NAMES, LAYERS), ARROW_NAMES)
    first = end = min(_integer(params, "end", session.ring.end), session.ring.end)
    batches: list[pa.RecordBatch] = []
    scanned = 0
    with session.ring.read(end=end) as views:
        for packets, start, stop in reversed(views):
            mask = predicate.mask(packets, start, stop, session.interfaces)
            rows = (np.flatnonzero(mask) + start)[-count:]
            batches.append(packets.to_arrow(session.interfaces, columns, rows))
            count -= len(rows)
            scanned += stop - start
            first = packets.first_number + (int(rows[0]) if count == 0 else start)
            if count == 0 or scanned >= SCAN_ROWS:
                break
        else:
            first = min(end, session.ring.first)
    empty = Packets(1).to_arrow(session.interfaces, columns)
    return {"first": first, "ring_first": session.ring.first}, _stream(batches[::-1] or [empty])


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Dictionary columns as strings: a page is too short for dictionaries, and each block has its own."""
    arrays = [a.dictionary_decode() if pa.types.is_dictionary(a.type) else a for a in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _packet(session: Session, params: dict[str, Any]) -> Answer:
    number = _integer(params, "number", 0)
    with session.ring.read(number, number + 1) as views:
        if not views:
            ring = session.ring
            raise NotFoundError(f"packet {number:,} is not in the ring; it holds {ring.first:,} to {ring.end - 1:,}")
        packets, row, _ = views[0]
        batch = packets.to_arrow(session.interfaces, ARROW_NAMES, np.array([row]))
        values = {name: _json_value(column[0]) for name, column in zip(ARROW_NAMES, batch.columns, strict=True)}
        values["link_type"] = session.interfaces[int(packets.columns.iface[row])].link_type
        values["info"] = _info(session, packets, row)
        values["community_id"] = packet_community_id(packets, row)
        hello = conversation_hello(session, packets, row)
        values["ja3"], values["ja4"] = (hello.ja3(), hello.ja4()) if hello else (None, None)
        return values, packets.frame(row)


def _info(session: Session, packets: Packets, row: int) -> str:
    link_type = session.interfaces[int(packets.columns.iface[row])].link_type
    return info_text(packets, row, link_type, session.conversations.tcp_numbers(packets, row))


def _json_value(scalar: pa.Scalar) -> Any:
    return scalar.value if isinstance(scalar, pa.TimestampScalar) else scalar.as_py()


def _conversations(session: Session, params: dict[str, Any]) -> Answer:
    sort = _text(params, "sort") or "bytes"
    where, having = _text(params, "where"), _text(params, "having")
    info, batch = aggregates.conversations(session, _limit(params), where, sort, having)
    return info, _stream([batch])


def _conversation(session: Session, params: dict[str, Any]) -> Answer:
    """One conversation: its counts, and what the ring holds of it over time."""
    conversation = _conversation_id(params)
    found = session.conversations.one(conversation)
    over_time = traffic(session, conversation)
    if found is None and not over_time["packets"]:
        raise NotFoundError(f"there is no conversation {conversation} here")
    counts = aggregates.conversation_lines(found).to_pylist()[0] if found is not None else None
    return {"counts": counts, "kept": over_time}, b""


def _payloads(session: Session, params: dict[str, Any]) -> Answer:
    """What was said in one conversation."""
    limit = _integer(params, "limit", MAX_ANSWER_BYTES)
    return payloads(session, _conversation_id(params), _text(params, "cursor"), limit)


def _endpoints(session: Session, params: dict[str, Any]) -> Answer:
    sort = _text(params, "sort") or "bytes"
    where, having = _text(params, "where"), _text(params, "having")
    info, batch = aggregates.endpoints(session, _limit(params), where, sort, having)
    return info, _stream([batch])


def _hierarchy(session: Session, params: dict[str, Any]) -> Answer:
    return aggregates.hierarchy(session, _text(params, "where")), b""


def _tcp_health(session: Session, params: dict[str, Any]) -> Answer:
    return aggregates.tcp_health(session, _text(params, "where"), _integer(params, "since_ns", 0)), b""


def _alerts(session: Session, params: dict[str, Any]) -> Answer:
    answer = session.alerts.since(_integer(params, "since", 0), archived=params.get("archived") is True)
    return {}, msgspec.json.encode(answer)  # a thousand alerts are more than a result may hold


def _values(session: Session, params: dict[str, Any]) -> Answer:
    columns = _columns(params, ARROW_NAMES, ("protocol",))
    where, text = _text(params, "where"), _text(params, "text")
    values, packets = common_values(session, columns, where, text, _limit(params))
    return {"values": values, "packets": packets}, b""


METHODS: Final[dict[str, QueryMethod]] = {
    "stats": _stats,
    "ledger": _ledger,
    "rollup": _rollup,
    "rows": _rows,
    "seek": _seek,
    "table": _table,
    "packet": _packet,
    "conversations": _conversations,
    "conversation": _conversation,
    "payloads": _payloads,
    "endpoints": _endpoints,
    "hierarchy": _hierarchy,
    "tcp_health": _tcp_health,
    "alerts": _alerts,
    "values": _values,
}


def _integer(params: dict[str, Any], name: str, default: int) -> int:
    value = params.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ConfigError(f"{name} must be an integer, got {value!r:.50}")
    return value


def _conversation_id(params: dict[str, Any]) -> int:
    """A text: many a client's numbers are too short for it."""
    text = str(params.get("conversation", ""))
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) < 2**64):
        raise ConfigError(f"conversation must be the number of one, got {text!r:.50}")
    return int(text)


def _limit(params: dict[str, Any]) -> int:
    return max(0, min(_integer(params, "limit", 20), MAX_ROWS))


def _text(params: dict[str, Any], name: str) -> str:
    value = params.get(name, "")
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a text, got {value!r:.50}")
    return value


def _columns(params: dict[str, Any], known: Sequence[str], default: Sequence[str]) -> Sequence[str]:
    """Which columns are asked for, each once: without that, a short question could ask for any amount of memory."""
    columns = params.get("columns") or default
    if not isinstance(columns, list | tuple):
        raise ConfigError(f"columns must be a list of names, got {columns!r:.50}")
    return choose_columns(columns, known)


def _stream(batches: list[pa.RecordBatch]) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()
