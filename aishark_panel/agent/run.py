"""A run: what numbers an agent's batches and counts its packets, and the folder where it outlives the process.

Without a folder a run is one life of a process. With one, an agent that starts again goes on with the same run:
identity, numbers, counters, interfaces, and the batches in the spool. Batches that were in memory only when a process
was killed are gone, unless the hub had got them; which, its next welcome says.

A run belongs to a hub and a session. A folder that still holds packets for others is refused, not sent elsewhere. A new
run is begun where the counters cannot be relied on: the file is damaged, or the power was cut.
"""

import contextlib
import fcntl
import logging
import os
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from aishark_panel.agent.spool import DEFAULT_SPOOL_BYTES, Spool
from aishark_panel.agent.tally import Tally, TallyFile
from aishark_panel.errors import ConfigError
from aishark_panel.wire.messages import CaptureSettings, InterfaceInfo

__all__ = ["Run", "open_run"]

log = logging.getLogger(__name__)

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class _About(msgspec.Struct, frozen=True, kw_only=True):
    """What `run.json` in the folder says."""

    version: int = 1
    folder: str
    """id that its segments carry"""
    run: str
    hub: str
    session: str
    boot: str = ""
    """start of the host's kernel in which the run was last open"""
    interfaces: tuple[InterfaceInfo, ...] = ()
    capturing: bool = False
    asked: CaptureSettings = CaptureSettings()
    """what the hub asked for last"""
    given_up: tuple[int, ...] = ()
    """batches that the hub refused for good; they may still be in the spool"""


@dataclass(slots=True)
class Run:
    """One run. Without a folder its tally is in memory, and nothing is remembered."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    tally: Tally = field(default_factory=Tally)
    spool: Spool | None = None
    unknown: dict[int, int] = field(default_factory=dict)
    """batches that an earlier life made and that are not here, with their packets: the hub may hold them; and those
    that it gave up"""
    interfaces: tuple[InterfaceInfo, ...] = ()
    capturing: bool = False
    asked: CaptureSettings = field(default_factory=CaptureSettings)
    """whether and how an earlier life captured"""
    down_since_ns: int = 0
    """when it was last known to live; 0: there was none"""
    _folder: "_Folder | None" = None

    @property
    def goes_on(self) -> bool:
        """Whether there was an earlier life."""
        return self.down_since_ns > 0

    @property
    def owes(self) -> bool:
        """Whether there are batches that the hub is not known to hold."""
        return self.tally["durable"] + 1 < self.tally["next_sequence"]

    def remember(self, interfaces: tuple[InterfaceInfo, ...], *, capturing: bool, asked: CaptureSettings) -> None:
        """What a later life has to know. To be called before a batch names a new interface."""
        if self._folder:
            self._folder.remember(interfaces=interfaces, capturing=capturing, asked=asked)

    def remember_given_up(self, sequence: int) -> None:
        """A later life must not send that batch, either."""
        if self._folder:
            due = tuple(n for n in self._folder.about.given_up if n > self.tally["durable"] and n != sequence)
            self._folder.remember(given_up=(*due, sequence))

    def close(self) -> None:
        """Let go of the folder, in order."""
        if self.spool:
            self.spool.close()
        self.tally.close()
        if self._folder:
            self._folder.close()


def open_run(folder: Path, hub: str, session: str, limit_bytes: int = DEFAULT_SPOOL_BYTES) -> Run:
    """The run of a spool folder, made if it is not there. ConfigError where it cannot be used or holds others' packets.

    The folder is locked until the run is closed, or the process ends.
    """
    with contextlib.ExitStack() as undo:
        try:
            place = _Folder(folder)
            undo.callback(place.close)
            run = _open(place, hub.rstrip("/"), session, limit_bytes)
        except OSError as error:
            raise ConfigError(f"The spool folder {folder} cannot be used: {error.strerror or error}.") from error
        undo.pop_all()
    return run


def _open(place: "_Folder", hub: str, session: str, limit_bytes: int) -> Run:
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    file = TallyFile(place.path / "counters", time.time_ns)
    numbers = file.read()
    about = place.read() or _new(hub, session)
    spool = Spool(place.path, bytes.fromhex(about.folder), limit_bytes)
    durable = numbers["durable"] if numbers else 0
    held = {number: spool.rows(number) for number in spool.numbers() if number > durable}
    given_up = dict.fromkeys(held.keys() & set(about.given_up), 0)
    held |= given_up
    if (about.hub, about.session) != (hub, session):
        if packets := sum(held.values()):
            raise ConfigError(
                f"The spool folder {place.path} holds {packets:,} packets for {about.hub}, session "
                f"{about.session or '(its own)'}. Start the agent with these until they are delivered, name another "
                "folder with --spool, or delete this one and the packets with it."
            )
        about = _new(hub, session)
        spool = Spool(place.emptied(), bytes.fromhex(about.folder), limit_bytes)
    elif numbers and (numbers["closed"] or about.boot == boot) and (found := _recovered(numbers, held, file)):
        now, unknown = found
        place.save(msgspec.structs.replace(about, boot=boot))
        return _run(place, Tally(file, now), spool, unknown | given_up, numbers["alive_ns"])
    elif numbers or held:
        log.warning("the counters in %s are not the last ones: its packets go on as a new run", place.path)
    place.save(msgspec.structs.replace(about, run=uuid.uuid4().hex, boot=boot))
    return _run(place, Tally(file, _anew(held)), spool, given_up, numbers["alive_ns"] if numbers else 0)


def _new(hub: str, session: str) -> "_About":
    return _About(folder=uuid.uuid4().hex, run=uuid.uuid4().hex, hub=hub, session=session)


def _run(place: "_Folder", tally: Tally, spool: Spool, unknown: dict[int, int], down_since_ns: int) -> Run:
    about = place.about
    spool.forget(tally["durable"])
    return Run(
        id=about.run,
        tally=tally,
        spool=spool,
        unknown=unknown,
        interfaces=about.interfaces,
        capturing=about.capturing,
        asked=about.asked,
        down_since_ns=down_since_ns,
        _folder=place,
    )


def _recovered(
    before: dict[str, int], held: dict[int, int], file: TallyFile
) -> tuple[dict[str, int], dict[int, int]] | None:
    """The numbers an earlier life left, made true, and the batches it made that are not here; None if they cannot be.

    What was in the open batch is lost for certain, and counted; of the batches that are not here the hub knows.
    """
    made = range(before["durable"] + 1, before["next_sequence"])
    if not held.keys() <= set(made):
        return None
    unknown = {number: file.rows(number) for number in made if number not in held}
    here, elsewhere = sum(held.values()), sum(unknown.values())
    lost = before["in_encoder"] + before["outbox"] + before["spooled"] - here - elsewhere
    if lost < 0:
        return None
    if lost:
        log.warning("%d packets were lost when the agent was killed", lost)
    return before | {
        "lost_in_agent_crash": before["lost_in_agent_crash"] + lost,
        "in_encoder": 0,
        "outbox": elsewhere,
        "spooled": here,
        # What lay in the kernel's buffer belongs to the time without capture.
        "matched": before["captured"] + before["kernel_dropped"],
    }, unknown


def _anew(held: dict[int, int]) -> dict[str, int]:
    """Numbers of a new run that begins with the batches in the spool, which keep theirs."""
    packets = sum(held.values())
    return {
        "captured": packets,
        "matched": packets,
        "spooled": packets,
        "durable": min(held, default=1) - 1,
        "next_sequence": max(held, default=0) + 1,
    }


def _close_to_others(path: Path) -> None:
    """A spool holds captured bytes. ConfigError where the folder is open to others and not the spool's alone."""
    mode = path.stat().st_mode & 0o7777
    if not mode & 0o077:
        return
    if any(path.iterdir()) and not (path / "run.json").exists():
        raise ConfigError(
            f"The folder {path} is open to other users (mode {mode:04o}) and holds other files: name one for the spool "
            "alone with --spool."
        )
    path.chmod(0o700)
    log.warning("the spool folder %s was open to other users (mode %04o); it is not any more", path, mode)


class _Folder:
    """A spool's folder: its lock, and its `run.json`, which is always whole."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _close_to_others(path)
        self.path = path
        self.about: _About
        self._changing = threading.Lock()
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(self._lock, 20).decode("ascii", "replace").strip()
            os.close(self._lock)
            raise ConfigError(
                f"The spool folder {path} is in use by another agent (process {who}): each agent needs its own."
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def read(self) -> "_About | None":
        """What is known of the run; None in a new folder."""
        try:
            return msgspec.json.decode((self.path / "run.json").read_bytes(), type=_About)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{self.path / 'run.json'} is damaged ({error}): move the folder away.") from error

    def save(self, about: "_About") -> None:
        self.about = about
        path = self.path / "run.json"
        part = path.with_suffix(".part")
        with part.open("wb", buffering=0) as file:
            os.chmod(file.fileno(), 0o600)
            file.write(msgspec.json.format(msgspec.json.encode(about)))
            os.fsync(file.fileno())
        part.rename(path)

    def remember(self, **changes: object) -> None:
        """Change what is known, if it is new. Where it cannot be saved, the log says so and the capture goes on."""
        with self._changing:
            about = msgspec.structs.replace(self.about, **changes)
            if about == self.about:
                return
            try:
                self.save(about)
            except OSError as error:
                self.about = about
                log.warning("%s cannot be written: %s", self.path / "run.json", error.strerror)

    def emptied(self) -> Path:
        """The folder without its segments."""
        for path in self.path.glob("*.segment"):
            path.unlink()
        return self.path

    def close(self) -> None:
        os.close(self._lock)
