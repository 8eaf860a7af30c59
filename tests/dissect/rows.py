"""Dissecting a few frames in one call, and a row as a dict: what the tests of this folder share."""

from typing import Any

import numpy as np

from aishark_panel.dissect import dissect
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.layers import Layer
from aishark_panel.wire.packets import ARROW_NAMES, Interface, Packets

__all__ = ["ETHERNET", "append", "dissect_frames", "layers", "row", "row_of"]

ETHERNET = 1


def append(packets: Packets, frames: Frames, start: int = 0, link_type: int = ETHERNET) -> int:
    """Dissect frames[start:] into a block; how many it took."""
    return dissect(frames, start, np.array([link_type], np.int32), np.zeros(1, np.uint16), packets)


def dissect_frames(*frames: object, link_type: int = ETHERNET, orig_len: int | None = None) -> Packets:
    """A block of the frames (bytes, or packets of scapy), each of `orig_len` bytes on the wire, if that is given."""
    content = [bytes(frame) for frame in frames]  # type: ignore[call-overload]
    lengths = None if orig_len is None else [orig_len] * len(content)
    packets = Packets(64 + len(content))
    batch = Frames.from_list(content, [1_000 + i for i in range(len(content))], lengths)
    assert append(packets, batch, 0, link_type) == len(content)
    packets.arena = [batch.data]
    packets.columns.frame_pos[: len(content)] = batch.offsets[: len(content)]
    return packets


def row(packets: Packets, index: int = 0) -> dict[str, Any]:
    """The values of a row by column name, None where null."""
    names = [name for name in ARROW_NAMES if name not in ("number", "ts")]
    batch = packets.to_arrow([Interface("host", "eth0", ETHERNET)], names, slice(index, index + 1))
    return {name: batch.column(name)[0].as_py() for name in names}


def row_of(frame: object, link_type: int = ETHERNET, orig_len: int | None = None) -> dict[str, Any]:
    """The values of one frame's row."""
    return row(dissect_frames(frame, link_type=link_type, orig_len=orig_len))


def layers(packets: Packets, index: int = 0) -> Layer:
    """The layers found in a row."""
    return Layer(int(packets.columns.layers[index]))
