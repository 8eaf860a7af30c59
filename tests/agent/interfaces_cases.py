"""What becomes of a capture when its interface does: goes down, is removed, made anew, renamed, replaced.

test_capture.py runs this in a network namespace of its own.
"""

import contextlib
import time
from collections.abc import Callable

from aishark_panel.agent.capture import LiveCapture
from aishark_panel.agent.several import SeveralCaptures
from tests.agent.cables import ONLY_OURS, Link, frame_of, ip, link, loopback, make_link, received, wait_for_carrier

__all__ = ["link", "loopback", "make_link"]


def opener(interface: str, capture_filter: str, snaplen: int, index: int) -> LiveCapture:
    return LiveCapture(interface, capture_filter, snaplen, buffer_bytes=8 << 20, index=index)


def open_all(*links: Link) -> SeveralCaptures:
    return SeveralCaptures([link.far for link in links], opener, ONLY_OURS, 262_144)


def payloads(capture: SeveralCaptures, count: int) -> list[bytes]:
    return [p.frame[14:] for p in received(capture, count)]


def wait_for_condition(capture: SeveralCaptures, condition: str) -> None:
    """Read, as an agent does, until the capture says so."""
    deadline = time.monotonic() + 10
    while condition != capture.condition:
        assert time.monotonic() < deadline, capture.condition
        capture.read(0.2)


def up(*names: str) -> None:
    for name in names:
        ip("link", "set", name, "addrgenmode", "none", "up")
    for name in names:
        wait_for_carrier(name)


def test_down_and_up_again_it_goes_on_and_counts_the_gap(make_link: Callable[[], Link]) -> None:
    link = make_link()
    with contextlib.closing(open_all(link)) as capture:
        link.send(frame_of(b"before"))
        ip("link", "set", link.far, "down")
        assert payloads(capture, 1) == [b"before"]
        wait_for_condition(capture, f"interface {link.far} is down; it is waited for")
        assert capture.read(0.1) is None
        counters = capture.counters()
        assert (counters["gaps"], counters["matched"]) == (1, 1)
        assert counters["gap_ms"] >= 100
        up(link.far)
        link.send(frame_of(b"after"))
        assert payloads(capture, 1) == [b"after"]
        wait_for_condition(capture, "")
        counters = capture.counters()
        assert (counters["gaps"], counters["matched"], counters["kernel_dropped"]) == (1, 2, 0)
        assert counters == capture.counters(), "a gap that has ended grows no more"


def test_removed_and_made_anew_it_goes_on(make_link: Callable[[], Link]) -> None:
    link = make_link()
    with contextlib.closing(open_all(link)) as capture:
        capture.adjust(f"{ONLY_OURS} and greater 20", 64)
        link.send(frame_of(b"before"))
        ip("link", "delete", link.near)
        assert payloads(capture, 1) == [b"before"]
        deadline = time.monotonic() + 5
        while "there is no interface" not in capture.condition:
            assert capture.read(0.1) is None
            assert time.monotonic() < deadline, capture.condition
        assert capture.condition.endswith("; tried again")
        ip("link", "add", link.near, "type", "veth", "peer", "name", link.far)
        up(link.near, link.far)
        link.sender.bind((link.near, 0))
        wait_for_condition(capture, "")
        link.send(frame_of(bytes(100)), frame_of())
        packets = received(capture, 1)
        assert [(len(p.frame), p.iface) for p in packets] == [(64, 0)], "the filter and snaplen in force"
        counters = capture.counters()
        assert (counters["gaps"], counters["matched"]) == (1, 2), "what was counted before is kept"
        assert [(i.name, i.snaplen) for i in capture.interfaces] == [(link.far, 64)]


def test_while_one_is_lost_the_others_go_on(make_link: Callable[[], Link]) -> None:
    links = [make_link(), make_link()]
    with contextlib.closing(open_all(*links)) as capture:
        ip("link", "delete", links[0].near)
        for n in range(20):
            links[1].send(frame_of(bytes([n])))
            assert [(p.frame[14], p.iface) for p in received(capture, 1)] == [(n, 1)]
        assert f"no interface '{links[0].far}'" in capture.condition
        assert capture.condition.count("interface") == 1, "nothing is said of the other"
        assert [i.name for i in capture.interfaces] == [link.far for link in links]
        capture.adjust(ONLY_OURS, 100)
        capture.halt()
        assert capture.read(0) is None


def test_renamed_while_down_it_is_followed(make_link: Callable[[], Link]) -> None:
    link = make_link()
    with contextlib.closing(open_all(link)) as capture:
        ip("link", "set", link.far, "down")
        ip("link", "set", link.far, "name", "followed0")
        up("followed0")
        link.send(frame_of(b"renamed"))
        assert payloads(capture, 1) == [b"renamed"]
        wait_for_condition(
            capture, f"interface {link.far} is called followed0 now; it is captured under its first name"
        )
        assert [i.name for i in capture.interfaces] == [link.far]


def test_where_another_takes_its_name_that_one_is_captured(make_link: Callable[[], Link]) -> None:
    first, second = make_link(), make_link()
    with contextlib.closing(open_all(first)) as capture:
        ip("link", "set", first.far, "down")
        ip("link", "set", first.far, "name", "aside0")
        ip("link", "set", second.far, "down")
        ip("link", "set", second.far, "name", first.far)
        up("aside0", first.far)
        deadline = time.monotonic() + 10
        seen: list[bytes] = []
        while b"second" not in seen and time.monotonic() < deadline:
            first.send(frame_of(b"first"))
            second.send(frame_of(b"second"))
            seen = payloads(capture, 1)
        first.send(frame_of(b"first"))
        second.send(frame_of(b"last"))
        while seen[-1] != b"last" and time.monotonic() < deadline:
            seen += payloads(capture, 1)
        assert seen[-1] == b"last"
        assert capture.condition == ""


def test_a_short_outage_is_a_gap_too(make_link: Callable[[], Link]) -> None:
    link = make_link()
    with contextlib.closing(open_all(link)) as capture:
        ip("link", "set", link.far, "down")
        up(link.far)
        capture.read(0)
        assert "is down" in capture.condition
        wait_for_condition(capture, "")
        assert capture.counters()["gaps"] == 1
