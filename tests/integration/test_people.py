"""Several people on one hub: what each may do, what each sees, and what ends with a token."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from aishark_panel.client import HubClient
from aishark_panel.embedded import EmbeddedHub, start_hub
from aishark_panel.errors import ForbiddenError, HubError, HubUnreachableError, NotFoundError
from aishark_panel.streams.client_routes import NEEDS
from aishark_panel.streams.queries import METHODS
from aishark_panel.streams.routes import ROUTES
from aishark_panel.wire.messages import Batch, encode_control
from tests.integration.conftest import ask, call, run_agent, wait_for, wait_until_ready
from tests.traffic import frames, hello

NOBODYS = "0123456789ab"
RIGHTS = ("view", "capture", "export")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedHub]:
    recordings = tmp_path_factory.mktemp("people") / "recordings"
    started = start_hub("--port", "0", "--ring-mib", "48", "--recordings", str(recordings))
    wait_until_ready(started)
    yield started
    started.close()


def person(hub: EmbeddedHub, name: str, *rights: str, life_s: float = 600) -> tuple[EmbeddedHub, str]:
    """The hub as that person reaches it, and the id of the token that takes them there."""
    issued = ask(hub, lambda c: c.token_issue(name, rights or RIGHTS, life_s))
    return EmbeddedHub(hub.url, issued["token"], hub.process), issued["id"]


@dataclass
class Belongings:
    """Ids of what a person has on the hub."""

    session: str
    agent: str
    key: str
    upload: str
    recording: str
    link: str = NOBODYS
    silence: str = NOBODYS
    backtest: str = NOBODYS
    profile: str = "anns filter"

    def path(self, pattern: str) -> str:
        """A route with these ids in it."""
        ids = {"stream": self.session, "agents": self.agent, "uploads": self.upload, "recordings": self.recording}
        ids |= {"profiles": "anns%20filter", "tokens": NOBODYS, "export": NOBODYS, "packets": "1", "conversations": "1"}
        ids |= {"users": "ann", "shares": "carl", "links": self.link}
        ids |= {"alerts": "1", "silences": self.silence, "rules": "anns_rule", "backtests": self.backtest}
        return re.sub(r"(\w+)/\([^)]*\)", lambda found: f"{found[1]}/{ids[found[1]]}", pattern).replace("\\", "")


@contextlib.contextmanager
def sending_agent(hub: EmbeddedHub, key: str, *options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "aishark_panel", "agent", "--hub", hub.url, "--synthetic", *options]
    process = subprocess.Popen(command, env={**os.environ, "AISHARK_TOKEN": key}, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def ann(hub: EmbeddedHub) -> EmbeddedHub:
    return person(hub, "ann")[0]


@pytest.fixture(scope="module")
def bob(hub: EmbeddedHub) -> EmbeddedHub:
    return person(hub, "bob")[0]


async def belongings(client: HubClient, capture_file: Path) -> Belongings:
    """One of everything."""
    agent = await client.agent_register("anns agent")
    status = await client.upload(capture_file)
    await client.profile_save("anns filter", filter="tcp port 4711")
    recording = await client.record_start(status["session"])
    link = await client.link(status["session"], 600)
    await client.share(status["session"], "carl", ["view", "export"])
    await client.save_rule({"name": "anns_rule", "where": "udp.port == 4711", "description": "4711 is anns secret"})
    silence = await client.silence(status["session"], "anns_rule", {"src_ip": "10.47.11.4711"}, 600, "anns reason")
    backtest = await client.start_backtest(status["session"])
    ids = (status["session"], agent["id"], agent["key"], status["id"], recording["id"], link["id"], silence["id"])
    return Belongings(*ids, backtest)


@pytest.fixture(scope="module")
def anns(hub: EmbeddedHub, ann: EmbeddedHub, capture_file: Path) -> Iterator[Belongings]:
    """One of everything, and an agent that sends."""
    made = ask(ann, lambda c: belongings(c, capture_file))
    with sending_agent(hub, made.key):
        wait_for(lambda: [a for a in ask(ann, lambda c: c.agents()) if a["state"] == "capturing"], "capturing")
        yield made


def leaks(bob: EmbeddedHub, anns: Belongings) -> list[str]:
    """Answers of any route that show bob what is ann's, or that it is there; every one of them is asked."""
    ids = (anns.session, anns.agent, anns.upload, anns.recording, anns.link, anns.silence, anns.backtest)
    secrets = [s.encode() for s in (*ids, "4711", "anns", "carl")]
    found = []
    for pattern, _ in ROUTES:
        for method in ("GET", "POST", "PATCH", "DELETE"):
            path = anns.path(pattern)
            sent = {"person": "bob"} if path.endswith("/shares") else {}  # what is asked for comes before what is seen
            status, body = call(bob, method, path, sent if method in ("POST", "PATCH") else None)
            answer = f"{method} {path}: {status} {body[:300]!r}"
            if "(" in pattern and not pattern.startswith(("/api/tokens", "/api/export", "/api/users")):
                # A plain request to a WebSocket gets 400 before anything is looked up; another test opens them.
                if status not in ((400, 405) if pattern.endswith("/ws") else (404, 405)):
                    found.append(answer)
            elif status < 400 and [secret for secret in secrets if secret in body]:
                found.append(answer)
    return found


def test_what_is_anothers_is_not_there(ann: EmbeddedHub, bob: EmbeddedHub, anns: Belongings) -> None:
    below = (f"/api/stream/{anns.session}/{of_it}" for of_it in ("recordings", "shares", "links", "silences"))
    before = {path: call(ann, "GET", path)[1] for path in ("/api/profiles", "/api/rules", *below)}
    assert leaks(bob, anns) == []
    assert before == {path: call(ann, "GET", path)[1] for path in before}
    assert ask(ann, lambda c: c.stats(anns.session))["packets"] == 10_000


UNCHECKED = {
    "sessions": "streams.admission import Admission as X; from aishark_panel.streams.people import CAPABILITIES as C; "
    "X.rights = lambda *_: C",
    "agents": "streams.agents import Agents as X; "
    "X._registered = lambda self, agent_id, _: next((a for a in self._store.agents() if a.id == agent_id), None)",
}
"""Checks of who owns what, each taken out of a hub by itself."""


@pytest.mark.parametrize("what", UNCHECKED)
def test_a_hub_that_forgets_one_check_is_found_out(
    what: str, tmp_path: Path, capture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above proves nothing unless it goes red then."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nif 'hub' in sys.orig_argv:\n    from aishark_panel.{UNCHECKED[what]}\n"
    )
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        careless = start_hub("--port", "0", "--ring-mib", "48", "--recordings", str(tmp_path / "recordings"))
    try:
        ann, bob = (person(careless, name)[0] for name in ("ann", "bob"))
        anns = ask(ann, lambda c: belongings(c, capture_file))
        found = leaks(bob, anns)
        route = {"sessions": "/api/stream", "agents": "/api/agents"}[what]
        assert [answer for answer in found if route in answer]
    finally:
        careless.close()


def test_an_id_of_anothers_is_answered_like_one_that_never_was(bob: EmbeddedHub, anns: Belongings) -> None:
    nobodys = Belongings(NOBODYS, NOBODYS, "", NOBODYS, NOBODYS)
    for pattern, _ in ROUTES:
        if "(" not in pattern or pattern.startswith("/api/profiles"):
            continue
        for method in ("GET", "DELETE"):
            theirs = call(bob, method, anns.path(pattern))
            never = call(bob, method, nobodys.path(pattern))
            said = theirs[1]
            for own in (anns.session, anns.agent, anns.upload, anns.recording, anns.link, anns.silence, anns.backtest):
                said = said.replace(own.encode(), NOBODYS.encode())
            assert (theirs[0], said) == never


@pytest.mark.parametrize("method", sorted({*METHODS, *NEEDS, "recordings"}))
def test_no_method_of_the_clients_socket_reaches_anothers_session(
    bob: EmbeddedHub, anns: Belongings, method: str
) -> None:
    params = {"session": anns.session, "number": 1, "recording": anns.recording}
    with pytest.raises(NotFoundError, match="no session"):
        ask(bob, lambda c: c._ask(method, **params))


def test_a_subscription_to_anothers_session_is_refused(bob: EmbeddedHub, anns: Belongings) -> None:
    async def first(client: HubClient) -> None:
        await anext(client.subscribe(anns.session, start="oldest"))

    with pytest.raises(HubError, match="no session"):
        ask(bob, first)


def test_an_agent_feeds_the_sessions_of_its_owner_whatever_it_says(
    hub: EmbeddedHub, ann: EmbeddedHub, bob: EmbeddedHub, anns: Belongings, capture_file: Path
) -> None:
    for session in (anns.session, "shared name"):
        assert run_agent(bob, "-r", str(capture_file), "--speed", "max", "--session", session).returncode == 0
    assert ask(ann, lambda c: c.stats(anns.session))["packets"] == 10_000
    assert run_agent(ann, "-r", str(capture_file), "--speed", "max", "--session", "shared name").returncode == 0
    named = [s for s in ask(hub, lambda c: c.sessions()) if s["name"] == "shared name"]
    assert sorted(s["owner"] for s in named) == ["ann", "bob"]
    assert [s["packets"] for s in named] == [10_000, 10_000]
    assert not {s["owner"] for s in ask(bob, lambda c: c.sessions())} - {"bob"}


def test_the_owner_of_the_hub_and_admins_see_everybodys(hub: EmbeddedHub, anns: Belongings) -> None:
    admin, _ = person(hub, "root", "admin")
    for whoever in (hub, admin):
        assert ask(whoever, lambda c: c.stats(anns.session))["owner"] == "ann"
        assert anns.agent in [a["id"] for a in ask(whoever, lambda c: c.agents())]
    assert ask(admin, lambda c: c.audit(5))


def test_a_person_who_comes_first_has_a_session_to_look_at(hub: EmbeddedHub) -> None:
    carol, _ = person(hub, "carol")
    assert [(s["name"], s["owner"]) for s in ask(carol, lambda c: c.sessions())] == [("live", "carol")]
    assert ask(carol, lambda c: c.me())["name"] == "carol"
    guest, _ = person(hub, "guest", "view")
    assert ask(guest, lambda c: c.sessions()) == []


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("POST", "/api/stream/start", "capture"),
        ("POST", "/api/agents", "capture"),
        ("POST", "/api/uploads", "capture"),
        ("GET", f"/api/stream/{NOBODYS}/export", "export"),
        ("GET", "/api/audit", "admin"),
        ("GET", "/api/channels", "admin"),
        ("GET", "/api/tokens", "admin"),
        ("POST", "/api/tokens", "admin"),
        ("DELETE", f"/api/tokens/{NOBODYS}", "admin"),
        ("GET", "/api/users", "admin"),
        ("POST", "/api/users", "admin"),
        ("PATCH", "/api/users/ann", "admin"),
        ("POST", f"/api/agents/{NOBODYS}/key", "capture"),
        ("GET", f"/api/stream/{NOBODYS}/shares", "capture"),
        ("POST", f"/api/stream/{NOBODYS}/shares", "capture"),
        ("DELETE", f"/api/stream/{NOBODYS}/shares/ann", "capture"),
        ("GET", f"/api/stream/{NOBODYS}/links", "capture"),
        ("POST", f"/api/stream/{NOBODYS}/links", "capture"),
        ("DELETE", f"/api/stream/{NOBODYS}/links/{NOBODYS}", "capture"),
        ("GET", "/api/agents/ws", "capture"),
        ("PATCH", f"/api/stream/{NOBODYS}/alerts/1", "capture"),
        ("GET", f"/api/stream/{NOBODYS}/alerts/1/evidence", "export"),
        ("POST", f"/api/stream/{NOBODYS}/silences", "capture"),
        ("DELETE", f"/api/stream/{NOBODYS}/silences/{NOBODYS}", "capture"),
        ("PUT", "/api/rules/own", "capture"),
        ("DELETE", "/api/rules/own", "capture"),
        ("POST", "/api/rules/check", "capture"),
    ],
)
def test_a_token_allows_what_it_names(hub: EmbeddedHub, method: str, path: str, right: str) -> None:
    guest, _ = person(hub, "guest", "view")
    status, body = call(guest, method, path, {} if method == "POST" else None)
    assert status == 403
    assert f"does not allow '{right}'" in json.loads(body)["error"]["message"]
    allowed, _ = person(hub, "guest", right)
    assert call(allowed, method, path, {} if method == "POST" else None)[0] not in (401, 403)


def test_methods_of_the_clients_socket_need_their_right_too(hub: EmbeddedHub) -> None:
    guest, _ = person(hub, "guest", "view")

    async def all_of_them(client: HubClient) -> None:
        for method in NEEDS:
            with pytest.raises(ForbiddenError, match="does not allow"):
                await client._ask(method, session=NOBODYS)

    ask(guest, all_of_them)


def test_only_an_admin_registers_agents_for_others(hub: EmbeddedHub, bob: EmbeddedHub) -> None:
    with pytest.raises(ForbiddenError):
        ask(bob, lambda c: c.agent_register("spy", owner="ann"))
    agent = ask(hub, lambda c: c.agent_register("gift", owner="bob"))
    assert [a["owner"] for a in ask(bob, lambda c: c.agents()) if a["id"] == agent["id"]] == ["bob"]


def test_a_revoked_token_ends_what_is_open_with_it(hub: EmbeddedHub, ann: EmbeddedHub, anns: Belongings) -> None:
    again, token_id = person(hub, "ann")

    async def run() -> tuple[int, int]:
        client = HubClient(again.url, again.token)
        await client.connect()
        await client.stats(anns.session)
        headers = {"Authorization": f"Bearer {again.token}"}
        url = f"ws{again.url[4:]}/api/stream/{anns.session}/ws"
        subscription = await websocket_connect(HTTPRequest(url, headers=headers))
        with sending_agent(again, again.token, "--rate", "100", "--session", "by token") as agent:
            await asyncio.to_thread(
                wait_for, lambda: "by token" in [s["name"] for s in ask(ann, lambda c: c.sessions())], "the agent"
            )
            async with HubClient(hub.url, hub.token) as owner:
                await owner.token_revoke(token_id)
            async with asyncio.timeout(10):
                while await subscription.read_message() is not None:
                    pass
                code = await asyncio.to_thread(agent.wait, 10)
            subscription.close()
            with pytest.raises(HubUnreachableError):
                await client.stats(anns.session)
        await client.close()
        return subscription.close_code or 0, code

    assert asyncio.run(run()) == (1008, 2)
    assert call(again, "GET", "/api/stream")[0] == 401


def test_an_agent_that_hides_its_heartbeat_ends_with_its_token_too(hub: EmbeddedHub) -> None:
    eve, token_id = person(hub, "eve")

    async def run() -> str | None:
        headers = {"Authorization": f"Bearer {eve.token}"}
        socket = await websocket_connect(HTTPRequest(f"ws{eve.url[4:]}/api/agents/ws", headers=headers))
        await socket.write_message(encode_control(hello(session="eve's")))
        await socket.write_message(Batch.pack(1, frames(10), "none", {}), binary=True)
        while '"taken":1' not in str(await socket.read_message()):
            pass
        async with HubClient(hub.url, hub.token) as owner:
            await owner.token_revoke(token_id)
        await socket.write_message(Batch.pack(2, frames(10, first=10), "none", {}), binary=True)
        while await socket.read_message() is not None:
            pass
        socket.close()
        return socket.close_reason

    assert asyncio.run(run()) == "the token has expired or was revoked"
    assert [s["packets"] for s in ask(hub, lambda c: c.sessions()) if s["name"] == "eve's"] == [10]


def test_a_token_ends_by_itself(hub: EmbeddedHub) -> None:
    brief, _ = person(hub, "brief", "view", life_s=1)
    assert call(brief, "GET", "/api/me")[0] == 200
    wait_for(lambda: call(brief, "GET", "/api/me")[0] == 401, "the end of the token")


def test_a_ticket_ends_with_its_token(hub: EmbeddedHub, anns: Belongings) -> None:
    again, token_id = person(hub, "ann")
    ticket = ask(again, lambda c: c.export_ticket(anns.session, "csv"))
    ask(hub, lambda c: c.token_revoke(token_id))
    assert call(hub, "GET", f"/api/export/{ticket}", token="")[0] == 401


def test_who_did_it_is_written_down(hub: EmbeddedHub, bob: EmbeddedHub) -> None:
    session = ask(bob, lambda c: c.create_session("bobs own"))["id"]
    entries = ask(hub, lambda c: c.audit(10))
    assert ("bob", "session.create", session) in [(e["who"], e["action"], e["subject"]) for e in entries]


def test_only_what_was_checked_is_written_down(hub: EmbeddedHub, bob: EmbeddedHub, anns: Belongings) -> None:
    """It stays for ever, so nobody may write there what they like, or that they did what they may not."""
    before = ask(hub, lambda c: c.audit(1))[0]["number"]
    for agent_id in (anns.agent, "f" * 30_000):
        for method, path in (("PATCH", ""), ("POST", "/start"), ("POST", "/stop")):
            assert call(bob, method, f"/api/agents/{agent_id}{path}", {} if path != "/stop" else None)[0] == 404
    session = ask(bob, lambda c: c.create_session("bobs log"))["id"]
    ask(bob, lambda c: c._ask("start", session=session, junk="j" * 100_000))
    entries = [e for e in ask(hub, lambda c: c.audit(10)) if e["number"] > before]
    assert [(e["action"], e["subject"]) for e in entries] == [("session.start", session), ("session.create", session)]
    assert entries[0]["details"] == {}


def test_who_asks_too_often_is_told_when_to_come_back() -> None:
    hub = start_hub("--port", "0", "--ring-mib", "48", "--max-requests-per-second", "2")
    try:
        answers = [call(hub, "GET", "/api/me") for _ in range(8)]
        assert [status for status, _ in answers[:4]] == [200] * 4
        assert 429 in [status for status, _ in answers[4:]]
        kinds = [json.loads(body)["error"]["kind"] for status, body in answers if status == 429]
        assert set(kinds) == {"TooManyRequestsError"}

        async def patiently() -> list[dict[str, Any]]:
            client = HubClient(hub.url, hub.token)
            return [await client._http("GET", "/api/me") for _ in range(3)]

        assert len(asyncio.run(patiently())) == 3  # a client of ours waits as long as it is told
        issued = asyncio.run(HubClient(hub.url, hub.token).token_issue("ann", ["view"], 60))
        assert call(hub, "GET", "/api/me", token=issued["token"])[0] == 200  # others are not held up
    finally:
        hub.close()


def test_wrong_tokens_are_counted_by_address_and_good_ones_pass_all_the_same() -> None:
    hub = start_hub("--port", "0", "--ring-mib", "48")
    try:
        with contextlib.closing(HTTPConnection(hub.url.removeprefix("http://"))) as connection:
            codes: set[int] = set()
            while codes != {401, 429} and len(codes) < 3:
                connection.request("GET", "/api/me", headers={"Authorization": "Bearer guess"})
                answer = connection.getresponse()
                answer.read()
                codes.add(answer.status)
        assert codes == {401, 429}
        assert call(hub, "GET", "/api/me")[0] == 200
    finally:
        hub.close()


def aishark(hub: EmbeddedHub, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "AISHARK_TOKEN": hub.token, "AISHARK_HUB": hub.url}
    run = [sys.executable, "-m", "aishark_panel", *command]
    return subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_tokens_are_managed_from_the_command_line(hub: EmbeddedHub) -> None:
    made = aishark(hub, "token", "issue", "dora", "--may", "view", "--hours", "1")
    assert made.returncode == 0
    token_id = made.stderr.split()[1]
    dora = EmbeddedHub(hub.url, made.stdout.strip(), hub.process)
    assert ask(dora, lambda c: c.me())["capabilities"] == ["view"]
    assert f"{token_id}  dora  view  until " in aishark(hub, "token", "list").stdout
    assert aishark(dora, "token", "list").stderr == "aishark: dora may not do this: the token does not allow 'admin'.\n"
    assert aishark(hub, "token", "revoke", token_id).returncode == 0
    assert call(dora, "GET", "/api/me")[0] == 401
    assert "no capability 'fly'" in aishark(hub, "token", "issue", "dora", "--may", "fly").stderr
