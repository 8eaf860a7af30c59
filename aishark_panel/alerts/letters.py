"""What is said of a group of alerts: of one rule in one session, however many there are."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from aishark_panel.alerts.channels import Channel
from aishark_panel.alerts.rule import fill_template
from aishark_panel.wire.printable import printable

__all__ = ["MAX_NAMED", "Letter", "text_of", "title_of"]

MAX_NAMED: Final = 20
"""Alerts that are told of one by one."""


class Letter(NamedTuple):
    """One message: some alerts, and how many there are in all."""

    alerts: tuple[Mapping[str, Any], ...]
    """the first MAX_NAMED, with `session`"""
    firing: int
    resolved: int

    @property
    def more(self) -> int:
        """Alerts that are not among them."""
        return self.firing + self.resolved - len(self.alerts)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        first = self.alerts[0]
        about = {name: first[name] for name in ("session", "rule", "severity", "description", "runbook")}
        return {**about, "firing": self.firing, "resolved": self.resolved, "alerts": self.alerts, "more": self.more}


def title_of(channel: Channel, letter: Letter) -> str:
    """The message's title, by the channel's template."""
    return fill_template(channel.title, _words(letter))


def text_of(channel: Channel, letter: Letter) -> str:
    """The message, by the channel's template; empty paragraphs are left out."""
    paragraphs = fill_template(channel.body, _words(letter)).split("\n\n")
    return "\n\n".join(each for each in paragraphs if each.strip())


def _words(letter: Letter) -> dict[str, object]:
    first = letter.alerts[0]
    lines = [_line(alert) for alert in letter.alerts]
    if letter.more:
        lines.append(f"... and {letter.more:,} more")
    return {
        "rule": first["rule"],
        "severity": first["severity"],
        "session": first["session"]["name"],
        "description": first["description"],
        "runbook": first["runbook"],
        "firing": f"{letter.firing:,}",
        "resolved": f"{letter.resolved:,}",
        "alerts": "\n".join(lines),
    }


def _line(alert: Mapping[str, Any]) -> str:
    key = printable(", ".join(f"{name} {value}" for name, value in alert["key"].items()))
    return f"{alert['state']}: {alert['annotations'].get('summary') or key or alert['rule']}"
