"""Application layers: what a transport carries, found by content first and by port second (dissect.table).

`over_tcp` and `over_udp` look at the payload data[pos:end], which has at least one byte; the headers said that it
goes on to `wire_end`.
"""

from typing import Final

from aishark_panel.dissect.signatures import finder
from aishark_panel.dissect.table import TCP_TABLE, UDP_TABLE

__all__ = ["over_tcp", "over_udp"]

over_tcp: Final = finder(TCP_TABLE)
"""The payload of a TCP segment. One that starts inside a message has only its port to go by."""
over_udp: Final = finder(UDP_TABLE)
"""The payload of a UDP datagram."""
