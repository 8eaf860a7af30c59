"""The tables of a hub's state, and the changes that led to them.

A database of any earlier version is brought up by the scripts it lacks. The tables below say the same as all scripts
together, for queries; a test compares the two.
"""

from typing import Final

from sqlalchemy import Column, Index, Integer, LargeBinary, MetaData, Table, Text, text

__all__ = [
    "MIGRATIONS",
    "accounts",
    "agents",
    "audit",
    "links",
    "logins",
    "metadata",
    "migrations",
    "orders",
    "profiles",
    "rules",
    "secrets",
    "sessions",
    "shares",
    "tokens",
]

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
    """
    CREATE TABLE accounts (
        name TEXT PRIMARY KEY, capabilities TEXT NOT NULL, password TEXT, issuer TEXT, subject TEXT,
        created_s INTEGER NOT NULL, disabled_s INTEGER);
    CREATE UNIQUE INDEX account_identities ON accounts (issuer, subject) WHERE issuer IS NOT NULL;
    CREATE TABLE logins (
        id TEXT PRIMARY KEY, person TEXT NOT NULL, refresh_hash BLOB NOT NULL,
        created_s INTEGER NOT NULL, expires_s INTEGER NOT NULL, revoked_s INTEGER);
    CREATE TABLE shares (
        session TEXT NOT NULL, person TEXT NOT NULL, capabilities TEXT NOT NULL, created_s INTEGER NOT NULL,
        PRIMARY KEY (session, person));
    CREATE TABLE links (
        id TEXT PRIMARY KEY, session TEXT NOT NULL, token_hash BLOB NOT NULL UNIQUE, person TEXT NOT NULL,
        created_s INTEGER NOT NULL, expires_s INTEGER NOT NULL);
    ALTER TABLE agents ADD COLUMN next_key_hash BLOB;
    ALTER TABLE agents ADD COLUMN key_until_ns INTEGER;
    CREATE UNIQUE INDEX agent_next_keys ON agents (next_key_hash) WHERE next_key_hash IS NOT NULL;
    """,
    """
    CREATE TABLE rules (
        owner TEXT NOT NULL, name TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (owner, name));
    """,
)
"""Schema changes, oldest first; version n is what the first n of them make. Never edit one that was released."""

metadata: Final = MetaData()

migrations: Final = Table(
    "migrations", metadata, Column("version", Integer, primary_key=True), Column("applied_ns", Integer, nullable=False)
)
agents: Final = Table(
    "agents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("created_ns", Integer, nullable=False),
    Column("revoked_ns", Integer),
    Column("last_seen_ns", Integer),
    Column("owner", Text, nullable=False, server_default=""),
    Column("next_key_hash", LargeBinary),
    Column("key_until_ns", Integer),
    Index("agent_names", "owner", "name", unique=True, sqlite_where=text("revoked_ns IS NULL")),
)
orders: Final = Table(
    "orders",
    metadata,
    Column("agent", Text, primary_key=True),
    Column("order", LargeBinary, nullable=False),
    Column("given_ns", Integer, nullable=False),
)
profiles: Final = Table(
    "profiles",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("settings", LargeBinary, nullable=False),
)
rules: Final = Table(
    "rules",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
audit: Final = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("ts_ns", Integer, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),
)
tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person", Text, nullable=False),
    Column("capabilities", Text, nullable=False),
    Column("created_s", Integer, nullable=False),
    Column("expires_s", Integer, nullable=False),
    Column("revoked_s", Integer),
)
secrets: Final = Table(
    "secrets", metadata, Column("name", Text, primary_key=True), Column("value", LargeBinary, nullable=False)
)
sessions: Final = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("journal", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("created_ns", Integer, nullable=False),
)
accounts: Final = Table(
    "accounts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("capabilities", Text, nullable=False),
    Column("password", Text),
    Column("issuer", Text),
    Column("subject", Text),
    Column("created_s", Integer, nullable=False),
    Column("disabled_s", Integer),
)
logins: Final = Table(
    "logins",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person", Text, nullable=False),
    Column("refresh_hash", LargeBinary, nullable=False),
    Column("created_s", Integer, nullable=False),
    Column("expires_s", Integer, nullable=False),
    Column("revoked_s", Integer),
)
shares: Final = Table(
    "shares",
    metadata,
    Column("session", Text, primary_key=True),
    Column("person", Text, primary_key=True),
    Column("capabilities", Text, nullable=False),
    Column("created_s", Integer, nullable=False),
)
links: Final = Table(
    "links",
    metadata,
    Column("id", Text, primary_key=True),
    Column("session", Text, nullable=False),
    Column("token_hash", LargeBinary, nullable=False, unique=True),
    Column("person", Text, nullable=False),
    Column("created_s", Integer, nullable=False),
    Column("expires_s", Integer, nullable=False),
)
