"""How a session's memory grows until its tables are full: the ring of 48 MiB, conversations, rollups; no rules.

    python benchmarks/session_memory.py [--millions 40]

Made-up traffic of 2,000 packets a second goes into a session in this process as fast as it takes it. A table of
conversations that is full forgets the half that was silent longest; its memory and that of the next one stay.
"""

import os
from itertools import count

from processes import rss_mib
from results import Result, Table, arguments, finish, progress

from aishark_panel.agent.synthetic import endless_trace
from aishark_panel.memory import reuse_freed_memory
from aishark_panel.streams.session import Session
from aishark_panel.wire.messages import PROTOCOL_VERSION, Hello, InterfaceInfo

RATE_PPS = 2_000
STEP = 4_000_000
"""packets between two rows"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--millions", type=int, default=40, help="packets")
    options = parser.parse_args()
    reuse_freed_memory()
    session = Session("", "", ring_bytes=48 * 2**20)
    interfaces = (InterfaceInfo(name="eth0", link_type=1),)
    run = session.runs.attach(
        Hello(
            protocol=PROTOCOL_VERSION,
            agent="a",
            run="0" * 32,
            version="",
            host="",
            source="live",
            interfaces=interfaces,
        )
    )
    table = Table("A session's memory", "packets", ["resident, MiB", "conversations", "forgotten"])
    for sequence, frames in zip(count(1), endless_trace(rate_pps=RATE_PPS), strict=False):
        now_ns = int(frames.ts[-1])
        session.ingest(run, frames, sequence, {}, now_ns=now_ns)
        session.release(now_ns)
        if session.packets >= (len(table.rows) + 1) * STEP:
            conversations = session.conversations
            table.add(f"{session.packets:,}", round(rss_mib(os.getpid())), len(conversations), conversations.forgotten)
            progress(f"{session.packets:,} packets")
        if session.packets >= options.millions * 1_000_000:
            break
    finish(Result("session_memory", [table]), options.json)


if __name__ == "__main__":
    main()
