"""Routes about the hub itself: its health, its metrics, and the document of this API."""

import asyncio
from collections.abc import Awaitable
from typing import ClassVar, Final

from aishark_panel.streams.answers import HealthAnswer
from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.health import disk_reasons, folders, health
from aishark_panel.streams.metrics import Answered, metrics_text
from aishark_panel.streams.openapi import rendered
from aishark_panel.streams.operation import JSON, Answer, operation
from aishark_panel.wire.prometheus import TEXT

__all__ = ["ROUTES"]


class Health(Guarded):
    """`/api/health`: the one route that answers without a token, and then only that the hub is alive."""

    _is_nobody = False

    def prepare(self) -> Awaitable[None] | None:
        self._is_nobody = self.method == "GET" and "Authorization" not in self.request.headers
        return None if self._is_nobody else super().prepare()

    @operation("Whether the hub is alive; with a token, what is wrong.", answer=HealthAnswer, needs_token=False)
    async def get(self) -> None:
        if self._is_nobody:
            self.finish({"state": "alive"})
            return
        loop = asyncio.get_running_loop()
        disks = await loop.run_in_executor(self.hub.disk_pool, disk_reasons, folders(self.hub))
        self.finish(health(self.hub, self.person, disks))


class Metrics(Guarded):
    """`/metrics`"""

    @operation("Counters of what one sees, for Prometheus.", media=(TEXT,))
    def get(self) -> None:
        answered: Answered = self.settings["answered"]
        self.set_header("Content-Type", TEXT)
        self.finish(metrics_text(self.hub, self.person, answered))


class ChannelAnswer(Answer):
    """A channel that is told of alerts; how many alerts it was told of."""

    name: str
    kind: str
    """webhook, or the service"""
    severity: list[str]
    """of alerts that it takes"""
    sent: int
    failed: int
    dropped: int
    """not tried, because too much waited"""
    waiting: int
    reason: str
    """why the last one failed"""


class ChannelsAnswer(Answer):
    """The hub's channels."""

    channels: list[ChannelAnswer]


class Channels(Guarded):
    """`/api/channels`"""

    needs: ClassVar = {"GET": "admin"}

    @operation("The channels that are told of alerts, and how they fare.", answer=ChannelsAnswer)
    def get(self) -> None:
        notifier = self.hub.alerting.notifier
        self.finish({"channels": notifier.status() if notifier else []})


class Document(Guarded):
    """`/api/openapi.json`"""

    @operation("This API as an OpenAPI document.", media=(JSON,))
    def get(self) -> None:
        self.set_header("Content-Type", JSON)
        self.finish(rendered(self.settings["routes"]))


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/health", Health),
    (r"/metrics", Metrics),
    (r"/api/channels", Channels),
    (r"/api/openapi\.json", Document),
)
