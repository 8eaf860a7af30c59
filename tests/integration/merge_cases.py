"""Two agents at the two ends of a wire feed one session. test_merge.py runs this in a network namespace."""

import contextlib
import itertools
from pathlib import Path

from aishark_panel.embedded import EmbeddedHub
from tests.integration.conftest import ask, wait_for
from tests.integration.edge import Wires, edge_agent, rows, wires  # noqa: F401
from tests.ledgers import is_drained

FILE = """
agent: {{name: {name}, interfaces: [{interface}], filter: udp port 9999}}
server: {{api_key: "${{THE_KEY}}"}}
"""
COUNT = 400


def test_a_packet_is_seen_where_it_left_before_where_it_came(hub: EmbeddedHub, wires: Wires, tmp_path: Path) -> None:  # noqa: F811
    with contextlib.ExitStack() as agents:
        for name, interface in (("left", "near0"), ("right", "far0")):
            folder = tmp_path / name
            folder.mkdir()
            text = FILE.format(name=name, interface=interface)
            session = agents.enter_context(edge_agent(hub, folder, "both ends", text))
        wait_for(lambda: capturing(hub, session) == 2, "two agents at work")
        for _ in range(COUNT):
            wires.send(0, 9_999)
        wait_for(lambda: ask(hub, lambda c: c.stats(session))["packets"] == 2 * COUNT, "all packets")
        wait_for(lambda: is_drained(ask(hub, lambda c: c.ledger(session))), "a drained ledger")
        seen = rows(hub, session, "ts", "agent")
        assert [agent for _, agent in seen].count("left") == COUNT
        assert [ts for ts, _ in seen] == sorted(ts for ts, _ in seen)
        # Batches are 100 ms long, so without merging an agent's packets would stand together.
        changes = sum(one != other for (_, one), (_, other) in itertools.pairwise(seen))
        assert changes > COUNT
        stats = ask(hub, lambda c: c.stats(session))
        assert stats["late"] == 0
        assert [agent["clock_offset_ms"] for agent in stats["agents"]] == [0, 0]  # it is the same clock


def capturing(hub: EmbeddedHub, session: str) -> int:
    return sum(agent["capturing"] for agent in ask(hub, lambda c: c.stats(session))["agents"])
