"""What conversations, endpoints and bins of traffic are called in expressions, and their rows for those.

The names are those of their answers (docs/protocol.md), and a few that mean both directions.
"""

from typing import Any, Final

import numpy as np

from aishark_panel.dissect.conversations import ConversationRows
from aishark_panel.query.names import Meaning
from aishark_panel.query.tables import Table, address, count, either, known_ns, port, protocol, text, time
from aishark_panel.streams.groupings import Grouped
from aishark_panel.streams.talks import Ends

__all__ = [
    "BIN_NAMES", "CONVERSATION_NAMES", "ENDPOINT_NAMES", "bin_table", "conversation_table", "endpoint_table",
]  # fmt: skip

_PROBLEMS: Final = ("retransmissions", "out_of_order", "lost_segments", "duplicate_acks", "zero_windows")
_BOTH: Final = ("packets", "bytes", *_PROBLEMS)

_A, _B = address("addr_a", "src_ip", "address of side a"), address("addr_b", "dst_ip", "address of side b")
_PORT_A, _PORT_B = port("port_a", "port of side a"), port("port_b", "port of side b")

CONVERSATION_NAMES: Final[dict[str, Meaning]] = {
    "addr_a": _A, "addr_b": _B, "addr": either(_A, _B, "either address"),
    "port_a": _PORT_A, "port_b": _PORT_B, "port": either(_PORT_A, _PORT_B, "either port"),
    "protocol": protocol("highest protocol seen"),
    **{name: count(name, f"{name}, both directions") for name in _BOTH},
    **{f"{name}_ab": count(f"{name}_ab", f"{name} from a to b") for name in _BOTH},
    **{f"{name}_ba": count(f"{name}_ba", f"{name} from b to a") for name in _BOTH},
    "first_ts": time("first_ts", "time of the first packet"), "last_ts": time("last_ts", "time of the last packet"),
    "duration_ns": count("duration_ns", "from the first packet to the last"),
    "handshake_rtt_ns": known_ns("handshake_rtt_ns", "round trip of TCP's handshake"),
    "rtt_ab_ns": known_ns("rtt_ab_ns", "from data of a to its acknowledgement"),
    "rtt_ba_ns": known_ns("rtt_ba_ns", "from data of b to its acknowledgement"),
}  # fmt: skip

_END_COUNTS: Final = ("conversations", "packets_sent", "bytes_sent", "packets_received", "bytes_received")

ENDPOINT_NAMES: Final[dict[str, Meaning]] = {
    "address": address("address", "src_ip", "the address"),
    **{name: count(name, name.replace("_", " ")) for name in (*_END_COUNTS, "packets", "bytes")},
    "first_ts": time("first_ts", "time of the first packet"), "last_ts": time("last_ts", "time of the last packet"),
}  # fmt: skip

BIN_NAMES: Final[dict[str, Meaning]] = {
    "bin": count("bin", "start of the bin, in units of the resolution"),
    "group": text("group", "what is counted apart: the protocol, agent, interface, host, problem or TCP role"),
    "packets": count("packets", "packets"), "bytes": count("bytes", "bytes on the wire"),
}  # fmt: skip


def conversation_table(rows: ConversationRows) -> Table:
    """Conversations, for expressions with CONVERSATION_NAMES."""
    pairs: dict[str, Any] = {name: getattr(rows, name).astype(np.int64) for name in _BOTH}
    return Table(
        {
            "src_ip": rows.addr_a, "dst_ip": rows.addr_b, "port_a": rows.port_a, "port_b": rows.port_b,
            "protocol": rows.protocol,
            **{name: pair.sum(axis=1) for name, pair in pairs.items()},
            **{f"{name}_ab": pair[:, 0] for name, pair in pairs.items()},
            **{f"{name}_ba": pair[:, 1] for name, pair in pairs.items()},
            "first_ts": rows.first_ts, "last_ts": rows.last_ts, "duration_ns": rows.last_ts - rows.first_ts,
            "handshake_rtt_ns": rows.handshake_rtt_ns,
            "rtt_ab_ns": rows.rtt_ns[:, 0], "rtt_ba_ns": rows.rtt_ns[:, 1],
        },
        rows.v6,
    )  # fmt: skip


def endpoint_table(ends: Ends) -> Table:
    """Addresses, for expressions with ENDPOINT_NAMES."""
    counts: dict[str, Any] = dict(zip(_END_COUNTS, ends.counts.T, strict=True))
    return Table(
        {
            "src_ip": ends.address, **counts,
            "packets": counts["packets_sent"] + counts["packets_received"],
            "bytes": counts["bytes_sent"] + counts["bytes_received"],
            "first_ts": ends.first_ts, "last_ts": ends.last_ts,
        },
        ends.v6,
    )  # fmt: skip


def bin_table(found: Grouped) -> Table:
    """Bins of traffic, for expressions with BIN_NAMES."""
    counts = found.counts
    codes = (counts.group + 1).astype(np.uint32)
    columns: dict[str, Any] = {"bin": counts.bin, "group": codes, "packets": counts.packets, "bytes": counts.bytes}
    return Table(columns, texts=found.names)
