"""HubClient: the one way every front end (dashboard, notebook, command line) talks to a hub.

It is a list of questions (those about alerts in alert_client.py, about people in people_client.py), which transport.py
carries.
"""

import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict, Unpack
from urllib.parse import quote, urlencode

import pyarrow as pa
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from aishark_panel.alert_client import AlertClient
from aishark_panel.errors import HubError, HubUnreachableError
from aishark_panel.people_client import PeopleClient
from aishark_panel.transport import CONNECT_TIMEOUT_S
from aishark_panel.upload import UploadProgress, upload_file

__all__ = ["AgentSettings", "HubClient", "Missed"]

_NORMAL_CLOSURE: Final = 1000
_POLICY_VIOLATION: Final = 1008
"""Close code with which a hub refuses what a WebSocket asks (RFC 6455, section 7.4.1); the reason says why."""


class AgentSettings(TypedDict, total=False):
    """What can be asked of an agent's capture; see wire.messages.CaptureSettings."""

    interfaces: Sequence[str] | None
    filter: str | None
    snaplen: int | None
    sampling: int | None
    sampling_by: str | None
    payload: str | int | None
    max_packets_per_second: int | None


@dataclass(frozen=True, slots=True)
class Missed:
    """A subscriber was too slow for packets `first` to `next` (exclusive), and goes on behind them."""

    first: int
    next: int
    packets: int
    """of those in between, that it would have got"""
    evicted: int
    """among them: gone before anybody looked; the others can be had by another subscription from `first` to `next`"""


class HubClient(AlertClient, PeopleClient):
    """One person's connection to one hub. All methods raise errors of aishark_panel.errors, HubError among them."""

    async def sessions(self) -> list[dict[str, Any]]:
        """A line about each session that this person sees: id, name, owner, state, source, packets."""
        result, _ = await self._ask("sessions")
        sessions: list[dict[str, Any]] = result["sessions"]
        return sessions

    async def create_session(self, name: str = "") -> dict[str, Any]:
        """Make a session of that name, or of one the hub makes up; its statistics, `id` among them."""
        return await self._http("POST", "/api/stream/start", {"name": name})

    async def stats(self, session: str) -> dict[str, Any]:
        """Counts, rates, state and agents of a session (streams/stats.py)."""
        result, _ = await self._ask("stats", session=session)
        return result

    async def ledger(self, session: str) -> dict[str, Any]:
        """Where every packet of a session is, stage by stage (streams.ledger.ledger)."""
        result, _ = await self._ask("ledger", session=session)
        return result

    async def traffic(
        self,
        session: str,
        resolution_ms: int,
        since: int = 0,
        where: str = "",
        by: str = "protocol",
        *,
        having: str = "",
    ) -> tuple[pa.RecordBatch, dict[str, Any]]:
        """Packets and bytes by bin and group (protocol, agent, interface, host, problem, tcp) of what `where` selects,
        bins >= `since`: bin, the group, packets, bytes; and how far the hub has looked: complete, first_ts. `having`
        chooses among these rows, by their own columns."""
        params = {"resolution_ms": resolution_ms, "since": since, "where": where, "by": by, "having": having}
        result, body = await self._ask("rollup", session=session, **params)
        return _batch(body), result

    async def rows(
        self, session: str, first: int, count: int, where: str = "", columns: Sequence[str] | None = None
    ) -> tuple[pa.RecordBatch, dict[str, Any]]:
        """A page of packets, and what is known of the whole list.

        Without `where`, `first` is a packet number; with it, a rank among the matches. The second value has `first`
        and `end` of the same kind, and `scanned_to`, `ring_first`, `ring_end` as packet numbers. ExpressionError if
        `where` does not parse.
        """
        params: dict[str, object] = {"session": session, "first": first, "count": count, "where": where}
        if columns is not None:
            params["columns"] = list(columns)
        result, body = await self._ask("rows", **params)
        return _batch(body), result

    async def seek(
        self, session: str, number: int, where: str = "", only: str = "", *, back: bool = False
    ) -> dict[str, Any]:
        """The next packet from `number` on (`back`: the one before) that `where` and `only` select, round the end of
        the list if there is none: number (0 for none at all), its row in what `where` selects, whether it went round.
        """
        result, _ = await self._ask("seek", session=session, number=number, where=where, only=only, back=back)
        return result

    @staticmethod
    def within(session: str, start_ns: int, end_ns: int) -> str:
        """What a session saw in [start, end), ns since 1970 (below 2**63), as a session to ask for rows, tables,
        packets, conversations and the like, or to export: what the hub's ring let go is read back from its journal or
        its recordings. Answers then tell `reading`, how far that is ("" at the end), and `missing`, what could not be
        read. Expressions still have to choose by `ts`: there may be packets around that time."""
        return f"{session}@{start_ns}-{end_ns}"

    async def read_back(self, session: str) -> str:
        """Wait until the hub has read back what a session saw (`within`); what it could not read, in a sentence."""
        while True:
            result, _ = await self._ask("rows", session=session, first=0, count=1, columns=["number"])
            if not result.get("reading"):
                return str(result.get("missing", ""))

    async def table(
        self, session: str, where: str = "", columns: Sequence[str] | None = None, limit: int = 1_000_000
    ) -> pa.Table:
        """The newest `limit` packets that `where` selects, oldest first; addresses and texts stay dictionaries.

        ExpressionError if `where` does not parse, ConfigError for an unknown column.
        """
        params: dict[str, object] = {"session": session, "where": where}
        if columns is not None:
            params["columns"] = list(columns)
        pieces: list[pa.Table] = []
        while True:
            result, body = await self._ask("table", **params, count=limit)
            with pa.ipc.open_stream(body) as reader:
                pieces.append(reader.read_all())
            limit -= pieces[-1].num_rows
            if limit <= 0 or result["first"] <= result["ring_first"]:
                return pa.concat_tables(reversed(pieces)).unify_dictionaries()
            params["end"] = result["first"]

    async def subscribe(
        self,
        session: str,
        where: str = "",
        columns: Sequence[str] = (),
        start: str = "now",
        *,
        end: int | None = None,
        slow: Literal["skip", "wait"] = "skip",
    ) -> AsyncGenerator[pa.RecordBatch | Missed, None]:
        """New packets that `where` selects as the hub takes them, from `start` on: now, oldest, or a packet number.

        Over a WebSocket of its own, which is read no faster than this generator. Who follows live and is too slow skips
        packets; with "wait" it falls behind instead, until they are evicted. It ends before packet `end`, if one is
        given; else by an error only: HubError if the hub refuses what is asked, HubUnreachableError when the connection
        is lost.
        """
        asked = {"where": where, "columns": ",".join(columns), "start": start, "end": end or "", "slow": slow}
        query = urlencode(asked)
        socket = await self._dial(f"/api/stream/{session}/ws?{query}")
        try:
            while (message := await socket.read_message()) is not None:
                if isinstance(message, bytes):
                    yield _batch(memoryview(message))
                else:
                    notice = json.loads(message)
                    yield Missed(notice["first"], notice["next"], notice["packets"], notice["evicted"])
        finally:
            socket.close()
        if end is not None and socket.close_code == _NORMAL_CLOSURE:
            return
        if socket.close_code == _POLICY_VIOLATION:
            raise HubError(socket.close_reason or "The hub refused the subscription.")
        raise HubUnreachableError(f"The connection to the hub at {self.url} was lost; trying again.")

    async def packet(self, session: str, number: int) -> dict[str, Any]:
        """One packet: every column, `link_type`, `frame` (bytes), `info`, `community_id`, and `ja3` and `ja4` of its
        conversation's ClientHello. NotFoundError once evicted.
        """
        result, body = await self._ask("packet", session=session, number=number)
        return {**result, "frame": bytes(body)}

    async def conversations(
        self, session: str, limit: int = 20, where: str = "", sort: str = "bytes", *, having: str = ""
    ) -> tuple[pa.RecordBatch, dict[str, Any]]:
        """The conversations with most bytes (or packets, problems ...) of what `where` selects, most first; how many
        there are in all (total), and whether the hub has looked at all packets (complete).

        `having` chooses among them by their own columns: "packets > 100 and not is_private(addr_b)"."""
        params = {"limit": limit, "where": where, "sort": sort, "having": having}
        result, body = await self._ask("conversations", session=session, **params)
        return _batch(body), result

    async def endpoints(
        self, session: str, limit: int = 20, where: str = "", sort: str = "bytes", *, having: str = ""
    ) -> tuple[pa.RecordBatch, dict[str, Any]]:
        """The addresses with most bytes (or packets, bytes_sent ...) of what `where` selects, as
        `conversations`."""
        params = {"limit": limit, "where": where, "sort": sort, "having": having}
        result, body = await self._ask("endpoints", session=session, **params)
        return _batch(body), result

    async def hierarchy(self, session: str, where: str = "") -> dict[str, Any]:
        """The layers that packets are made of, as lines of a tree: layers (depth, name, packets, bytes), complete."""
        result, _ = await self._ask("hierarchy", session=session, where=where)
        return result

    async def tcp_health(self, session: str, where: str = "", since_ns: int = 0) -> dict[str, Any]:
        """How long TCP handshakes took of conversations since then: handshakes, rtt_p50_ns, rtt_p95_ns, complete."""
        result, _ = await self._ask("tcp_health", session=session, where=where, since_ns=since_ns)
        return result

    async def values(
        self, session: str, columns: Sequence[str], where: str = "", text: str = "", limit: int = 20
    ) -> list[tuple[str, int]]:
        """The most common values of columns that hold `text`, and in how many of the newest packets that match `where`
        each is; those that begin with the text first."""
        params: dict[str, object] = {"columns": list(columns), "where": where, "text": text, "limit": limit}
        result, _ = await self._ask("values", session=session, **params)
        return [(value, packets) for value, packets in result["values"]]

    async def conversation(self, session: str, conversation: int) -> dict[str, Any]:
        """One conversation: `counts` as in `conversations` (None once forgotten), `kept` of it in the ring over time.
        NotFoundError where nothing is known of it."""
        result, _ = await self._ask("conversation", session=session, conversation=str(conversation))
        return result

    async def payloads(
        self, session: str, conversation: int, cursor: str = "", limit: int = 1_000_000
    ) -> tuple[dict[str, Any], bytes]:
        """What was said in a conversation, from an earlier answer's `cursor` on: {a, b, protocol, pieces, cursor, more}
        and the bytes that pieces have their places in (streams.following.payloads). Errors as `conversation`."""
        asked = {"session": session, "conversation": str(conversation), "cursor": cursor, "limit": limit}
        result, body = await self._ask("payloads", **asked)
        return result, bytes(body)

    async def start(self, session: str) -> None:
        """Ask the session's agents for packets."""
        await self._ask("start", session=session)

    async def stop(self, session: str) -> None:
        """Tell the session's agents to pause; what was captured stays."""
        await self._ask("stop", session=session)

    async def clear(self, session: str) -> None:
        """Throw the session's packets away."""
        await self._ask("clear", session=session)

    async def delete(self, session: str) -> None:
        """Stop the session and forget it with all its packets."""
        await self._ask("delete", session=session)

    async def export(
        self,
        session: str,
        export_format: str,
        where: str,
        write: Callable[[bytes], None],
        *,
        follow: bool = False,
    ) -> None:
        """Hand the session's packets that `where` selects to `write`, piece by piece, as a file of that format.

        Errors as `export_ticket`, which says what `follow` does; HubUnreachableError if the connection is lost on the
        way.
        """
        ticket = await self.export_ticket(session, export_format, where, follow=follow)
        request = HTTPRequest(
            f"{self.url}/api/export/{ticket}",
            connect_timeout=CONNECT_TIMEOUT_S,
            request_timeout=0,
            streaming_callback=write,
            ssl_options=self._tls,
        )
        client = SimpleAsyncHTTPClient(force_instance=True, max_body_size=sys.maxsize)
        try:
            await client.fetch(request)
        except (HTTPClientError, OSError, StreamClosedError) as error:
            raise HubUnreachableError(f"The hub at {self.url} broke the export off: {error}.") from error
        finally:
            client.close()

    async def recordings(self, session: str) -> list[dict[str, Any]]:
        """The session's recordings, oldest first: state, reason, files, offered, written, failed, bytes ..."""
        result, _ = await self._ask("recordings", session=session)
        recordings: list[dict[str, Any]] = result["recordings"]
        return recordings

    async def record_start(self, session: str, export_format: str = "pcapng", **options: object) -> dict[str, Any]:
        """Begin to record the session into files on the hub's disk (pcapng or parquet); the recording's status.

        Options: `where`, `start` (now, oldest), `rotate_bytes`, `rotate_s`, `max_files`.
        """
        result, _ = await self._ask("record_start", session=session, options={"format": export_format, **options})
        return result

    async def record_stop(self, session: str, recording: str) -> dict[str, Any]:
        """End a recording once it has written what the ring holds; its last status."""
        result, _ = await self._ask("record_stop", session=session, recording=recording)
        return result

    async def upload(
        self, path: str | os.PathLike[str], progress: UploadProgress | None = None, *, session: str | None = None
    ) -> dict[str, Any]:
        """Send a capture file and wait until it is a session (or part of `session`); errors as `upload.upload_file`.

        The last status tells its `session`, `packets`, and a `warning` where the file is damaged or cut. Needs no open
        connection.
        """
        return await upload_file(self._http, path, session=session, progress=progress)

    async def export_ticket(self, session: str, export_format: str, where: str = "", *, follow: bool = False) -> str:
        """One-use ticket for `GET /api/export/TICKET`, good for a minute; `follow`: go on while capture runs."""
        params: dict[str, object] = {"session": session, "format": export_format, "where": where, "follow": follow}
        result, _ = await self._ask("export_ticket", **params)
        return str(result["ticket"])

    async def recording_ticket(self, session: str, recording: str, file: str) -> str:
        """One-use ticket, as of `export_ticket`, for a whole file of a recording; NotFoundError if it is gone."""
        result, _ = await self._ask("recording_ticket", session=session, recording=recording, file=file)
        return str(result["ticket"])

    async def export_status(self, session: str, ticket: str) -> dict[str, Any]:
        """How far the export of a ticket is: state (waiting, writing, done, failed, cancelled), reason, total,
        looked_at, written, missed, bytes ... NotFoundError once it is forgotten."""
        result, _ = await self._ask("export_status", session=session, ticket=ticket)
        return result

    async def export_cancel(self, session: str, ticket: str) -> dict[str, Any]:
        """Break the export of a ticket off, if it goes on; as `export_status`."""
        result, _ = await self._ask("export_cancel", session=session, ticket=ticket)
        return result

    async def agents(self) -> list[dict[str, Any]]:
        """A line about each agent that is registered or connected; docs/protocol.md names the fields."""
        agents: list[dict[str, Any]] = (await self._http("GET", "/api/agents"))["agents"]
        return agents

    async def agent_register(self, name: str, owner: str = "") -> dict[str, Any]:
        """Register an agent: its id, name and key, which is told this once. ConfigError if the name is taken.

        It belongs to whoever asks; an admin may name another person as `owner`.
        """
        return await self._http("POST", "/api/agents", {"name": name, "owner": owner})

    async def agent_delete(self, agent: str) -> None:
        """Revoke the key of an agent and end its connection; NotFoundError if it has none."""
        await self._http("DELETE", f"/api/agents/{quote(agent, '')}")

    async def agent_new_key(self, agent: str) -> dict[str, Any]:
        """A new key for an agent, told this once; the old one is good until the new one is used, at most for
        `old_key_good_s`. NotFoundError if it has none."""
        return await self._http("POST", f"/api/agents/{quote(agent, '')}/key", {})

    async def agent_start(
        self, agent: str, *, session: str = "", profile: str = "", **settings: Unpack[AgentSettings]
    ) -> dict[str, Any]:
        """Make an agent capture, into another session if one is named (by id or name); its line once it does.

        Settings go over those of the profile, if one is named; else what is left out or None stays as it is.
        ConflictError with the agent's own words if it cannot; then what it did before goes on.
        """
        body = {"session": session, "profile": profile, **settings}
        return await self._http("POST", f"/api/agents/{quote(agent, '')}/start", body)

    async def agent_change(self, agent: str, *, profile: str = "", **settings: Unpack[AgentSettings]) -> dict[str, Any]:
        """Other settings for an agent that captures; as `agent_start`, and ConflictError if it does not capture."""
        return await self._http("PATCH", f"/api/agents/{quote(agent, '')}", {"profile": profile, **settings})

    async def agent_interfaces(self, agent: str) -> list[dict[str, Any]]:
        """The interfaces of an agent's host, with what passes them (measured for a second): name, up, addresses,
        packets_per_s, bits_per_s, captured, allowed. ConflictError if it cannot or may not tell."""
        answer = await self._http("GET", f"/api/agents/{quote(agent, '')}/interfaces")
        interfaces: list[dict[str, Any]] = answer["interfaces"]
        return interfaces

    async def agent_try(self, agent: str, filter: str, seconds: float = 2.0) -> dict[str, Any]:
        """What of an agent's traffic a capture filter would keep, found out by looking for so long: seconds, packets,
        bytes, passed_packets, passed_bytes, missed_packets. ConflictError with the agent's own words if it cannot."""
        body = {"filter": filter, "seconds": seconds}
        return await self._http("POST", f"/api/agents/{quote(agent, '')}/dry-run", body)

    async def agent_stop(self, agent: str) -> dict[str, Any]:
        """Make an agent pause until it is started again; its line once it does. ConflictError if it cannot."""
        return await self._http("POST", f"/api/agents/{quote(agent, '')}/stop", {})

    async def profiles(self) -> list[dict[str, Any]]:
        """Named settings for `agent_start`: name, and what AgentSettings has."""
        profiles: list[dict[str, Any]] = (await self._http("GET", "/api/profiles"))["profiles"]
        return profiles

    async def profile_save(self, name: str, **settings: Unpack[AgentSettings]) -> None:
        """Make or change a profile; what it leaves open is as the agent's own configuration has it."""
        await self._http("POST", "/api/profiles", {"name": name, **settings})

    async def profile_delete(self, name: str) -> None:
        """Forget a profile; NotFoundError if there is none of that name."""
        await self._http("DELETE", f"/api/profiles/{quote(name, '')}")


def _batch(body: memoryview) -> pa.RecordBatch:
    with pa.ipc.open_stream(body) as reader:
        table = reader.read_all().combine_chunks()
    batches = table.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)
