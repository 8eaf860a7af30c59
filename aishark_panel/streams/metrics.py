"""The hub's counters for Prometheus: sessions, agents, the ledger by stage and part, the journal, alerts, requests.

Whoever asks gets the sessions that they see, so that a token which scrapes shows no more than it would elsewhere.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Final

from tornado.web import RequestHandler

from aishark_panel.alerts.notify import Notifier
from aishark_panel.streams.hub import Hub
from aishark_panel.streams.ledger import IN_PROGRESS, ledger
from aishark_panel.streams.operation import HTTP_METHODS
from aishark_panel.streams.people import Person
from aishark_panel.streams.session import Session
from aishark_panel.streams.stats import stats
from aishark_panel.wire.prometheus import Metric, Sample, exposition

__all__ = ["METRICS", "Answered", "metrics_text"]

_HELD: Final = frozenset((*IN_PROGRESS, "in_ring"))
"""Parts of the ledger that go down again."""

_SESSION: Final = ("session", "name")
METRICS: Final = (
    Metric("aishark_hub_start_time_seconds", "gauge", "When the hub started, Unix time."),
    Metric("aishark_hub_sessions", "gauge", "Sessions there are."),
    Metric("aishark_hub_agents", "gauge", "Agents, by what they do.", ("state",)),
    Metric("aishark_hub_requests_total", "counter", "Requests answered.", ("route", "method", "status")),
    Metric("aishark_hub_refusals_total", "counter", "Sockets closed with a reason, by who came.", ("peer",)),
    Metric("aishark_hub_session_packets_total", "counter", "Packets taken.", _SESSION),
    Metric("aishark_hub_session_bytes_total", "counter", "Their bytes on the wire.", _SESSION),
    Metric(
        "aishark_hub_session_packets_per_s", "gauge", "Packets taken a second, over the last two seconds.", _SESSION
    ),
    Metric(
        "aishark_hub_session_bits_per_s", "gauge", "Bits on the wire a second, over the last two seconds.", _SESSION
    ),
    Metric("aishark_hub_session_ring_bytes", "gauge", "Memory of the packets kept.", _SESSION),
    Metric("aishark_hub_session_ring_limit_bytes", "gauge", "The most it may be.", _SESSION),
    Metric("aishark_hub_session_conversations", "gauge", "Conversations known.", _SESSION),
    Metric(
        "aishark_hub_session_lost_total",
        "counter",
        "Packets lost: by kernels, by full outboxes, with an agent or a hub that died.",
        _SESSION,
    ),
    Metric(
        "aishark_hub_journal_state", "gauge", "How the journal fares: off, on, behind, failing.", (*_SESSION, "state")
    ),
    Metric("aishark_hub_journal_disk_bytes", "gauge", "The journal on the disk.", _SESSION),
    Metric(
        "aishark_hub_journal_waiting_bytes",
        "gauge",
        "In memory because it is not safe on the disk yet; of all sessions.",
        _SESSION,
    ),
    Metric("aishark_hub_alerts_firing", "gauge", "Alerts that fire.", (*_SESSION, "rule", "severity")),
    Metric("aishark_hub_alerts_total", "counter", "Alerts that began to fire.", (*_SESSION, "rule", "severity")),
    Metric("aishark_hub_rule_keys", "gauge", "Keys in a rule's window.", (*_SESSION, "rule")),
    Metric("aishark_hub_rule_missed_packets_total", "counter", "Left out, as keys were too many.", (*_SESSION, "rule")),
    Metric("aishark_hub_rules_seconds_total", "counter", "How long rules looked at packets.", _SESSION),
    Metric(
        "aishark_hub_evidence_skipped_total",
        "counter",
        "Alerts whose packets were not saved, as too many fired at once.",
        _SESSION,
    ),
    Metric(
        "aishark_hub_notifications_total", "counter", "Alerts that channels were to be told of.", ("channel", "fate")
    ),
    Metric("aishark_hub_notifications_waiting", "gauge", "Alerts that channels are to be told of.", ("channel",)),
    Metric(
        "aishark_hub_ledger_packets_total",
        "counter",
        "Packets, by where they went.",
        ("session", "agent", "stage", "part"),
    ),
    Metric(
        "aishark_hub_ledger_packets_held",
        "gauge",
        "Packets on their way, or kept.",
        ("session", "agent", "stage", "part"),
    ),
    Metric("aishark_hub_gaps_total", "counter", "Times in which nothing was heard.", _SESSION),
)


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

    def samples(self) -> Iterator[Sample]:
        """The counts, by route, method and status."""
        return (Sample("aishark_hub_requests_total", count, key) for key, count in sorted(self._counts.items()))


def metrics_text(hub: Hub, person: Person, answered: Answered) -> str:
    """What a person sees, in Prometheus' text exposition format 0.0.4."""
    sessions = [hub.sessions.find(line["id"], person) for line in hub.sessions.list(person)]
    of_sessions = (sample for each in sessions for of in (_of_session, _of_alerts, _of_ledger) for sample in of(each))
    notifier = hub.alerting.notifier if person.may("admin") else None
    hubs_own = _of_hub(hub, person, len(sessions))
    return exposition(METRICS, chain(hubs_own, answered.samples(), of_sessions, _of_channels(notifier)))


def _of_hub(hub: Hub, person: Person, sessions: int) -> Iterator[Sample]:
    yield Sample("aishark_hub_start_time_seconds", hub.started_ns / 1e9)
    yield Sample("aishark_hub_sessions", sessions)
    agents = [agent["state"] for agent in hub.agents.list(person)]
    for state in ("capturing", "stopped", "ended", "offline"):
        yield Sample("aishark_hub_agents", agents.count(state), (state,))
    for peer, count in sorted(hub.refusals.copy().items()):
        yield Sample("aishark_hub_refusals_total", count, (peer,))


def _of_session(session: Session) -> Iterator[Sample]:
    labels, told = _labels(session), stats(session)
    for name in ("packets", "bytes", "lost"):
        yield Sample(f"aishark_hub_session_{name}_total", told[name], labels)
    for name in ("packets_per_s", "bits_per_s", "ring_bytes", "ring_limit_bytes", "conversations"):
        yield Sample(f"aishark_hub_session_{name}", told[name], labels)
    journal = told["journal"]
    yield Sample("aishark_hub_journal_state", 1, (*labels, journal["state"]))
    for name in ("disk_bytes", "waiting_bytes"):
        yield Sample(f"aishark_hub_journal_{name}", journal[name], labels)


def _of_alerts(session: Session) -> Iterator[Sample]:
    labels, alerts = _labels(session), session.alerts
    for name, counts in (("firing", alerts.firing()), ("total", alerts.fired)):
        for (rule, severity), count in sorted(counts.copy().items()):
            yield Sample(f"aishark_hub_alerts_{name}", count, (*labels, rule, severity))
    for status in alerts.rules():
        yield Sample("aishark_hub_rule_keys", status.keys, (*labels, status.rule.name))
        yield Sample("aishark_hub_rule_missed_packets_total", status.missed_keys, (*labels, status.rule.name))
    yield Sample("aishark_hub_rules_seconds_total", alerts.evaluation_s, labels)
    yield Sample("aishark_hub_evidence_skipped_total", alerts.evidence_skipped, labels)


def _of_channels(notifier: Notifier | None) -> Iterator[Sample]:
    for channel in notifier.status() if notifier else []:
        for fate in ("sent", "failed", "dropped"):
            yield Sample("aishark_hub_notifications_total", channel[fate], (channel["name"], fate))
        yield Sample("aishark_hub_notifications_waiting", channel["waiting"], (channel["name"],))


def _of_ledger(session: Session) -> Iterator[Sample]:
    book = ledger(session)
    counts: Counter[tuple[str, str, str]] = Counter()
    stages = [(run["agent"], stage) for run in book["agents"] for stage in run["stages"]]
    for agent, stage in [*stages, ("", book["ring"])]:
        for part, packets in stage["parts"].items():
            counts[agent, stage["stage"], part] += packets
    for key, packets in counts.items():
        kind = "held" if key[-1] in _HELD else "total"
        yield Sample(f"aishark_hub_ledger_packets_{kind}", packets, (session.id, *key))
    yield Sample("aishark_hub_gaps_total", len(book["gaps"]), _labels(session))


def _labels(session: Session) -> tuple[str, str]:
    return session.id, session.name
