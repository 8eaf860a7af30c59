"""Sending a capture file to a hub, in chunks, over a line that may break: what HubClient.upload does.

After an error on the way the hub is asked how far it is, and sending goes on there. The requests themselves are made
by the client, which knows address and credentials.
"""

import asyncio
import base64
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from aishark_panel.errors import ConfigError, ConflictError, HubError, HubUnreachableError, TooManyRequestsError

__all__ = ["Ask", "UploadProgress", "upload_file"]

CHUNK_BYTES: Final = 2**20
MIN_CHUNK_BYTES: Final = 2**15
"""After an error the next chunk is half as long, down to here: on a line that breaks often, long ones never arrive."""
MAX_TRIES: Final = 16
"""Errors in a row, without a byte of progress between them, before it gives up."""
_RETRY_S: Final = 0.25
_RETRY_MAX_S: Final = 5.0
_POLL_S: Final = 0.2

Status = dict[str, Any]
UploadProgress = Callable[[Status], None]
"""called with the hub's view of the upload: state, size, offset, bytes_read, packets ... (docs/protocol.md)"""


class Ask(Protocol):
    """Makes one HTTP request of the hub and returns its JSON answer. Raises the hub's error, or HubUnreachableError."""

    async def __call__(
        self, method: str, path: str, body: bytes | Status | None = None, headers: Mapping[str, str] | None = None
    ) -> Status: ...


async def upload_file(
    ask: Ask, path: str | os.PathLike[str], *, session: str | None = None, progress: UploadProgress | None = None
) -> Status:
    """Send a capture file and wait until the hub has read it; the last status.

    Raises ConfigError where the file cannot be read or is too big, HubError with the hub's sentence where it is no
    capture file, HubUnreachableError when the hub stays away.
    """
    report = progress or (lambda status: None)
    try:
        with await asyncio.to_thread(Path(path).open, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            name = Path(path).name[-200:]
            status = await ask("POST", "/api/uploads", {"name": name, "size": size, "session": session})
            status = await _send(ask, file, status, report)
    except OSError as error:
        raise ConfigError(f"cannot read {os.fspath(path)}: {error.strerror}") from error
    while status["state"] == "parsing":
        report(status)
        await asyncio.sleep(_POLL_S)
        status = await _ask_again(ask, status)
    report(status)
    if status["state"] == "failed":
        raise HubError(status["reason"])
    return status


async def _send(ask: Ask, file: BinaryIO, status: Status, report: UploadProgress) -> Status:
    tries, chunk_bytes = 0, CHUNK_BYTES
    while status["state"] == "receiving":
        report(status)
        offset = status["offset"]
        chunk, digest = await asyncio.to_thread(_read_chunk, file, offset, chunk_bytes)
        if not chunk:
            raise ConfigError(f"{file.name} became shorter while it was sent")
        try:
            headers = {"Upload-Offset": str(offset), "Upload-Checksum": f"sha256 {digest}"}
            status = await ask("PATCH", _place(status), chunk, headers)
            chunk_bytes = min(2 * chunk_bytes, CHUNK_BYTES)
        except (ConflictError, TooManyRequestsError, HubUnreachableError) as error:
            # The chunk may have arrived although its answer did not.
            tries += 1
            chunk_bytes = max(chunk_bytes // 2, MIN_CHUNK_BYTES)
            if tries == MAX_TRIES:
                raise HubUnreachableError(f"The upload broke off {tries} times at byte {offset:,}: {error}") from error
            status = await _ask_again(ask, status)
        if status["offset"] > offset:
            tries = 0
    return status


async def _ask_again(ask: Ask, status: Status) -> Status:
    """The upload's status now, asked for patiently."""
    delay_s = _RETRY_S
    for _ in range(MAX_TRIES - 1):
        try:
            return await ask("GET", _place(status))
        except HubUnreachableError:
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _RETRY_MAX_S)
    return await ask("GET", _place(status))


def _place(status: Status) -> str:
    return f"/api/uploads/{status['id']}"


def _read_chunk(file: BinaryIO, offset: int, size_bytes: int) -> tuple[bytes, str]:
    """So many bytes from there, and their SHA-256 in base64."""
    file.seek(offset)
    chunk = file.read(size_bytes)
    return chunk, base64.b64encode(hashlib.sha256(chunk).digest()).decode()
