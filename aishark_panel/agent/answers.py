"""Answers the hub's inquiries: which interfaces this host has, and what a filter would keep.

They are answered on the event loop and in worker threads, one of each kind at a time; the capture thread has no part in
it. The owner's bounds hold here too.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from aishark_panel.agent.bounds import Bounds
from aishark_panel.agent.bpf import join_filters
from aishark_panel.agent.scope import CaptureScope
from aishark_panel.agent.source import Source
from aishark_panel.errors import AisharkError, ConfigError
from aishark_panel.wire.inquiries import FilterTrial, HostInterface, HostInterfaces, ListInterfaces, TryFilter

__all__ = ["Answers"]

log = logging.getLogger(__name__)

_MAX_REASON: Final = 1_000
"""characters that the messages allow"""


class Answers:
    """Answers for one agent. `own` is its configuration's scope, `send` takes the answers.

    `scope()` says what is captured now. `open_trial` opens a second capture of a scope; None where the agent's source
    has no capture filter that can be changed.
    """

    def __init__(
        self,
        own: CaptureScope,
        bounds: Bounds,
        scope: Callable[[], CaptureScope],
        open_trial: Callable[[CaptureScope], Source] | None,
        send: Callable[[HostInterfaces | FilterTrial], None],
    ) -> None:
        self._own = own
        self._bounds = bounds
        self._scope = scope
        self._open_trial = open_trial
        self._send = send
        self._under_way: dict[type, asyncio.Task[None]] = {}

    def ask(self, inquiry: ListInterfaces | TryFilter) -> None:
        """Answer in a while (call on the event loop)."""
        before = self._under_way.get(type(inquiry))
        if before and not before.done():
            self._send(_refusal(inquiry, "The agent is busy with another one of these; try again."))
            return
        self._under_way[type(inquiry)] = asyncio.create_task(self._answer(inquiry), name="inquiry")

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, inquiry: ListInterfaces | TryFilter) -> None:
        try:
            self._bounds.require_remote_control()
            if isinstance(inquiry, ListInterfaces):
                self._send(HostInterfaces(answers=inquiry.number, interfaces=await self._interfaces()))
            else:
                self._send(await self._trial(inquiry))
        except AisharkError as error:
            self._send(_refusal(inquiry, str(error)))
        except Exception as error:
            log.exception("an inquiry failed")
            self._send(_refusal(inquiry, f"The agent failed: {error}"))

    async def _interfaces(self) -> tuple[HostInterface, ...]:
        # Loaded when asked for: it needs what captures live, which other sources do without.
        from aishark_panel.agent.interfaces import host_interfaces

        return await host_interfaces(set(self._scope().interfaces), lambda name: self._bounds.allows(name, self._own))

    async def _trial(self, inquiry: TryFilter) -> FilterTrial:
        from aishark_panel.agent.trial import SNAPLEN, run_trial

        open_trial = self._open_trial
        if open_trial is None:
            raise ConfigError("This agent's source has no capture filter; use a display filter.")
        own = replace(self._own, interfaces=self._scope().interfaces, snaplen=SNAPLEN)
        tried = replace(own, filter=join_filters(own.filter, inquiry.filter))
        seen, passed = await asyncio.to_thread(
            run_trial, lambda: open_trial(own), lambda: open_trial(tried), inquiry.seconds
        )
        return FilterTrial(
            answers=inquiry.number,
            seconds=inquiry.seconds,
            packets=seen.packets,
            bytes=seen.octets,
            passed_packets=passed.packets,
            passed_bytes=passed.octets,
            missed_packets=max(seen.missed, passed.missed),
        )


def _refusal(inquiry: ListInterfaces | TryFilter, reason: str) -> HostInterfaces | FilterTrial:
    kind = HostInterfaces if isinstance(inquiry, ListInterfaces) else FilterTrial
    return kind(answers=inquiry.number, reason=reason[:_MAX_REASON])
