"""The door: an HTTP server that lets strangers take little.

Until somebody showed a good token by it, a connection counts as a stranger's. Strangers are bounded in number, by
address and in all; and each connection in time: a request's head and body must come within `HEAD_S` and `BODY_S`. So
who opens connections and says nothing, or says it byte by byte, keeps nobody else out for long.
"""

from collections import Counter
from ssl import SSLContext
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerConnectionDelegate

from aishark_panel.streams.addresses import network_of

__all__ = ["BODY_S", "HEAD_S", "MAX_STRANGERS_EACH", "Door", "HubServer"]

HEAD_S: Final = 20.0
"""Most time for a request's head, and between two requests of one connection."""
BODY_S: Final = 20.0
"""Most time for a request's body, where its route does not say otherwise."""
MAX_STRANGERS: Final = 512
MAX_STRANGERS_EACH: Final = 256
"""From one address: behind one there may be many agents, and all come at once when their hub is started again."""


class Door:
    """Who stands at it. Connections are told apart by their streams."""

    def __init__(self) -> None:
        self._strangers: dict[object, str] = {}
        self._by_address: Counter[str] = Counter()
        self.turned_away = 0
        """connections that there was no room for"""

    @property
    def strangers(self) -> int:
        """How many there are."""
        return len(self._strangers)

    def enter(self, stream: object, address: str) -> bool:
        """A connection came from there; whether it may stay."""
        if len(self._strangers) >= MAX_STRANGERS or self._by_address[address] >= MAX_STRANGERS_EACH:
            self.turned_away += 1
            return False
        self._strangers[stream] = address
        self._by_address[address] += 1
        return True

    def leave(self, stream: object) -> None:
        """The connection ended, or is a stranger's no more."""
        address = self._strangers.pop(stream, None)
        if address is None:
            return
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


class HubServer(HTTPServer):
    """Tornado's server, with a door in front; made by `open_at`."""

    door: Door

    @classmethod
    def open_at(
        cls, door: Door, application: HTTPServerConnectionDelegate, *, tls: SSLContext | None, max_body_bytes: int
    ) -> "HubServer":
        """A server of that application, which does not listen yet."""
        server = cls(
            application,
            ssl_options=tls,
            idle_connection_timeout=HEAD_S,
            body_timeout=BODY_S,
            max_body_size=max_body_bytes,
        )
        server.door = door
        return server

    def handle_stream(self, stream: Any, address: Any) -> None:
        if self.door.enter(stream, network_of(str(address[0]))):
            super().handle_stream(stream, address)
        else:
            stream.close()

    def on_close(self, server_conn: Any) -> None:
        self.door.leave(server_conn.stream)
        super().on_close(server_conn)
