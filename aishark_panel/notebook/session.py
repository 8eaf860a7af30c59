"""Hubs and their sessions, as people use them from a cell or a script."""

import contextlib
import hashlib
import html
import os
import secrets
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import pandas as pd
import pyarrow as pa

from aishark_panel.client import HubClient
from aishark_panel.errors import ConfigError, NotFoundError
from aishark_panel.notebook.alerts import TriedRules, WatchedRule, alerts_frame
from aishark_panel.notebook.background import wait_for
from aishark_panel.notebook.stream import PacketStream, choose_session
from aishark_panel.notebook.table import ALL_COLUMNS, Table
from aishark_panel.notebook.times import Moment, nanoseconds, seconds
from aishark_panel.wire.times import within

if TYPE_CHECKING:
    from aishark_panel.notebook.live import Live

__all__ = ["DEFAULT_LIMIT", "Hub", "Session", "connect"]

T = TypeVar("T")

DEFAULT_LIMIT: Final = 1_000_000
"""Most packets `df` and `table` fetch unless told otherwise."""


def connect(url: str = "", token: str = "") -> "Hub":
    """Connect to a hub; without arguments to the one AISHARK_HUB names, with the token in AISHARK_TOKEN.

    Raises ConfigError, NotAuthorizedError or HubUnreachableError.
    """
    url, token = url or os.environ.get("AISHARK_HUB", ""), token or os.environ.get("AISHARK_TOKEN", "")
    if not url or not token:
        raise ConfigError(
            "Say which hub: connect('http://127.0.0.1:8765', token), with the token it printed at its start, or set "
            "AISHARK_HUB and AISHARK_TOKEN. To capture on this host without a hub of your own use capture()."
        )
    return Hub(url, token)


class Hub:
    """A connection to a hub, which restores itself when it breaks."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self._client = HubClient(url, token)
        self.ask(lambda client: client.connect())

    def ask(self, question: Callable[[HubClient], Coroutine[Any, Any, T]]) -> T:
        """The answer to a question for the HubClient, such as `lambda client: client.sessions()`."""
        return wait_for(question(self._client))

    def sessions(self) -> list["Session"]:
        """The hub's capture sessions, oldest first."""
        return [Session(self, s["id"], s["name"]) for s in self.ask(lambda client: client.sessions())]

    def session(self, wanted: str = "") -> "Session":
        """The session of that id or name; without one the newest. Raises NotFoundError."""
        found = choose_session(self.ask(lambda client: client.sessions()), wanted)
        return Session(self, found["id"], found["name"])

    def close(self) -> None:
        """End the connection; the hub and its sessions go on."""
        self.ask(lambda client: client.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Hub {self.url}>"


class Session:
    """One capture session of a hub. If the hub was restarted it is found again by its name."""

    def __init__(self, hub: Hub, session_id: str, name: str) -> None:
        self.hub = hub
        self.id = session_id
        self.name = name

    def _ask(self, question: Callable[[HubClient, str], Coroutine[Any, Any, T]]) -> T:
        try:
            return self.hub.ask(lambda client: question(client, self.id))
        except NotFoundError:
            found = choose_session(self.hub.ask(lambda client: client.sessions()), self.name)
            if found["id"] == self.id:
                raise
            self.id = found["id"]
            return self.hub.ask(lambda client: question(client, self.id))

    def stats(self) -> dict[str, Any]:
        """Counts, rates, state and agents, as docs/protocol.md lists them."""
        return self._ask(lambda client, session: client.stats(session))

    @property
    def packet_count(self) -> int:
        """Packets the session has taken so far, also those that it no longer holds."""
        return int(self.stats()["packets"])

    def table(
        self,
        last: str | float | None = None,
        where: str = "",
        columns: Sequence[str] | None = None,
        limit: int = DEFAULT_LIMIT,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> Table:
        """The newest packets that `where` selects, at most `limit`, oldest first.

        `last` keeps those of the last seconds before the newest packet: "30s", "5min", "500ms", or seconds as a number;
        `start` and `end` those of a time: "2026-11-26 12:00", a datetime, in UTC unless it says otherwise. What of such
        a time the hub's ring no longer holds is read back from its journal, or its recordings in Parquet;
        `Table.warning` says if something is missing there.
        Raises ExpressionError, ConfigError, or a HubError.
        """
        if limit < 1:
            raise ConfigError(f"limit is the most packets to fetch, at least 1, not {limit}")
        columns = ALL_COLUMNS if columns is None else columns
        span = self._span(last, start, end)
        if span is None:
            return Table(
                self._ask(lambda client, session: client.table(session, where, columns, limit)), f"session {self.name}"
            )
        chosen = within(*span, where)

        async def read(client: HubClient, session: str) -> tuple[pa.Table, str]:
            session = client.within(session, *span)
            missing = await client.read_back(session)
            return await client.table(session, chosen, columns, limit), missing

        arrow, missing = self._ask(read)
        return Table(arrow, f"session {self.name}", missing)

    def _span(self, last: str | float | None, start: Moment | None, end: Moment | None) -> tuple[int, int] | None:
        """The time that is asked for, ns since 1970; None: all of it."""
        if last is None and start is None and end is None:
            return None
        if last is not None and start is not None:
            raise ConfigError("Give either last= or start=, not both.")
        newest_ns = int(self.stats()["last_ts"]) if end is None else nanoseconds(end)
        end_ns = newest_ns + 1 if end is None else newest_ns
        start_ns = 0 if start is None else nanoseconds(start)
        if last is not None:
            start_ns = newest_ns - int(seconds(last) * 1e9)
        if start_ns >= end_ns:
            raise ConfigError("start= is not before end=, so there is nothing in between.")
        return max(start_ns, 0), end_ns

    def df(
        self,
        last: str | float | None = None,
        where: str = "",
        columns: Sequence[str] | None = None,
        limit: int = DEFAULT_LIMIT,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> pd.DataFrame:
        """As `table`, as a pandas DataFrame; `Table.df` says what types its columns have."""
        return self.table(last, where, columns, limit, start=start, end=end).df

    def sql(
        self,
        query: str,
        last: str | float | None = None,
        where: str = "",
        limit: int = DEFAULT_LIMIT,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> pd.DataFrame:
        """What an SQL query (DuckDB) says of the table `packets`: those that `table` gives."""
        return self.table(last, where, limit=limit, start=start, end=end).sql(query)

    def alerts(self) -> pd.DataFrame:
        """The session's alerts, newest first: rule, severity, state, when it fired and was resolved (UTC), the key's
        values, what is said of it, and its number."""
        found = self._ask(lambda client, session: client.alerts(session, archived=True))["alerts"]
        return alerts_frame(sorted(found, key=lambda alert: -int(alert["number"])))

    def alert(self, where: str, name: str = "", **keys: Any) -> WatchedRule:
        """Have the hub watch for packets that an expression selects, also while no cell runs.

        `keys` are those of a rule (docs/rules.md): `session.alert("dns_rcode == 3", by=["dst_ip"], over="30s",
        having="packets >= 50")`. The rule is one's own, watches all one's sessions, and takes the place of one of the
        same `name`, so running a cell again leaves one. Raises ConfigError that says what is wrong with it.
        """
        name = name or "notebook_" + hashlib.sha256(where.encode()).hexdigest()[:8]
        rule = {"name": name, "where": where, **keys}
        self.hub.ask(lambda client: client.save_rule(rule))
        return WatchedRule(self, name)

    def backtest(self, rules: str = "", over: str = "ring") -> TriedRules:
        """Which alerts rules would have raised on what the session has kept: in the `ring`, in the `journal`, which
        reaches further back, or in its `recordings`.

        `rules` is YAML as a rules file has it (docs/rules.md); "": those that watch one's sessions. Waits for the end.
        """
        return TriedRules(self._ask(lambda client, session: client.try_rules(session, rules or None, over)))

    def conversations(self, limit: int = 1_000) -> pd.DataFrame:
        """Who talked with whom, most bytes first: packets and bytes each way, TCP's round-trip times and problems.

        docs/protocol.md says what the columns mean. At most 1,000.
        """
        batch, _ = self._ask(lambda client, session: client.conversations(session, limit))
        rows: pd.DataFrame = batch.to_pandas()
        return rows

    def follow(
        self,
        where: str = "",
        columns: Sequence[str] = (),
        start: str = "now",
        max_batches: int = 1_000,
        on_batch: Callable[[pa.RecordBatch], object] | None = None,
    ) -> PacketStream:
        """New packets as they come, to loop over: `for batch in session.follow(): ...`, or `async for`; ends when the
        capture is over.

        `start="oldest"` begins with the oldest packet the hub holds. With `on_batch` it begins at once, and calls that
        with each batch until it is told to `disconnect`.
        """
        stream = PacketStream(
            self.hub.url,
            self.hub.token,
            self.id,
            where,
            on_batch,
            max_batches,
            columns=columns,
            start=start,
            until_end=True,
        )
        return stream.connect() if on_batch else stream

    def live(self, view: str = "dashboard", height: int | None = None) -> "Live":
        """A live view to show in a cell or to serve with Panel: the whole "dashboard", or one of notebook.live.VIEWS.

        `height` in pixels. Raises ConfigError for a view that does not exist, or where the dashboard's packages miss.
        """
        try:
            from aishark_panel.notebook.live import Live
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"Live views need {error.name}, which is not installed: pip install 'aishark-panel[notebook]'"
            ) from error
        return Live(self.hub.url, self.hub.token, self.id, view, height)

    def start(self) -> None:
        """Ask the session's agents for packets again."""
        self._ask(lambda client, session: client.start(session))

    def stop(self) -> None:
        """Tell the session's agents to pause; what was captured stays."""
        self._ask(lambda client, session: client.stop(session))

    def clear(self) -> None:
        """Throw the session's packets away; the capture goes on."""
        self._ask(lambda client, session: client.clear(session))

    def to_pcapng(self, path: str | os.PathLike[str], where: str = "") -> Path:
        """Write the packets the hub holds to a pcapng file, which Wireshark reads; returns its path."""
        return self._save(path, "pcapng", where)

    def to_parquet(self, path: str | os.PathLike[str], where: str = "") -> Path:
        """Write the packets the hub holds to a Parquet file (all columns, no frame bytes); returns its path."""
        return self._save(path, "parquet", where)

    def _save(self, path: str | os.PathLike[str], export_format: str, where: str) -> Path:
        """The file appears under its name when it is whole; after an error nothing is left of it."""
        target = Path(path)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            with part.open("xb") as file:

                def write(data: bytes) -> None:
                    try:
                        file.write(data)
                    except OSError as error:
                        raise ConfigError(f"cannot write {target}: {error.strerror}") from error

                self._ask(lambda client, session: client.export(session, export_format, where, write))
            part.replace(target)
        except OSError as error:
            raise ConfigError(f"cannot write {target}: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        return target

    def close(self) -> None:
        """Nothing to do for a session of somebody's hub; a capture of one's own ends (see notebook.capture)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Session {self.name!r} at {self.hub.url}>"

    def _repr_html_(self) -> str:
        stats = self.stats()
        rate = f"{stats['packets_per_s']:,.0f} packets/s, {stats['bits_per_s'] / 1e6:,.2f} Mbit/s"
        state = stats["state"] + (f": {stats['reason']}" if stats["reason"] else "")
        left = "style='text-align:left'"
        cells = ((self.name, state), (f"{stats['packets']:,} packets", rate), (f"{stats['lost']:,} lost", ""))
        rows = "".join(f"<tr><th {left}>{html.escape(a)}</th><td {left}>{html.escape(b)}</td></tr>" for a, b in cells)
        return f"<table>{rows}</table>"
