"""The hub's counters for Prometheus: sessions, agents, the ledger by stage and part, the journal, alerts, requests.

Whoever asks gets the sessions that they see, so that a token which scrapes shows no more than it would elsewhere.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from tornado.web import RequestHandler

from aishark_panel.alerts.notify import Notifier
from aishark_panel.streams.hub import Hub
from aishark_panel.streams.ledger import IN_PROGRESS, ledger
from aishark_panel.streams.operation import HTTP_METHODS
from aishark_panel.streams.people import Person
from aishark_panel.streams.session import Session
from aishark_panel.wire.prometheus import family, single

__all__ = ["Answered", "metrics_text"]

_PREFIX: Final = "aishark_hub"
_HELD: Final = frozenset((*IN_PROGRESS, "in_ring"))
"""Parts of the ledger that go down again."""

_Samples = list[tuple[dict[str, str], float]]


class Answered:
    """Requests answered, by route, method and status; bounded, for what has no route counts as one."""

    def __init__(self, names: dict[type, str]) -> None:
        """`names` of the routes, by their handlers."""
        self._names = names
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def note(self, handler: RequestHandler) -> None:
        """A request was answered."""
        method = handler.request.method or ""
        method = method if method in HTTP_METHODS else "other"
        self._counts[self._names.get(type(handler), "other"), method, str(handler.get_status())] += 1

    def samples(self) -> _Samples:
        """The counts, by their labels."""
        labels = ("route", "method", "status")
        return [(dict(zip(labels, key, strict=True)), count) for key, count in sorted(self._counts.items())]


def metrics_text(hub: Hub, person: Person, answered: Answered) -> str:
    """What a person sees, in Prometheus' text exposition format 0.0.4."""
    sessions = [hub.session(line["id"], person) for line in hub.sessions(person)]
    agents = [agent["state"] for agent in hub.agents.list(person)]
    refusals = [({"peer": peer}, count) for peer, count in sorted(hub.refusals.copy().items())]
    states = [({"state": state}, agents.count(state)) for state in ("capturing", "stopped", "ended", "offline")]
    lines = [
        *single(f"{_PREFIX}_start_time_seconds", "gauge", "When the hub started, Unix time.", hub.started_ns / 1e9),
        *single(f"{_PREFIX}_sessions", "gauge", "Sessions there are.", len(sessions)),
        *family(f"{_PREFIX}_agents", "gauge", "Agents, by what they do.", states),
        *family(f"{_PREFIX}_requests_total", "counter", "Requests answered.", answered.samples()),
        *family(f"{_PREFIX}_refusals_total", "counter", "Sockets closed with a reason, by who came.", refusals),
        *_of_sessions(sessions),
        *_of_alerts(sessions),
        *_of_channels(hub.alerting.notifier if person.may("admin") else None),
        *_of_ledgers(sessions),
    ]
    return "\n".join(lines) + "\n"


def _of_sessions(sessions: list[Session]) -> Iterator[str]:
    stats = [(_labels(session), session.stats()) for session in sessions]
    for name, kind, about in (
        ("packets", "counter", "Packets taken."),
        ("bytes", "counter", "Their bytes on the wire."),
        ("packets_per_s", "gauge", "Packets taken a second, over the last two seconds."),
        ("bits_per_s", "gauge", "Bits on the wire a second, over the last two seconds."),
        ("ring_bytes", "gauge", "Memory of the packets kept."),
        ("ring_limit_bytes", "gauge", "The most it may be."),
        ("conversations", "gauge", "Conversations known."),
        ("lost", "counter", "Packets lost: by kernels, by full outboxes, with an agent or a hub that died."),
    ):
        full = f"{_PREFIX}_session_{name}" + ("_total" if kind == "counter" else "")
        yield from family(full, "counter" if kind == "counter" else "gauge", about, [(k, s[name]) for k, s in stats])
    journals = [(labels, s["journal"]) for labels, s in stats]
    states = [({**labels, "state": j["state"]}, 1) for labels, j in journals]
    yield from family(f"{_PREFIX}_journal_state", "gauge", "How the journal fares: off, on, behind, failing.", states)
    for name, about in (
        ("disk_bytes", "The journal on the disk."),
        ("waiting_bytes", "In memory because it is not safe on the disk yet; of all sessions."),
    ):
        yield from family(f"{_PREFIX}_journal_{name}", "gauge", about, [(k, j[name]) for k, j in journals])


def _of_alerts(sessions: list[Session]) -> Iterator[str]:
    firing: _Samples = []
    fired: _Samples = []
    keys: _Samples = []
    missed: _Samples = []
    for session in sessions:
        labels, alerts = _labels(session), session.alerts
        for samples, counts in ((firing, alerts.firing()), (fired, alerts.fired)):
            samples += [
                ({**labels, "rule": rule, "severity": severity}, count)
                for (rule, severity), count in sorted(counts.copy().items())
            ]
        for status in alerts.rules():
            rule_labels = {**labels, "rule": status.rule.name}
            keys.append((rule_labels, status.keys))
            missed.append((rule_labels, status.missed_keys))
    yield from family(f"{_PREFIX}_alerts_firing", "gauge", "Alerts that fire.", firing)
    yield from family(f"{_PREFIX}_alerts_total", "counter", "Alerts that began to fire.", fired)
    yield from family(f"{_PREFIX}_rule_keys", "gauge", "Keys in a rule's window.", keys)
    yield from family(f"{_PREFIX}_rule_missed_packets_total", "counter", "Left out, as keys were too many.", missed)
    seconds = [(_labels(session), session.alerts.evaluation_s) for session in sessions]
    yield from family(f"{_PREFIX}_rules_seconds_total", "counter", "How long rules looked at packets.", seconds)
    skipped = [(_labels(session), session.alerts.evidence_skipped) for session in sessions]
    about = "Alerts whose packets were not saved, as too many fired at once."
    yield from family(f"{_PREFIX}_evidence_skipped_total", "counter", about, skipped)


def _of_channels(notifier: Notifier | None) -> Iterator[str]:
    fates: _Samples = []
    waiting: _Samples = []
    for channel in notifier.status() if notifier else []:
        labels = {"channel": channel["name"]}
        fates += [({**labels, "fate": fate}, channel[fate]) for fate in ("sent", "failed", "dropped")]
        waiting.append((labels, channel["waiting"]))
    yield from family(f"{_PREFIX}_notifications_total", "counter", "Alerts that channels were to be told of.", fates)
    yield from family(f"{_PREFIX}_notifications_waiting", "gauge", "Alerts that channels are to be told of.", waiting)


def _of_ledgers(sessions: list[Session]) -> Iterator[str]:
    counted: Counter[tuple[str, str, str, str]] = Counter()
    held: Counter[tuple[str, str, str, str]] = Counter()
    gaps: _Samples = []
    for session in sessions:
        book = ledger(session)
        gaps.append((_labels(session), len(book["gaps"])))
        stages = [(run["agent"], stage) for run in book["agents"] for stage in run["stages"]]
        for agent, stage in [*stages, ("", book["ring"])]:
            for part, packets in stage["parts"].items():
                (held if part in _HELD else counted)[session.id, agent, stage["stage"], part] += packets
    for name, kind, about, counts in (
        ("ledger_packets_total", "counter", "Packets, by where they went.", counted),
        ("ledger_packets_held", "gauge", "Packets on their way, or kept.", held),
    ):
        labels = ("session", "agent", "stage", "part")
        samples = [(dict(zip(labels, key, strict=True)), count) for key, count in counts.items()]
        yield from family(f"{_PREFIX}_{name}", "counter" if kind == "counter" else "gauge", about, samples)
    yield from family(f"{_PREFIX}_gaps_total", "counter", "Times in which nothing was heard.", gaps)


def _labels(session: Session) -> dict[str, str]:
    return {"session": session.id, "name": session.name}
