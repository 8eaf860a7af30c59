"""What a conversation speaks: names of packets that follow only from the packets before them.

`name` gives one packet the name that Wireshark gives it when it reads a capture once. A conversation remembers one
protocol for that: the version that TLS or SSH agreed on, QUIC once a long header was seen, or what was last found in
TCP's payload.
"""

from typing import Final

from aishark_panel.jit import kernel_part
from aishark_panel.wire import protocols
from aishark_panel.wire.layers import Layer, TcpProblem
from aishark_panel.wire.packets import Columns

__all__ = ["NOTHING", "name"]

NOTHING: Final = 0
"""No protocol is known yet."""

_SPECIAL: Final = int(TcpProblem.FAST_RETRANSMISSION | TcpProblem.SPURIOUS_RETRANSMISSION)
_RETRANSMISSION: Final = int(TcpProblem.RETRANSMISSION)
_NOT_READ: Final = int(TcpProblem.OUT_OF_ORDER | TcpProblem.KEEP_ALIVE)
_REUSED_PORTS: Final = int(TcpProblem.REUSED_PORTS)

_TLS_BIT: Final = int(Layer.TLS)
_HANDSHAKE_BIT: Final = int(Layer.TLS_HANDSHAKE)
_LONG_BIT: Final = int(Layer.QUIC_LONG)
_CLIENT_HELLO, _SERVER_HELLO = 1, 2


@kernel_part
def name(columns: Columns, i: int, segment: bool, problem: int, spoken: int) -> int:
    """Name the packet in row i of a conversation that spoke `spoken` so far; returns what it speaks from now on.

    `segment`: is it a TCP segment of the conversation's own, and no tunnel's? `problem` is what is wrong with it.
    """
    protocol: int = columns.protocol[i]
    if not segment:
        if protocol == protocols.QUIC:
            if columns.layers[i] & _LONG_BIT:
                return protocols.QUIC
            if spoken != protocols.QUIC:  # a short header alone is any datagram with the right bit set
                columns.protocol[i] = protocols.UDP
        return spoken
    if problem & _REUSED_PORTS:
        spoken = NOTHING
    if columns.payload_len[i] == 0:
        return spoken
    if problem & _NOT_READ or (problem & _RETRANSMISSION and not problem & _SPECIAL):
        columns.protocol[i] = protocols.TCP
        return spoken
    if protocols.TLS <= protocol <= protocols.TLSV1_3 or protocols.TLS < spoken <= protocols.TLSV1_3:
        return _tls(columns, i, protocol, spoken)
    if protocol == protocols.TCP:
        if spoken:
            columns.protocol[i] = spoken
        return spoken
    if protocol == protocols.SSH and spoken in (protocols.SSHV1, protocols.SSHV2):
        columns.protocol[i] = spoken
        return spoken
    return protocol


@kernel_part
def _tls(columns: Columns, i: int, protocol: int, spoken: int) -> int:
    """A ServerHello chooses the version; without one the first record that is no ClientHello tells it.

    TLS goes on to the connection's end: what else seems to follow is ciphertext, or has the name of its port.
    """
    layers = columns.layers[i]
    records = layers & _TLS_BIT != 0
    hello = columns.tls_handshake[i] if layers & _HANDSHAKE_BIT else 0
    if records and hello == _SERVER_HELLO:
        return protocol
    if protocols.TLS < spoken <= protocols.TLSV1_3:
        columns.protocol[i] = spoken
        return spoken
    return protocol if records and hello != _CLIENT_HELLO else spoken


assert len(protocols.PROTOCOLS) <= 256
assert protocols.TLSV1_3 - protocols.TLS == 5
"""TLS, SSLv3 and the versions after it stand together, so that a range tells them."""
