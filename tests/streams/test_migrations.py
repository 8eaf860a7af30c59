"""Databases of earlier versions are brought up to the newest, with all that is in them."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import inspect

from aishark_panel.streams.people import People
from aishark_panel.streams.store import KeptSession, Store
from aishark_panel.streams.store.database import FILE_NAME
from aishark_panel.streams.store.schema import MIGRATIONS, metadata
from aishark_panel.wire.messages import CaptureSettings

STATES = Path(__file__).with_name("states")
AGENT, KEY = "5b9df27b309d", "4DXwW_oo9NE7BqsCvdkFwcMUlPDg4RvK1gxI4KxB4ak"
"""an agent of the state of version 3"""


def database(folder: Path, *scripts: str) -> Path:
    """A folder with a database that SQLite alone made of these scripts."""
    connection = sqlite3.connect(folder / FILE_NAME)
    for script in scripts:
        connection.executescript(script)
    connection.close()
    return folder


def layout(store: Store) -> dict[str, tuple[set[str], set[str | None]]]:
    """Columns and indices of each table there is."""
    found = inspect(store._connection)
    return {
        name: (
            {f"{c['name']} {c['type']} {'' if c['nullable'] else 'not null'}" for c in found.get_columns(name)},
            {index["name"] for index in found.get_indexes(name)},
        )
        for name in found.get_table_names()
    }


def test_a_state_that_version_3_left_is_all_there(tmp_path: Path) -> None:
    folder = database(tmp_path, (STATES / "version3.sql").read_text())
    for _ in range(2):  # migrated, and opened again
        store = Store(folder)
        assert [(a.name, a.owner) for a in store.agents()] == [("edge", ""), ("edge", "ann")]
        agent = store.agent_of_key(KEY)
        assert agent is not None
        assert agent.id == AGENT
        order = store.order(AGENT)
        assert order is not None
        assert (order.capture, order.session_id, order.settings) == (False, "0a", CaptureSettings(snaplen=64))
        assert store.sessions("j1") == [
            KeptSession(id="0a", name="live", owner="", wanted=True),
            KeptSession(id="0b", name="anns", owner="ann", wanted=False),
        ]
        assert store.profile("web").filter == "tcp port 443"
        assert store.profile("web", "ann").filter == "udp"
        assert [t.person for t in store.tokens(1_800_000_002)] == ["ann"]
        assert store.revoked_tokens() == {"7e34da50a2ff2ee5"}
        assert store.secret("tokens").hex().startswith("c2f807a9ba36d468")
        assert [e["action"] for e in store.audit()] == ["session.stop", "agent.register"]
        assert store.accounts() == []
        assert People("start", store).person("start", 1_800_000_000)
        store.close()


@pytest.mark.parametrize("version", range(len(MIGRATIONS)))
def test_every_version_ends_in_one_schema(tmp_path: Path, version: int) -> None:
    made = "CREATE TABLE migrations (version INTEGER PRIMARY KEY, applied_ns INTEGER NOT NULL);"
    applied = [f"INSERT INTO migrations VALUES ({n}, 0);" for n in range(1, version + 1)]
    store = Store(database(tmp_path, made, *MIGRATIONS[:version], *applied))
    newest = Store()
    assert layout(store) == layout(newest)
    store.close()
    newest.close()


def test_the_tables_of_queries_are_those_of_the_migrations() -> None:
    store = Store()
    found = layout(store)
    assert found.keys() == metadata.tables.keys()
    for name, table in metadata.tables.items():
        assert {c.split()[0] for c in found[name][0]} == {c.name for c in table.columns}
        keys = inspect(store._connection).get_pk_constraint(name)["constrained_columns"]
        assert sorted(keys) == sorted(c.name for c in table.primary_key)
    store.close()
