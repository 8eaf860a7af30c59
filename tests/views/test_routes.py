"""Routes beside the page let nobody pass without an accepted token, and pass files on as they come."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.simple_httpclient import HTTPStreamClosedError
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from aishark_panel.views.access import LOGIN_COOKIE, TOKEN_COOKIE
from aishark_panel.views.login_routes import LOGIN_ROUTES
from aishark_panel.views.routes import ROUTES
from aishark_panel.views.visitor import Guarded, Visitor
from tests.views.hub import wait

TOKEN = "a-token"
FILE = bytes(range(256)) * 4096


class HubStream(RequestHandler):
    """The question that only an accepted token gets an answer to."""

    def get(self) -> None:
        token = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.set_header("Retry-After", "7")
        self.set_status({TOKEN: 200, "hasty": 429, "blind": 403}.get(token, 401))


class HubExport(RequestHandler):
    """One good ticket, one that breaks off half way, and none else."""

    async def get(self, ticket: str) -> None:
        if ticket not in ("good", "broken"):
            self.set_status(401)
            return
        self.set_header("Content-Type", "application/vnd.tcpdump.pcap")
        self.set_header("Content-Disposition", 'attachment; filename="lab.pcapng"')
        for k in range(0, len(FILE), 65_536):
            self.write(FILE[k : k + 65_536])
            await self.flush()
            if ticket == "broken":
                self.detach().close()
                return


class HubUploads(RequestHandler):
    """Tells what it was sent, as the hub does with the offset in a header too."""

    def answer(self, upload: str = "") -> None:
        self.set_header("Upload-Offset", self.request.headers.get("Upload-Offset", "0"))
        size = len(self.request.body)
        if self.request.method == "DELETE":
            self.set_status(204)
        elif upload == "bad0":
            self.set_status(409)
            self.finish({"error": {"message": "the next byte is 5"}})
        elif self.request.headers.get("Authorization") == f"Bearer {TOKEN}":
            self.finish({"method": self.request.method, "upload": upload, "bytes": size})

    get = post = patch = delete = answer


class HubMe(RequestHandler):
    """Somebody with a name that no hub would allow."""

    def get(self) -> None:
        self.finish({"name": "ann <b>"})


class HubLogin(RequestHandler):
    """Lets nobody in, and says whose login that was."""

    def post(self) -> None:
        self.set_status(401)
        self.finish({"error": {"message": f"of {self.request.headers.get('X-Forwarded-For')}"}})


class HubRefresh(RequestHandler):
    """Fails once, as a hub does that is being started."""

    asked: ClassVar[list[str]] = []

    def post(self) -> None:
        self.asked.append(json.loads(self.request.body)["refresh_token"])
        if len(self.asked) == 1:
            self.set_status(503)
        else:
            self.finish({"access_token": TOKEN, "refresh_token": "next"})


Get = Callable[..., Awaitable[HTTPResponse]]


@asynccontextmanager
async def page_server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Get]:
    hub_socket, hub_port = bind_unused_port()
    page_socket, page_port = bind_unused_port()
    uploads = [(r"/api/uploads", HubUploads), (r"/api/uploads/([^/]+)", HubUploads)]
    others = [(r"/api/export/(.*)", HubExport), (r"/api/login/refresh", HubRefresh)]
    others += [(r"/api/me", HubMe), (r"/api/login", HubLogin)]
    hub = HTTPServer(Application([(r"/api/stream", HubStream), *others, *uploads]))
    page = HTTPServer(Application(list(ROUTES)))
    hub.add_socket(hub_socket)
    page.add_socket(page_socket)
    monkeypatch.setenv("AISHARK_HUB", f"http://127.0.0.1:{hub_port}")

    async def get(path: str, **options: Any) -> HTTPResponse:
        address = f"http://127.0.0.1:{page_port}{path}"
        return await AsyncHTTPClient().fetch(address, raise_error=False, follow_redirects=False, **options)

    try:
        yield get
    finally:
        hub.stop()
        page.stop()
        await hub.close_all_connections()
        await page.close_all_connections()


def fetch(monkeypatch: pytest.MonkeyPatch, path: str, **options: Any) -> HTTPResponse:
    async def run() -> HTTPResponse:
        async with page_server(monkeypatch) as get:
            return await get(path, **options)

    return wait(run())


COOKIE = {"Cookie": f"{TOKEN_COOKIE}={TOKEN}"}


def test_every_route_inherits_the_guard() -> None:
    assert all(issubclass(handler, Visitor) for _, handler, _ in ROUTES)
    assert all(issubclass(route[1], Guarded) for route in ROUTES if route not in LOGIN_ROUTES)


@pytest.mark.parametrize("path", ["/login", "/login?token=", "/login?token=wrong", "/files/good", "/uploads/1f"])
def test_without_an_accepted_token_every_route_answers_401(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    response = fetch(monkeypatch, path)
    assert response.code == 401
    assert "Set-Cookie" not in response.headers


def test_a_wrong_cookie_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch(monkeypatch, "/files/good", headers={"Cookie": f"{TOKEN_COOKIE}=wrong"}).code == 401


@pytest.mark.parametrize(("token", "status", "wait_s"), [("hasty", 429, "7"), ("blind", 403, None)])
def test_what_the_hub_refuses_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, token: str, status: int, wait_s: str | None
) -> None:
    response = fetch(monkeypatch, "/files/good", headers={"Cookie": f"{TOKEN_COOKIE}={token}"})
    assert (response.code, response.headers.get("Retry-After")) == (status, wait_s)


def test_login_moves_the_token_from_the_address_to_a_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AISHARK_TOKEN", TOKEN)
    response = fetch(monkeypatch, f"/login?token={TOKEN}")
    assert (response.code, response.headers["Location"]) == (302, "./")
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith(f"{TOKEN_COOKIE}={TOKEN};")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert response.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("site", ["none", "cross-site", "same-site", ""])
def test_nobody_is_logged_in_by_anothers_address_unasked(monkeypatch: pytest.MonkeyPatch, site: str) -> None:
    """The token may be a stranger's own: what the visitor uploads then would be the stranger's."""
    monkeypatch.setenv("AISHARK_TOKEN", "of the one who started this")
    response = fetch(monkeypatch, f"/login?token={TOKEN}", headers={"Sec-Fetch-Site": site} if site else {})
    assert response.code == 200
    assert "Set-Cookie" not in response.headers
    assert "Go on as ann &lt;b&gt;" in response.body.decode()
    assert response.headers["X-Frame-Options"] == "DENY"


def test_who_says_yes_or_came_by_our_own_card_is_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with page_server(monkeypatch) as get:
            card = await get(f"/login?token={TOKEN}", headers={"Sec-Fetch-Site": "same-origin"})
            ours = f"http://{urlsplit(card.effective_url).netloc}"
            form = {"method": "POST", "body": f"token={TOKEN}"}
            for response in (card, await get("/login", **form, headers={"Origin": ours})):
                assert (response.code, response.headers["Location"]) == (302, "./")
                assert response.headers["Set-Cookie"].startswith(f"{TOKEN_COOKIE}={TOKEN};")
            for headers in ({}, {"Origin": "null"}, {"Origin": "http://elsewhere.example"}):
                refused = await get("/login", **form, headers=headers)
                assert (refused.code, refused.headers.get("Set-Cookie")) == (403, None)

    wait(run())


def test_who_logs_out_is_out_whether_the_hub_is_there_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with page_server(monkeypatch) as get:
            monkeypatch.setenv("AISHARK_HUB", "http://127.0.0.1:1")
            response = await get("/logout", method="POST", body="", headers=COOKIE)
            assert response.code == 204
            assert response.headers["Set-Cookie"].startswith(f'{TOKEN_COOKIE}="";')

    wait(run())


def test_the_hub_is_told_whose_login_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"name": "ann", "password": "wrong"})
    response = fetch(monkeypatch, "/login/name", method="POST", body=body)
    assert json.loads(response.body) == {"error": "of 127.0.0.1"}


@pytest.mark.parametrize("token", [TOKEN, "wrong-token"])
def test_no_log_tells_the_token(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, token: str) -> None:
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", "tornado")  # Dask, where a test before has loaded it, has it silent and apart
    monkeypatch.setattr(logging.getLogger("tornado"), "propagate", True)
    fetch(monkeypatch, f"/login?token={token}")
    assert "GET /login" in caplog.text
    assert token not in caplog.text


def test_a_file_is_passed_on_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    response = fetch(monkeypatch, "/files/good", headers=COOKIE)
    assert response.code == 200
    assert response.body == FILE
    assert response.headers["Content-Disposition"] == 'attachment; filename="lab.pcapng"'


def test_a_used_ticket_is_said_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    response = fetch(monkeypatch, "/files/used", headers=COOKIE)
    assert response.code == 404
    assert "once" in response.reason


def test_half_a_file_is_not_taken_for_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HTTPStreamClosedError):
        fetch(monkeypatch, "/files/broken", headers=COOKIE)


def test_a_hub_that_is_gone_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> HTTPResponse:
        async with page_server(monkeypatch) as get:
            socket, port = bind_unused_port()
            socket.close()
            monkeypatch.setenv("AISHARK_HUB", f"http://127.0.0.1:{port}")
            return await get("/files/good", headers=COOKIE)

    assert wait(run()).code == 502


@pytest.mark.parametrize(
    ("method", "path", "upload", "body"), [("POST", "/uploads", "", b"{}"), ("PATCH", "/uploads/1f", "1f", b"x" * 1000)]
)
def test_uploads_are_passed_on(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, upload: str, body: bytes
) -> None:
    headers = {**COOKIE, "Upload-Offset": "7"}
    response = fetch(monkeypatch, path, method=method, headers=headers, body=body)
    assert (response.code, response.headers["Upload-Offset"]) == (200, "7")
    assert json.loads(response.body) == {"method": method, "upload": upload, "bytes": len(body)}


def test_what_the_hub_says_of_an_upload_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    response = fetch(monkeypatch, "/uploads/bad0", method="PATCH", headers=COOKIE, body=b"x")
    assert (response.code, json.loads(response.body)["error"]["message"]) == (409, "the next byte is 5")
    assert fetch(monkeypatch, "/uploads/1f", method="DELETE", headers=COOKIE).code == 204


def test_nothing_of_an_upload_is_taken_without_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch(monkeypatch, "/uploads/1f", method="PATCH", body=b"x" * 1000).code == 401


def test_a_chunk_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"method": "PATCH", "headers": COOKIE, "body": bytes(2**21 + 1), "expect_100_continue": True}
    assert fetch(monkeypatch, "/uploads/1f", **options).code == 400


def test_a_login_that_could_not_be_renewed_is_tried_again_and_then_once_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HubRefresh, "asked", [])

    async def run() -> list[int]:
        async with page_server(monkeypatch) as get:
            cookie = {"Cookie": f"{LOGIN_COOKIE}=before"}
            return [(await get("/login/again", method="POST", body="", headers=cookie)).code for _ in range(4)]

    assert wait(run()) == [401, 204, 204, 204]
    assert HubRefresh.asked == ["before"] * 2


def test_no_other_site_has_the_page_say_what_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/login/provider/back?state=a&error=denied&error_description=Call+us"
    stranger, sent_away = (
        fetch(monkeypatch, path, headers={"Cookie": f"aishark_state={state}"}) for state in ("b", "a")
    )
    assert b"Call us" not in stranger.body
    assert b"Call us" in sent_away.body


def test_a_page_of_another_site_can_send_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {**COOKIE, "Origin": "http://127.0.0.1:1"}
    assert fetch(monkeypatch, "/uploads", method="POST", headers=headers, body=b"{}").code == 403
