"""Routes of people: who one is, tokens given and taken back, and the audit of who did what."""

import time
from typing import Annotated, Any, ClassVar, Final

import msgspec

from aishark_panel.errors import ConfigError
from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.people import DEFAULT_TOKEN_LIFE_S, Person

__all__ = ["ROUTES", "told"]


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that asks for a token."""

    person: Annotated[str, msgspec.Meta(max_length=200)]
    capabilities: Annotated[tuple[str, ...], msgspec.Meta(max_length=10)] = ("view",)
    life_s: float = DEFAULT_TOKEN_LIFE_S


def told(person: Person) -> dict[str, Any]:
    """What a person is told of themselves."""
    expires_s = person.expires_s if person.token_id else None
    return {"name": person.name, "capabilities": sorted(person.capabilities), "expires_s": expires_s}


class Me(Guarded):
    """`GET /api/me`: whose token this is, and what it allows."""

    for_guests = True

    def get(self) -> None:
        self.finish(told(self.person))


class Tokens(Guarded):
    """`GET /api/tokens`: the good ones; `POST`: give a person one, which is told once."""

    needs: ClassVar = {"GET": "admin", "POST": "admin"}

    def get(self) -> None:
        self.finish({"tokens": [msgspec.to_builtins(token) for token in self.hub.store.tokens(int(time.time()))]})

    def post(self) -> None:
        wanted = self.body(TokenRequest)
        issued, token = self.hub.people.issue(wanted.person, wanted.capabilities, time.time(), wanted.life_s)
        self.audit("token.issue", issued.id, person=issued.person, capabilities=" ".join(issued.capabilities))
        self.set_status(201)
        self.finish({**msgspec.to_builtins(issued), "token": token})


class TokenById(Guarded):
    """`DELETE /api/tokens/:id`: it is good no longer, and what is open with it ends."""

    needs: ClassVar = {"DELETE": "admin"}

    def delete(self, token_id: str) -> None:
        issued = self.hub.people.revoke(token_id, time.time())
        self.audit("token.revoke", token_id, person=issued.person)
        self.set_status(204)


class Audit(Guarded):
    """`GET /api/audit?limit=&before=`: who did what, newest first."""

    needs: ClassVar = {"GET": "admin"}

    def get(self) -> None:
        limit, before = self.get_query_argument("limit", "100"), self.get_query_argument("before", "")
        if not all(text.isdecimal() and len(text) < 19 for text in (limit, before or "0")):
            raise ConfigError("limit and before are numbers")
        self.finish({"entries": self.hub.store.audit(int(limit), int(before) if before else None)})


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/me", Me),
    (r"/api/tokens", Tokens),
    (r"/api/tokens/([0-9a-f]+)", TokenById),
    (r"/api/audit", Audit),
)
