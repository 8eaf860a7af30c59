"""What the hub answers of what packets add up to: models of the REST API's document, as those of streams/answers.py."""

from aishark_panel.streams.operation import Answer

__all__ = ["ConversationsAnswer", "EndpointsAnswer", "HierarchyAnswer", "RollupAnswer", "TcpHealthAnswer"]


class Counted(Answer):
    """How far the hub has looked. What it counted as packets came in is always complete, and tells no more."""

    complete: bool
    """whether all packets that are kept were looked at; if not, ask again"""
    first_ts: int = 0
    """time of the first packet that was counted, ns; 0: none was, or all were as they came in"""
    scanned_to: int = 0
    """number of the next packet to look at"""
    ring_end: int = 0
    """number after the newest packet"""


class RollupBin(Answer):
    """Packets of a group in a bin; `bin` counts from 1970 UTC, in units of the resolution. The group's field has the
    name of what is counted by."""

    bin: int
    packets: int
    bytes: int
    protocol: str = ""
    agent: str = ""
    interface: str = ""
    host: str = ""
    problem: str = ""
    tcp: str = ""


class RollupAnswer(Counted, kw_only=True):
    """Traffic by time and group."""

    resolution_ms: int
    bins: list[RollupBin]


class Conversation(Answer):
    """Two ends; `ab` is from a, who sent the first packet seen, to b. Times in ns."""

    conversation_id: int
    addr_a: str
    addr_b: str
    port_a: int
    port_b: int
    protocol: str
    packets_ab: int
    packets_ba: int
    bytes_ab: int
    bytes_ba: int
    first_ts: int
    last_ts: int
    handshake_rtt_ns: int | None
    rtt_ab_ns: int | None
    rtt_ba_ns: int | None
    retransmissions_ab: int
    retransmissions_ba: int
    out_of_order_ab: int
    out_of_order_ba: int
    lost_segments_ab: int
    lost_segments_ba: int
    duplicate_acks_ab: int
    duplicate_acks_ba: int
    zero_windows_ab: int
    zero_windows_ba: int


class ConversationsAnswer(Counted, kw_only=True):
    """Conversations with most bytes, and how many there are in all."""

    total: int
    conversations: list[Conversation]


class Endpoint(Answer):
    """An address, and what it sent and received in the conversations that are known. Times in ns."""

    address: str
    conversations: int
    packets_sent: int
    packets_received: int
    bytes_sent: int
    bytes_received: int
    first_ts: int
    last_ts: int


class EndpointsAnswer(Counted, kw_only=True):
    """Addresses with most bytes, and how many there are in all."""

    total: int
    endpoints: list[Endpoint]


class LayerLine(Answer):
    """A layer inside those above it; `depth` 0 is the link."""

    depth: int
    name: str
    packets: int
    bytes: int


class HierarchyAnswer(Counted, kw_only=True):
    """The layers that packets are made of, as lines of a tree."""

    layers: list[LayerLine]


class TcpHealthAnswer(Counted, kw_only=True):
    """How long TCP handshakes took, from the SYN to the acknowledgement that ends them, ns; null: none was seen."""

    handshakes: int
    rtt_p50_ns: int | None
    rtt_p95_ns: int | None
