"""Notification: a webhook is told of each alert that begins to fire or is resolved.

One message at a time, as a JSON object in a POST, tried again when it fails, and never in anybody's way: what waits is
bounded, and what becomes of each message is counted. The address often holds a secret, so no message shows it.
"""

import asyncio
import json
import logging
from collections import deque
from typing import Any, Final
from urllib.parse import urlsplit

from tornado.httpclient import HTTPError, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from aishark_panel import __version__
from aishark_panel.alerts.log import Deliveries
from aishark_panel.errors import ConfigError

__all__ = ["MAX_WAITING", "Webhook"]

log = logging.getLogger(__name__)

MAX_WAITING: Final = 1_000
RETRY_DELAYS_S: Final = (0.5, 2.0, 8.0)
_TIMEOUT_S: Final = 10.0
_MAX_ANSWER_BYTES: Final = 2**16


class Webhook:
    """Tells one address; made and used on one event loop."""

    def __init__(self, url: str, *, retry_delays_s: tuple[float, ...] = RETRY_DELAYS_S) -> None:
        """Raises ConfigError unless `url` is an HTTP address."""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ConfigError("The webhook's address must start with http:// or https:// and name a host.")
        self._url = url
        self.host = parts.netloc.rpartition("@")[2]
        """where it goes, without what may be secret"""
        self._retry_delays_s = retry_delays_s
        self._waiting: deque[tuple[dict[str, Any], Deliveries]] = deque()
        self._wake = asyncio.Event()
        self._client = SimpleAsyncHTTPClient(force_instance=True, max_body_size=_MAX_ANSWER_BYTES)
        self._task = asyncio.create_task(self._work(), name="webhook")

    def put(self, message: dict[str, Any], deliveries: Deliveries) -> None:
        """Queue a message; `deliveries` counts what becomes of it. When too many wait, the oldest is dropped."""
        if len(self._waiting) == MAX_WAITING:
            self._waiting.popleft()[1].dropped += 1
        self._waiting.append((message, deliveries))
        self._wake.set()

    async def close(self) -> None:
        """Stop; what waits is not sent."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._client.close()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                message, deliveries = self._waiting.popleft()
                reason = await self._send(json.dumps(message).encode())
                if reason:
                    deliveries.failed += 1
                    deliveries.reason = reason
                    log.warning("webhook at %s: %s", self.host, reason)
                else:
                    deliveries.sent += 1

    async def _send(self, body: bytes) -> str:
        """Why it could not be sent; '' if it was."""
        reason = ""
        for delay_s in (0.0, *self._retry_delays_s):
            await asyncio.sleep(delay_s)
            reason, again = await self._try(body)
            if not again:
                break
        return reason

    async def _try(self, body: bytes) -> tuple[str, bool]:
        """Why it failed ('' if it did not), and whether to try again: a refusal stays one."""
        request = HTTPRequest(
            self._url,
            method="POST",
            headers={"Content-Type": "application/json", "User-Agent": f"aishark/{__version__}"},
            body=body,
            connect_timeout=_TIMEOUT_S,
            request_timeout=_TIMEOUT_S,
            follow_redirects=False,
        )
        try:
            await self._client.fetch(request)
        except HTTPError as error:
            if error.code == 599:  # tornado's own: no answer at all
                return f"{self.host} did not answer", True
            return f"{self.host} answered {error.code}", error.code == 429 or error.code >= 500
        except (OSError, ValueError) as error:
            return f"{self.host} cannot be reached ({type(error).__name__})", True
        return "", False
