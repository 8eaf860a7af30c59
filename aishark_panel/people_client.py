"""Questions about people: whose token this is, accounts, tokens, with whom a session is shared, who did what."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from aishark_panel.transport import Transport

__all__ = ["PeopleClient"]


class PeopleClient(Transport):
    """The part of a HubClient that is about people."""

    async def me(self) -> dict[str, Any]:
        """Whose token this is: name ("" for the hub's owner), capabilities, expires_s (Unix time, or None)."""
        result, _ = await self._ask("me")
        return result

    async def tokens(self) -> list[dict[str, Any]]:
        """The tokens that are good: id, person, capabilities, created_s, expires_s. Needs the capability admin."""
        tokens: list[dict[str, Any]] = (await self._http("GET", "/api/tokens"))["tokens"]
        return tokens

    async def token_issue(self, person: str, capabilities: Sequence[str], life_s: float) -> dict[str, Any]:
        """Give a person a token: what `tokens` tells of it, and `token`, which is told this once."""
        body = {"person": person, "capabilities": list(capabilities), "life_s": life_s}
        return await self._http("POST", "/api/tokens", body)

    async def token_revoke(self, token_id: str) -> None:
        """Take a token back and end what is open with it; NotFoundError if no good one has that id."""
        await self._http("DELETE", f"/api/tokens/{quote(token_id, '')}")

    async def users(self) -> list[dict[str, Any]]:
        """The accounts: name, capabilities, created_s, disabled, issuer. Needs the capability admin, as those below."""
        users: list[dict[str, Any]] = (await self._http("GET", "/api/users"))["users"]
        return users

    async def user_add(self, name: str, password: str, capabilities: Sequence[str]) -> dict[str, Any]:
        """Make an account that logs in with a password; ConflictError if there is one of that name."""
        body = {"name": name, "password": password, "capabilities": list(capabilities)}
        return await self._http("POST", "/api/users", body)

    async def user_change(self, name: str, **changes: object) -> dict[str, Any]:
        """Set `password`, `capabilities` or `disabled` of an account, which ends its logins."""
        return await self._http("PATCH", f"/api/users/{quote(name, '')}", changes)

    async def shares(self, session: str) -> list[dict[str, Any]]:
        """With whom a session is shared: person, capabilities, created_s."""
        shares: list[dict[str, Any]] = (await self._http("GET", f"/api/stream/{quote(session, '')}/shares"))["shares"]
        return shares

    async def share(self, session: str, person: str, capabilities: Sequence[str] = ("view",)) -> dict[str, Any]:
        """Let a person view a session, and `export` from it, until `unshare`."""
        body = {"person": person, "capabilities": list(capabilities)}
        return await self._http("POST", f"/api/stream/{quote(session, '')}/shares", body)

    async def unshare(self, session: str, person: str) -> None:
        """Take a session back from a person; what they have open on it ends."""
        await self._http("DELETE", f"/api/stream/{quote(session, '')}/shares/{quote(person, '')}")

    async def links(self, session: str) -> list[dict[str, Any]]:
        """The links to a session that are good: id, person (who made it), created_s, expires_s."""
        links: list[dict[str, Any]] = (await self._http("GET", f"/api/stream/{quote(session, '')}/links"))["links"]
        return links

    async def link(self, session: str, life_s: float) -> dict[str, Any]:
        """Make a link to a session: what `links` tells of it, and its `token`, which is told this once."""
        return await self._http("POST", f"/api/stream/{quote(session, '')}/links", {"life_s": life_s})

    async def unlink(self, session: str, link: str) -> None:
        """Take a link back; what is open with it ends."""
        await self._http("DELETE", f"/api/stream/{quote(session, '')}/links/{quote(link, '')}")

    async def audit(self, limit: int = 100, before: int | None = None) -> list[dict[str, Any]]:
        """Who did what, newest first: number, ts_ns, who, action, subject, details; `before` goes on from a number."""
        query = urlencode({"limit": limit} | ({} if before is None else {"before": before}))
        entries: list[dict[str, Any]] = (await self._http("GET", f"/api/audit?{query}"))["entries"]
        return entries
