"""Both ends of both conversations as state machines without sockets: messages in, events out.

Agent and hub: `AgentEnd` lives in the agent, `HubEnd` in the hub, one pair per connection. They number batches, keep
the credit window, tell duplicates from gaps, and refuse what comes out of turn. Client and hub: `ClientEnd` pairs
replies with requests; the hub's side of it is stateless (decode_request, encode_reply).

Nothing here has a socket, a clock or a thread; agent/connection.py and the streams/*_routes.py do.
"""

from collections import deque
from typing import Final

from aishark_panel.errors import (
    AisharkError,
    ConfigError,
    ConflictError,
    ExpressionError,
    ForbiddenError,
    HubError,
    NotAuthorizedError,
    NotFoundError,
    ProtocolError,
    TooManyRequestsError,
)
from aishark_panel.wire.messages import (
    PROTOCOL_VERSION,
    Ack,
    AgentMessage,
    Batch,
    BatchRefused,
    Hello,
    HubMessage,
    Reply,
    Request,
    Welcome,
    decode_agent_message,
    decode_hub_message,
    decode_reply,
    encode_control,
    spoken_protocol,
)

__all__ = [
    "WINDOW_BYTES",
    "AgentEnd",
    "BadBatchError",
    "ClientEnd",
    "HubEnd",
    "check_protocol",
    "error_reply",
    "peer_error",
]

WINDOW_BYTES: Final = 16 * 2**20
"""Credit of one agent: envelope bytes sent but not yet taken. Bounds what the hub buffers per agent."""


def check_protocol(spoken: int | None, *, peer: str, me: str) -> None:
    """ProtocolError unless a peer speaks our version, or has not said which. It comes before anything else that
    the peer says is looked at, for another version may say it otherwise."""
    if spoken is not None and spoken != PROTOCOL_VERSION:
        older = peer if spoken < PROTOCOL_VERSION else me
        raise ProtocolError(f"{peer} speaks protocol {spoken}, this {me} {PROTOCOL_VERSION}; update the {older}")


class AgentEnd:
    """The agent's end: says hello, sends batches within the credit, follows the hub's two marks."""

    def __init__(self, hello: Hello) -> None:
        self._hello = hello
        self._in_flight: deque[tuple[int, int]] = deque()
        self.welcome: Welcome | None = None
        self.sent = 0
        """sequence of the last batch sent on this connection"""
        self.taken = 0
        self.durable = 0
        self.in_flight_bytes = 0

    def open(self) -> str:
        """First message to send."""
        return encode_control(self._hello)

    def receive(self, message: str | bytes) -> HubMessage:
        """Take one message of the hub; ProtocolError if it is out of turn or makes no sense."""
        if self.welcome is None:
            check_protocol(spoken_protocol(message), peer="hub", me="agent")
        event = decode_hub_message(message)
        if isinstance(event, Welcome):
            self._take_welcome(event)
        elif self.welcome is None:
            raise ProtocolError(f"hub sent {type(event).__name__} before its welcome")
        elif isinstance(event, Ack):
            self._take_ack(event)
        elif isinstance(event, BatchRefused) and not self.taken < event.sequence <= self.sent:
            raise ProtocolError(f"hub refused batch {event.sequence} of {self.taken + 1} to {self.sent} under way")
        return event

    def _take_welcome(self, welcome: Welcome) -> None:
        if self.welcome is not None:
            raise ProtocolError("hub sent a second welcome")
        self.welcome = welcome
        self.sent = self.taken = self.durable = welcome.next_sequence - 1

    def _take_ack(self, ack: Ack) -> None:
        if not (self.taken <= ack.taken <= self.sent and self.durable <= ack.durable <= ack.taken):
            raise ProtocolError(
                f"hub acknowledged taken {ack.taken}, durable {ack.durable} after taken {self.taken}, "
                f"durable {self.durable}; {self.sent} were sent"
            )
        self.taken, self.durable = ack.taken, ack.durable
        while self._in_flight and self._in_flight[0][0] <= ack.taken:
            self.in_flight_bytes -= self._in_flight.popleft()[1]

    def may_send(self, size_bytes: int) -> bool:
        """Whether the credit allows one more envelope of that size (one is always allowed when none is on its way)."""
        if self.welcome is None:
            return False
        return self.in_flight_bytes == 0 or self.in_flight_bytes + size_bytes <= self.welcome.window_bytes

    def batch_sent(self, sequence: int, size_bytes: int) -> None:
        """Book a batch that was handed to the socket; they go out in order without gaps."""
        if sequence != self.sent + 1:
            raise ValueError(f"batch {sequence} sent after {self.sent}")
        self.sent = sequence
        self._in_flight.append((sequence, size_bytes))
        self.in_flight_bytes += size_bytes


class BadBatchError(ProtocolError):
    """What came as batch `sequence` is none."""

    def __init__(self, sequence: int, reason: str) -> None:
        super().__init__(reason)
        self.sequence = sequence


class HubEnd:
    """The hub's end: takes the hello, then batches in order; keeps what it has promised."""

    def __init__(self) -> None:
        self.hello: Hello | None = None
        self.received = 0
        """sequence of the last batch accepted on this run"""
        self.taken = 0
        self.durable = 0
        self.pending_bytes = 0
        """envelope bytes received but not yet taken"""
        self._pending: deque[tuple[int, int]] = deque()

    @property
    def pending_batches(self) -> int:
        """Batches received but not yet taken."""
        return len(self._pending)

    def receive(self, message: str | bytes) -> AgentMessage | Batch | None:
        """Take one message of the agent; None for a duplicate batch, ProtocolError for what is out of turn."""
        if isinstance(message, bytes):
            return self._receive_batch(message)
        if self.hello is None:
            check_protocol(spoken_protocol(message), peer="agent", me="hub")
        event = decode_agent_message(message)
        if isinstance(event, Hello):
            if self.hello is not None:
                raise ProtocolError("agent said hello twice")
            self.hello = event
        elif self.hello is None:
            raise ProtocolError(f"agent sent {type(event).__name__} before its hello")
        return event

    def _receive_batch(self, message: bytes) -> Batch | None:
        if self.hello is None:
            raise ProtocolError("agent sent a batch before its hello")
        try:
            batch = Batch.unpack(message)
        except ProtocolError as error:
            raise BadBatchError(self.received + 1, str(error)) from error
        if batch.sequence <= self.received:
            return None
        if batch.sequence != self.received + 1:
            raise ProtocolError(f"batch {batch.sequence} came after {self.received}")
        if self.pending_bytes and self.pending_bytes + len(message) > WINDOW_BYTES:
            raise ProtocolError(f"agent sent beyond its credit of {WINDOW_BYTES:,} bytes")
        self.received = batch.sequence
        self._pending.append((batch.sequence, len(message)))
        self.pending_bytes += len(message)
        return batch

    def open(self, session: str, *, next_sequence: int, capture: bool, journal: bool = False, taken: int = 0) -> str:
        """The welcome to send after the hello."""
        self.received = self.taken = self.durable = next_sequence - 1
        return encode_control(
            Welcome(
                protocol=PROTOCOL_VERSION,
                session=session,
                next_sequence=next_sequence,
                window_bytes=WINDOW_BYTES,
                capture=capture,
                journal=journal,
                taken=taken,
            )
        )

    def acknowledge(self, taken: int, durable: int) -> str:
        """Book that batches up to these marks are in memory and safe, and make the message that says so."""
        self.taken, self.durable = taken, durable
        while self._pending and self._pending[0][0] <= taken:
            self.pending_bytes -= self._pending.popleft()[1]
        return encode_control(Ack(taken=taken, durable=durable))


_REPLY_ERRORS: Final[dict[str, type[AisharkError]]] = {
    e.__name__: e
    for e in (
        HubError,
        NotFoundError,
        NotAuthorizedError,
        ForbiddenError,
        TooManyRequestsError,
        ConflictError,
        ConfigError,
        ProtocolError,
    )
}


def error_reply(request_id: int, error: AisharkError) -> Reply:
    """The reply that carries an error to the client, where `ClientEnd.receive` raises it again."""
    position = error.position if isinstance(error, ExpressionError) else None
    return Reply(id=request_id, error=str(error), error_kind=type(error).__name__, position=position)


def peer_error(kind: str, message: str, position: int | None = None) -> AisharkError:
    """The error that the hub names, to be raised on this side; HubError for a kind that is not known here."""
    if kind == ExpressionError.__name__:
        return ExpressionError(message, position)
    return _REPLY_ERRORS.get(kind, HubError)(message)


class ClientEnd:
    """The client's end: numbers requests and tells which reply, or error, belongs to which."""

    def __init__(self) -> None:
        self._next_id = 1

    def request(self, method: str, params: dict[str, object]) -> tuple[int, str]:
        """Number a request; returns its id and the message to send."""
        request_id = self._next_id
        self._next_id += 1
        return request_id, encode_control(Request(id=request_id, method=method, params=params))

    def receive(self, message: str | bytes) -> tuple[int, dict[str, object] | AisharkError, memoryview]:
        """Take one reply: its request's id, the result (or the error to raise), and the body."""
        if isinstance(message, str):
            raise ProtocolError("hub sent text where a reply is due")
        reply, body = decode_reply(message)
        if not reply.error:
            return reply.id, reply.result, body
        return reply.id, peer_error(reply.error_kind, reply.error, reply.position), body
