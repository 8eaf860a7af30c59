"""How a message reaches a channel: by POST to a webhook, or by apprise, which knows mail, chat and paging services.

What went wrong is said without the address, which is often a secret.
"""

import asyncio
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from tornado.httpclient import HTTPError, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from aishark_panel import __version__
from aishark_panel.alerts.channels import Channel
from aishark_panel.alerts.letters import Letter, text_of, title_of
from aishark_panel.errors import ConfigError

__all__ = ["AppriseSender", "Sender", "WebhookSender", "sender_of"]

_TIMEOUT_S: Final = 10.0
_MAX_ANSWER_BYTES: Final = 2**16
_SINGLES: Final = 20
"""A webhook gets so few alerts one by one."""
_KINDS: Final = {"info": "info", "warning": "warning", "critical": "failure"}
"""What apprise calls the severities."""


class Sender(Protocol):
    """Sends messages to one address."""

    kind: str
    """what it is, in a word"""

    async def send(self, letter: Letter) -> tuple[str, bool]:
        """Why it failed ('' if it did not), and whether to try again: a refusal stays one."""

    def close(self) -> None:
        """What is under way is let go."""


def sender_of(channel: Channel) -> Sender:
    """The sender of a channel. Raises ConfigError where its address is none."""
    return WebhookSender(channel.url) if channel.is_webhook else AppriseSender(channel)


class WebhookSender:
    """Posts JSON objects: each alert by itself, or a group of many as one."""

    kind = "webhook"

    def __init__(self, url: str) -> None:
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
        self._client = SimpleAsyncHTTPClient(force_instance=True, max_body_size=_MAX_ANSWER_BYTES)
        self._done: tuple[Letter | None, int] = (None, 0)
        """how many alerts of the letter that is tried again have been posted"""

    async def send(self, letter: Letter) -> tuple[str, bool]:
        if letter.more or len(letter.alerts) > _SINGLES:
            return await self._post(letter.as_json())
        done = self._done[1] if self._done[0] is letter else 0
        for number, alert in enumerate(letter.alerts[done:], done):
            self._done = letter, number
            reason, again = await self._post(dict(alert))
            if reason:
                return reason, again
        self._done = (None, 0)
        return "", False

    async def _post(self, message: dict[str, Any]) -> tuple[str, bool]:
        request = HTTPRequest(
            self._url,
            method="POST",
            headers={"Content-Type": "application/json", "User-Agent": f"aishark/{__version__}"},
            body=json.dumps(message).encode(),
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

    def close(self) -> None:
        self._client.close()


class AppriseSender:
    """Hands texts to apprise, on a thread: it waits for the service."""

    def __init__(self, channel: Channel) -> None:
        """Raises ConfigError where apprise does not know the address."""
        try:
            import apprise
        except ImportError as error:
            raise ConfigError("Channels need apprise: pip install 'aishark-panel[hub]'") from error
        self._apprise = apprise
        self._channel = channel
        self._target = apprise.Apprise()
        logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs addresses
        if not self._target.add(channel.url):
            raise ConfigError(
                f"Channel {channel.name!r}: its url is none that apprise knows, such as mailtos://user:password@host "
                "or slack://token; see https://github.com/caronc/apprise/wiki"
            )
        self.kind = str(self._target[0].service_name)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="notify")

    async def send(self, letter: Letter) -> tuple[str, bool]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._send, letter), True

    def _send(self, letter: Letter) -> str:
        kind = "success" if not letter.firing else _KINDS[letter.alerts[0]["severity"]]
        with self._apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:  # type: ignore[no-untyped-call]
            try:
                sent = self._target.notify(
                    title=title_of(self._channel, letter), body=text_of(self._channel, letter), notify_type=kind
                )
            except Exception as error:
                return f"it failed ({type(error).__name__})"
            lines = said.getvalue().splitlines()
        return "" if sent else self._without_secrets(lines[0] if lines else "the service did not take it")

    def _without_secrets(self, text: str) -> str:
        for part in re.split(r"[/:@?&=,]+", unquote(self._channel.url)):
            if len(part) > 3:
                text = text.replace(part, "...")
        return text[:300]

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
