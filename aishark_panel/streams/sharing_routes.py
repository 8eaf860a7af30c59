"""Routes of sharing: with whom a session is shared, and links to it. They are for who may change the session."""

import time
from typing import Annotated, ClassVar, Final

import msgspec

from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.sharing import DEFAULT_LINK_LIFE_S

__all__ = ["ROUTES"]


class ShareRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that shares a session."""

    person: Annotated[str, msgspec.Meta(max_length=200)]
    capabilities: Annotated[tuple[str, ...], msgspec.Meta(max_length=10)] = ("view",)
    """view, or view and export"""


class LinkRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that makes a link."""

    life_s: float = DEFAULT_LINK_LIFE_S


class Shares(Guarded):
    """`GET /api/stream/:id/shares`: with whom a session is shared; `POST`: share it with a person, or change that."""

    needs: ClassVar = {"GET": "capture"}

    def get(self, session_id: str) -> None:
        session = self.hub.session(session_id, self.person)
        self.finish({"shares": [msgspec.to_builtins(share) for share in self.hub.sharing.shares(session.id)]})

    def post(self, session_id: str) -> None:
        session = self.hub.session(session_id, self.person)
        wanted = self.body(ShareRequest)
        if "export" in wanted.capabilities:
            self.require("export")  # nobody gives what they do not have
        share = self.hub.sharing.share(session.id, wanted.person, wanted.capabilities, time.time())
        self.audit("session.share", session_id, person=share.person, capabilities=" ".join(share.capabilities))
        self.set_status(201)
        self.finish(msgspec.to_builtins(share))


class ShareByName(Guarded):
    """`DELETE /api/stream/:id/shares/:name`: the session is shared with that person no longer; what they have open on
    it ends."""

    def delete(self, session_id: str, name: str) -> None:
        self.hub.sharing.unshare(self.hub.session(session_id, self.person).id, name)
        self.audit("session.unshare", session_id, person=name)
        self.set_status(204)


class Links(Guarded):
    """`GET /api/stream/:id/links`: the links to a session that are good; `POST`: make one, its secret told once."""

    needs: ClassVar = {"GET": "capture"}

    def get(self, session_id: str) -> None:
        session = self.hub.session(session_id, self.person)
        self.finish({"links": [msgspec.to_builtins(x) for x in self.hub.sharing.links(session.id, time.time())]})

    def post(self, session_id: str) -> None:
        session = self.hub.session(session_id, self.person)
        wanted = self.body(LinkRequest)
        link, secret = self.hub.sharing.make_link(session.id, self.person.name, wanted.life_s, time.time())
        self.audit("session.link", session_id, link=link.id)
        self.set_status(201)
        self.finish({**msgspec.to_builtins(link), "token": secret})


class LinkById(Guarded):
    """`DELETE /api/stream/:id/links/:id`: the link is good no longer, and what is open with it ends."""

    def delete(self, session_id: str, link_id: str) -> None:
        self.hub.sharing.take_back(self.hub.session(session_id, self.person).id, link_id)
        self.audit("session.unlink", session_id, link=link_id)
        self.set_status(204)


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/stream/([0-9a-f]+)/shares", Shares),
    (r"/api/stream/([0-9a-f]+)/shares/([^/]+)", ShareByName),
    (r"/api/stream/([0-9a-f]+)/links", Links),
    (r"/api/stream/([0-9a-f]+)/links/([0-9a-f]+)", LinkById),
)
