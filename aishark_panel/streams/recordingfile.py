"""The file that a recording is writing, from its first byte until it has its name.

It is a part (streams/partfile.py) until it is whole. A disk that takes no more ends it: of pcapng what was written up
to the last whole block is kept; of other formats nothing can be used, so the file is lost, and what it held has to be
written again.
"""

from collections.abc import Callable
from pathlib import Path

from aishark_panel.export.tables import Rows
from aishark_panel.export.writer import open_writer
from aishark_panel.streams.about import about, comment
from aishark_panel.streams.manifest import Counts, FileNote
from aishark_panel.streams.partfile import PartFile
from aishark_panel.streams.session import Session
from aishark_panel.wire.packets import Packets

__all__ = ["RecordingFile"]


class RecordingFile:
    """A file for packets of the session that match `where`; `name` is its path within the folder of recordings.

    It is opened at `opened_s`, when the recording's counts are `before`; `failed()` is how many of its packets have
    failed by now. FileExistsError where there is one of that name. What writes raises OSError; see then whether the
    file `is_lost`.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        session: Session,
        where: str,
        *,
        opened_s: float,
        before: Counts,
        failed: Callable[[], int],
    ) -> None:
        self.name = name
        self.opened_s = opened_s
        self.before = before
        self.is_whole = False
        """whether it is complete, and has yet to get its name"""
        self.is_lost = False
        """whether it was removed"""
        path = folder / name
        self._part = PartFile(path)
        self._can_be_cut = path.suffix == ".pcapng"
        try:
            self._writer = open_writer(
                self._part,
                path.suffix,
                session.interfaces,
                capture_interfaces=session.runs.described_interfaces,
                about=lambda: about(session, where, failed()),
                comment=comment(session, where),
            )
        except BaseException:
            self._part.discard()
            raise

    @property
    def packets(self) -> int:
        """Packets in it."""
        return self._writer.packets

    @property
    def size_bytes(self) -> int:
        """Bytes that were written."""
        return self._part.size_bytes

    @property
    def note(self) -> FileNote:
        """It as a manifest names it."""
        return FileNote(self.name, self.packets, self.size_bytes)

    def write(self, packets: Packets, rows: Rows) -> None:
        """Append rows of a block. Where that fails the file is whole without them, or lost."""
        before_bytes = self.size_bytes
        try:
            self._writer.write(packets, rows)
        except OSError:
            self._cut(before_bytes)
            raise

    def complete(self) -> None:
        """Write what belongs at its end, unless it is whole. OSError means that it is lost."""
        if self.is_whole:
            return
        before_bytes = self.size_bytes
        try:
            self._writer.close()
            self.is_whole = True
        except OSError:
            self._cut(before_bytes)
            if self.is_lost:
                raise

    def sync(self) -> None:
        """Have the disk keep what was written so far. OSError means that it is lost."""
        try:
            self._part.sync()
        except OSError:
            self.discard()
            raise

    def give_name(self) -> None:
        """It is whole and synced: let it be seen. May be tried again."""
        self._part.name()

    def discard(self) -> None:
        """Remove it, unless that is done."""
        if not self.is_lost:
            self._writer.discard()
            self._part.discard()
            self.is_lost = True

    def _cut(self, size_bytes: int) -> None:
        """The disk takes no more: end with the last block that is whole, if there is one."""
        if not self._can_be_cut or not self.packets:
            self.discard()
            return
        try:
            self._part.cut(size_bytes)
        except OSError:
            self.discard()
        else:
            self._writer.discard()
            self.is_whole = True
