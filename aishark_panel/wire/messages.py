"""Messages between agent and hub, and between client and hub; docs/protocol.md tells their story.

Control messages are JSON texts, one msgspec Struct each, told apart by "type". Unknown fields are ignored, so a newer
peer may add some. Packets travel as binary messages: an *envelope* (fixed head, counters as JSON, payload) around a
batch of frames (one Arrow IPC record-batch message) or of columns (wire.columnbatch), compressed as a whole or not at
all.
"""

import struct
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
import pyarrow as pa

from aishark_panel.errors import ProtocolError
from aishark_panel.wire.columnbatch import ColumnBatch
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.inquiries import FilterTrial, HostInterfaces, ListInterfaces, TryFilter

__all__ = [
    "CODECS",
    "MAX_BATCH_BYTES",
    "MAX_BATCH_ROWS",
    "MAX_CONTROL_BYTES",
    "MAX_PAYLOAD_BYTES",
    "PROTOCOL_HEADER",
    "PROTOCOL_VERSION",
    "Ack",
    "AgentMessage",
    "Batch",
    "BatchRefused",
    "CaptureSettings",
    "CodecName",
    "End",
    "Heartbeat",
    "HeartbeatReply",
    "Hello",
    "HubMessage",
    "InterfaceInfo",
    "PayloadPolicy",
    "Reply",
    "Request",
    "SamplingBy",
    "SourceKind",
    "StartCapture",
    "State",
    "StopCapture",
    "Welcome",
    "decode_agent_message",
    "decode_hub_message",
    "decode_reply",
    "decode_request",
    "encode_control",
    "encode_reply",
    "spoken_protocol",
]

T = TypeVar("T")

PROTOCOL_VERSION: Final = 1
PROTOCOL_HEADER: Final = "Aishark-Protocol"
"""Header in which a client says its version of the protocol; who leaves it out, a script, takes what comes."""
MAX_BATCH_ROWS: Final = 65_536
MAX_BATCH_BYTES: Final = 8 * 2**20
"""Most bytes of one batch, compressed or not; what a sender declares above it is refused before allocation."""
MAX_CONTROL_BYTES: Final = 256 * 2**10
"""Most bytes of one JSON message."""

CodecName = Literal["none", "lz4", "zstd", "gzip"]
CODECS: Final[tuple[CodecName, ...]] = ("none", "lz4", "zstd", "gzip")
"""A batch's codec by its number in the envelope."""

SourceKind = Literal["live", "replay", "synthetic", "ssh"]

MAX_PAYLOAD_BYTES: Final = 262_144
PayloadPolicy = Literal["none", "headers", "full"] | Annotated[int, msgspec.Meta(ge=1, le=MAX_PAYLOAD_BYTES)]
"""What is sent of packets: columns only; each frame up to the end of its headers; so many bytes of payload besides; or
all that was captured"""
SamplingBy = Literal["packet", "conversation"]
"""Whether sampling chooses packets one by one, or whole conversations"""
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
MAX_COUNT: Final = 2**53
"""Largest integer of a message; up to it floats and the JSON of browsers are exact."""
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
Factor = Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)]
Time = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""ns since 1970 UTC"""
Span = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
Counters = Annotated[dict[Annotated[str, msgspec.Meta(max_length=100)], Count], msgspec.Meta(max_length=100)]


class InterfaceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One interface of an agent; frames refer to it by its place in the hello."""

    name: Annotated[str, msgspec.Meta(max_length=200)]
    link_type: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
    """LINKTYPE number, https://www.tcpdump.org/linktypes.html"""
    snaplen: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 262_144
    filter: Annotated[str, msgspec.Meta(max_length=8_000)] = ""
    """capture filter (BPF) in force"""
    captured: bool = True
    """whether it is captured now; those that were keep their place"""


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """Agent's first message."""

    protocol: int
    agent: Name
    run: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    """names this life of the agent, or its spool: batches are numbered within it"""
    version: Annotated[str, msgspec.Meta(max_length=50)]
    host: Annotated[str, msgspec.Meta(max_length=200)]
    os: Annotated[str, msgspec.Meta(max_length=200)] = ""
    source: SourceKind
    session: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """session to feed, by id or name; empty: the hub's default session"""
    interfaces: Annotated[tuple[InterfaceInfo, ...], msgspec.Meta(max_length=1_000)]
    capturing: bool = True
    first_sequence: Annotated[int, msgspec.Meta(ge=1, le=MAX_COUNT)] = 1
    """oldest batch of this run that the agent can still send"""
    sampling: Factor = 1
    """every how many-th packet is sent; times this, counts are estimates of the traffic"""
    sampling_by: SamplingBy = "packet"
    payload: PayloadPolicy = "full"
    max_packets_per_second: Count = 0
    """what goes beyond it is not sent; 0: no limit"""
    counters: Counters = {}
    """as in a heartbeat; `delivered` tells a hub that does not know this run what an earlier one had taken of it"""
    down_since_ns: Time = 0
    down_until_ns: Time = 0
    """when the agent was last known to live before this life of it, and when this began; 0: it is the run's first"""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="heartbeat"):
    """Agent is alive; the hub echoes `sent_ns`, from which the agent learns the round-trip time."""

    sent_ns: int
    counters: Counters = {}
    round_trip_ns: Count = 0
    """round-trip time of the heartbeat before, 0 when unknown"""
    offset_ns: Span = 0
    """hub's clock less the agent's, from the heartbeats before; 0 when unknown"""


class State(msgspec.Struct, frozen=True, kw_only=True, tag="state"):
    """Agent started or stopped capturing, or its interfaces changed. Answers each StartCapture and StopCapture."""

    capturing: bool
    reason: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    """why it does not capture, or why what a StartCapture asked for could not be done; '' when all went well"""
    answers: Count = 0
    """number of the order this is the answer to; 0: nobody asked"""
    interfaces: Annotated[tuple[InterfaceInfo, ...], msgspec.Meta(max_length=1_000)] | None = None
    """as in the hello; None: unchanged"""
    sampling: Factor = 1
    sampling_by: SamplingBy = "packet"
    payload: PayloadPolicy = "full"
    max_packets_per_second: Count = 0
    """these four as in the hello"""


class End(msgspec.Struct, frozen=True, kw_only=True, tag="end"):
    """Agent has sent all it ever will (the file is read, the capture is over)."""

    reason: Annotated[str, msgspec.Meta(max_length=1_000)]
    counters: Counters = {}


AgentMessage = Hello | Heartbeat | State | End | HostInterfaces | FilterTrial


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome"):
    """Hub's answer to Hello."""

    protocol: int
    session: str
    """id of the session that takes the frames"""
    next_sequence: Annotated[int, msgspec.Meta(ge=1)]
    """first batch of this run that the hub does not hold durably; the agent goes on from there"""
    window_bytes: Annotated[int, msgspec.Meta(ge=1)]
    """credit: envelope bytes that may be on their way, sent but not taken"""
    capture: bool = True
    """whether the session wants packets now"""
    journal: bool = False
    """whether the session is journalled: then a batch is to be kept until it is durable"""
    taken: Count = 0
    """last batch of this run that the hub has in memory, where that is more than it holds durably"""


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag="ack"):
    """Every batch up to `taken` is in the session's memory, up to `durable` it survives a crash of the hub."""

    taken: Count
    durable: Count


class BatchRefused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """Hub will not take a batch; it closes the connection with code 1008 after this."""

    sequence: Count
    reason: str


class HeartbeatReply(msgspec.Struct, frozen=True, kw_only=True, tag="heartbeat_reply"):
    """Hub's answer to Heartbeat."""

    sent_ns: int
    """echo of the agent's clock"""
    hub_ns: Time
    """hub's clock when it answered"""


class CaptureSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a hub may ask of a capture, within the bounds of the agent's own configuration; None leaves a setting as it
    is. "" for the filter and for `sampling_by`, 0 for the rate, 1 for sampling, 262,144 for the snaplen, "full" for the
    payload, no interfaces: as the agent's own configuration has it."""

    interfaces: Annotated[tuple[Name, ...], msgspec.Meta(max_length=1_000)] | None = None
    """interfaces to capture on"""
    filter: Annotated[str, msgspec.Meta(max_length=8_000)] | None = None
    """capture filter (BPF)"""
    snaplen: Annotated[int, msgspec.Meta(ge=14, le=262_144)] | None = None
    """bytes kept of each frame"""
    sampling: Factor | None = None
    """every Nth packet is sent"""
    sampling_by: SamplingBy | Literal[""] | None = None
    """whether it chooses packets or conversations"""
    payload: PayloadPolicy | None = None
    """what is sent of packets"""
    max_packets_per_second: Count | None = None
    """what goes beyond it is not sent"""

    def over(self, before: "CaptureSettings") -> "CaptureSettings":
        """These settings, and what they leave open as it was before."""
        names = CaptureSettings.__struct_fields__
        chosen = {name: getattr(before if getattr(self, name) is None else self, name) for name in names}
        return CaptureSettings(**chosen)


class StartCapture(CaptureSettings, frozen=True, kw_only=True, tag="start"):
    """Hub wants packets. The agent answers with State, whose reason says what it could not do."""

    number: Count = 0
    """names this order in the answer"""


class StopCapture(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """Hub wants no packets for now."""

    reason: str = ""
    number: Count = 0
    """names this order in the answer"""


HubMessage = Welcome | Ack | BatchRefused | HeartbeatReply | StartCapture | StopCapture | ListInterfaces | TryFilter


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Client's question; the hub answers with a Reply of the same id."""

    id: Count
    method: Annotated[str, msgspec.Meta(max_length=50)]
    params: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Head of the hub's answer; a body of bytes (Arrow IPC stream, frame bytes) may follow it."""

    id: Count
    result: dict[str, Any] = {}
    error: str = ""
    """sentence for a person; empty when all went well"""
    error_kind: str = ""
    """class of the error in aishark_panel.errors"""
    position: int | None = None
    """place in an expression where it went wrong"""


class _Greeting(msgspec.Struct, frozen=True):
    protocol: int


_greeting_decoder: Final = msgspec.json.Decoder(_Greeting)
_agent_decoder: Final = msgspec.json.Decoder(AgentMessage)
_hub_decoder: Final = msgspec.json.Decoder(HubMessage)
_request_decoder: Final = msgspec.json.Decoder(Request)
_reply_decoder: Final = msgspec.json.Decoder(Reply)
_counters_decoder: Final = msgspec.json.Decoder(Counters)
_encoder: Final = msgspec.json.Encoder()


def encode_control(message: AgentMessage | HubMessage | Request) -> str:
    """JSON text of a control message."""
    return _encoder.encode(message).decode()


def decode_agent_message(text: str | bytes) -> AgentMessage:
    """Read a control message of an agent; ProtocolError if it is none."""
    message: AgentMessage = _decode(_agent_decoder, text)
    return message


def decode_hub_message(text: str | bytes) -> HubMessage:
    """Read a control message of the hub; ProtocolError if it is none."""
    message: HubMessage = _decode(_hub_decoder, text)
    return message


def spoken_protocol(text: str | bytes) -> int | None:
    """Version that a greeting says its sender speaks, whatever else is in it; None if it says none. All versions
    greet with a JSON object that has `protocol`."""
    try:
        return _greeting_decoder.decode(text[:MAX_CONTROL_BYTES]).protocol
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def decode_request(text: str | bytes) -> Request:
    """Read a client's request; ProtocolError if it is none."""
    return _decode(_request_decoder, text)


def _decode(decoder: "msgspec.json.Decoder[T]", text: str | bytes) -> T:
    if len(text) > MAX_CONTROL_BYTES:
        raise ProtocolError(f"control message of {len(text):,} bytes; at most {MAX_CONTROL_BYTES:,} are allowed")
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ProtocolError(f"control message not understood: {error}") from error


def encode_reply(reply: Reply, body: bytes | memoryview | pa.Buffer = b"") -> bytes:
    """A reply as one binary message: length of the head (uint32, little endian), head as JSON, body."""
    head = _encoder.encode(reply)
    return b"".join((struct.pack("<I", len(head)), head, memoryview(body)))


def decode_reply(message: bytes) -> tuple[Reply, memoryview]:
    """Head and body of a reply."""
    view = memoryview(message)
    if len(view) < 4 or (size := struct.unpack_from("<I", view)[0]) > len(view) - 4:
        raise ProtocolError("reply is cut")
    return _decode(_reply_decoder, bytes(view[4 : 4 + size])), view[4 + size :]


_HEAD: Final = struct.Struct("<BBHIIIQ")
_FRAMES_KIND, _COLUMNS_KIND = 1, 2


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Envelope of one batch: who numbers it, how it is packed, and the agent's counters when it was closed."""

    sequence: int
    """number within the agent's run, from 1, without gaps"""
    rows: int
    codec: CodecName
    raw_bytes: int
    """size of the message before compression"""
    counters: dict[str, int]
    payload: memoryview
    """the message of the frames or columns, compressed by `codec`"""
    has_frames: bool = True
    """whether it holds frames, and not columns"""

    @classmethod
    def pack(cls, sequence: int, content: Frames | ColumnBatch, codec: CodecName, counters: dict[str, int]) -> bytes:
        """Envelope bytes of some frames or columns.

        Layout, little endian: kind (u8; 1 frames, 2 columns), codec (u8), counters bytes (u16), rows (u32), raw bytes
        (u32), payload bytes (u32), sequence (u64); counters as JSON, padded with spaces so that the payload starts on 8
        bytes.
        """
        message = content.to_message()
        payload = message if codec == "none" else pa.Codec(codec).compress(message)
        head = _encoder.encode(counters)
        head += b" " * (-len(head) % 8)
        kind = _FRAMES_KIND if isinstance(content, Frames) else _COLUMNS_KIND
        fields = (kind, CODECS.index(codec), len(head), len(content), message.size, payload.size, sequence)
        return b"".join((_HEAD.pack(*fields), head, memoryview(payload)))

    @property
    def envelope(self) -> bytes:
        """The whole message that was unpacked."""
        message = self.payload.obj
        assert isinstance(message, bytes)
        return message

    @classmethod
    def unpack(cls, message: bytes) -> "Batch":
        """Read an envelope; the payload is a view of `message`. Raises ProtocolError."""
        if len(message) < _HEAD.size:
            raise ProtocolError("batch envelope is cut")
        kind, codec, head_bytes, rows, raw_bytes, payload_bytes, sequence = _HEAD.unpack_from(message)
        if kind not in (_FRAMES_KIND, _COLUMNS_KIND) or codec >= len(CODECS):
            raise ProtocolError(f"binary message of kind {kind}, codec {codec} is unknown")
        if rows > MAX_BATCH_ROWS or raw_bytes > MAX_BATCH_BYTES:
            raise ProtocolError(
                f"batch of {rows:,} rows, {raw_bytes:,} bytes is above {MAX_BATCH_ROWS:,} and {MAX_BATCH_BYTES:,}"
            )
        if len(message) != _HEAD.size + head_bytes + payload_bytes:
            raise ProtocolError("batch envelope and its size disagree")
        start = _HEAD.size + head_bytes
        counters = _decode(_counters_decoder, message[_HEAD.size : start])
        return cls(
            sequence=sequence,
            rows=rows,
            codec=CODECS[codec],
            raw_bytes=raw_bytes,
            counters=counters,
            payload=memoryview(message)[start:],
            has_frames=kind == _FRAMES_KIND,
        )

    def content(self) -> Frames | ColumnBatch:
        """Decompress and check; raises ProtocolError. Uses at most `raw_bytes` of memory beyond the payload."""
        if self.codec == "none":
            message = pa.py_buffer(self.payload)
        else:
            # Not pa.Codec.decompress: given too large a size, its lz4 and gzip return memory they never wrote.
            try:
                with pa.CompressedInputStream(pa.BufferReader(self.payload), self.codec) as stream:
                    message = stream.read_buffer(self.raw_bytes + 1)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise ProtocolError(f"batch {self.sequence} does not decompress: {error}") from error
        if message.size != self.raw_bytes:
            raise ProtocolError(f"batch {self.sequence} is {message.size:,} bytes, declared {self.raw_bytes:,}")
        kind = Frames if self.has_frames else ColumnBatch
        content: Frames | ColumnBatch = kind.from_message(message)
        if len(content) != self.rows:
            raise ProtocolError(f"batch {self.sequence} holds {len(content)} rows, declared {self.rows}")
        return content
