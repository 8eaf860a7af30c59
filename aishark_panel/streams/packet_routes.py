"""Routes of what a session holds: packets by pages, one packet, traffic by time, conversations, endpoints.

The clients' socket asks the same functions (streams/queries.py); here their tables become JSON where that is wanted.
"""

import asyncio
import base64
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

import msgspec
import pyarrow as pa
from tornado.web import HTTPError

from aishark_panel.streams.aggregate_answers import (
    ConversationsAnswer,
    EndpointsAnswer,
    HierarchyAnswer,
    RollupAnswer,
    TcpHealthAnswer,
)
from aishark_panel.streams.answers import PacketAnswer
from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.history import SESSION, WAIT_S
from aishark_panel.streams.negotiation import choose
from aishark_panel.streams.operation import JSON, Query, operation
from aishark_panel.streams.pages import MAX_PACKETS, PAGE_FORMATS, page
from aishark_panel.streams.queries import MAX_ROWS, METHODS

__all__ = ["ROUTES"]

_ARROW: Final = "application/vnd.apache.arrow.stream"
_PCAPNG: Final = "application/x-pcapng"
_CURSOR: Final = "Next-Cursor"
_MISSED: Final = "Missed-Packets"

Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


Where = Annotated[str, msgspec.Meta(max_length=4_000)]
"""of packets that match this expression"""
Having = Annotated[str, msgspec.Meta(max_length=2_000)]


class PacketsQuery(Query):
    """Which packets."""

    where: Annotated[str, msgspec.Meta(max_length=10_000)] = ""
    """packets that match this expression"""
    columns: tuple[str, ...] = ()
    """of docs/schema.md, info, community_id, ja3 and ja4, and frame in Arrow; none: all that are stored"""
    cursor: Number = 0
    """number of the first packet to look at; 0: the oldest there is"""
    end: Annotated[int, msgspec.Meta(ge=1, le=2**53)] = 2**53
    """only packets with a lower number"""
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PACKETS)] = 1_000
    """most packets of this page"""


class RollupQuery(Query):
    """Which bins."""

    resolution_ms: Annotated[int, msgspec.Meta(ge=1, le=2**53)] = 1_000
    """100, 1000 or 60000"""
    since: Number = 0
    """first bin; the newest is still growing, so ask again from it"""
    where: Where = ""
    by: Literal["protocol", "agent", "interface", "host", "problem", "tcp"] = "protocol"
    having: Having = ""
    """of these, the rows that match this expression over their own columns"""


class WhereQuery(Query):
    """Of which packets."""

    where: Where = ""
    """of packets that match this expression"""


class ConversationsQuery(WhereQuery):
    """How many, and of what."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = 20
    sort: Literal["bytes", "packets", "bytes_ab", "bytes_ba", "start", "last", "duration", "rtt", "problems"] = "bytes"
    """those with most of it"""
    having: Having = ""
    """of these, the rows that match this expression over their own columns"""


class EndpointsQuery(WhereQuery):
    """How many, and of what."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = 20
    sort: Literal["bytes", "packets", "bytes_sent", "bytes_received", "conversations", "last"] = "bytes"
    """those with most of it"""
    having: Having = ""
    """of these, the rows that match this expression over their own columns"""


class TcpHealthQuery(WhereQuery):
    """Of which conversations."""

    since_ns: Number = 0
    """those that began then or later, ns since 1970 UTC"""


class Querying(Guarded):
    """Base of what asks a session something on a query thread."""

    def accepted(self, offered: Sequence[str]) -> str:
        """The media type that is wanted; 406 if it is none of these."""
        media = choose(self.request.headers.get("Accept", ""), offered)
        if media is None:
            raise HTTPError(406, f"this route answers {', '.join(offered)}")
        return media

    async def ask(self, session_id: str, method: str, **params: Any) -> tuple[dict[str, Any], Any]:
        """What a method of the clients' socket answers."""
        session, _ = await self.hub.look(session_id, self.person, wait_s=WAIT_S)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.hub.query_pool, METHODS[method], session, params)

    async def finish_table(self, name: str, session_id: str, method: str, **params: Any) -> None:
        """Answer with what a method answers: its table as Arrow, or as a list of objects under that name."""
        media = self.accepted((JSON, _ARROW))
        result, body = await self.ask(session_id, method, **params)
        self.set_header("Vary", "Accept")
        if media == _ARROW:
            self.set_header("Content-Type", _ARROW)
            self.finish(bytes(body))
            return
        encoded = await asyncio.get_running_loop().run_in_executor(self.hub.query_pool, _as_json, result, name, body)
        self.set_header("Content-Type", JSON)
        self.finish(encoded)


def _as_json(result: dict[str, Any], name: str, body: pa.Buffer) -> bytes:
    return msgspec.json.encode({**result, name: pa.ipc.open_stream(body).read_all().to_pylist()})


class Packets(Querying):
    """`/api/stream/:id/packets`"""

    @operation(
        "Packets from a cursor on, as the header Accept says.",
        query=PacketsQuery,
        media=tuple(PAGE_FORMATS),
        says={
            _CURSOR: "cursor of the next page, which may bring nothing yet",
            "Link": "the next page (rel=next), while there is more already",
            _MISSED: "packets from the cursor on that are no longer there",
        },
        errors=(406,),
    )
    async def get(self, session_id: str, *, query: PacketsQuery) -> None:
        media = self.accepted(tuple(PAGE_FORMATS))
        session, _ = await self.hub.look(session_id, self.person, wait_s=WAIT_S)
        if media == _PCAPNG:
            self.require("export")
            self.audit("session.export", session.id, name=session.name, format="pcapng", where=query.where)

        def work() -> Any:
            asked = {name: getattr(query, name) for name in ("where", "columns", "cursor", "end", "limit")}
            return page(session, PAGE_FORMATS[media], **asked)

        found = await asyncio.get_running_loop().run_in_executor(self.hub.query_pool, work)
        self.set_header("Content-Type", media)
        self.set_header("Vary", "Accept")
        self.set_header(_CURSOR, str(found.cursor))
        self.set_header(_MISSED, str(found.missed))
        if not found.is_last:
            asked = {name: self.get_query_argument(name, strip=False) for name in self.request.query_arguments}
            following = urlencode({**asked, "cursor": found.cursor})
            self.set_header("Link", f'<{self.request.path}?{following}>; rel="next"')
        self.finish(found.body)


class OnePacket(Querying):
    """`/api/stream/:id/packets/:number`"""

    @operation("One packet: its columns, what is made of it, and its bytes.", answer=PacketAnswer)
    async def get(self, session_id: str, number: str) -> None:
        columns, frame = await self.ask(session_id, "packet", number=int(number))
        self.finish({"columns": columns, "frame": base64.b64encode(frame).decode()})


class Rollups(Querying):
    """`/api/stream/:id/rollups`"""

    @operation("Traffic by time and group.", query=RollupQuery, answer=RollupAnswer, media=(_ARROW,), errors=(406,))
    async def get(self, session_id: str, *, query: RollupQuery) -> None:
        await self.finish_table("bins", session_id, "rollup", **_asked(query))


class Conversations(Querying):
    """`/api/stream/:id/conversations`"""

    @operation(
        "Conversations with most bytes, or most of something else.",
        query=ConversationsQuery,
        answer=ConversationsAnswer,
        media=(_ARROW,),
        errors=(406,),
    )
    async def get(self, session_id: str, *, query: ConversationsQuery) -> None:
        await self.finish_table("conversations", session_id, "conversations", **_asked(query))


class Endpoints(Querying):
    """`/api/stream/:id/endpoints`"""

    @operation(
        "Addresses with most bytes, or most of something else.",
        query=EndpointsQuery,
        answer=EndpointsAnswer,
        media=(_ARROW,),
        errors=(406,),
    )
    async def get(self, session_id: str, *, query: EndpointsQuery) -> None:
        await self.finish_table("endpoints", session_id, "endpoints", **_asked(query))


class Hierarchy(Querying):
    """`/api/stream/:id/hierarchy`"""

    @operation("The layers that packets are made of.", query=WhereQuery, answer=HierarchyAnswer)
    async def get(self, session_id: str, *, query: WhereQuery) -> None:
        self.finish((await self.ask(session_id, "hierarchy", **_asked(query)))[0])


class TcpHealth(Querying):
    """`/api/stream/:id/tcp-health`"""

    @operation("How long TCP handshakes took.", query=TcpHealthQuery, answer=TcpHealthAnswer)
    async def get(self, session_id: str, *, query: TcpHealthQuery) -> None:
        self.finish((await self.ask(session_id, "tcp_health", **_asked(query)))[0])


def _asked(query: Query) -> dict[str, Any]:
    return {name: getattr(query, name) for name in query.__struct_fields__}


ROUTES: Final[tuple[Route, ...]] = (
    (rf"/api/stream/{SESSION}/packets", Packets),
    (rf"/api/stream/{SESSION}/packets/([1-9][0-9]{{0,15}})", OnePacket),
    (rf"/api/stream/{SESSION}/rollups", Rollups),
    (rf"/api/stream/{SESSION}/conversations", Conversations),
    (rf"/api/stream/{SESSION}/endpoints", Endpoints),
    (rf"/api/stream/{SESSION}/hierarchy", Hierarchy),
    (rf"/api/stream/{SESSION}/tcp-health", TcpHealth),
)
