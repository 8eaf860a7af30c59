"""A rehearsal of the hot path, so that the first real packet does not wait for its kernels."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from aishark_panel import compiling
from aishark_panel.alerts.rule import parse_rules
from aishark_panel.dissect import warm_up
from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import PROTOCOL_VERSION, Hello, InterfaceInfo

__all__ = ["get_ready", "rehearse"]

_REHEARSED_RULE: Final = """
rules:
  - name: rehearsal
    where: in_net(src_ip, '0.0.0.0/0')
    by: [src_ip]
    over: 1s
    having: nunique(eth_src) > 0 and max(orig_len) > 0
"""


def rehearse() -> None:
    """Take a packet each of two agents into a session that is thrown away, so that every kernel of the hot path is
    loaded."""
    session = Session("", "", ring_bytes=MIN_LIMIT_BYTES, rules=parse_rules(_REHEARSED_RULE, "rehearsal"))
    frame = bytes(12) + b"\x08\x00\x45" + bytes(60)
    message = Frames.from_list([frame], [0]).to_message()
    for name in ("0", "1"):
        session.runs.attach(
            Hello(
                protocol=PROTOCOL_VERSION,
                agent=name,
                run=name * 32,
                version="",
                host="",
                source="live",
                interfaces=(InterfaceInfo(name="none", link_type=1),),
            )
        )
    for run in session.runs:
        session.ingest(run, Frames.from_message(message), 1, {}, now_ns=0)
    session.release(now_ns=10**10)
    session.clear()


async def get_ready(executor: Executor, say: Callable[[str], None]) -> None:
    """Load or compile every kernel of the hot path on the ingest thread: packets that come meanwhile wait.

    `say` is told on the event loop what must be done, in words, and "" at the end.
    """
    loop = asyncio.get_running_loop()

    def progress(what: str) -> None:
        loop.call_soon_threadsafe(say, f"Getting ready: {what or 'loading the dissector'}.")

    def work() -> None:
        progress("")
        with compiling.told(progress):
            warm_up()
            rehearse()

    await loop.run_in_executor(executor, work)
    say("")
