"""The hub's state: what is kept over restarts, what never is, and what nobody can change."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.streams.store import Order, Store, default_state_dir
from aishark_panel.streams.store.database import FILE_NAME, hash_of
from aishark_panel.streams.store.schema import MIGRATIONS
from aishark_panel.wire.messages import CaptureSettings


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "made" / "here")
    agent, key = store.register("edge")
    order = Order(capture=False, session_id="1", session_name="a", settings=CaptureSettings(snaplen=64), run="2")
    store.save_order(agent.id, order)
    store.save_profile("web", CaptureSettings(filter="tcp port 443"))
    store.record("token", "agent.start", agent.id, profile="web", session="")
    store.close()

    again = Store(tmp_path / "made" / "here")
    assert again.agents() == [agent]
    assert again.agent_of_key(key) == agent
    assert again.order(agent.id) == order
    assert again.profiles() == {"web": CaptureSettings(filter="tcp port 443")}
    (entry,) = again.audit()
    assert (entry["who"], entry["action"], entry["subject"]) == ("token", "agent.start", agent.id)
    assert entry["details"] == {"profile": "web"}
    again.close()


def test_a_key_is_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _, key = store.register("edge")
    store.close()
    assert all(key.encode() not in file.read_bytes() for file in tmp_path.iterdir())
    assert len(key) == 43  # 256 bits in base64


def test_other_users_cannot_read_what_tokens_are_signed_with(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / FILE_NAME).touch(0o644)
    store = Store(tmp_path)
    store.secret("tokens")
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {
        FILE_NAME + suffix: 0o600 for suffix in ("", "-wal", "-shm")
    }
    store.close()


def test_a_revoked_key_is_nobodys_and_the_name_is_free_again() -> None:
    store = Store()
    agent, key = store.register("edge")
    store.save_order(agent.id, Order(capture=True, session_id="", session_name=""))
    with pytest.raises(ConfigError, match="'edge' already"):
        store.register("edge")
    store.revoke(agent.id)
    assert store.agent_of_key(key) is None
    assert store.order(agent.id) is None
    assert store.agents() == []
    assert store.register("edge")[1] != key
    with pytest.raises(NotFoundError):
        store.revoke(agent.id)
    store.close()


def test_a_wrong_key_is_nobodys() -> None:
    store = Store()
    store.register("edge")
    for key in ("", "x", "\udcff", "'; DROP TABLE agents; --"):
        assert store.agent_of_key(key) is None
    store.close()


def test_the_audit_cannot_be_changed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(5):
        store.record("token", "session.stop", str(number))
    for statement in ("DELETE FROM audit", "UPDATE audit SET who = 'somebody else'"):
        with pytest.raises(IntegrityError, match="append-only"):
            store.execute(text(statement))
    assert [e["subject"] for e in store.audit(2)] == ["4", "3"]
    assert [e["subject"] for e in store.audit(10, before=3)] == ["1", "0"]
    store.close()


def test_profiles_are_changed_and_forgotten() -> None:
    store = Store()
    store.save_profile("a", CaptureSettings(sampling=2))
    store.save_profile("a", CaptureSettings(sampling=3))
    assert store.profile("a") == CaptureSettings(sampling=3)
    store.delete_profile("a")
    for gone in (store.profile, store.delete_profile):
        with pytest.raises(NotFoundError, match="no profile 'a'"):
            gone("a")
    store.close()


def test_a_database_of_the_future_is_left_alone(tmp_path: Path) -> None:
    Store(tmp_path).close()
    database = sqlite3.connect(tmp_path / FILE_NAME)
    assert database.execute("SELECT version FROM migrations").fetchall() == [(n + 1,) for n in range(len(MIGRATIONS))]
    with database:
        database.execute("INSERT INTO migrations VALUES (99, 0)")
    database.close()
    with pytest.raises(ConfigError, match="newer aishark"):
        Store(tmp_path)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "aishark_panel.streams.store.schema.MIGRATIONS", (*MIGRATIONS, "CREATE TABLE x (y);\nSELECT nonsense;")
    )
    with pytest.raises(ConfigError, match="nonsense"):
        Store(tmp_path)
    monkeypatch.undo()
    Store(tmp_path).close()


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--state"):
        Store(tmp_path / "file")
    (tmp_path / FILE_NAME).write_text("not a database, but long enough to look like something" * 20)
    with pytest.raises(ConfigError, match=r"not a database.*--state"):
        Store(tmp_path)


def test_the_state_is_where_the_user_keeps_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/there")
    assert default_state_dir() == Path("/there/aishark")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_state_dir() == Path("/home/me/.local/state/aishark")


def test_no_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """They are made on the hub's event loop; a thread for the disk makes them safe."""
    store = Store(tmp_path)
    store.make_safe()
    for number in range(2_000):  # far more than SQLite would leave to itself
        store.record("token", "session.start", f"{number} {'x' * 3_000}")
    database = (tmp_path / FILE_NAME).stat().st_size
    assert (tmp_path / f"{FILE_NAME}-wal").stat().st_size > 4_000_000
    with ThreadPoolExecutor(1) as disk:
        disk.submit(store.make_safe).result()
    assert (tmp_path / FILE_NAME).stat().st_size > database + 4_000_000
    synchronous = store._connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
    assert synchronous == 1  # NORMAL: a checkpoint syncs, a commit does not
    store.close()
    again = Store(tmp_path)
    assert len(again.audit(1_000)) == 1_000
    again.close()


def test_a_store_in_memory_has_nothing_to_make_safe() -> None:
    store = Store()
    store.make_safe()
    store.close()


def test_which_keys_are_good_is_asked_for_many_at_once() -> None:
    store = Store()
    (first, first_key), (second, second_key) = store.register("a"), store.register("b")
    next_key = store.replace_key(first.id)
    hashes = {hash_of(key): key for key in (first_key, second_key, next_key, "forged")}

    def good() -> set[str]:
        return {hashes[found] for found in store.good_keys(hashes)}

    assert good() == {first_key, second_key, next_key}
    store.key_used(first.id, next_key)
    assert good() == {second_key, next_key}
    store.revoke(second.id)
    assert good() == {next_key}
    assert store.good_keys([]) == set()
    store.close()


def test_rules_are_kept_by_owner_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.save_rule("ann", "telnet", {"name": "telnet", "where": "tcp.port == 23"})
    store.save_rule("", "telnet", {"name": "telnet", "enabled": False})
    store.save_rule("ann", "telnet", {"name": "telnet", "where": "tcp.port == 2323"})
    store.close()
    store = Store(tmp_path)
    assert store.rules("ann") == {"telnet": {"name": "telnet", "where": "tcp.port == 2323"}}
    assert store.rules("") == {"telnet": {"name": "telnet", "enabled": False}}
    with pytest.raises(NotFoundError, match="you keep no rule"):
        store.delete_rule("bob", "telnet")
    store.delete_rule("ann", "telnet")
    assert (store.rules("ann"), list(store.rules(""))) == ({}, ["telnet"])
    monkeypatch.setattr("aishark_panel.streams.store.rules.MAX_KEPT_RULES", 1)
    store.save_rule("", "telnet", {"name": "telnet"})
    with pytest.raises(ConfigError, match="delete one first"):
        store.save_rule("", "another", {"name": "another"})
    store.close()
