"""Routes of uploads: announce a file, send its chunks, ask how far it is.

Chunks follow the tus protocol's core in spirit (https://tus.io/protocols/resumable-upload): PATCH with Upload-Offset,
HEAD to find out where to go on, 409 where the offset is another.
"""

import base64
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec
from tornado.web import stream_request_body

from aishark_panel.errors import ConfigError
from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.operation import operation
from aishark_panel.streams.uploads import MAX_CHUNK_BYTES, Upload, UploadAnswer, UploadRequest

__all__ = ["ROUTES"]

_OFFSET: Final = "Upload-Offset"
_LENGTH: Final = "Upload-Length"
_CHECKSUM: Final = "Upload-Checksum"
_CHUNK_S: Final = 120.0
"""Most time for a chunk."""
_SAYS: Final = {_OFFSET: "the byte that is due", _LENGTH: "size of the file in bytes"}
_Offset = Annotated[int, msgspec.Meta(ge=0, lt=10**18, description="where the chunk belongs, in bytes")]
_MAX_HEARD_BYTES: Final = 8 * MAX_CHUNK_BYTES
"""A body that is too long is read up to here (and not kept): a peer that is still sending hears no answer."""


class UploadStart(Guarded):
    """`/api/uploads`"""

    @operation("Announce a capture file.", body=UploadRequest, answer=UploadAnswer, status=201, errors=(404, 409))
    async def post(self, *, body: UploadRequest) -> None:
        if body.session is not None:
            self.hub.sessions.find(body.session, self.person)  # so that an error comes before the bytes
        upload = await self.hub.uploads.create(
            body, self.person.name, lambda: self.hub.sessions.upload_target(body.name, body.session, self.person)
        )
        self.audit("upload.start", upload.id, name=body.name, size=body.size, session=body.session)
        self.set_status(201)
        self.finish(upload.status())


@stream_request_body
class UploadById(Guarded):
    """`/api/uploads/:id`

    The body is streamed only because that is how Tornado lets one route take more, and longer, than the others.
    """

    _upload: Upload
    _held_bytes = 0

    def prepare(self) -> Awaitable[None] | None:
        super().prepare()
        self._chunk = bytearray()
        connection: Any = self.request.connection
        connection.set_max_body_size(_MAX_HEARD_BYTES)
        connection.set_body_timeout(_CHUNK_S)
        self._upload = self.hub.uploads.find(self.request.path.rpartition("/")[2], self.person)
        if self.method == "PATCH":
            self._receive_alone(connection.stream.close)
        return None

    def _receive_alone(self, break_off: Callable[[], None]) -> None:
        """Hold one chunk for an upload. The newest request counts: the one before may have come by a line that is dead
        and nobody knows it."""
        if self._upload.break_off:
            self._upload.break_off()
        text = self.request.headers.get("Content-Length", "")
        is_said = text.isdecimal() and len(text) < 10
        held_bytes = min(int(text), MAX_CHUNK_BYTES) if is_said else MAX_CHUNK_BYTES
        self.hub.uploads.hold(held_bytes)
        self._held_bytes = held_bytes
        self._break_off = self._upload.break_off = break_off

    def _received(self) -> None:
        """No more comes by this request."""
        if self._held_bytes and self._upload.break_off is self._break_off:
            self._upload.break_off = None

    def _let_go(self) -> None:
        self._received()
        self.hub.uploads.let_go(self._held_bytes)
        self._held_bytes = 0

    def on_finish(self) -> None:
        self._let_go()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._let_go()

    def data_received(self, chunk: bytes) -> None:
        if len(self._chunk) <= MAX_CHUNK_BYTES:
            self._chunk += chunk

    @operation("How far an upload is.", answer=UploadAnswer, says=_SAYS)
    def get(self, upload_id: str) -> None:
        self._say_offset()
        self.finish(self._upload.status())

    @operation("Which byte of an upload is due.", says=_SAYS)
    def head(self, upload_id: str) -> None:
        self._say_offset()
        self.finish()

    @operation(
        "The next chunk of a file.",
        chunk="application/octet-stream",
        headers={_OFFSET: _Offset},
        answer=UploadAnswer,
        says=_SAYS,
        errors=(409,),
    )
    async def patch(self, upload_id: str) -> None:
        self._received()
        upload = self._upload
        text = self.request.headers.get(_OFFSET, "")
        if not text.isdecimal() or len(text) > 18:
            raise ConfigError(f"the header {_OFFSET} says where the chunk belongs, in bytes; it is {text!r:.30}")
        if len(self._chunk) > MAX_CHUNK_BYTES:
            raise ConfigError(f"a chunk has at most {MAX_CHUNK_BYTES:,} bytes")
        await self.hub.uploads.append(upload, int(text), self._chunk, self._digest())
        self._say_offset()
        self.finish(upload.status())

    def _digest(self) -> bytes | None:
        """SHA-256 that the chunk has, if the client says (tus's checksum extension)."""
        algorithm, _, digest = self.request.headers.get(_CHECKSUM, "").partition(" ")
        if not algorithm:
            return None
        try:
            if algorithm == "sha256":
                return base64.b64decode(digest, validate=True)
        except ValueError:
            pass
        raise ConfigError(f"the header {_CHECKSUM} is 'sha256' and the digest in base64")

    @operation("Give an upload up, or forget it.", status=204)
    async def delete(self, upload_id: str) -> None:
        await self.hub.uploads.delete(self._upload)
        self.audit("upload.delete", upload_id)
        self.set_status(204)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self._say_offset()
        super().write_error(status_code, **kwargs)

    def _say_offset(self) -> None:
        if hasattr(self, "_upload"):
            self.set_header(_OFFSET, str(self._upload.offset))
            self.set_header(_LENGTH, str(self._upload.request.size))


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/uploads", UploadStart),
    (r"/api/uploads/([0-9a-f]+)", UploadById),
)
