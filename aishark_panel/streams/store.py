"""What a hub remembers over restarts, in one SQLite file: agents, orders, sessions, profiles, tokens, audit.

An *agent* is registered under a name and holds a key, of which only the SHA-256 is kept: the key has 256 random bits,
so that a slow hash would protect nothing. An *order* is what the hub last asked of an agent: to capture or not, for
which session, with which settings. A *session* is kept where a journal keeps its packets. A *profile* is a set of
settings under a name. Agents, sessions and profiles have an *owner*, a person's name, or "" for the hub's own. Of
tokens it keeps which were issued and which were taken back. The *audit* says who did what; the database itself refuses
to change or delete its entries.

All calls take a millisecond or less and belong to the thread that made the store (the hub's event loop).
"""

import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from aishark_panel.errors import ConfigError, HubError, NotFoundError
from aishark_panel.wire.messages import CaptureSettings

__all__ = ["MAX_AUDIT_ENTRIES", "IssuedToken", "KeptSession", "Order", "RegisteredAgent", "Store", "default_state_dir"]

FILE_NAME: Final = "hub.sqlite"
MAX_AGENTS: Final = 10_000
MAX_PROFILES: Final = 1_000
MAX_TOKENS: Final = 10_000
"""Most tokens that are good at a time."""
MAX_AUDIT_ENTRIES: Final = 1_000
"""Most entries of one answer."""
_AGENT_COLUMNS: Final = "id, name, created_ns, last_seen_ns, owner"
_AUDIT_COLUMNS: Final = ("number", "ts_ns", "who", "action", "subject", "details")
_LOCK_WAIT_S: Final = 1.0
_ORDER_LIFE_NS: Final = 7 * 86_400 * 10**9
"""How long the order to an agent without a key is kept: its id is that of one run, which may never come back."""

MIGRATIONS: Final = (
    """
    CREATE TABLE agents (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, key_hash BLOB NOT NULL UNIQUE,
        created_ns INTEGER NOT NULL, revoked_ns INTEGER, last_seen_ns INTEGER);
    CREATE UNIQUE INDEX agent_names ON agents (name) WHERE revoked_ns IS NULL;
    CREATE TABLE orders (
        agent TEXT PRIMARY KEY, "order" BLOB NOT NULL, given_ns INTEGER NOT NULL);
    CREATE TABLE profiles (name TEXT PRIMARY KEY, settings BLOB NOT NULL);
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT, ts_ns INTEGER NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
        subject TEXT NOT NULL, details TEXT NOT NULL);
    CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'append-only'); END;
    CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'append-only'); END;
    """,
    """
    ALTER TABLE agents ADD COLUMN owner TEXT NOT NULL DEFAULT '';
    DROP INDEX agent_names;
    CREATE UNIQUE INDEX agent_names ON agents (owner, name) WHERE revoked_ns IS NULL;
    ALTER TABLE profiles RENAME TO hub_profiles;
    CREATE TABLE profiles (
        owner TEXT NOT NULL, name TEXT NOT NULL, settings BLOB NOT NULL, PRIMARY KEY (owner, name));
    INSERT INTO profiles SELECT '', name, settings FROM hub_profiles;
    DROP TABLE hub_profiles;
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY, person TEXT NOT NULL, capabilities TEXT NOT NULL,
        created_s INTEGER NOT NULL, expires_s INTEGER NOT NULL, revoked_s INTEGER);
    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
    """,
    """
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY, journal TEXT NOT NULL, name TEXT NOT NULL, owner TEXT NOT NULL, wanted INTEGER NOT NULL,
        created_ns INTEGER NOT NULL);
    """,
)
"""Schema changes, oldest first; version n is what the first n of them make. Never edit one that was released."""


class RegisteredAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that has a key."""

    id: str
    name: str
    created_ns: int
    last_seen_ns: int | None
    """when it last connected or left; None: never"""
    owner: str = ""


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a token: not the token."""

    id: str
    person: str
    capabilities: tuple[str, ...]
    created_s: int
    expires_s: int
    """Unix time"""


class KeptSession(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a session beside its journal."""

    id: str
    name: str
    owner: str
    wanted: bool
    """whether it is started"""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub last asked of an agent."""

    capture: bool
    session_id: str
    session_name: str
    """session it is to feed; the name counts where the id is gone, as after a restart of the hub"""
    settings: CaptureSettings = CaptureSettings()
    run: str = ""
    """run of the agent that was told; a later one knows nothing of the settings yet"""


def default_state_dir() -> Path:
    """Where a hub that is not told otherwise keeps its state (XDG base directory specification)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "aishark"


class Store:
    """The database in a folder, made if need be; without a folder, one in memory. ConfigError if it cannot be used."""

    def __init__(self, folder: Path | None = None) -> None:
        try:
            if folder is not None:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _close_to_others(folder / FILE_NAME)
            self._database = sqlite3.connect(
                ":memory:" if folder is None else folder / FILE_NAME, timeout=_LOCK_WAIT_S, isolation_level=None
            )
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"The hub cannot keep its state in {folder}: {error}. Choose a folder with --state."
            ) from error
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._migrate()
            self._execute(
                "DELETE FROM orders WHERE given_ns < ? AND agent NOT IN (SELECT id FROM agents)",
                time.time_ns() - _ORDER_LIFE_NS,
            )
        except (sqlite3.Error, HubError) as error:
            self._database.close()
            raise ConfigError(
                f"The hub's state in {folder} cannot be used: {error}. Choose a folder with --state."
            ) from error

    def close(self) -> None:
        """Close the database; every change is in it already."""
        self._database.close()

    def _migrate(self) -> None:
        with self._transaction():
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied_ns INTEGER NOT NULL)"
            )
            (version,) = self._database.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()
            if version > len(MIGRATIONS):
                raise HubError(f"it has version {version}, made by a newer aishark; this one knows {len(MIGRATIONS)}")
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                for statement in _statements(script):
                    self._database.execute(statement)
                self._database.execute("INSERT INTO migrations VALUES (?, ?)", (number, time.time_ns()))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing; two hubs that start on one folder take turns."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise HubError(f"The hub's state cannot be read or written: {error}.") from error

    # Agents

    def register(self, name: str, owner: str = "") -> tuple[RegisteredAgent, str]:
        """A new agent and its key, which is not kept and can never be read again.

        ConfigError if the owner has one of that name.
        """
        if len(self.agents()) >= MAX_AGENTS:
            raise ConfigError(f"this hub knows {MAX_AGENTS:,} agents, its most; delete one first")
        agent = RegisteredAgent(
            id=secrets.token_hex(6), name=name, created_ns=time.time_ns(), last_seen_ns=None, owner=owner
        )
        key = secrets.token_urlsafe(32)
        try:
            self._execute(
                "INSERT INTO agents (id, name, key_hash, created_ns, owner) VALUES (?, ?, ?, ?, ?)",
                agent.id, agent.name, _hash(key), agent.created_ns, agent.owner,
            )  # fmt: skip
        except sqlite3.IntegrityError as error:
            raise ConfigError(
                f"there is an agent {name!r:.60} already; delete it first, or choose another name"
            ) from error
        return agent, key

    def agents(self) -> list[RegisteredAgent]:
        """The agents whose keys are good, oldest first."""
        rows = self._execute(f"SELECT {_AGENT_COLUMNS} FROM agents WHERE revoked_ns IS NULL ORDER BY created_ns, id")
        return [_agent(row) for row in rows]

    def agent_of_key(self, key: str) -> RegisteredAgent | None:
        """The agent that holds a key; None if nobody does (any more)."""
        row = self._execute(
            f"SELECT {_AGENT_COLUMNS} FROM agents WHERE key_hash = ? AND revoked_ns IS NULL", _hash(key)
        ).fetchone()
        return row and _agent(row)

    def seen(self, agent_id: str) -> None:
        """The agent connects or leaves just now."""
        self._execute("UPDATE agents SET last_seen_ns = ? WHERE id = ?", time.time_ns(), agent_id)

    def revoke(self, agent_id: str) -> None:
        """The agent's key is good no longer and its name free; NotFoundError if there is no such agent."""
        changed = self._execute(
            "UPDATE agents SET revoked_ns = ? WHERE id = ? AND revoked_ns IS NULL", time.time_ns(), agent_id
        )
        if not changed.rowcount:
            raise NotFoundError(f"no registered agent {agent_id!r:.60}")
        self._execute("DELETE FROM orders WHERE agent = ?", agent_id)

    # Orders

    def order(self, agent_id: str) -> Order | None:
        """What was last asked of an agent; None if nothing was."""
        row = self._execute('SELECT "order" FROM orders WHERE agent = ?', agent_id).fetchone()
        return row and msgspec.json.decode(row[0], type=Order)

    def save_order(self, agent_id: str, order: Order) -> None:
        """Keep what is asked of an agent, in place of what was asked before."""
        self._execute("REPLACE INTO orders VALUES (?, ?, ?)", agent_id, msgspec.json.encode(order), time.time_ns())

    # Sessions, by the journal that holds their packets: hubs with journals of their own may share this state

    def sessions(self, journal: str) -> list[KeptSession]:
        """The sessions of a journal, oldest first."""
        rows = self._execute(
            "SELECT id, name, owner, wanted FROM sessions WHERE journal = ? ORDER BY created_ns, id", journal
        )
        return [KeptSession(id=row[0], name=row[1], owner=row[2], wanted=bool(row[3])) for row in rows]

    def save_session(self, journal: str, session: KeptSession) -> None:
        """Keep a new session."""
        self._execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)",
            session.id, journal, session.name, session.owner, session.wanted, time.time_ns(),
        )  # fmt: skip

    def save_wanted(self, session_id: str, *, wanted: bool) -> None:
        """A session was started or stopped; nothing, if it is not kept."""
        self._execute("UPDATE sessions SET wanted = ? WHERE id = ?", wanted, session_id)

    def delete_session(self, session_id: str) -> None:
        """A session was deleted; nothing, if it is not kept."""
        self._execute("DELETE FROM sessions WHERE id = ?", session_id)

    # Profiles: the hub's own (owner "") are there for everybody, a person's for that person

    def profiles(self, owner: str = "") -> dict[str, CaptureSettings]:
        """Settings by the profile's name, in the order of the names; an owner's own come before the hub's."""
        rows = self._execute("SELECT name, settings FROM profiles WHERE owner IN ('', ?) ORDER BY name, owner", owner)
        return {name: _settings(text) for name, text in rows}

    def profile(self, name: str, owner: str = "") -> CaptureSettings:
        """The settings of a profile; NotFoundError if there is none of that name."""
        try:
            return self.profiles(owner)[name]
        except KeyError:
            raise NotFoundError(f"no profile {name!r:.60}") from None

    def save_profile(self, name: str, settings: CaptureSettings, owner: str = "") -> None:
        """Make a profile, or change it; ConfigError when there are too many."""
        count, known = self._execute(
            "SELECT count(*), coalesce(sum(name = ?), 0) FROM profiles WHERE owner = ?", name, owner
        ).fetchone()
        if not known and count >= MAX_PROFILES:
            raise ConfigError(f"there are {MAX_PROFILES:,} profiles, the most; delete one first")
        self._execute("REPLACE INTO profiles VALUES (?, ?, ?)", owner, name, msgspec.json.encode(settings))

    def delete_profile(self, name: str, owner: str = "") -> None:
        """Forget a profile; what was started with it goes on. NotFoundError if the owner has none of that name."""
        if not self._execute("DELETE FROM profiles WHERE owner = ? AND name = ?", owner, name).rowcount:
            raise NotFoundError(f"no profile {name!r:.60}")

    # Tokens

    def secret(self, name: str) -> bytes:
        """256 random bits that stay the same for as long as this state exists."""
        self._execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", name, secrets.token_bytes(32))
        value: bytes = self._execute("SELECT value FROM secrets WHERE name = ?", name).fetchone()[0]
        return value

    def issue_token(self, person: str, capabilities: tuple[str, ...], now_s: int, expires_s: int) -> IssuedToken:
        """Write down a new token; tokens that ended are forgotten. ConfigError when too many are good."""
        self._execute("DELETE FROM tokens WHERE expires_s <= ?", now_s)
        if self._execute("SELECT count(*) FROM tokens").fetchone()[0] >= MAX_TOKENS:
            raise ConfigError(f"this hub has {MAX_TOKENS:,} tokens, its most; they go as they expire")
        issued = IssuedToken(
            id=secrets.token_hex(8), person=person, capabilities=capabilities, created_s=now_s, expires_s=expires_s
        )
        self._execute(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, NULL)",
            issued.id, person, " ".join(capabilities), now_s, expires_s,
        )  # fmt: skip
        return issued

    def tokens(self, now_s: int) -> list[IssuedToken]:
        """The tokens that are good at a moment, oldest first."""
        rows = self._execute(
            "SELECT id, person, capabilities, created_s, expires_s FROM tokens "
            "WHERE expires_s > ? AND revoked_s IS NULL ORDER BY created_s, id",
            now_s,
        )
        return [_token(row) for row in rows]

    def revoke_token(self, token_id: str, now_s: int) -> IssuedToken:
        """Take a token back. NotFoundError if no good one has that id."""
        row = self._execute(
            "UPDATE tokens SET revoked_s = ? WHERE id = ? AND expires_s > ? AND revoked_s IS NULL "
            "RETURNING id, person, capabilities, created_s, expires_s",
            now_s, token_id, now_s,
        ).fetchone()  # fmt: skip
        if row is None:
            raise NotFoundError(f"no token {token_id!r:.60}")
        return _token(row)

    def revoked_tokens(self) -> set[str]:
        """Ids of the tokens that were taken back."""
        return {token_id for (token_id,) in self._execute("SELECT id FROM tokens WHERE revoked_s IS NOT NULL")}

    # Audit

    def record(self, who: str, action: str, subject: str, **details: object) -> None:
        """Write down that somebody did something to something, now."""
        text = msgspec.json.encode({k: v for k, v in details.items() if v not in (None, "")}).decode()
        self._execute(
            "INSERT INTO audit (ts_ns, who, action, subject, details) VALUES (?, ?, ?, ?, ?)",
            time.time_ns(), who, action, subject, text,
        )  # fmt: skip

    def audit(self, limit: int = 100, before: int | None = None) -> list[dict[str, Any]]:
        """The newest entries, newest first: number, ts_ns, who, action, subject, details.

        At most `limit` of them, or MAX_AUDIT_ENTRIES; those with a number below `before`, if one is given.
        """
        rows = self._execute(
            f"SELECT {', '.join(_AUDIT_COLUMNS)} FROM audit WHERE number < ? ORDER BY number DESC LIMIT ?",
            2**63 - 1 if before is None else before,
            max(0, min(limit, MAX_AUDIT_ENTRIES)),
        )
        return [{**dict(zip(_AUDIT_COLUMNS, row, strict=True)), "details": msgspec.json.decode(row[5])} for row in rows]


def _close_to_others(database: Path) -> None:
    """Make the file, and take other users' rights to it and to what SQLite keeps beside it away: it holds what tokens
    are signed with, and its folder may be open to others."""
    os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for file in database.parent.glob(f"{FILE_NAME}*"):
        file.chmod(0o600)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _agent(row: tuple[str, str, int, int | None, str]) -> RegisteredAgent:
    return RegisteredAgent(id=row[0], name=row[1], created_ns=row[2], last_seen_ns=row[3], owner=row[4])


def _token(row: tuple[str, str, str, int, int]) -> IssuedToken:
    return IssuedToken(id=row[0], person=row[1], capabilities=tuple(row[2].split()), created_s=row[3], expires_s=row[4])


def _settings(text: bytes) -> CaptureSettings:
    return msgspec.json.decode(text, type=CaptureSettings)


def _statements(script: str) -> Iterator[str]:
    """The script's statements, each of which ends a line: sqlite3's own executescript would commit the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
