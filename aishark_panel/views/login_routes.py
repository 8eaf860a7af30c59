"""Routes of logging in and out: by a token in the address, by name and password, at a provider.

A token in an address ends up in histories and logs: /login takes it once and leaves it in a cookie that scripts cannot
read. Anybody may have made such an address, to have somebody else work under their name without knowing: so unless it
is the start token, or our own login card came here with it, a person is asked first. Names and passwords go on to the
hub, and so does what a provider sent a browser back with; nothing is decided here, and no key is held.
"""

import contextlib
import secrets
from html import escape
from typing import Annotated, Any, Final

import msgspec
from tornado.httpclient import HTTPResponse
from tornado.web import HTTPError, RequestHandler

from aishark_panel.views.access import TOKEN_COOKIE, is_start_token
from aishark_panel.views.visitor import Guarded, Login, Visitor, ask_hub

__all__ = ["LOGIN_ROUTES"]

_STATE_COOKIE: Final = "aishark_state"
_AWAY_S: Final = 600
_MAX_BODY_BYTES: Final = 16_384
_PAGE: Final = (
    '<!doctype html><meta name="color-scheme" content="light dark"><title>aishark</title>'
    '<body style="font: 15px system-ui; display: grid; place-content: center; min-height: 90vh; gap: 12px">'
)
Word = Annotated[str, msgspec.Meta(max_length=4_000)]


class _Credentials(msgspec.Struct, frozen=True):
    name: Word
    password: Word


class _Me(msgspec.Struct, frozen=True):
    name: str


class LoginByToken(Guarded):
    """`GET /login?token=...`: keep an accepted token in a cookie and go to the page, so that it leaves the address.

    `POST /login`, with the token in a form: the same, after a person said yes.
    """

    async def prepare(self) -> None:
        self.request.uri = self.request.path  # what the server's log calls this request: without the token
        await super().prepare()

    def offered_token(self) -> str:
        ask = self.get_body_argument if self.request.method == "POST" else self.get_query_argument
        return ask("token", "")

    async def get(self) -> None:
        if not is_start_token(self.token) and self.request.headers.get("Sec-Fetch-Site") != "same-origin":
            await self._ask()
            return
        self._enter()

    async def post(self) -> None:
        if not self.request.headers.get("Origin"):  # browsers send it; `prepare` saw that it is ours
            raise HTTPError(403, reason="Forbidden: this request does not say which page it comes from")
        self._enter()

    def _enter(self) -> None:
        self.keep(self.token)
        self.redirect("./")

    async def _ask(self) -> None:
        answer = await ask_hub(self.hub, "GET", "/api/me", self.token)
        name = msgspec.json.decode(answer.body, type=_Me).name if answer.code == 200 else ""
        who = escape(name) or "the owner of the hub"
        # With no referrer at all browsers would not say in the form's request that it comes from here.
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("X-Frame-Options", "DENY")
        self.finish(
            f"{_PAGE}<p>This address lets you in as <b>{who}</b>. What you do then is done in that name.</p>"
            f'<form method="post" action="login"><input type="hidden" name="token" value="{escape(self.token)}">'
            f'<button>Go on as {who}</button> <a href="./">Do not</a></form>'
        )


class LoginByName(Visitor):
    """`POST /login/name`, with name and password: log in at the hub, and keep what it gives in cookies."""

    async def post(self) -> None:
        if len(self.request.body) > _MAX_BODY_BYTES:
            raise HTTPError(413)
        try:
            wanted = msgspec.json.decode(self.request.body, type=_Credentials)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise HTTPError(400, reason="A name and a password are asked for") from error
        body = {"name": wanted.name, "password": wanted.password}
        answer = await ask_hub(self.hub, "POST", "/api/login", body=body, visitor=self.address)
        if answer.code != 200:
            self.set_status(answer.code)
            self.finish({"error": _reason(answer)})
            return
        login = msgspec.json.decode(answer.body, type=Login)
        self.keep(login.access_token, login.refresh_token)
        self.set_status(204)


class LoginAgain(Visitor):
    """`POST /login/again`: the next token of somebody who logged in before; 401 for everybody else."""

    async def post(self) -> None:
        self.set_status(204 if await self.renewed() else 401)


class LogOut(Visitor):
    """`POST /logout`: the login ends at the hub, and the browser forgets it."""

    async def post(self) -> None:
        token = await self.renewed() or self.get_cookie(TOKEN_COOKIE) or ""
        if token:
            with contextlib.suppress(HTTPError):  # who leaves this browser leaves it, whether the hub is there or not
                await ask_hub(self.hub, "DELETE", "/api/login", token)
        self.keep("")
        self.set_status(204)


class LoginAtProvider(Visitor):
    """`GET /login/provider`: go to where people log in, and come back with the state that only this browser knows."""

    async def get(self) -> None:
        back = f"{self.request.protocol}://{self.request.host}{self.request.path}/back"
        answer = await ask_hub(self.hub, "POST", "/api/oidc/start", body={"redirect_uri": back}, visitor=self.address)
        if answer.code != 200:
            _say(self, answer.code, _reason(answer))
            return
        away = msgspec.json.decode(answer.body)
        # Not strict: the way back begins at another site.
        secure = self.request.protocol == "https"
        self.set_cookie(_STATE_COOKIE, away["state"], httponly=True, samesite="Lax", secure=secure, max_age=_AWAY_S)
        self.redirect(away["url"])


class BackFromProvider(Visitor):
    """`GET /login/provider/back`: what the provider sent the browser back with goes on to the hub."""

    async def prepare(self) -> None:
        self.request.uri = self.request.path  # the code stays out of the server's log
        await super().prepare()

    async def get(self) -> None:
        known, state = self.get_cookie(_STATE_COOKIE) or "", self.get_query_argument("state", "")
        self.clear_cookie(_STATE_COOKIE)
        if not known or not secrets.compare_digest(known.encode(), state.encode()):
            _say(self, 401, "This login was not begun in this browser, or too long ago.")
            return
        if error := self.get_query_argument("error", ""):
            _say(self, 401, self.get_query_argument("error_description", "") or error)
            return
        body = {"state": state, "code": self.get_query_argument("code", "")}
        answer = await ask_hub(self.hub, "POST", "/api/oidc/finish", body=body, visitor=self.address)
        if answer.code != 200:
            _say(self, answer.code, _reason(answer))
            return
        login = msgspec.json.decode(answer.body, type=Login)
        self.keep(login.access_token, login.refresh_token)
        # A redirection would still be the other site's, and browsers leave strict cookies out of those.
        self.finish('<!doctype html><meta http-equiv="refresh" content="0;url=../../"><a href="../../">aishark</a>')


def _reason(answer: HTTPResponse) -> str:
    """What the hub says of a login that went wrong."""
    try:
        return str(msgspec.json.decode(answer.body)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return "The hub does not answer as it should."


def _say(handler: RequestHandler, status: int, text: str) -> None:
    """A page of one sentence, and the way to try again."""
    handler.set_status(status)
    handler.finish(f'{_PAGE}<p>{escape(text)}</p><p><a href="../../">Try again</a></p>')


LOGIN_ROUTES: Final[list[tuple[str, type[RequestHandler], dict[str, Any]]]] = [
    (r"/login", LoginByToken, {}),
    (r"/login/name", LoginByName, {}),
    (r"/login/again", LoginAgain, {}),
    (r"/login/provider", LoginAtProvider, {}),
    (r"/login/provider/back", BackFromProvider, {}),
    (r"/logout", LogOut, {}),
]
