"""A capture file into a session, inside the hub: batch after batch through the path that agents' batches take.

The file is read on one thread and its frames are ingested on another, by the session's one writer, between the batches
of its agents. The next batch is read when the last one is in the ring, so the memory this takes does not depend on the
length of the file.
"""

import asyncio
import contextlib
import platform
import secrets
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

from aishark_panel import __version__
from aishark_panel.capturefile import CaptureFile
from aishark_panel.errors import NotFoundError
from aishark_panel.streams.ingest import Ingest
from aishark_panel.wire.frames import MAX_FRAME_BYTES, Frames
from aishark_panel.wire.messages import PROTOCOL_VERSION, Hello, InterfaceInfo
from aishark_panel.wire.pcapheaders import CaptureInterface

__all__ = ["ingest_file"]

AGENT: Final = "upload"
_NAME_CHARACTERS: Final = 200
_FILTER_CHARACTERS: Final = 8_000


async def ingest_file(
    file: CaptureFile, frames: Frames | None, ingest: Ingest, executor: Executor, progress: Callable[[], None]
) -> None:
    """Take `frames`, the first that were read of the file, and all that follow into a session.

    `progress` is called after each batch; `file.packets` and `file.bytes_done` tell how far it is. Raises
    CaptureFileError, ProtocolError where the session has no room for the file's interfaces, NotFoundError once the
    session is deleted.
    """
    loop = asyncio.get_running_loop()
    session = ingest.session
    hello = Hello(
        protocol=PROTOCOL_VERSION,
        agent=AGENT,
        run=secrets.token_hex(16),
        version=__version__,
        host=platform.node(),
        source="replay",
        interfaces=_infos(file),
    )
    run = session.runs.attach(hello)
    declared = len(file.interfaces)
    sequence = 0
    try:
        while frames is not None or not file.ended:
            if frames is not None:
                if len(file.interfaces) > declared:
                    session.runs.set_interfaces(run, _infos(file))
                    declared = len(file.interfaces)
                sequence += 1
                counters = {"captured": file.packets}
                await ingest.take(run, frames, sequence, counters)
                progress()
            frames = await loop.run_in_executor(executor, file.read)
        run.reason = file.warning or f"The whole of {file.name} was read."
    except Exception as error:
        run.reason = str(error)
        raise
    finally:
        run.connected, run.ended = False, True
        with contextlib.suppress(NotFoundError):
            await ingest.note(run)


def _infos(file: CaptureFile) -> tuple[InterfaceInfo, ...]:
    return tuple(_info(file.name, i, interface) for i, interface in enumerate(file.interfaces))


def _info(file_name: str, index: int, interface: CaptureInterface) -> InterfaceInfo:
    unnamed = file_name + (f" #{index}" if index else "")
    return InterfaceInfo(
        name=(interface.name or unnamed)[:_NAME_CHARACTERS],
        link_type=interface.link_type,
        snaplen=interface.snaplen or MAX_FRAME_BYTES,
        filter=interface.filter[:_FILTER_CHARACTERS],
    )
