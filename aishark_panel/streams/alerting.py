"""What the hub does about alerts: lets time go on for the rules, keeps what changes, has evidence made, tells people.

Each session's log of alerts (alerts/log.py) is written to a file beside the session's journal before anybody is told of
what is new in it. So after a restart nobody is told twice; what a hub that was killed had written but not told yet is
on the list, and not told. Without a journal the log lives as long as the hub.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from aishark_panel.alerts.kept import Alert
from aishark_panel.alerts.notify import Notifier
from aishark_panel.alerts.rule import Rule
from aishark_panel.alerts.silences import Silence
from aishark_panel.streams.alertfile import AlertFile
from aishark_panel.streams.evidence import Evidence
from aishark_panel.streams.session import Session

__all__ = ["Alerting"]

T = TypeVar("T")

log = logging.getLogger(__name__)

_PERIOD_S: Final = 0.25
_EVIDENCE_PERIOD_S: Final = 0.5
_EVIDENCE_REST: Final = 3.0
"""Evidence that took so long to make is followed by a rest of so many times as long."""
_RETRY_S: Final = 2.0
_FILE: Final = "alerts.jsonl"
_EVIDENCE: Final = "evidence"


class _Kept:
    """What of one session's alerts is beside its journal."""

    def __init__(self, session: Session, folder: Path | None) -> None:
        self.session = session
        self.file = AlertFile(folder / _FILE) if folder else None
        self.evidence = Evidence(session, folder / _EVIDENCE if folder else None)
        self._lock = threading.Lock()
        """whoever writes the file, or changes silences"""
        self._is_gone = False
        self._retry_s = 0.0

    def restore(self) -> None:
        if self.file and (kept := self.file.read()):
            self.session.alerts.restore(kept)

    @property
    def has_changed(self) -> bool:
        """Whether there are changes of alerts to be kept."""
        return self.file is not None and self.file.cursor != self.session.alerts.changes

    def keep(self, now_s: float) -> None:
        """On a thread for the disk: write down what changed. While the disk fails it is tried again now and then."""
        with self._lock:
            if self.file is None or self._is_gone or now_s < self._retry_s:
                return
            try:
                self.file.keep(self.session.alerts)
            except Exception as error:
                if not self._retry_s:
                    why = error.strerror if isinstance(error, OSError) else "it failed"
                    unexpected = not isinstance(error, OSError)
                    log.error("the alerts of session %s are not kept: %s", self.session.name, why, exc_info=unexpected)
                self._retry_s = now_s + _RETRY_S
            else:
                self._retry_s = 0.0

    def change(self, step: Callable[[], T]) -> T:
        """On such a thread: change what is kept, and keep it."""
        with self._lock:
            changed = step()
        self.keep(time.monotonic())
        return changed

    def end(self) -> None:
        """On such a thread: nothing is written from now on."""
        with self._lock:
            self._is_gone = True


class Alerting:
    """The alerts of all sessions. All methods run on the event loop."""

    def __init__(
        self, ingest_pool: Executor, disk_pool: Executor, notifier: Notifier | None, folder: Path | None
    ) -> None:
        """`folder` is the journal's. `notifier` is told of alerts, and closed with this."""
        self._ingest_pool = ingest_pool
        self._disk_pool = disk_pool
        self._evidence_pool = ThreadPoolExecutor(1, thread_name_prefix="evidence")
        self.notifier = notifier
        self._folder = folder
        self._kept: dict[str, _Kept] = {}

    def add(self, session: Session) -> None:
        """A session began, or came back: its alerts with it."""
        kept = self._kept[session.id] = _Kept(session, self._folder and self._folder / session.id)
        kept.restore()

    async def forget(self, session: Session) -> None:
        """A session was deleted: nothing is written beside its journal any more."""
        if kept := self._kept.pop(session.id, None):
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._disk_pool, kept.end)
            await loop.run_in_executor(self._evidence_pool, kept.end)  # after what is being made of its evidence

    async def close(self) -> None:
        """Keep what is known; the tasks of `watch` and `make_evidence` have ended."""
        for kept in list(self._kept.values()):
            await self._on_disk(kept.keep, time.monotonic())
        if self.notifier:
            await self.notifier.close()
        self._evidence_pool.shutdown(wait=True, cancel_futures=True)

    async def watch(self) -> None:
        """Let the rules know that time goes on, keep what they find, and tell of it."""
        while True:
            for kept in list(self._kept.values()):
                try:
                    await self._look(kept)
                except Exception:  # one session's fault is not the others'
                    kept.session.condition.note_trouble("Its alert rules failed.")
            await asyncio.sleep(_PERIOD_S)

    async def _look(self, kept: _Kept) -> None:
        session, loop = kept.session, asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._ingest_pool, session.tick_alerts, time.monotonic())
        finally:
            news = session.alerts.take_news()
            if kept.has_changed:
                await self._on_disk(kept.keep, time.monotonic())
            for alert in news:
                self._tell(session, alert)

    def _tell(self, session: Session, alert: Alert) -> None:
        if self.notifier:
            told = {"session": {"id": session.id, "name": session.name}, **alert}
            self.notifier.put(told, session.alerts.deliveries)

    async def _on_disk(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk_pool, work, *arguments)

    async def make_evidence(self) -> None:
        """Have the packets of alerts saved, one alert at a time."""
        loop = asyncio.get_running_loop()
        while True:
            for kept in list(self._kept.values()):
                if kept.session.id not in self._kept:
                    continue  # it was deleted meanwhile
                began_s = time.monotonic()
                evidence = kept.evidence
                try:
                    if evidence.is_stale:
                        await loop.run_in_executor(self._evidence_pool, evidence.sweep)
                    if alert := evidence.due(time.time_ns()):
                        await loop.run_in_executor(self._evidence_pool, evidence.make, alert)
                        await asyncio.sleep(_EVIDENCE_REST * (time.monotonic() - began_s))
                except Exception:
                    kept.session.condition.note_trouble("The packets of its alerts could not be saved.")
            await asyncio.sleep(_EVIDENCE_PERIOD_S)

    async def replace_rules(self, sessions: Iterable[Session], rules: tuple[Rule, ...]) -> None:
        """These sessions are watched by these rules from now on."""
        loop = asyncio.get_running_loop()
        for session in sessions:
            await loop.run_in_executor(self._ingest_pool, session.alerts.replace, rules)

    # What people change is changed on a thread too, for the log may be busy with a storm.

    async def mark(self, session: Session, number: int, by: str, **marks: bool | None) -> Alert:
        """Somebody acknowledges or archives an alert; the alert, as of AlertLog.mark, once that is kept."""
        change = partial(session.alerts.mark, number, by, **marks)
        return await self._on_disk(self._kept[session.id].change, change)

    async def silence(
        self, session: Session, rule: str | None, key: dict[str, Any] | None, for_s: float, reason: str, by: str
    ) -> Silence:
        """Tell nobody of certain alerts for a while; the silence, once that is kept. Errors as of Silences.add."""
        change = partial(session.alerts.silences.add, rule, key, for_s, reason, by, time.time_ns())
        return await self._on_disk(self._kept[session.id].change, change)

    async def end_silence(self, session: Session, silence_id: str) -> None:
        """Tell of these alerts again. NotFoundError if there is none of that id."""
        change = partial(session.alerts.silences.remove, silence_id)
        await self._on_disk(self._kept[session.id].change, change)

    async def evidence(self, session: Session, number: int) -> bytes:
        """The file of an alert's evidence; NotFoundError, with the reason, if there is none."""
        return await self._on_disk(self._kept[session.id].evidence.read, number)
