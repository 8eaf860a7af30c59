"""Channels, against real servers: what arrives, in how many messages, what is tried again, and what never waits."""

import asyncio
import contextlib
import email
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from email import policy
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from aishark_panel.alerts.channels import Channel, webhook_channel
from aishark_panel.alerts.log import Deliveries
from aishark_panel.alerts.notify import MAX_GROUPS, Notifier
from aishark_panel.errors import ConfigError


class Receiver(RequestHandler):
    """Answers with the next of the codes it was given, then 200."""

    def initialize(self, got: list[Any], codes: list[int]) -> None:
        self.got, self.codes = got, codes

    def post(self) -> None:
        self.got.append(json.loads(self.request.body))
        self.set_status(self.codes.pop(0) if self.codes else 200)


@contextlib.asynccontextmanager
async def receiver(codes: Sequence[int] = ()) -> AsyncIterator[tuple[str, list[Any]]]:
    """The address of a real server, and what it got."""
    got: list[Any] = []
    routes = [("/hook", Receiver, {"got": got, "codes": list(codes)})]
    server = HTTPServer(Application(routes, log_function=lambda _: None))
    sock, port = bind_unused_port()
    server.add_socket(sock)
    try:
        yield f"http://user:secret@127.0.0.1:{port}/hook?token=secret", got
    finally:
        server.stop()
        await server.close_all_connections()


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 - what is waited for is a plain counter
            await asyncio.sleep(0.005)


def alert(number: int = 1, **changes: Any) -> dict[str, Any]:
    key = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    made = {
        "session": {"id": "a", "name": "live"},
        "number": number,
        "rule": "chatter",
        "severity": "warning",
        "state": "firing",
        "description": "A host sends a lot.",
        "runbook": "https://runbooks.test/chatter",
        "key": {"src_ip": key},
        "annotations": {"summary": f"{key} sends a lot"},
        "notify": None,
    }
    return {**made, **changes}


def told(channel: Channel, alerts: Sequence[dict[str, Any]], **options: Any) -> tuple[Deliveries, list[dict[str, Any]]]:
    """What becomes of alerts that come at once."""

    async def run() -> tuple[Deliveries, list[dict[str, Any]]]:
        notifier, deliveries = Notifier([channel], **options), Deliveries()
        for each in alerts:
            notifier.put(each, deliveries)
        await until(lambda: deliveries.sent + deliveries.failed + deliveries.dropped == len(alerts))
        status = notifier.status()
        await notifier.close()
        return deliveries, status

    return asyncio.run(run())


def posted(codes: Sequence[int], alerts: Sequence[dict[str, Any]], **changes: Any) -> tuple[list[Any], Deliveries]:
    """What a webhook got."""

    async def run() -> tuple[list[Any], Deliveries]:
        async with receiver(codes) as (url, got):
            channel = replace(webhook_channel(url), **changes)
            notifier, deliveries = Notifier([channel], retry_delays_s=(0.0, 0.0)), Deliveries()
            for each in alerts:
                notifier.put(each, deliveries)
            await until(lambda: deliveries.sent + deliveries.failed == len(alerts))
            await notifier.close()
            return got, deliveries

    return asyncio.run(run())


def test_a_webhook_gets_a_few_alerts_one_by_one_in_order() -> None:
    alerts = [alert(1), alert(2), alert(1, state="resolved")]
    got, deliveries = posted([], alerts)
    assert got == alerts
    assert deliveries.sent == 3


def test_a_storm_is_one_message() -> None:
    got, deliveries = posted([], [alert(number) for number in range(100_000)], group_wait_s=0.1)
    assert deliveries.sent == 100_000
    (message,) = got
    assert (message["firing"], message["more"], len(message["alerts"])) == (100_000, 99_980, 20)
    assert (message["rule"], message["session"]["name"]) == ("chatter", "live")


@pytest.mark.parametrize(
    ("codes", "tries", "sent", "reason"),
    [
        ([500, 429], 3, 1, ""),
        ([503, 503, 503], 3, 0, "answered 503"),
        ([404], 1, 0, "answered 404"),
        ([302], 1, 0, "answered 302"),
    ],
)
def test_what_fails_is_tried_again_unless_it_was_refused(codes: list[int], tries: int, sent: int, reason: str) -> None:
    got, deliveries = posted(codes, [alert()])
    assert (len(got), deliveries.sent, deliveries.failed) == (tries, sent, 1 - sent)
    assert deliveries.reason.endswith(reason)
    assert "secret" not in deliveries.reason


def test_what_was_posted_before_a_failure_is_not_posted_again() -> None:
    alerts = [alert(number) for number in range(3)]
    got, deliveries = posted([200, 503], alerts)
    assert [each["number"] for each in got] == [0, 1, 1, 2]
    assert deliveries.sent == 3


def test_nobody_there_is_a_failure_with_a_reason() -> None:
    sock, port = bind_unused_port()
    sock.close()
    deliveries, (status,) = told(webhook_channel(f"http://127.0.0.1:{port}/?secret"), [alert()], retry_delays_s=())
    assert deliveries.reason == f"127.0.0.1:{port} cannot be reached (ConnectionRefusedError)"
    assert (status["kind"], status["failed"], status["reason"]) == ("webhook", 1, deliveries.reason)


def test_what_waits_is_bounded_and_what_is_dropped_is_counted() -> None:
    async def run() -> None:
        notifier, deliveries = Notifier([webhook_channel("http://127.0.0.1:1/")]), Deliveries()
        for number in range(MAX_GROUPS + 5):
            notifier.put(alert(rule=f"rule_{number}"), deliveries)
        assert deliveries.dropped == 5
        await notifier.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "url", ["ftp://host/secret", "http://", "host/secret", "http://[secret", "http://h:99999/secret"]
)
def test_an_address_that_is_none_is_refused_without_being_shown(url: str) -> None:
    for channel in (webhook_channel(url), Channel(name="chat", url=url.replace("http", "nonsense"))):
        with pytest.raises(ConfigError) as caught:
            asyncio.run(made(channel))
        assert "secret" not in str(caught.value)


async def made(channel: Channel) -> None:
    Notifier([channel])


@pytest.mark.parametrize(
    ("channel", "changes", "takes"),
    [
        ({}, {}, True),
        ({"severities": ("critical",)}, {}, False),
        ({}, {"notify": []}, False),
        ({}, {"notify": ["chat"]}, True),
        ({}, {"notify": ["mail"]}, False),
        ({"resolved": False}, {"state": "resolved"}, False),
    ],
)
def test_who_is_told_of_what(channel: dict[str, Any], changes: dict[str, Any], takes: bool) -> None:
    assert Channel(name="chat", url="json://x", **channel).takes(alert(**changes)) is takes


class Mailbox:
    """An SMTP server's way with messages: it keeps them."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:
        self.messages.append(email.message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


def test_mail_is_one_letter_of_all_that_came_within_the_wait() -> None:
    box = Mailbox()
    sock, port = bind_unused_port()
    sock.close()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        url = f"mailto://127.0.0.1:{port}?from=hub@example.com&to=ops@example.com&format=text"
        alerts = [*(alert(number) for number in range(30)), alert(0, state="resolved")]
        deliveries, (status,) = told(Channel(name="mail", url=url, group_wait_s=0.2), alerts)
    finally:
        controller.stop()
    assert (deliveries.sent, deliveries.reason, status["sent"]) == (31, "", 31)
    (letter,) = box.messages
    assert letter["Subject"] == "warning: chatter (30 firing, 1 resolved) in live"
    text = letter.get_body(("plain",)).get_content()
    assert "A host sends a lot." in text
    assert "firing: 10.0.0.19 sends a lot" in text
    assert "... and 11 more" in text
    assert "https://runbooks.test/chatter" in text


def test_apprise_posts_and_its_failures_tell_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with receiver([200, 500]) as (url, got):
            address = url.replace("http://", "json://")
            channel = Channel(name="chat", url=address, group_wait_s=0, group_interval_s=0, title="{rule} in {session}")
            notifier, deliveries = Notifier([channel], retry_delays_s=()), Deliveries()
            notifier.put(alert(), deliveries)
            await until(lambda: deliveries.sent == 1)
            notifier.put(alert(2), deliveries)
            await until(lambda: deliveries.failed == 1)
            await notifier.close()
            assert got[0]["title"] == "chatter in live"
            assert got[0]["type"] == "warning"
            assert "10.0.0.1 sends a lot" in got[0]["message"]
            assert deliveries.reason
            assert "secret" not in deliveries.reason

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())
    assert "secret" not in caplog.text


def test_a_service_that_hangs_keeps_nobody_waiting() -> None:
    """A listener that never answers: putting is at once, other channels go on, closing does not wait."""

    async def run() -> None:
        sock, port = bind_unused_port()
        sock.listen(1)
        async with receiver() as (url, got):
            hanging = Channel(name="hangs", url=f"json://127.0.0.1:{port}/?rto=2&cto=2", group_wait_s=0)
            notifier, deliveries = Notifier([hanging, webhook_channel(url)]), Deliveries()
            notifier.put(alert(), deliveries)
            await until(lambda: len(got) == 1)
            async with asyncio.timeout(1):
                await notifier.close()
        sock.close()

    asyncio.run(run())


def test_a_channel_is_told_no_more_often_than_it_takes() -> None:
    """With a clock that the test moves: ten messages at once, then one in ten seconds, however many rules fire."""

    async def run() -> None:
        now = 0.0
        async with receiver() as (url, got):
            channel = replace(webhook_channel(url), max_per_hour=360)
            notifier, deliveries = Notifier([channel], clock=lambda: now), Deliveries()
            for number in range(15):
                notifier.put(alert(rule=f"rule_{number}"), deliveries)
            await until(lambda: deliveries.sent == 10)
            now = 10.0
            notifier.put(alert(rule="rule_14"), deliveries)  # wakes it, and waits with the others
            await until(lambda: deliveries.sent == 11)
            await asyncio.sleep(0.05)
            assert len(got) == 11
            await notifier.close()

    asyncio.run(run())
