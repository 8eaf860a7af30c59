"""Routes of one conversation: its counts with its traffic over time, and what was said in it."""

import base64
from typing import Annotated, Final, Literal

import msgspec

from aishark_panel.streams.aggregate_answers import Conversation
from aishark_panel.streams.following import MAX_ANSWER_BYTES
from aishark_panel.streams.guard import Route
from aishark_panel.streams.operation import Answer, Query, operation
from aishark_panel.streams.packet_routes import Querying

__all__ = ["ROUTES", "ConversationAnswer", "PayloadsAnswer"]


class KeptTraffic(Answer):
    """What the ring holds of a conversation: bytes on the wire in bins of `bin_ns` from `start_ns` on."""

    first: int
    """number of the first packet"""
    last: int
    packets: int
    bin_ns: int
    start_ns: int
    bytes_ab: list[int]
    bytes_ba: list[int]


class ConversationAnswer(Answer):
    """One conversation."""

    counts: Conversation | None
    """null once it was forgotten to make room for others"""
    kept: KeptTraffic


class Piece(Answer):
    """Payload bytes of one packet."""

    number: int
    """of the packet"""
    ts: int
    side: Literal[0, 1]
    """who sent them: 0 a, 1 b"""
    missing: int
    """bytes of that side before them that were not captured"""
    cut: int
    """bytes of this packet's payload that are not in it: the capture cut it, or it is a fragment"""
    begins: bool
    """a new connection between the same ports begins with them"""
    data: str
    """base64"""


class PayloadsAnswer(Answer):
    """What was said in a conversation, in order."""

    a: str
    b: str
    protocol: str
    pieces: list[Piece]
    cursor: str
    """for what follows"""
    more: bool
    """whether more follows already"""


class PayloadsQuery(Query):
    """Which of a conversation's bytes."""

    cursor: Annotated[str, msgspec.Meta(max_length=100)] = ""
    """of an earlier answer; none: from the oldest packet there is"""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_ANSWER_BYTES)] = MAX_ANSWER_BYTES
    """the answer ends with the packet that reaches so many bytes"""


class OneConversation(Querying):
    """`/api/stream/:id/conversations/:conversation`"""

    @operation("One conversation: its counts, and its traffic over time.", answer=ConversationAnswer)
    async def get(self, session_id: str, conversation: str) -> None:
        result, _ = await self.ask(session_id, "conversation", conversation=conversation)
        self.finish(result)


class Payloads(Querying):
    """`/api/stream/:id/conversations/:conversation/payloads`"""

    @operation(
        "What was said in a conversation: payload bytes in order, of TCP without what was sent twice.",
        query=PayloadsQuery,
        answer=PayloadsAnswer,
    )
    async def get(self, session_id: str, conversation: str, *, query: PayloadsQuery) -> None:
        result, body = await self.ask(
            session_id, "payloads", conversation=conversation, cursor=query.cursor, limit=query.limit
        )
        for piece in result["pieces"]:
            at, length = piece.pop("at"), piece.pop("length")
            piece["data"] = base64.b64encode(body[at : at + length]).decode()
        self.finish(result)


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/stream/([0-9a-f]+)/conversations/([0-9]{1,20})", OneConversation),
    (r"/api/stream/([0-9a-f]+)/conversations/([0-9]{1,20})/payloads", Payloads),
)
