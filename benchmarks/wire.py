"""What packets cost on the way from agent to hub: bytes, and CPU to encode and to decode them, in four forms.

    python benchmarks/wire.py [FILE or FOLDER ...] [--packets 200000] [--rounds 3]

The Ethernet frames of real captures, in batches of 8192 as an agent sends them under load; without a file a made-up
trace, which compresses better than real traffic. Forms: JSON and MessagePack with an object for each packet (both by
msgspec, typed, the fastest there is for Python), a gzipped pcap stream, and our envelopes by codec; each with full
frames, with headers only (an agent's `payload: headers`, cut at the end of the transport header), and ours with columns
only (`payload: none`: dissecting them is part of encoding). Cutting is part of ours only; the others get cut frames.
Decoding ends with columns in memory for ours and pcap, with Python objects for the others. One thread;
shorter captures are taken several times.
"""

import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from results import Result, Table, arguments, finish, progress

from aishark_panel.agent.payload import Payload
from aishark_panel.agent.synthetic import make_trace
from aishark_panel.capturefile import open_capture
from aishark_panel.errors import AisharkError
from aishark_panel.memory import reuse_freed_memory
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Batch, CodecName, PayloadPolicy
from aishark_panel.wire.pcapfile import CaptureReader
from aishark_panel.wire.pcapwrite import PcapWriter

BATCH_ROWS = 8_192
ETHERNET = np.ones(1, np.int32)
ENCODE, DECODE = "encode, ns a packet", "decode, ns a packet"
TITLES: dict[PayloadPolicy, str] = {"full": "Full frames", "headers": "Headers only", "none": "Columns only"}


class Packet(msgspec.Struct):
    """One packet as an object."""

    ts: int
    orig_len: int
    iface: int
    frame: bytes


class Form(NamedTuple):
    """How a batch becomes bytes, and back."""

    encode: Callable[[Frames], list[bytes]]
    decode: Callable[[list[bytes]], Any]
    takes: Literal["whole", "cut"] = "whole"
    """frames"""


def objects(frames: Frames) -> list[Packet]:
    rows = zip(frames.ts.tolist(), frames.orig_len.tolist(), frames.iface.tolist(), strict=True)
    return [Packet(*row, frames.frame(i)) for i, row in enumerate(rows)]


def by_object(encoder: Any, decoder: Any) -> Form:
    return Form(lambda frames: [encoder.encode(objects(frames))], lambda messages: decoder.decode(messages[0]), "cut")


def ours(codec: CodecName, policy: PayloadPolicy) -> Form:
    payload = Payload(policy, batch_rows=BATCH_ROWS)

    def encode(frames: Frames) -> list[bytes]:
        cut = payload.cut(frames, ETHERNET)
        return [Batch.pack(1, content, codec, {}) for content in payload.contents(cut, ETHERNET)]

    return Form(encode, lambda messages: [Batch.unpack(message).content() for message in messages])


def gzip_pcap() -> Form:
    def encode(frames: Frames) -> list[bytes]:
        writer = PcapWriter(link_type=1)
        return [zlib.compress(writer.header() + writer.frames(frames), 6, 31)]

    def decode(messages: list[bytes]) -> int:
        reader = CaptureReader()
        reader.feed(zlib.decompress(messages[0], 31))
        return sum(len(frames) for frames in iter(reader.frames, None))

    return Form(encode, decode, "cut")


def forms(policy: PayloadPolicy) -> dict[str, Form]:
    of_others = {
        "JSON": by_object(msgspec.json.Encoder(), msgspec.json.Decoder(list[Packet])),
        "MessagePack": by_object(msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(list[Packet])),
        "pcap, gzip": gzip_pcap(),
    }
    codecs: tuple[CodecName, ...] = ("none", "lz4", "zstd")
    return (of_others if policy != "none" else {}) | {f"ours, {codec}": ours(codec, policy) for codec in codecs}


def ethernet_frames(paths: list[Path]) -> Iterator[Frames]:
    """The Ethernet frames of capture files, also of all in a folder; what is no capture is left out."""
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if not file.is_file():
                continue
            try:
                with open_capture(file) as capture:
                    for frames in capture:
                        if {capture.interfaces[i].link_type for i in np.unique(frames.iface).tolist()} == {1}:
                            yield copy(frames, np.zeros(len(frames), np.uint16))
            except AisharkError:
                continue


def copy(frames: Frames, iface: Any) -> Frames:
    start, end = int(frames.offsets[0]), int(frames.offsets[-1])
    return Frames(
        frames.ts.copy(), frames.orig_len.copy(), iface, frames.offsets - np.int32(start), frames.data[start:end].copy()
    )


def joined(pieces: list[Frames]) -> Frames:
    lengths = np.concatenate([np.diff(each.offsets) for each in pieces])
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Frames(
        np.concatenate([each.ts for each in pieces]),
        np.concatenate([each.orig_len for each in pieces]),
        np.concatenate([each.iface for each in pieces]),
        offsets.astype(np.int32),
        np.concatenate([each.data for each in pieces]),
    )


def batches_of(frames: Frames, policy: PayloadPolicy) -> list[Frames]:
    """The frames, cut as the policy says (columns have none), in batches of an agent's size."""
    cut = Payload("headers" if policy == "none" else policy, batch_rows=BATCH_ROWS).cut(frames, ETHERNET)
    starts = range(0, len(cut), BATCH_ROWS)
    return [copy(part, part.iface) for part in (cut.slice(s, min(s + BATCH_ROWS, len(cut))) for s in starts)]


def measure(
    form: Form, whole: list[Frames], cut: list[Frames], packets: int, rounds: int
) -> tuple[float, list[float], list[float]]:
    """(bytes, ns to encode, ns to decode) a packet, of each round; `packets`: how many to work on at least in one."""
    batches = whole if form.takes == "whole" else cut
    rows = sum(map(len, batches))
    turns = -(-packets // rows)
    form.decode(form.encode(batches[0]))  # what is done at first use has been done
    encode_s, decode_s = [], []
    for _ in range(rounds):
        began = time.thread_time()
        for _ in range(turns):
            messages = [form.encode(batch) for batch in batches]
        middle = time.thread_time()
        for _ in range(turns):
            for message in messages:
                form.decode(message)
        encode_s.append(middle - began)
        decode_s.append(time.thread_time() - middle)
    scale = 1e9 / (turns * rows)
    size = sum(len(each) for message in messages for each in message) / rows
    return size, [scale * each for each in encode_s], [scale * each for each in decode_s]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--packets", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    reuse_freed_memory()
    pieces = list(ethernet_frames(options.paths)) if options.paths else make_trace(options.packets, seed=1)
    if not pieces:
        raise SystemExit("There are no Ethernet frames in what was given.")
    frames = joined([copy(piece, np.zeros(len(piece), np.uint16)) for piece in pieces])
    origin = "of real captures" if options.paths else "made up, which compress better than real ones"
    note = f"{len(frames):,} frames of {frames.captured_bytes / len(frames):.0f} bytes on average, {origin}."
    whole = batches_of(frames, "full")
    tables = []
    for policy, title in TITLES.items():
        cut = batches_of(frames, policy)
        table = Table(title, "form", ["bytes a packet", ENCODE, DECODE], base="ours, lz4", of=ENCODE)
        for name, form in forms(policy).items():
            progress(f"{title}: {name}")
            table.add(name, *measure(form, whole, cut, options.packets, options.rounds))
        tables.append(table)
    finish(Result("wire", tables, [note]), options.json)


if __name__ == "__main__":
    main()
