"""Who a request beside the page comes from: the cookies of a visitor, and the hub's word on them.

Two cookies, which scripts cannot read: the token that the hub accepts, and, of somebody who logged in by name, the one
that brings the next token. The hub gives that one once only, so requests that come together renew it together.
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from aishark_panel.errors import AisharkError
from aishark_panel.views.access import LOGIN_COOKIE, TOKEN_COOKIE, hub_tls, hub_url

__all__ = ["Guarded", "Login", "Visitor", "ask_hub", "provider_of"]

_CONNECT_S: Final = 5.0
_RENEWED_S: Final = 60.0
"""How long what a login was renewed to is remembered for requests that still bring what it was before."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub gives somebody who logs in, as far as it matters here."""

    access_token: str
    refresh_token: str


async def ask_hub(
    hub: str, method: str, path: str, token: str = "", body: Mapping[str, Any] | None = None, visitor: str = ""
) -> HTTPResponse:
    """The hub's answer, whatever its status; HTTPError 502 if there is none. `visitor` is the address of whom it is
    asked for: the hub counts what is tried from there."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if visitor:
        headers["X-Forwarded-For"] = visitor
    request = HTTPRequest(
        f"{hub}{path}",
        method=method,
        headers=headers,
        body=None if body is None else msgspec.json.encode(body),
        allow_nonstandard_methods=True,
        connect_timeout=_CONNECT_S,
        request_timeout=2 * _CONNECT_S,
        ssl_options=hub_tls(),
    )
    try:
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
    except (HTTPClientError, StreamClosedError, OSError, ValueError) as error:
        raise HTTPError(502, reason="The hub cannot be reached") from error
    if answer.code >= 599:  # not its answer: it did not come in time
        raise HTTPError(502, reason="The hub did not answer")
    return answer


async def provider_of(hub: str) -> tuple[bool, str]:
    """Whether people can log in by a name and a password at a hub, and what their provider is called, '' if there is
    none. Nothing of that if the hub does not answer."""
    with contextlib.suppress(HTTPError):
        said = (await ask_hub(hub, "GET", "/api/me")).headers.get("WWW-Authenticate", "")
        found = re.search(r'provider="([^"]*)"', said)
        return "login=" in said, unquote(found[1]) if found else ""
    return False, ""


class Visitor(RequestHandler):
    """Base of all our routes: pages of other sites cannot use them, and nothing of them is kept by browsers."""

    hub: str
    retry_after = ""
    """what the hub said to who asks too often"""

    async def prepare(self) -> None:
        origin = self.request.headers.get("Origin")
        if origin and urlsplit(origin).netloc.lower() != self.request.host.lower():
            raise HTTPError(403, reason="Forbidden: this request comes from another site's page")
        try:
            self.hub = await asyncio.to_thread(hub_url)
        except (OSError, AisharkError) as error:
            raise HTTPError(502, reason="The hub cannot be reached") from error

    @property
    def address(self) -> str:
        """Where the visitor's browser is."""
        return str(self.request.remote_ip)

    def keep(self, token: str, refresh_token: str = "") -> None:
        """Have the browser keep what lets it in."""
        for name, value in ((TOKEN_COOKIE, token), (LOGIN_COOKIE, refresh_token)):
            if value:
                secure = self.request.protocol == "https"
                self.set_cookie(name, value, httponly=True, samesite="Strict", secure=secure)
            elif self.get_cookie(name):
                self.clear_cookie(name)

    async def renewed(self) -> str:
        """The next token of somebody who logged in; '' if there is none."""
        refresh_token = self.get_cookie(LOGIN_COOKIE) or ""
        login = await _renewals.renew(self.hub, refresh_token) if refresh_token else None
        if login is None:
            return ""
        self.keep(login.access_token, login.refresh_token)
        return login.access_token

    def set_default_headers(self) -> None:
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Content-Type-Options", "nosniff")
        if self.retry_after:
            self.set_header("Retry-After", self.retry_after)


class Guarded(Visitor):
    """Base of routes for those whom the hub lets in: it is asked before anything else happens."""

    token: str

    async def prepare(self) -> None:
        await super().prepare()
        self.token = self.offered_token()
        if not self.token:
            raise HTTPError(401, reason="Unauthorized: open the page with its start token first")
        # The cheapest question only an accepted token gets an answer to.
        answer = await ask_hub(self.hub, "GET", "/api/stream", self.token, visitor=self.address)
        if answer.code == 401 and (token := await self.renewed()):
            self.token = token
            answer = await ask_hub(self.hub, "GET", "/api/stream", self.token, visitor=self.address)
        match answer.code:
            case 200:
                return
            case 401:
                raise HTTPError(401, reason="Unauthorized: the hub does not accept this token")
            case 403:
                raise HTTPError(403, reason="Forbidden: the token does not allow this")
            case 429:
                self.retry_after = answer.headers.get("Retry-After", "")
                raise HTTPError(429, reason="Too Many Requests: the hub takes no more for now")
        raise HTTPError(502, reason="The hub did not answer")

    def offered_token(self) -> str:
        """The token of the request's cookie; '' if there is none."""
        return self.get_cookie(TOKEN_COOKIE) or ""


class _Renewals:
    """Logins that are being renewed, or were a moment ago, by what they are renewed with."""

    def __init__(self) -> None:
        self._known: dict[str, asyncio.Task[Login | None]] = {}

    async def renew(self, hub: str, refresh_token: str) -> Login | None:
        task = self._known.get(refresh_token)
        if task is None:
            task = self._known[refresh_token] = asyncio.create_task(self._ask(hub, refresh_token))
            asyncio.get_running_loop().call_later(_RENEWED_S, self._forget, refresh_token, task)
        login = await asyncio.shield(task)
        if login is None:  # the hub may be back in a moment
            self._forget(refresh_token, task)
        return login

    def _forget(self, refresh_token: str, task: "asyncio.Task[Login | None]") -> None:
        if self._known.get(refresh_token) is task:
            del self._known[refresh_token]

    async def _ask(self, hub: str, refresh_token: str) -> Login | None:
        try:
            answer = await ask_hub(hub, "POST", "/api/login/refresh", body={"refresh_token": refresh_token})
            return msgspec.json.decode(answer.body, type=Login) if answer.code == 200 else None
        except (HTTPError, msgspec.DecodeError):
            return None


_renewals: Final = _Renewals()
