"""What was said in a conversation: as Wireshark follows streams in captures by others, and by hand at the edges."""

import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from aishark_panel.capturefile import open_capture
from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.streams import following
from aishark_panel.streams.following import payloads, traffic
from aishark_panel.streams.sequence import Segments, State, in_sequence
from aishark_panel.streams.session import Session
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import Hello, InterfaceInfo

START_NS = 1_700_000_000_000_000_000

Said = tuple[int, int, bytes]
"""side, bytes missing before, bytes"""


def session_of(batches: Iterable[Frames], link_types: Sequence[int]) -> Session:
    session = Session("5e55", "lab", ring_bytes=64 * 2**20)
    interfaces = tuple(InterfaceInfo(name=f"i{k}", link_type=link_type) for k, link_type in enumerate(link_types))
    hello = Hello(protocol=1, agent="a", run="0" * 32, version="0", host="h", source="replay", interfaces=interfaces)
    run = session.runs.attach(hello)
    for sequence, batch in enumerate(batches, 1):
        session.ingest(run, batch, sequence, {})
    return session


def capture_session(path: Path) -> Session:
    with open_capture(path) as file:
        first = next(iter(file))
        return session_of(chain([first], file), [interface.link_type for interface in file.interfaces])


def spoken(*segments: tuple[int, int, bytes], cap: int | None = None) -> Session:
    """TCP between 10.0.0.1:4000 (side 0) and 10.0.0.2:80, (side, sequence number, data) 1 ms apart; `cap`: bytes kept
    of each frame. Nothing is acknowledged, so no gap is given up."""
    return exchange(*((side, {"seq": seq, "ack": 1, "flags": "P"}, data) for side, seq, data in segments), cap=cap)


def exchange(*segments: tuple[int, dict[str, Any], bytes], cap: int | None = None) -> Session:
    """The same with any fields; UDP for those that have none."""
    frames = []
    for side, fields, data in segments:
        addresses, ports = ("10.0.0.1", "10.0.0.2"), (4000, 80)
        if side:
            addresses, ports = addresses[::-1], ports[::-1]
        layer: Any = TCP if fields else UDP
        over = layer(sport=ports[0], dport=ports[1], **fields)
        frames.append(bytes(Ether() / IP(src=addresses[0], dst=addresses[1]) / over / Raw(data)))
    times = [START_NS + k * 1_000_000 for k in range(len(frames))]
    return session_of([Frames.from_list([f[:cap] for f in frames], times, [len(f) for f in frames])], [1])


def conversation_of(session: Session, number: int) -> int:
    with session.ring.read(number, number + 1) as views:
        return int(views[0].packets.columns.conversation_id[views[0].start])


def said(session: Session, conversation: int, limit: int = 1_000_000) -> list[Said]:
    """All of it, page by page."""
    found: list[Said] = []
    cursor, more = "", True
    while more:
        result, body = payloads(session, conversation, cursor, limit)
        for piece in result["pieces"]:
            data = body[piece["at"] : piece["at"] + piece["length"]]
            found.append((piece["side"], piece["missing"], data))
        cursor, more = result["cursor"], result["more"]
    return found


def joined(pieces: list[Said]) -> list[Said]:
    """Neighbours of one side as one, so that it does not matter which packet brought what."""
    found: list[Said] = []
    for side, missing, data in pieces:
        if found and found[-1][0] == side and not missing:
            found[-1] = (side, found[-1][1], found[-1][2] + data)
        elif data or missing:
            found.append((side, missing, data))
    return found


def tshark(tool: str, path: Path, *arguments: str) -> str:
    command = [tool, "-n", "-r", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def streams(tool: str, path: Path, kind: str) -> dict[int, int]:
    """Number of the first frame of each of tshark's streams."""
    first: dict[int, int] = {}
    for line in tshark(tool, path, "-Y", kind, "-T", "fields", "-e", "frame.number", "-e", f"{kind}.stream").split(
        "\n"
    ):
        number, _, stream = line.partition("\t")
        if stream.isdecimal():
            first.setdefault(int(stream), int(number))
    return first


def followed(tool: str, path: Path, kind: str, stream: int) -> list[Said]:
    found: list[Said] = []
    missing = 0
    for line in tshark(tool, path, "-q", "-z", f"follow,{kind},raw,{stream}").split("\n"):
        if not re.fullmatch(r"\t?(?:[0-9a-f]{2})+", line):
            continue
        data = bytes.fromhex(line.strip())
        while gap := re.match(rb"\[(\d+) bytes missing in capture file\]\0?", data):
            missing += int(gap[1])
            data = data[gap.end() :]
        if not data:
            continue
        found.append((int(line.startswith("\t")), missing, data))
        missing = 0
    return found


def compare(tool: str, path: Path, kind: str) -> int:
    session = capture_session(path)
    compared = 0
    by_conversation: dict[int, list[int]] = {}
    for stream, number in streams(tool, path, kind).items():
        by_conversation.setdefault(conversation_of(session, number), []).append(stream)
    for conversation, its in by_conversation.items():
        theirs = joined([piece for stream in its for piece in followed(tool, path, kind, stream)])
        ours = joined(said(session, conversation))
        # At the end Wireshark drops what waits behind a gap; here it is told, with the gap.
        extra = ours[len(theirs) :]
        assert ours[: len(theirs)] == theirs, f"{path.name} {kind} {its}"
        assert not extra or extra[0][1], f"{path.name} {kind} {its}"
        compared += sum(len(data) for _, _, data in theirs)
    return compared


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gopacket/linux_sll_oversized_addr.pcapng", "tcp"),
        ("gopacket/test301.pcapng", "tcp"),
        ("PcapPlusPlus/raw_ip.pcap", "tcp"),
        ("tcpdump/ipoib.pcap", "tcp"),
        ("ja4/sshv1.pcap", "udp"),
    ],
)
def test_what_was_said_is_what_wireshark_follows(
    shared_captures: Path, require_tool: Callable[[str], str], name: str, kind: str
) -> None:
    assert compare(require_tool("tshark"), shared_captures / name, kind) > 0


def test_tcp_is_told_in_its_own_order_and_nothing_twice() -> None:
    early = (0, 9, b"three")
    session = spoken((0, 1, b"one "), early, (1, 7, b"yes"), (0, 5, b"two "), (0, 1, b"one two "), (0, 12, b"ee."))
    assert joined(said(session, conversation_of(session, 1))) == [
        (0, 0, b"one "),
        (1, 0, b"yes"),
        (0, 0, b"two three."),
    ]


def test_numbers_wrap() -> None:
    session = spoken((0, 2**32 - 2, b"abcd"), (0, 5, b"hi"), (0, 2, b"efg"))
    assert joined(said(session, conversation_of(session, 1))) == [(0, 0, b"abcdefghi")]


def test_what_the_other_side_acknowledged_was_lost_by_the_capture_only() -> None:
    session = exchange(
        (0, {"seq": 1, "ack": 1, "flags": "A"}, b"a"),
        (0, {"seq": 13, "ack": 1, "flags": "A"}, b"b"),
        (1, {"seq": 1, "ack": 14, "flags": "A"}, b"c"),
        (0, {"seq": 20, "ack": 2, "flags": "A"}, b"d"),
    )
    assert said(session, conversation_of(session, 1)) == [(0, 0, b"a"), (0, 11, b"b"), (1, 0, b"c"), (0, 6, b"d")]


def test_a_new_connection_between_the_same_ports_begins_anew() -> None:
    session = exchange(
        (0, {"seq": 0, "flags": "S"}, b""),
        (0, {"seq": 1, "ack": 1, "flags": "A"}, b"old"),
        (0, {"seq": 7000, "flags": "S"}, b""),
        (0, {"seq": 7001, "ack": 1, "flags": "A"}, b"new"),
    )
    result, body = payloads(session, conversation_of(session, 1))
    assert body == b"oldnew"
    assert [(p["missing"], p["begins"]) for p in result["pieces"]] == [(0, False), (0, True)]
    assert (result["a"], result["b"], result["more"]) == ("10.0.0.1:4000", "10.0.0.2:80", False)


def test_a_cut_packet_says_how_much_is_not_there() -> None:
    session = spoken((0, 1, b"x" * 100), (0, 101, b"y"), cap=64)
    result, body = payloads(session, conversation_of(session, 1))
    assert [(p["length"], p["cut"], p["missing"]) for p in result["pieces"]] == [(10, 90, 0), (1, 0, 0)]
    assert body == b"x" * 10 + b"y"


def test_datagrams_are_told_as_they_came() -> None:
    session = exchange((0, {}, b"what"), (1, {}, b"that"), (0, {}, b""), (0, {}, b"what"))
    conversation = conversation_of(session, 1)
    assert said(session, conversation) == [(0, 0, b"what"), (1, 0, b"that"), (0, 0, b"what")]
    assert said(session, conversation, limit=1) == said(session, conversation)


def test_a_cursor_tells_later_what_was_said_since() -> None:
    session = spoken((0, 1, b"now "))
    conversation = conversation_of(session, 1)
    result, _ = payloads(session, conversation)
    assert not result["more"]
    run = next(iter(session.runs))
    later = Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=4000, dport=80, seq=5, flags="A") / Raw(b"then")
    session.ingest(run, Frames.from_list([bytes(later)], [START_NS]), 2, {})
    assert payloads(session, conversation, result["cursor"])[1] == b"then"


@settings(max_examples=60)
@given(st.data())
def test_pages_make_the_whole_whatever_order_things_came_in(data: st.DataObject) -> None:
    words = [data.draw(st.binary(min_size=1, max_size=60)) for _ in range(2)]
    start = [data.draw(st.integers(0, 2**32 - 1)) for _ in range(2)]
    segments = [(0, 0, 0), (1, 0, 0)]
    for side, text in enumerate(words):
        cuts = sorted({0, len(text), *data.draw(st.lists(st.integers(0, len(text)), max_size=6))})
        pieces = [(side, a, b) for a, b in pairwise(cuts)]
        again = data.draw(st.lists(st.sampled_from(pieces), max_size=4))
        segments += data.draw(st.permutations([*pieces, *again]))
    many = of_numbers([(side, start[side] + a, 0, 0, b - a) for side, a, b in segments])
    heard = [b"", b""]
    limit, at, state = data.draw(st.integers(1, 20)), 0, State()
    while at < len(segments):
        rest = of_numbers(np.array(many).T[at:])
        found = in_sequence(rest, state, limit)
        assert len(found.row) or found.resume == len(rest.side)
        for row, skip, gap in zip(found.row, found.skip, found.gap, strict=True):
            side, a, b = segments[at + row]
            assert gap == 0
            heard[side] += words[side][a + skip : b]
        at, state = at + found.resume, found.state
    assert heard == words


def test_random_segments_are_answered_in_the_end() -> None:
    random = np.random.default_rng(7)
    n = 5_000
    columns = [random.integers(0, most, n) for most in (2, 2**32, 2**32)]
    columns += [random.choice([0, 2, 16, 18], n), random.integers(0, 2**20, n)]
    many = of_numbers(np.array(columns).T)
    found = in_sequence(many, State(), 2**62)
    assert found.resume == n
    assert len(set(found.row.tolist())) == len(found.row)
    assert (found.gap >= 0).all()
    assert (found.skip < many.length[found.row]).all()


def of_numbers(rows: Any) -> Segments:
    """Segments of rows (side, sequence number, acknowledgement, flags, length)."""
    side, seq, ack, flags, length = np.array(rows, np.int64).T
    as_u4 = [values.astype(np.uint32) for values in (seq, ack, length)]
    return Segments(side.astype(np.uint8), as_u4[0], as_u4[1], flags.astype(np.uint16), as_u4[2])


def test_traffic_adds_up_over_time() -> None:
    session = spoken((0, 1, b"x" * 100), (1, 1, b"y" * 500), (0, 101, b"x" * 300), (0, 401, b"x"), (1, 501, b"y"))
    conversation = conversation_of(session, 1)
    found = traffic(session, conversation)
    counts = session.conversations.one(conversation)
    assert counts is not None
    assert [sum(found["bytes_ab"]), sum(found["bytes_ba"])] == counts.bytes[0].tolist()
    assert (found["packets"], found["first"], found["last"]) == (5, 1, 5)
    assert found["bytes_ba"] == [0, 554, 0, 0, 55]
    assert found["bin_ns"] == 1_000_000


def test_a_conversation_that_is_not_there_and_a_cursor_that_is_none() -> None:
    session = spoken((0, 1, b"x"))
    with pytest.raises(NotFoundError, match="4711"):
        payloads(session, 4711)
    for wrong in ("x", "1.2", "1.2.3.4.5.6", "-1.0.0.0.0", f"1.{2**32}.0.0.0", "1.0.0.0.-2"):
        with pytest.raises(ConfigError, match="cursor"):
            payloads(session, conversation_of(session, 1), wrong)


def test_one_answer_looks_at_a_bounded_number_of_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_MAX_PACKETS", 2)
    session = exchange(*((0, {}, bytes([k])) for k in range(5)))
    conversation = conversation_of(session, 1)
    result, body = payloads(session, conversation)
    assert (body, result["more"]) == (b"\0\1", True)
    assert b"".join(data for _, _, data in said(session, conversation)) == bytes(range(5))
