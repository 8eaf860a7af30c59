"""Cells of the packet list: what stands in a column of a row, and the condition that selects packets like it. Pure.

A list's columns are those of docs/schema.md under their own names, and two that a person expects to be one: `source`
and `destination` are the network address, or the link-layer one where a packet has none.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from aishark_panel.errors import NotFoundError
from aishark_panel.query.literals import quote
from aishark_panel.views.theme import FAMILIES, family_of
from aishark_panel.wire.layers import FLAG_NAMES, TcpProblem
from aishark_panel.wire.packets import ARROW_NAMES
from aishark_panel.wire.schema import Kind, column

__all__ = ["EITHER", "PROBLEMS", "TITLES", "choices", "condition", "needed", "row_columns"]

EITHER: Final = {"source": ("src_ip", "eth_src"), "destination": ("dst_ip", "eth_dst")}
"""Columns of the list that show the first of two that a packet has."""

TITLES: Final = {
    "number": "No.",
    "ts": "Time",
    "source": "Source",
    "destination": "Destination",
    "protocol": "Protocol",
    "orig_len": "Length",
    "info": "Info",
    "agent": "Agent",
    "iface": "Interface",
    "src_port": "Source port",
    "dst_port": "Destination port",
    "tcp_problem": "TCP problem",
    "tcp_flags": "TCP flags",
}
"""Headings of columns; others are headed by their names."""

PROBLEMS: Final = "tcp_problem != 0 or has(tcp_flags, 'RST') or malformed"
"""What 'next problem' looks for: every row that is marked."""

_ALWAYS: Final = ("number", "ts", "protocol", "malformed", "tcp_problem", "tcp_flags")
_RESET: Final = 1 << FLAG_NAMES["tcp_flags"].index("RST")
_HARMLESS: Final = int(
    TcpProblem.WINDOW_UPDATE
    | TcpProblem.KEEP_ALIVE
    | TcpProblem.KEEP_ALIVE_ACK
    | TcpProblem.ZERO_WINDOW_PROBE_ACK
    | TcpProblem.REUSED_PORTS
)
"""Happens in good health too."""
_MEANINGS: Final = {
    "number": "the packet's number in its session",
    "agent": "name of the agent that captured it",
    "source": "network address of the sender, or its MAC address",
    "destination": "network address of the receiver, or its MAC address",
    "info": "one line on the packet, in the words of Wireshark's Info",
}


def choices() -> list[dict[str, str]]:
    """Every column a list can show: its name, heading and meaning, the usual ones first."""
    names = [*TITLES, *(name for name in ARROW_NAMES if name not in TITLES)]
    meanings = {**{name: column(name).meaning for name in ARROW_NAMES if name not in _MEANINGS}, **_MEANINGS}
    return [{"name": name, "title": TITLES.get(name, name), "meaning": meanings[name]} for name in names]


def needed(columns: Sequence[str]) -> list[str]:
    """The hub's columns that a list of these columns is made of; names that are none are left out."""
    found = list(_ALWAYS)
    for name in columns:
        found += [each for each in EITHER.get(name, (name,)) if each in ARROW_NAMES or each == "info"]
    return list(dict.fromkeys(found))


def row_columns(batch: pa.RecordBatch, columns: Sequence[str]) -> dict[str, Any]:
    """Rows as the browser wants them: number; s and ns of their time since 1970; family; problem, '' if there is none,
    and its grade (bad: something is wrong; odd: worth knowing); and `cells`, the text of each of `columns` but number
    and time. {} where there are no rows."""
    if not batch.num_rows:
        return {}
    ts = batch.column("ts").cast(pa.int64()).to_numpy(zero_copy_only=False)
    malformed = batch.column("malformed").fill_null(False).to_pylist()
    marks = [
        _mark(problem or 0, bool((flags or 0) & _RESET), malformed=bad)
        for problem, flags, bad in zip(
            batch.column("tcp_problem").to_pylist(), batch.column("tcp_flags").to_pylist(), malformed, strict=True
        )
    ]
    return {
        "number": batch.column("number").to_pylist(),
        "s": (ts // 1_000_000_000).tolist(),
        "ns": (ts % 1_000_000_000).tolist(),
        "family": [FAMILIES[family_of(name)].key for name in batch.column("protocol").to_pylist()],
        "problem": [words for words, _ in marks],
        "grade": [grade for _, grade in marks],
        "cells": {name: _texts(batch, name) for name in columns if name not in ("number", "ts") and _has(batch, name)},
    }


def _has(batch: pa.RecordBatch, name: str) -> bool:
    return all(each in batch.schema.names for each in EITHER.get(name, (name,)))


def _texts(batch: pa.RecordBatch, name: str) -> list[str]:
    if name in EITHER:
        first, other = (batch.column(each).to_pylist() for each in EITHER[name])
        return [a or b or "" for a, b in zip(first, other, strict=True)]
    values = batch.column(name).to_pylist()
    if name in FLAG_NAMES:
        return ["" if value is None else ", ".join(_names_of(name, value)) for value in values]
    if pa.types.is_boolean(batch.column(name).type):
        return ["yes" if value else "" for value in values]
    return ["" if value is None else str(value) for value in values]


def _names_of(name: str, value: int) -> list[str]:
    return [text for bit, text in enumerate(FLAG_NAMES[name]) if value & (1 << bit)]


def _mark(problem: int, reset: bool, *, malformed: bool) -> tuple[str, str]:
    """What is the matter with a packet, in words ('retransmission, fast retransmission'), and how bad it is."""
    if not (problem or reset or malformed):
        return "", ""
    words = [name.replace("_", " ").lower() for name in _names_of("tcp_problem", problem)]
    words += ["connection reset"] * reset + ["malformed"] * malformed
    return ", ".join(words), "bad" if malformed or problem & ~_HARMLESS else "odd"


def condition(name: str, row: pa.RecordBatch) -> str:
    """The condition for packets that have in column `name` what this one has. NotFoundError if it has nothing there.

    `row`: one row, with the columns of needed([name]).
    """
    for each in EITHER.get(name, (name,)):
        if each == "ts":
            ns = np.datetime64(row.column(each).cast(pa.int64())[0].as_py(), "ns")
            return f"ts >= '{np.datetime_as_string(ns)}Z'"
        if each in row.schema.names and each != "info" and (value := row.column(each)[0].as_py()) is not None:
            return _equals(each, value)
    raise NotFoundError(f"This packet has no {TITLES.get(name, name)!r:.60} that a filter could ask for.")


def _equals(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"not {name}"
    if isinstance(value, int):
        return f"{name} == {value}"
    kind = None if name == "agent" else column(name).kind
    if kind in (Kind.ADDRESS, Kind.MAC):
        return f"{name} == {value}"
    return f"{name} == {quote(str(value))}"
