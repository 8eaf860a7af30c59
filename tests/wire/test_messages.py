"""Messages: round trips of every kind, limits, hostile envelopes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.errors import ProtocolError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.inquiries import (
    FilterTrial,
    HostInterface,
    HostInterfaces,
    ListInterfaces,
    TryFilter,
    trial_line,
)
from aishark_panel.wire.messages import (
    CODECS,
    MAX_CONTROL_BYTES,
    Ack,
    AgentMessage,
    Batch,
    CodecName,
    End,
    Heartbeat,
    HeartbeatReply,
    HubMessage,
    Reply,
    Request,
    StartCapture,
    State,
    StopCapture,
    Welcome,
    decode_agent_message,
    decode_hub_message,
    decode_reply,
    decode_request,
    encode_control,
    encode_reply,
)
from tests.traffic import hello

FRAMES = Frames.from_list([bytes(range(i % 200)) for i in range(300)], list(range(300)))
HELLO = hello()


@pytest.mark.parametrize(
    "message",
    [
        HELLO,
        Heartbeat(sent_ns=5, counters={"a": 1}),
        State(capturing=False),
        End(reason="over"),
        HostInterfaces(answers=3, interfaces=(HostInterface(name="eth0", up=True, packets_per_s=1.5),)),
        FilterTrial(answers=4, packets=7, passed_packets=5),
    ],
)
def test_agent_messages_round_trip(message: AgentMessage) -> None:
    assert decode_agent_message(encode_control(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        Welcome(protocol=1, session="s", next_sequence=3, window_bytes=9),
        Ack(taken=2, durable=1),
        HeartbeatReply(sent_ns=1, hub_ns=2),
        StartCapture(interfaces=("eth0",)),
        StopCapture(reason="r"),
        ListInterfaces(number=3),
        TryFilter(number=4, filter="udp", seconds=0.5),
    ],
)
def test_hub_messages_round_trip(message: HubMessage) -> None:
    assert decode_hub_message(encode_control(message)) == message


def test_requests_and_replies_round_trip() -> None:
    request = Request(id=3, method="rows", params={"first": 1})
    assert decode_request(encode_control(request)) == request
    reply, body = decode_reply(encode_reply(Reply(id=3, result={"a": [1]}), b"body"))
    assert (reply.id, reply.result, bytes(body)) == (3, {"a": [1]}, b"body")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"type":"hello"}',
        '{"type":"nonsense"}',
        '{"type":"ack","taken":1,"durable":1}',
        '{"type":"heartbeat","sent_ns":"now"}',
        "[" * 100_000,
        encode_control(HELLO).replace("ab" * 16, "run"),
        encode_control(HELLO).replace('"link_type":1', '"link_type":-1'),
        '{"type":"end","reason":"' + "x" * MAX_CONTROL_BYTES + '"}',
        encode_control(Heartbeat(sent_ns=5, round_trip_ns=10**400)),
        encode_control(Heartbeat(sent_ns=5, counters={"kernel_dropped": 2**64})),
        encode_control(Heartbeat(sent_ns=5, counters={"kernel_dropped": -1})),
        encode_control(Heartbeat(sent_ns=5, counters={f"c{i}": 1 for i in range(1_000)})),
        encode_control(HELLO).replace('"snaplen":262144', f'"snaplen":{2**32}'),
    ],
)
def test_control_messages_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_agent_message(text)


@pytest.mark.parametrize("codec", CODECS)
def test_batches_round_trip_with_every_codec(codec: CodecName) -> None:
    batch = Batch.unpack(Batch.pack(7, FRAMES, codec, {"captured": 300}))
    frames = batch.content()
    assert isinstance(frames, Frames)
    assert (batch.sequence, batch.rows, batch.codec, batch.counters) == (7, 300, codec, {"captured": 300})
    assert [frames.frame(i) for i in range(300)] == [FRAMES.frame(i) for i in range(300)]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("difference", [-8, 8, 1_000_000])
def test_a_wrong_raw_size_is_refused(codec: CodecName, difference: int) -> None:
    packed = bytearray(Batch.pack(1, FRAMES, codec, {}))
    (raw_bytes,) = struct.unpack_from("<I", packed, 8)
    struct.pack_into("<I", packed, 8, raw_bytes + difference)
    with pytest.raises(ProtocolError):
        Batch.unpack(bytes(packed)).content()


def test_a_wrong_row_count_is_refused() -> None:
    packed = bytearray(Batch.pack(1, FRAMES, "none", {}))
    struct.pack_into("<I", packed, 4, 299)
    with pytest.raises(ProtocolError, match="declared 299"):
        Batch.unpack(bytes(packed)).content()


@pytest.mark.parametrize("field_offset", [4, 8])
def test_sizes_above_the_limits_are_refused_before_anything_is_unpacked(field_offset: int) -> None:
    packed = bytearray(Batch.pack(1, FRAMES, "zstd", {}))
    struct.pack_into("<I", packed, field_offset, 2**32 - 1)
    with pytest.raises(ProtocolError, match="above"):
        Batch.unpack(bytes(packed))


def test_counters_that_no_file_could_hold_are_refused() -> None:
    with pytest.raises(ProtocolError, match="not understood"):
        Batch.unpack(Batch.pack(1, FRAMES, "none", {"kernel_dropped": 2**64}))


@given(st.binary(max_size=200))
def test_random_bytes_are_no_batch(junk: bytes) -> None:
    with pytest.raises(ProtocolError):
        Batch.unpack(junk).content()


@given(st.binary(max_size=100))
def test_random_bytes_are_no_reply(junk: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_reply(junk)


def test_a_trial_is_said_in_a_sentence() -> None:
    seen = {"seconds": 2.0, "packets": 1_000, "bytes": 4_000, "passed_packets": 250, "passed_bytes": 3_000}
    said = "It would keep 25.0 % of the packets (250 of 1,000) and 75.0 % of the bytes, as seen for 2 s."
    assert trial_line({**seen, "missed_packets": 0}) == said
    assert trial_line({**seen, "missed_packets": 7}) == f"{said} 7 packets came too fast to be looked at."
    assert trial_line({**seen, "packets": 0, "missed_packets": 0}) == "No packet came within 2 s."
