"""Channels: where people are told of alerts, as a file in YAML says (docs/rules.md).

Addresses hold secrets: they may come from the environment, and no error, log line or repr shows them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, cast, get_args

import yaml

from aishark_panel.alerts.rule import Severity, duration_ns
from aishark_panel.configfile import ConfigFile
from aishark_panel.errors import ConfigError
from aishark_panel.query.names import suggestion

__all__ = ["CHANNEL_KEYS", "Channel", "load_channels", "webhook_channel"]

CHANNEL_KEYS: Final = (
    "name", "url", "severity", "group_wait", "group_interval", "max_per_hour", "resolved", "title", "body",
)  # fmt: skip
"""What a channel may say."""
SEVERITIES: Final = get_args(Severity)
_MAX_CHANNELS: Final = 50
_MAX_NAME_CHARS: Final = 64
_TITLE: Final = "{severity}: {rule} ({firing} firing, {resolved} resolved) in {session}"
_BODY: Final = "{description}\n\n{alerts}\n\n{runbook}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel."""

    name: str
    url: str = field(repr=False)
    """as apprise takes it, or the address of a webhook"""
    severities: tuple[Severity, ...] = SEVERITIES
    """of alerts that it is told of"""
    group_wait_s: float = 10.0
    """how long is waited for more alerts of a rule and session before they are told of"""
    group_interval_s: float = 60.0
    """how long until the next message about these; for a webhook, after one that told of many"""
    max_per_hour: int = 120
    """most messages; what waits meanwhile is told of in one"""
    resolved: bool = True
    """whether it is told that alerts are resolved"""
    title: str = _TITLE
    body: str = _BODY
    is_webhook: bool = False
    """a POST of JSON for programs, in place of a text for people"""

    def takes(self, alert: Mapping[str, object]) -> bool:
        """Whether it is to be told of this alert."""
        wanted = alert.get("notify")
        return (
            alert["severity"] in self.severities
            and (not isinstance(wanted, list | tuple) or self.name in wanted)
            and (self.resolved or alert["state"] != "resolved")
        )


def webhook_channel(url: str) -> Channel:
    """The channel that is told of every alert by POST."""
    return Channel(name="webhook", url=url, group_wait_s=0, max_per_hour=36_000, is_webhook=True)


def load_channels(path: str, environment: Mapping[str, str]) -> tuple[Channel, ...]:
    """The channels of a file. ConfigError, with its line, where it is wrong."""
    file = ConfigFile(path, environment, "--notify")
    channels: list[Channel] = []
    for key, place, node in file.entries(file.root, "the file"):
        if key != "channels":
            raise ConfigError(f"{place}: no key {key[:40]!r}; the file has one, 'channels', with a list below it.")
        for each in file.items(node, "channels"):
            channels.append(_channel(file, each))
    names = [channel.name for channel in channels]
    for name in names:
        if names.count(name) > 1 or name == "webhook":
            taken = "is what --webhook is called" if name == "webhook" else "is there twice; names are unique"
            raise ConfigError(f"{path}: the name {name!r} {taken}.")
    if not channels or len(channels) > _MAX_CHANNELS:
        raise ConfigError(f"{path}: {len(channels)} channels; from 1 to {_MAX_CHANNELS} are expected.")
    return tuple(channels)


def _channel(file: ConfigFile, node: yaml.Node) -> Channel:
    values: dict[str, tuple[str, str]] = {}
    for key, place, value in file.entries(node, "a channel"):
        if key not in CHANNEL_KEYS:
            raise ConfigError(f"{place}: no key {key[:40]!r}{suggestion(key[:40], CHANNEL_KEYS)}")
        text = file.value(value, key, secret=key == "url")
        if not isinstance(text, str):
            raise ConfigError(f"{place}: {key} must be one value.")
        values[key] = text, place
    for needed in ("name", "url"):
        if not values.get(needed, ("", ""))[0]:
            raise ConfigError(f"{file.place(node)}: a channel needs {needed}.")
    if len(values["name"][0]) > _MAX_NAME_CHARS:
        raise ConfigError(f"{values['name'][1]}: a name has at most {_MAX_NAME_CHARS} characters.")

    def read(key: str, convert: Callable[[str], object], default: object) -> object:
        if key not in values:
            return default
        text, place = values[key]
        try:
            return convert(text)
        except (ValueError, ConfigError) as error:
            raise ConfigError(f"{place}: {key}: {error}") from error

    return Channel(
        name=values["name"][0],
        url=values["url"][0],
        severities=cast(tuple[Severity, ...], read("severity", _from, SEVERITIES)),
        group_wait_s=cast(float, read("group_wait", _seconds, 10.0)),
        group_interval_s=cast(float, read("group_interval", _seconds, 60.0)),
        max_per_hour=cast(int, read("max_per_hour", _count, 120)),
        resolved=cast(bool, read("resolved", _flag, True)),
        title=cast(str, read("title", str, _TITLE)),
        body=cast(str, read("body", str, _BODY)),
    )


def _from(text: str) -> tuple[Severity, ...]:
    if text not in SEVERITIES:
        raise ValueError(f"one of {', '.join(SEVERITIES)} is needed, the least that is told, got {text[:40]!r}")
    return cast(tuple[Severity, ...], SEVERITIES[SEVERITIES.index(text) :])


def _seconds(text: str) -> float:
    given_ns = duration_ns(text)
    if not 0 <= given_ns <= 24 * 3_600 * 10**9:
        raise ValueError(f"a duration of at most 24h with its unit is needed, such as 10s, got {text[:40]!r}")
    return given_ns / 1e9


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100_000):
        raise ValueError(f"a number from 1 to 100000 is needed, got {text[:40]!r}")
    return int(text)


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"true or false is needed, got {text[:40]!r}")
    return text == "true"
