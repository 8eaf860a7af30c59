"""The database itself: one SQLite file in WAL mode, brought to the newest schema, and transactions on it.

It has one connection, which belongs to the thread that opened it (the hub's event loop): a call takes a millisecond or
less there, which no database behind a network could promise. For that its commits wait for no disk: they are in the
write-ahead log, where the death of the process does not reach them. `make_safe`, on a thread for the disk, has them
survive the death of the machine too.
"""

import contextlib
import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, CursorResult, Executable, create_engine, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import StaticPool

from aishark_panel.errors import ConfigError, HubError
from aishark_panel.streams.store import schema

__all__ = ["FILE_NAME", "Database", "hash_of"]

FILE_NAME: Final = "hub.sqlite"
_LOCK_WAIT_S: Final = 1.0


class Database:
    """The database in a folder, made if need be; without a folder, one in memory. ConfigError if it cannot be used."""

    def __init__(self, folder: Path | None = None) -> None:
        try:
            if folder is not None:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _close_to_others(folder / FILE_NAME)
            self._file = folder / FILE_NAME if folder else None
            self._connection = _connect(self._file)
            self._saver: sqlite3.Connection | None = None
            self._saving = threading.Lock()
        except (OSError, DBAPIError) as error:
            raise ConfigError(
                f"The hub cannot keep its state in {folder}: {_words(error)}. Choose a folder with --state."
            ) from error
        try:
            self._migrate()
        except (DBAPIError, HubError) as error:
            self.close()
            raise ConfigError(
                f"The hub's state in {folder} cannot be used: {_words(error)}. Choose a folder with --state."
            ) from error

    def close(self) -> None:
        """Close the database; every change is in it already."""
        with self._saving:
            if self._saver:
                self._saver.close()
        self._connection.close()
        self._connection.engine.dispose()

    def make_safe(self) -> None:
        """Have the disk keep what was written so far. From any thread, and may take its time."""
        if self._file is None:
            return
        with self._saving, contextlib.suppress(sqlite3.Error):  # the next time, or `close`, does it
            if self._saver is None:
                self._saver = sqlite3.connect(self._file, timeout=0, check_same_thread=False)
            self._saver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _migrate(self) -> None:
        with self.transaction():
            self._connection.exec_driver_sql(
                "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied_ns INTEGER NOT NULL)"
            )
            newest = select(func.coalesce(func.max(schema.migrations.c.version), 0))
            version = int(self._connection.execute(newest).scalar_one())
            known = len(schema.MIGRATIONS)
            if version > known:
                raise HubError(f"it has version {version}, made by a newer aishark; this one knows {known}")
            for number, script in enumerate(schema.MIGRATIONS[version:], version + 1):
                for statement in _statements(script):
                    self._connection.exec_driver_sql(statement)
                applied = schema.migrations.insert().values(version=number, applied_ns=time.time_ns())
                self._connection.execute(applied)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; two hubs that start on one folder take turns."""
        self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.exec_driver_sql("ROLLBACK")
            raise
        self._connection.exec_driver_sql("COMMIT")

    def execute(self, statement: Executable) -> CursorResult[Any]:
        """Run a statement, by itself or as part of the transaction that is open. IntegrityError where it contradicts
        what is there, HubError where the database fails."""
        try:
            return self._connection.execute(statement)
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise HubError(f"The hub's state cannot be read or written: {_words(error)}.") from error


def _connect(file: Path | None) -> Connection:
    engine = create_engine(
        URL.create("sqlite", database=str(file) if file else None),
        connect_args={"timeout": _LOCK_WAIT_S},
        poolclass=StaticPool,
        # Each statement is its own transaction, or part of one that `transaction` opened: SQLAlchemy would begin them
        # without the lock, and two hubs that both read first could then not both write.
        isolation_level="AUTOCOMMIT",
    )
    connection = engine.connect()
    try:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        connection.exec_driver_sql("PRAGMA synchronous = NORMAL")
        connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 0")
    except BaseException:
        connection.close()
        engine.dispose()
        raise
    return connection


def _words(error: Exception) -> object:
    """What the database said, without SQLAlchemy's additions."""
    return error.orig if isinstance(error, DBAPIError) else error


def _close_to_others(database: Path) -> None:
    """Make the file, and take other users' rights to it and to what SQLite keeps beside it away: it holds what tokens
    are signed with, and its folder may be open to others."""
    os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for file in database.parent.glob(f"{FILE_NAME}*"):
        file.chmod(0o600)


def _statements(script: str) -> Iterator[str]:
    """The script's statements, each of which ends a line: sqlite3's own executescript would commit the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def hash_of(secret: str) -> bytes:
    """What is kept of a secret of 256 random bits; a slow hash would protect nothing more."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
