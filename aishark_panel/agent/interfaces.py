"""The interfaces of this host with what passes them: what a hub can choose from.

The counts are the kernel's own for each interface, whatever is captured: those of /proc/self/net/dev, which are those
of this network namespace. On the loopback interface each packet counts once.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from aishark_panel.agent.capture import list_interfaces
from aishark_panel.wire.inquiries import HostInterface

__all__ = ["Traffic", "host_interfaces", "parse_counts"]

SPAN_S: Final = 1.0
"""Over this time rates are measured."""
_COUNTS: Final = Path("/proc/self/net/dev")
_LOOPBACK: Final = "lo"
_MAX_ADDRESSES: Final = 20
_RECEIVED_BYTES, _RECEIVED_PACKETS, _SENT_BYTES, _SENT_PACKETS = 0, 1, 8, 9
"""columns of /proc/net/dev, after the name; see proc_pid_net(5)"""


class Traffic(NamedTuple):
    """What passed an interface since it was made, both directions."""

    packets: int
    octets: int


def parse_counts(text: str) -> dict[str, Traffic]:
    """Traffic of each interface in the text of /proc/net/dev."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, columns = line.partition(":")
        counts = [int(column) for column in columns.split()]
        name = name.strip()
        # What leaves by the loopback interface comes in by it, and is counted both times.
        sent = 0 if name == _LOOPBACK else 1
        found[name] = Traffic(
            counts[_RECEIVED_PACKETS] + sent * counts[_SENT_PACKETS],
            counts[_RECEIVED_BYTES] + sent * counts[_SENT_BYTES],
        )
    return found


async def host_interfaces(captured: set[str], allows: Callable[[str], bool]) -> tuple[HostInterface, ...]:
    """This host's interfaces, with rates over SPAN_S. CaptureError where they cannot be listed."""
    before, then_s = parse_counts(_COUNTS.read_text("ascii")), time.monotonic()
    await asyncio.sleep(SPAN_S)
    after, span_s = parse_counts(_COUNTS.read_text("ascii")), time.monotonic() - then_s
    found = []
    for interface in await asyncio.to_thread(list_interfaces):
        name = interface.name
        now = after.get(name, Traffic(0, 0))
        old = before.get(name, now)
        found.append(
            HostInterface(
                name=name,
                up=interface.up,
                addresses=interface.addresses[:_MAX_ADDRESSES],
                packets_per_s=max(0, now.packets - old.packets) / span_s,
                bits_per_s=8 * max(0, now.octets - old.octets) / span_s,
                captured=name in captured,
                allowed=allows(name),
            )
        )
    return tuple(found)
