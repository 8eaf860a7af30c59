"""A recording of every message of the protocol, as bytes: what this version says, later versions must read or refuse.

    python -m tests.wire.golden

writes tests/wire/golden/VERSION.json, once: a recording that is there is what agents in the field send, and stays. A
new PROTOCOL_VERSION gets a recording of its own beside the older ones.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from aishark_panel.wire.frames import Frames
from aishark_panel.wire.inquiries import (
    FilterTrial,
    HostInterface,
    HostInterfaces,
    ListInterfaces,
    TryFilter,
)
from aishark_panel.wire.messages import (
    CODECS,
    PROTOCOL_VERSION,
    Ack,
    Batch,
    BatchRefused,
    End,
    Heartbeat,
    HeartbeatReply,
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
from aishark_panel.wire.protocols import protocol_code
from tests.traffic import frames, hello
from tests.wire.test_columnbatch import made

__all__ = ["FOLDER", "meaning", "recordings"]

FOLDER = Path(__file__).parent / "golden"


def recorded() -> Iterator[tuple[str, str | bytes]]:
    """Every kind of message with its sender, all fields with values of their own."""
    settings: dict[str, Any] = {
        "interfaces": ("eth0", "eth1"),
        "filter": "udp port 53",
        "snaplen": 128,
        "sampling": 7,
        "sampling_by": "conversation",
        "payload": 64,
        "max_packets_per_second": 1_000,
    }
    line = HostInterface(
        name="eth0", up=True, addresses=("10.0.0.1",), packets_per_s=1.5, bits_per_s=9.0, captured=True, allowed=False
    )
    run: dict[str, Any] = {
        "os": "Linux",
        "capturing": False,
        "first_sequence": 3,
        "sampling": 7,
        "sampling_by": "conversation",
        "payload": "headers",
        "max_packets_per_second": 1_000,
        "counters": {"captured": 9, "delivered": 2},
        "down_since_ns": 1_700_000_000_000_000_000,
        "down_until_ns": 1_700_000_001_000_000_000,
    }
    agent = (
        msgspec.structs.replace(hello("eth0", "eth1", session="lab"), **run),
        Heartbeat(sent_ns=5, counters={"captured": 9}, round_trip_ns=400, offset_ns=-3),
        State(capturing=True, reason="no eth1", answers=2, interfaces=hello("eth0").interfaces, **_thinning(settings)),
        HostInterfaces(answers=3, interfaces=(line,), reason="in part"),
        FilterTrial(answers=4, reason="", seconds=2.0, packets=9, bytes=900, passed_packets=4, passed_bytes=400),
        End(reason="the file is read", counters={"captured": 10}),
    )
    hub = (
        Welcome(
            protocol=PROTOCOL_VERSION,
            session="s1",
            next_sequence=3,
            window_bytes=9,
            capture=False,
            journal=True,
            taken=4,
        ),
        Ack(taken=4, durable=3),
        BatchRefused(sequence=5, reason="no"),
        HeartbeatReply(sent_ns=5, hub_ns=8),
        StartCapture(number=2, **settings),
        StopCapture(reason="stopped by the user", number=3),
        ListInterfaces(number=3),
        TryFilter(number=4, filter="udp", seconds=2.0),
    )
    yield from (("agent", encode_control(message)) for message in agent)
    yield from (("agent", Batch.pack(n, frames(3), codec, {"captured": 3 * n})) for n, codec in enumerate(CODECS, 1))
    columns = made(2, (b"example.com",), protocol=[protocol_code("DNS"), protocol_code("UDP")], dns_query=[1, 0])
    yield "agent", Batch.pack(9, columns, "none", {"captured": 27})
    yield from (("hub", encode_control(message)) for message in hub)
    yield "client", encode_control(Request(id=7, method="rows", params={"session": "s1", "first": 1, "count": 2}))
    yield "reply", encode_reply(Reply(id=7, result={"first": 1, "end": 3}), b"body")
    yield "reply", encode_reply(Reply(id=8, error="no such column", error_kind="ExpressionError", position=4))


def _thinning(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in ("sampling", "sampling_by", "payload", "max_packets_per_second")}


def meaning(sender: str, message: str | bytes) -> Any:
    """What this version reads in a message, as values of JSON."""
    return json.loads(json.dumps(_read(sender, message)))


def _read(sender: str, message: str | bytes) -> Any:
    match sender:
        case "agent" if isinstance(message, bytes):
            batch = Batch.unpack(message)
            content = batch.content()
            rows: Any
            if isinstance(content, Frames):
                names = ("ts", "orig_len", "iface")
                rows = {name: getattr(content, name).tolist() for name in names}
                rows["frames"] = [content.frame(i).hex() for i in range(len(content))]
            else:
                rows = {name: values.tolist() for name, values in content.columns.items() if values.any()}
                rows["texts"] = content.text_data.tobytes().decode()
            return {"sequence": batch.sequence, "codec": batch.codec, "counters": batch.counters, "rows": rows}
        case "agent":
            return msgspec.to_builtins(decode_agent_message(message))
        case "hub":
            return msgspec.to_builtins(decode_hub_message(message))
        case "client":
            return msgspec.to_builtins(decode_request(message))
    assert isinstance(message, bytes)
    reply, body = decode_reply(message)
    return {**msgspec.to_builtins(reply), "body": bytes(body).decode()}


def recordings(version: int) -> Iterator[tuple[str, str | bytes, Any]]:
    """Sender, message and meaning of all that was recorded of a version."""
    for line in json.loads((FOLDER / f"{version}.json").read_text()):
        yield line["sender"], line.get("text") or base64.b64decode(line["base64"]), line["meaning"]


def main() -> None:
    lines = []
    for sender, message in recorded():
        text = {"text": message} if isinstance(message, str) else {"base64": base64.b64encode(message).decode()}
        lines.append({"sender": sender, **text, "meaning": meaning(sender, message)})
    with (FOLDER / f"{PROTOCOL_VERSION}.json").open("x") as file:
        file.write("[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]\n")


if __name__ == "__main__":
    main()
