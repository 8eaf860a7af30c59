"""Routes of sharing: with whom a session is shared, and links to it. They are for who may change the session."""

import time
from typing import Annotated, ClassVar, Final

import msgspec

from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.operation import Answer, operation
from aishark_panel.streams.sharing import DEFAULT_LINK_LIFE_S
from aishark_panel.streams.store import Link, Share

__all__ = ["ROUTES"]


class ShareRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that shares a session."""

    person: Annotated[str, msgspec.Meta(max_length=200)]
    capabilities: Annotated[tuple[str, ...], msgspec.Meta(max_length=10)] = ("view",)
    """view, or view and export"""


class LinkRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that makes a link."""

    life_s: float = DEFAULT_LINK_LIFE_S


class SharesAnswer(Answer):
    """With whom a session is shared."""

    shares: tuple[Share, ...]


class LinksAnswer(Answer):
    """The links to a session that are good."""

    links: tuple[Link, ...]


class LinkAnswer(Link, frozen=True, kw_only=True):
    """A new link."""

    token: str
    """its secret, told this once"""


class Shares(Guarded):
    """`/api/stream/:id/shares`"""

    needs: ClassVar = {"GET": "capture"}

    @operation("With whom a session is shared.", answer=SharesAnswer)
    def get(self, session_id: str) -> None:
        session = self.hub.sessions.find(session_id, self.person)
        self.finish({"shares": [msgspec.to_builtins(share) for share in self.hub.sharing.shares(session.id)]})

    @operation("Share a session with a person, or change that.", body=ShareRequest, answer=Share, status=201)
    def post(self, session_id: str, *, body: ShareRequest) -> None:
        session = self.hub.sessions.find(session_id, self.person)
        if "export" in body.capabilities:
            self.require("export")  # nobody gives what they do not have
        share = self.hub.sharing.share(session.id, body.person, body.capabilities, time.time())
        self.audit("session.share", session_id, person=share.person, capabilities=" ".join(share.capabilities))
        self.set_status(201)
        self.finish(msgspec.to_builtins(share))


class ShareByName(Guarded):
    """`/api/stream/:id/shares/:name`"""

    @operation("Share a session with that person no longer: what they have open on it ends.", status=204)
    def delete(self, session_id: str, name: str) -> None:
        self.hub.sharing.unshare(self.hub.sessions.find(session_id, self.person).id, name)
        self.audit("session.unshare", session_id, person=name)
        self.set_status(204)


class Links(Guarded):
    """`/api/stream/:id/links`"""

    needs: ClassVar = {"GET": "capture"}

    @operation("The links to a session that are good.", answer=LinksAnswer)
    def get(self, session_id: str) -> None:
        session = self.hub.sessions.find(session_id, self.person)
        self.finish({"links": [msgspec.to_builtins(x) for x in self.hub.sharing.links(session.id, time.time())]})

    @operation("Make a link: whoever has it may view this session.", body=LinkRequest, answer=LinkAnswer, status=201)
    def post(self, session_id: str, *, body: LinkRequest) -> None:
        session = self.hub.sessions.find(session_id, self.person)
        link, secret = self.hub.sharing.make_link(session.id, self.person.name, body.life_s, time.time())
        self.audit("session.link", session_id, link=link.id)
        self.set_status(201)
        self.finish({**msgspec.to_builtins(link), "token": secret})


class LinkById(Guarded):
    """`/api/stream/:id/links/:id`"""

    @operation("Take a link back: what is open with it ends.", status=204)
    def delete(self, session_id: str, link_id: str) -> None:
        self.hub.sharing.take_back(self.hub.sessions.find(session_id, self.person).id, link_id)
        self.audit("session.unlink", session_id, link=link_id)
        self.set_status(204)


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/stream/([0-9a-f]+)/shares", Shares),
    (r"/api/stream/([0-9a-f]+)/shares/([^/]+)", ShareByName),
    (r"/api/stream/([0-9a-f]+)/links", Links),
    (r"/api/stream/([0-9a-f]+)/links/([0-9a-f]+)", LinkById),
)
