"""Routes of people: who one is, tokens given and taken back, and the audit of who did what."""

import time
from typing import Annotated, Any, ClassVar, Final

import msgspec

from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.operation import Answer, Query, operation
from aishark_panel.streams.people import DEFAULT_TOKEN_LIFE_S, Capability, Person
from aishark_panel.streams.store import MAX_AUDIT_ENTRIES, IssuedToken

__all__ = ["ROUTES", "told"]


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that asks for a token."""

    person: Annotated[str, msgspec.Meta(max_length=200)]
    capabilities: Annotated[tuple[str, ...], msgspec.Meta(max_length=10)] = ("view",)
    life_s: float = DEFAULT_TOKEN_LIFE_S


class AuditQuery(Query):
    """Which entries of the audit."""

    limit: Annotated[int, msgspec.Meta(ge=0, le=MAX_AUDIT_ENTRIES)] = 100
    before: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 2**63 - 1
    """only entries with a lower number"""


class MeAnswer(Answer):
    """Whose token it is."""

    name: str
    """"" for the hub's owner"""
    capabilities: list[Capability]
    expires_s: float | None
    """Unix time"""


class TokensAnswer(Answer):
    """Tokens that are good."""

    tokens: list[IssuedToken]


class TokenAnswer(IssuedToken, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token, which is told this once."""

    token: str


class AuditEntry(Answer):
    """Who did what to what."""

    number: int
    ts_ns: int
    who: str
    action: str
    subject: str
    details: dict[str, Any]


class AuditAnswer(Answer):
    """The audit, newest first."""

    entries: list[AuditEntry]


def told(person: Person) -> dict[str, Any]:
    """What a person is told of themselves."""
    expires_s = person.expires_s if person.token_id else None
    return {"name": person.name, "capabilities": sorted(person.capabilities), "expires_s": expires_s}


class Me(Guarded):
    """`/api/me`"""

    for_guests = True

    @operation("Whose token this is, and what it allows.", answer=MeAnswer)
    def get(self) -> None:
        self.finish(told(self.person))


class Tokens(Guarded):
    """`/api/tokens`"""

    needs: ClassVar = {"GET": "admin", "POST": "admin"}

    @operation("The tokens that are good.", answer=TokensAnswer)
    def get(self) -> None:
        self.finish({"tokens": [msgspec.to_builtins(token) for token in self.hub.store.tokens(int(time.time()))]})

    @operation("Give a person a token, which is told once.", body=TokenRequest, answer=TokenAnswer, status=201)
    def post(self, *, body: TokenRequest) -> None:
        issued, token = self.hub.people.issue(body.person, body.capabilities, time.time(), body.life_s)
        self.audit("token.issue", issued.id, person=issued.person, capabilities=" ".join(issued.capabilities))
        self.set_status(201)
        self.finish({**msgspec.to_builtins(issued), "token": token})


class TokenById(Guarded):
    """`/api/tokens/:id`"""

    needs: ClassVar = {"DELETE": "admin"}

    @operation("Take a token back: what is open with it ends.", status=204)
    def delete(self, token_id: str) -> None:
        issued = self.hub.people.revoke(token_id, time.time())
        self.hub.end_links_of(issued.person)
        self.audit("token.revoke", token_id, person=issued.person)
        self.set_status(204)


class Audit(Guarded):
    """`/api/audit`"""

    needs: ClassVar = {"GET": "admin"}

    @operation("Who did what, newest first.", query=AuditQuery, answer=AuditAnswer)
    def get(self, *, query: AuditQuery) -> None:
        self.finish({"entries": self.hub.store.audit(query.limit, query.before)})


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/me", Me),
    (r"/api/tokens", Tokens),
    (r"/api/tokens/([0-9a-f]+)", TokenById),
    (r"/api/audit", Audit),
)
