"""HTTP routes beside the page: `panel serve ... --plugins aishark_panel.views.routes`.

Panel gives such routes none of its authentication, so all of them inherit `Visitor`; those of files inherit `Guarded`,
which lets nobody pass whom the hub does not accept. Files go over HTTP, in both directions, never over the page's
WebSocket; what passes through here is never held but for a chunk.
"""

import contextlib
from typing import Any, Final

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body

from aishark_panel.views.access import hub_tls
from aishark_panel.views.login_routes import LOGIN_ROUTES
from aishark_panel.views.visitor import Guarded

__all__ = ["ROUTES"]

_CONNECT_S: Final = 5.0
_MAX_FILE_BYTES: Final = 2**50
"""Tornado's client wants a limit; a file is streamed, so its size costs no memory."""
_PASSED_ON: Final = ("Content-Type", "Content-Disposition", "Content-Length")
_MAX_CHUNK_BYTES: Final = 2**21
"""Longest body of a request; the page sends chunks of half of it."""
_CHUNK_S: Final = 60.0
_OFFSET: Final = "Upload-Offset"


class FilesHandler(Guarded):
    """`GET /files/TICKET`: the hub's export of that one-use ticket, at the page's origin, passed on as it comes."""

    async def get(self, ticket: str) -> None:
        status = 0

        def header(line: str) -> None:
            nonlocal status
            if line.startswith("HTTP/"):
                status = int(line.split(" ", 2)[1])
            name, _, value = line.partition(":")
            if name.title() in _PASSED_ON and status == 200:
                self.set_header(name.title(), value.strip())

        async def chunk(data: bytes) -> None:
            if status == 200:
                self.write(data)
                await self.flush()  # the hub is not read faster than the browser takes

        request = HTTPRequest(
            f"{self.hub}/api/export/{ticket}",
            connect_timeout=_CONNECT_S,
            request_timeout=0,
            header_callback=header,
            streaming_callback=chunk,
            decompress_response=False,
            ssl_options=hub_tls(),
        )
        client = AsyncHTTPClient(force_instance=True, max_body_size=_MAX_FILE_BYTES)
        try:
            await client.fetch(request)
        except (HTTPClientError, StreamClosedError, OSError) as error:
            self._break_off(error)
        finally:
            client.close()

    def _break_off(self, error: Exception) -> None:
        """End an answer that went wrong so that half a file is never taken for a whole one."""
        if not self._headers_written:
            code = 404 if isinstance(error, HTTPClientError) and error.code in (401, 404) else 502
            reason = "This export is gone: its address works once" if code == 404 else "The hub broke off"
            raise HTTPError(code, reason=reason) from error
        with contextlib.suppress(StreamClosedError):
            self.detach().close()


@stream_request_body
class UploadHandler(Guarded):
    """`POST /uploads`; `PATCH`, `GET`, `DELETE /uploads/ID`: the hub's route of that name, with the visitor's token.

    The body is streamed only because that is how Tornado asks for the token before it takes the body.
    """

    async def prepare(self) -> None:
        await super().prepare()
        self._body = bytearray()
        assert self.request.connection is not None
        self.request.connection.set_max_body_size(_MAX_CHUNK_BYTES)  # type: ignore[attr-defined]

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    async def get(self, upload: str = "") -> None:
        await self._pass_on()

    async def post(self, upload: str = "") -> None:
        await self._pass_on()

    async def patch(self, upload: str = "") -> None:
        await self._pass_on()

    async def delete(self, upload: str = "") -> None:
        await self._pass_on()

    async def _pass_on(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        if _OFFSET in self.request.headers:
            headers[_OFFSET] = self.request.headers[_OFFSET]
        request = HTTPRequest(
            f"{self.hub}/api{self.request.path[self.request.path.rindex('/uploads') :]}",
            method=self.request.method or "GET",
            headers=headers,
            body=bytes(self._body) or None,
            allow_nonstandard_methods=True,
            connect_timeout=_CONNECT_S,
            request_timeout=_CHUNK_S,
            ssl_options=hub_tls(),
        )
        try:
            response = await AsyncHTTPClient().fetch(request, raise_error=False)
        except (HTTPClientError, StreamClosedError, OSError) as error:
            raise HTTPError(502, reason="The hub cannot be reached") from error
        # 599 is not an answer of the hub: it did not come in time.
        self.set_status(response.code if response.code < 599 else 504)
        for name in ("Content-Type", "Retry-After", _OFFSET):
            if name in response.headers:
                self.set_header(name, response.headers[name])
        if response.code != 204:
            self.finish(response.body or b"{}")


ROUTES: Final[list[tuple[str, type[RequestHandler], dict[str, Any]]]] = [
    *LOGIN_ROUTES,
    (r"/files/([\w-]{1,200})", FilesHandler, {}),
    (r"/uploads", UploadHandler, {}),
    (r"/uploads/([0-9a-f]{1,64})", UploadHandler, {}),
]
"""What `--plugins` adds to the server."""
