"""People who log in to a real hub, share sessions, and are let in no more: what is open ends within seconds."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ConfigError, ForbiddenError, NotFoundError
from aishark_panel.streams.places import MAX_SUBSCRIBERS_EACH
from tests.integration.conftest import ask, call, run_agent, wait_until_ready
from tests.integration.test_people import aishark, person, sending_agent

PASSWORD = "correct horse battery"
END_S = 10.0
"""Within this what is revoked has to have ended."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    folder = tmp_path_factory.mktemp("accounts")
    options = ("--state", str(folder / "state"), "--recordings", str(folder / "recordings"))
    started = start_hub("--port", "0", "--ring-mib", "48", *options)
    wait_until_ready(started)
    yield started
    started.close()


def post(hub: EmbeddedHub, path: str, body: object, token: str = "") -> tuple[int, dict[str, Any]]:
    status, answer = call(hub, "POST", path, body, token=token)
    return status, json.loads(answer or b"{}")


def log_in(hub: EmbeddedHub, name: str, password: str = PASSWORD) -> dict[str, Any]:
    status, tokens = post(hub, "/api/login", {"name": name, "password": password})
    assert status == 200, tokens
    return tokens


def as_person(hub: EmbeddedHub, tokens: dict[str, Any]) -> EmbeddedHub:
    return EmbeddedHub(hub.url, tokens["access_token"], hub.process)


def account(hub: EmbeddedHub, name: str, *capabilities: str) -> None:
    ask(hub, lambda c: c.user_add(name, PASSWORD, capabilities or ("view", "capture", "export")))


@pytest.fixture(scope="module")
def anns(hub: EmbeddedHub, capture_file: Path) -> tuple[EmbeddedHub, str]:
    """Ann, and a session of hers with packets."""
    account(hub, "ann")
    ann = as_person(hub, log_in(hub, "ann"))
    assert run_agent(ann, "-r", str(capture_file), "--speed", "max", "--session", "anns").returncode == 0
    return ann, next(s["id"] for s in ask(ann, lambda c: c.sessions()) if s["name"] == "anns")


def test_a_login_opens_renews_and_ends(hub: EmbeddedHub) -> None:
    account(hub, "lena", "view")
    tokens = log_in(hub, "lena")
    assert tokens["capabilities"] == ["view"]
    assert ask(as_person(hub, tokens), lambda c: c.me())["name"] == "lena"
    status, renewed = post(hub, "/api/login/refresh", {"refresh_token": tokens["refresh_token"]})
    assert status == 200
    assert call(as_person(hub, renewed), "GET", "/api/me")[0] == 200
    assert call(as_person(hub, renewed), "DELETE", "/api/login")[0] == 204
    for old in (tokens, renewed):
        assert call(as_person(hub, old), "GET", "/api/me")[0] == 401
    assert post(hub, "/api/login/refresh", {"refresh_token": renewed["refresh_token"]})[0] == 401
    assert call(hub, "DELETE", "/api/login")[0] == 409  # the start token is of no login


def test_a_refresh_token_that_comes_twice_ends_the_login(hub: EmbeddedHub) -> None:
    account(hub, "rita", "view")
    tokens = log_in(hub, "rita")
    assert post(hub, "/api/login/refresh", {"refresh_token": tokens["refresh_token"]})[0] == 200
    status, answer = post(hub, "/api/login/refresh", {"refresh_token": tokens["refresh_token"]})
    assert (status, answer["error"]["kind"]) == (401, "NotAuthorizedError")
    assert call(as_person(hub, tokens), "GET", "/api/me")[0] == 401


def test_renewals_are_no_guesses(hub: EmbeddedHub) -> None:
    """A dashboard renews everybody's logins, from one address."""
    account(hub, "renate", "view")
    token = log_in(hub, "renate")["refresh_token"]
    for _ in range(80):
        status, answer = post(hub, "/api/login/refresh", {"refresh_token": token})
        assert status == 200
        token = answer["refresh_token"]
    log_in(hub, "renate")


def test_wrong_credentials_are_told_alike_and_guessing_is_stopped(hub: EmbeddedHub) -> None:
    account(hub, "gina")
    for name in ("gina", "nobody"):
        answers = [post(hub, "/api/login", {"name": name, "password": "guess"}) for _ in range(11)]
        assert [status for status, _ in answers] == [401] * 10 + [429]
        assert {a["error"]["message"] for _, a in answers[:10]} == {"Name and password do not go together."}
    assert post(hub, "/api/login", {"name": "gina", "password": PASSWORD})[0] == 429


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/login", {"name": "ann"}),
        ("/api/login", {"name": "ann", "password": 5}),
        ("/api/login", {"name": "ann", "password": "\ud83e"}),
        ("/api/login", ["ann"]),
        ("/api/login/refresh", {}),
        ("/api/oidc/finish", {"state": "x"}),
        ("/api/oidc/start", {"redirect": "x"}),
    ],
)
def test_bodies_that_make_no_sense_are_refused(hub: EmbeddedHub, path: str, body: object) -> None:
    status, answer = post(hub, path, body)
    assert (status, answer["error"]["kind"]) == (400, "ConfigError")


def test_a_hub_without_a_provider_says_so(hub: EmbeddedHub) -> None:
    assert post(hub, "/api/oidc/start", {"redirect_uri": "https://page/oidc"})[0] == 409


def test_one_changes_ones_own_password(hub: EmbeddedHub) -> None:
    account(hub, "paul", "view")
    here, there = as_person(hub, log_in(hub, "paul")), as_person(hub, log_in(hub, "paul"))
    path, new = "/api/me/password", "another password"
    assert post(hub, path, {"password": "wrong password", "new_password": new}, here.token)[0] == 403
    assert post(hub, path, {"password": PASSWORD, "new_password": new}, here.token)[0] == 204
    assert [call(whoever, "GET", "/api/me")[0] for whoever in (here, there)] == [200, 401]
    assert log_in(hub, "paul", new)


async def _opened(hub: EmbeddedHub, path: str) -> WebSocketClientConnection:
    request = HTTPRequest(f"ws{hub.url[4:]}{path}", headers={"Authorization": f"Bearer {hub.token}"})
    return await websocket_connect(request)


async def _end_of(socket: WebSocketClientConnection) -> tuple[int | None, str | None]:
    """How the hub closes a socket on which nobody says anything."""
    async with asyncio.timeout(END_S):
        while await socket.read_message() is not None:
            pass
    socket.close()
    return socket.close_code, socket.close_reason


def ended_by(viewer: EmbeddedHub, session: str, revoke: Any) -> list[tuple[int | None, str | None]]:
    """What ends a person's subscription and idle client socket when something is taken back."""

    async def run() -> list[tuple[int | None, str | None]]:
        sockets = [await _opened(viewer, p) for p in (f"/api/stream/{session}/ws?start=oldest", "/api/clients/ws")]
        assert isinstance(await sockets[0].read_message(), bytes)
        await asyncio.to_thread(revoke)
        return list(await asyncio.gather(*(_end_of(socket) for socket in sockets)))

    return asyncio.run(run())


ENDED = (1008, "the token has expired or was revoked")


def test_a_disabled_account_is_out_within_seconds(hub: EmbeddedHub, capture_file: Path) -> None:
    account(hub, "dora")
    dora = as_person(hub, log_in(hub, "dora"))
    assert run_agent(dora, "-r", str(capture_file), "--speed", "max", "--session", "doras").returncode == 0
    session = next(s["id"] for s in ask(dora, lambda c: c.sessions()) if s["name"] == "doras")
    link = ask(dora, lambda c: c.link(session, 600))
    key = ask(dora, lambda c: c.agent_register("doras agent"))["key"]
    with sending_agent(hub, key, "--rate", "50") as agent:
        ends = ended_by(dora, session, lambda: ask(hub, lambda c: c.user_change("dora", disabled=True)))
        assert ends == [ENDED, ENDED]
        assert agent.wait(END_S) == 2
    for token in (dora.token, link["token"], key):
        assert call(hub, "GET", "/api/me", token=token)[0] == 401
    assert post(hub, "/api/login", {"name": "dora", "password": PASSWORD})[0] == 401
    ask(hub, lambda c: c.user_change("dora", disabled=False))
    assert log_in(hub, "dora")


def test_a_shared_session_is_there_as_far_as_it_is_shared(hub: EmbeddedHub, anns: tuple[EmbeddedHub, str]) -> None:
    ann, session = anns
    account(hub, "sam")
    sam = as_person(hub, log_in(hub, "sam"))
    with pytest.raises(NotFoundError):
        ask(sam, lambda c: c.stats(session))
    ask(ann, lambda c: c.share(session, "sam"))
    assert [(s["owner"], s["may"]) for s in ask(sam, lambda c: c.sessions()) if s["id"] == session] == [
        ("ann", ["view"])
    ]
    assert ask(sam, lambda c: c.stats(session))["packets"] == 10_000
    assert ask(sam, lambda c: c.rows(session, 1, 5))[0].num_rows == 5
    for method, path in (
        ("DELETE", f"/api/stream/{session}"),
        ("GET", f"/api/stream/{session}/export?format=csv"),
        ("GET", f"/api/stream/{session}/shares"),
        ("POST", f"/api/stream/{session}/shares"),
        ("POST", f"/api/stream/{session}/links"),
        ("DELETE", f"/api/stream/{session}/shares/sam"),
        ("POST", f"/api/stream/{session}/recordings"),
    ):
        body = {"person": "eve"} if path.endswith("/shares") else {}
        status, answer = call(sam, method, path, body if method == "POST" else None)
        assert (status, "shared with you to view only" in answer.decode()) == (403, True), (method, path, answer)
    assert post(hub, "/api/stream/start", {"id": session}, sam.token)[0] == 403

    async def may_not(client: HubClient) -> None:
        exporting = ("export_ticket", "export_status", "export_cancel", "recording_ticket")
        for method in ("start", "stop", "clear", "delete", "record_start", "record_stop", *exporting):
            with pytest.raises(ForbiddenError, match="view only"):
                await client._ask(method, session=session)

    ask(sam, may_not)
    ask(ann, lambda c: c.share(session, "sam", ["view", "export"]))
    assert len(call(sam, "GET", f"/api/stream/{session}/export?format=csv")[1].splitlines()) == 10_001
    assert call(sam, "DELETE", f"/api/stream/{session}")[0] == 403
    ask(ann, lambda c: c.unshare(session, "sam"))
    assert call(sam, "GET", f"/api/stream/{session}/stats")[0] == 404


def test_guests_take_no_more_places_than_one_person(hub: EmbeddedHub, anns: tuple[EmbeddedHub, str]) -> None:
    """However many links there are, and somebody who has one cannot shut out who made it."""
    ann, session = anns
    links = [ask(ann, lambda c: c.link(session, 600)) for _ in range(2)]

    async def run() -> list[str | None]:
        tokens = [link["token"] for link in links] * (MAX_SUBSCRIBERS_EACH // 2)
        url = f"ws{hub.url[4:]}/api/stream/{session}/ws"
        sockets = []
        for token in (*tokens, links[0]["token"], ann.token):
            headers = {"Authorization": f"Bearer {token}"}
            sockets.append(await websocket_connect(HTTPRequest(url, headers=headers)))
        assert await sockets[-2].read_message() is None
        reason = sockets[-2].close_reason
        await sockets[-1].write_message("a word too many")
        while await sockets[-1].read_message() is not None:
            pass
        for socket in sockets:
            socket.close()
        for socket in sockets[:-2]:
            while await socket.read_message() is not None:  # until the hub has said goodbye, too
                pass
        return [reason, sockets[-1].close_reason]

    async def bounded() -> list[str | None]:
        async with asyncio.timeout(20):
            return await run()

    try:
        reasons = asyncio.run(bounded())
    finally:
        for link in links:
            assert call(ann, "DELETE", f"/api/stream/{session}/links/{link['id']}")[0] == 204
    assert reasons == [
        "who came by a link of ann has 50 subscribers at once, the most of one person",
        "a subscription takes no messages",
    ]


def test_a_share_gives_nobody_what_they_may_not_at_all(hub: EmbeddedHub, anns: tuple[EmbeddedHub, str]) -> None:
    ann, session = anns
    looker, _ = person(hub, "looker", "view")
    ask(ann, lambda c: c.share(session, "looker", ["view", "export"]))
    assert call(looker, "GET", f"/api/stream/{session}/stats")[0] == 200
    assert call(looker, "GET", f"/api/stream/{session}/export")[0] == 403
    mute, _ = person(hub, "ann", "view", "capture")
    with pytest.raises(ForbiddenError, match="'export'"):
        ask(mute, lambda c: c.share(session, "looker", ["view", "export"]))
    ask(ann, lambda c: c.unshare(session, "looker"))


def test_the_view_of_a_session_ends_for_the_one_it_is_taken_from_alone(
    hub: EmbeddedHub, anns: tuple[EmbeddedHub, str]
) -> None:
    ann, session = anns
    account(hub, "tess", "view")
    tess = as_person(hub, log_in(hub, "tess"))
    ask(ann, lambda c: c.share(session, "tess"))

    async def run() -> tuple[str | None, bool]:
        hers = await _opened(ann, f"/api/stream/{session}/ws")
        socket = await _opened(tess, f"/api/stream/{session}/ws")
        client = HubClient(tess.url, tess.token)
        await client.connect()
        await asyncio.to_thread(ask, ann, lambda c: c.unshare(session, "tess"))
        _, reason = await _end_of(socket)
        with pytest.raises(NotFoundError):
            await client.stats(session)
        connected = client.connected  # the socket itself stays: it is for what else is hers
        await client.close()
        still_open = hers.close_code is None
        hers.close()
        return reason, connected and still_open

    assert asyncio.run(run()) == ("the session is not shared any more", True)


def test_a_link_shows_one_session_and_nothing_else(hub: EmbeddedHub, anns: tuple[EmbeddedHub, str]) -> None:
    ann, session = anns
    other = ask(ann, lambda c: c.create_session("anns other"))["id"]
    made = ask(ann, lambda c: c.link(session, 600))
    guest = EmbeddedHub(hub.url, made["token"], hub.process)
    assert [s["id"] for s in ask(guest, lambda c: c.sessions())] == [session]
    assert ask(guest, lambda c: c.me())["capabilities"] == ["view"]
    assert ask(guest, lambda c: c.stats(session))["packets"] == 10_000
    assert call(guest, "GET", f"/api/stream/{session}/ledger")[0] == 200
    assert call(guest, "GET", f"/api/stream/{session}/export")[0] == 403
    for path in ("/api/agents", "/api/profiles", "/api/users", f"/api/stream/{other}/stats", "/api/uploads/00"):
        assert call(guest, "GET", path)[0] == 403, path
    for path in ("/api/agents", "/api/stream/start", "/api/me/password", f"/api/stream/{session}/shares"):
        assert call(guest, "POST", path, {})[0] == 403, path
    with pytest.raises(HTTPClientError, match="403"):
        asyncio.run(_opened(guest, "/api/agents/ws"))

    async def nothing_else(client: HubClient) -> None:
        with pytest.raises(NotFoundError):
            await client.stats(other)
        for method in ("clear", "delete", "stop", "export_ticket"):
            with pytest.raises(ForbiddenError):
                await client._ask(method, session=session)

    ask(guest, nothing_else)
    assert [kept["id"] for kept in ask(ann, lambda c: c.links(session))] == [made["id"]]
    assert ended_by(guest, session, lambda: ask(ann, lambda c: c.unlink(session, made["id"]))) == [ENDED, ENDED]
    assert call(guest, "GET", "/api/me")[0] == 401


def test_a_link_ends_by_itself_on_what_is_open_too(hub: EmbeddedHub, anns: tuple[EmbeddedHub, str]) -> None:
    ann, session = anns
    made = ask(ann, lambda c: c.link(session, 2))
    guest = EmbeddedHub(hub.url, made["token"], hub.process)
    assert ended_by(guest, session, lambda: None) == [ENDED, ENDED]


def test_a_deleted_session_takes_its_shares_with_it(hub: EmbeddedHub, anns: tuple[EmbeddedHub, str]) -> None:
    ann, _ = anns
    session = ask(ann, lambda c: c.create_session("short"))["id"]
    made = ask(ann, lambda c: c.link(session, 600))
    ask(ann, lambda c: c.delete(session))
    assert call(hub, "GET", "/api/me", token=made["token"])[0] == 401


def test_an_agents_key_is_replaced_without_a_pause(hub: EmbeddedHub, anns: tuple[EmbeddedHub, str]) -> None:
    ann, _ = anns
    agent = ask(ann, lambda c: c.agent_register("rotated"))

    def state() -> str:
        return next(str(a["state"]) for a in ask(ann, lambda c: c.agents()) if a["id"] == agent["id"])

    def wait_for_state(wanted: str) -> None:
        until_s = time.monotonic() + 20
        while state() != wanted and time.monotonic() < until_s:
            pass
        assert state() == wanted

    bob, _ = person(hub, "bob")
    with pytest.raises(NotFoundError):
        ask(bob, lambda c: c.agent_new_key(agent["id"]))
    with sending_agent(hub, agent["key"], "--rate", "50") as old:
        wait_for_state("capturing")
        given = ask(ann, lambda c: c.agent_new_key(agent["id"]))
        assert (given["old_key_good_s"], given["key"] != agent["key"]) == (86_400, True)
        assert old.poll() is None
        assert state() == "capturing"
        with sending_agent(hub, given["key"], "--rate", "50"):
            assert old.wait(END_S) == 2  # the new one took its place
            wait_for_state("capturing")
    with sending_agent(hub, agent["key"]) as gone:
        assert gone.wait(20) == 2


def test_memory_of_sessions_has_an_end() -> None:
    hub = start_hub("--port", "0", "--ring-mib", "48", "--max-rings-mib", "200", "--max-rings-mib-each", "100")
    try:
        ann, _ = person(hub, "ann", "view", "capture")
        for name in "12":
            assert post(hub, "/api/stream/start", {"name": name}, ann.token)[0] == 201
        status, answer = post(hub, "/api/stream/start", {"name": "3"}, ann.token)
        assert (status, "may take 100 MiB" in answer["error"]["message"]) == (400, True)
        assert post(hub, "/api/stream/start", {"name": "4"}, hub.token)[0] == 201
        status, answer = post(hub, "/api/stream/start", {"name": "5"}, hub.token)
        assert (status, "may take 200 MiB" in answer["error"]["message"]) == (400, True)
        late, _ = person(hub, "late", "view", "capture")
        assert ask(late, lambda c: c.sessions()) == []  # no room for one of their own: they come in all the same
    finally:
        hub.close()


def test_accounts_and_shares_from_the_command_line(hub: EmbeddedHub, anns: tuple[EmbeddedHub, str]) -> None:
    ann, session = anns

    def typed(password: str, *command: str) -> "subprocess.CompletedProcess[str]":
        environment = {"AISHARK_TOKEN": hub.token, "AISHARK_HUB": hub.url, "PATH": "/usr/bin:/bin"}
        run = [sys.executable, "-m", "aishark_panel", *command]
        return subprocess.run(run, env=environment, input=password, capture_output=True, text=True, timeout=60)

    assert typed(PASSWORD + "\n", "user", "add", "cleo", "--may", "view").stdout == "account cleo may view\n"
    assert "10 to" in typed("short\n", "user", "add", "cora").stderr
    cleo = as_person(hub, log_in(hub, "cleo"))
    assert "cleo  view  password\n" in aishark(hub, "user", "list").stdout
    assert "does not allow 'admin'" in aishark(cleo, "user", "list").stderr
    assert aishark(ann, "session", "share", "anns", "cleo", "--export").stdout == "cleo  view,export\n"
    assert f"{session}  anns  " in aishark(cleo, "session", "list").stdout
    assert "owner ann  you may view\n" in aishark(cleo, "session", "list").stdout
    made = aishark(ann, "session", "link", "anns", "--hours", "1")
    assert call(hub, "GET", "/api/me", token=made.stdout.strip())[0] == 200
    listed = aishark(ann, "session", "link", "anns", "--list").stdout
    assert listed.startswith(f"link {made.stderr.split()[1].rstrip(',')}, made by ann, good until ")
    aishark(ann, "session", "link", "anns", "--revoke", made.stderr.split()[1].rstrip(","))
    assert call(hub, "GET", "/api/me", token=made.stdout.strip())[0] == 401
    assert aishark(ann, "session", "unshare", "anns", "cleo").returncode == 0
    assert session not in aishark(cleo, "session", "list").stdout
    assert typed("quite another one\n", "user", "passwd", "cleo").returncode == 0
    assert call(cleo, "GET", "/api/me")[0] == 401
    assert aishark(hub, "user", "disable", "cleo").returncode == 0
    assert "cleo  view  password  disabled\n" in aishark(hub, "user", "list").stdout
    assert aishark(hub, "user", "disable", "cleo", "--undo").returncode == 0
    assert log_in(hub, "cleo", "quite another one")
    session = ask(ann, lambda c: c.create_session("to go"))["id"]
    assert aishark(ann, "session", "delete", "to go").returncode == 0
    assert session not in [s["id"] for s in ask(ann, lambda c: c.sessions())]


def test_what_is_done_with_accounts_is_written_down(hub: EmbeddedHub) -> None:
    account(hub, "wanda")
    ask(hub, lambda c: c.user_change("wanda", capabilities=["view"]))
    log_in(hub, "wanda")
    entries = ask(hub, lambda c: c.audit(20))
    about = [(e["who"], e["action"]) for e in entries if e["subject"] == "wanda"]
    assert about == [("wanda", "login"), ("token", "user.capabilities"), ("token", "user.add")]
    assert PASSWORD not in json.dumps(entries)
    with pytest.raises(ConfigError, match="fly"):
        ask(hub, lambda c: c.user_change("wanda", capabilities=["fly"]))


def test_accounts_and_logins_outlive_the_hub(tmp_path: Path) -> None:
    options = ("--port", "0", "--ring-mib", "48", "--state", str(tmp_path))
    hub = start_hub(*options)
    account(hub, "ann")
    ann = as_person(hub, log_in(hub, "ann"))
    hub.process.kill()
    hub.close()
    again = start_hub(*options)
    try:
        assert call(again, "GET", "/api/me", token=ann.token)[0] == 200
        assert log_in(again, "ann")
    finally:
        again.close()
