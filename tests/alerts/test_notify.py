"""The webhook, against a real HTTP server: what arrives, what is tried again, and what never waits."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from aishark_panel.alerts.log import Deliveries
from aishark_panel.alerts.notify import MAX_WAITING, Webhook
from aishark_panel.errors import ConfigError


class Receiver(RequestHandler):
    """Answers with the next of the codes it was given, then 200."""

    def initialize(self, got: list[Any], codes: list[int]) -> None:
        self.got, self.codes = got, codes

    def post(self) -> None:
        self.got.append((self.request.headers["Content-Type"], json.loads(self.request.body)))
        self.set_status(self.codes.pop(0) if self.codes else 200)


@contextlib.asynccontextmanager
async def receiver(codes: list[int]) -> AsyncIterator[tuple[str, list[Any]]]:
    """The address of a real server, and what it got."""
    got: list[Any] = []
    server = HTTPServer(Application([("/hook", Receiver, {"got": got, "codes": codes})], log_function=lambda _: None))
    sock, port = bind_unused_port()
    server.add_socket(sock)
    try:
        yield f"http://user:secret@127.0.0.1:{port}/hook?token=secret", got
    finally:
        server.stop()
        await server.close_all_connections()


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - what is waited for is a plain counter
            await asyncio.sleep(0.005)


def test_messages_arrive_in_order_as_json() -> None:
    async def run() -> None:
        async with receiver([]) as (url, got):
            webhook, deliveries = Webhook(url), Deliveries()
            for number in range(3):
                webhook.put({"number": number}, deliveries)
            await until(lambda: deliveries.sent == 3)
            await webhook.close()
            assert got == [("application/json", {"number": number}) for number in range(3)]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("codes", "tries", "sent", "reason"),
    [
        ([500, 429], 3, 1, ""),
        ([503, 503, 503], 3, 0, "127.0.0.1:PORT answered 503"),
        ([404], 1, 0, "127.0.0.1:PORT answered 404"),
        ([302], 1, 0, "127.0.0.1:PORT answered 302"),
    ],
)
def test_what_fails_is_tried_again_unless_it_was_refused(codes: list[int], tries: int, sent: int, reason: str) -> None:
    async def run() -> None:
        async with receiver(list(codes)) as (url, got):
            webhook, deliveries = Webhook(url, retry_delays_s=(0.0, 0.0)), Deliveries()
            webhook.put({}, deliveries)
            await until(lambda: deliveries.sent + deliveries.failed == 1)
            await webhook.close()
            port = webhook.host.partition(":")[2]
            assert (len(got), deliveries.sent) == (tries, sent)
            assert deliveries.reason == reason.replace("PORT", port)
            assert "secret" not in deliveries.reason

    asyncio.run(run())


def test_nobody_there_is_a_failure_with_a_reason() -> None:
    async def run() -> None:
        sock, port = bind_unused_port()
        sock.close()
        webhook, deliveries = Webhook(f"http://127.0.0.1:{port}/?secret", retry_delays_s=()), Deliveries()
        webhook.put({}, deliveries)
        await until(lambda: deliveries.failed == 1)
        await webhook.close()
        assert deliveries.reason == f"127.0.0.1:{port} cannot be reached (ConnectionRefusedError)"

    asyncio.run(run())


def test_what_waits_is_bounded_and_what_is_dropped_is_counted() -> None:
    async def run() -> None:
        webhook, deliveries = Webhook("http://127.0.0.1:1/"), Deliveries()
        for _ in range(MAX_WAITING + 5):
            webhook.put({}, deliveries)
        assert deliveries.dropped == 5
        await webhook.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "url", ["ftp://host/secret", "http://", "host/secret", "http://[secret", "http://h:99999/secret"]
)
def test_an_address_that_is_none_is_refused_without_being_shown(url: str) -> None:
    async def run() -> None:
        Webhook(url)

    with pytest.raises(ConfigError) as caught:
        asyncio.run(run())
    assert "secret" not in str(caught.value)
