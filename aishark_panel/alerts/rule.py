"""Rules: what to watch for, as people write it in YAML, checked once and then trusted.

docs/rules.md explains every key. A mistake is a ConfigError that names the file, the rule and the key.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast, get_args

from aishark_panel.alerts.having import BASIC, Having, compile_having
from aishark_panel.alerts.keys import key_field
from aishark_panel.configfile import plain_yaml
from aishark_panel.errors import ConfigError, ExpressionError
from aishark_panel.query import Predicate, compile_expression
from aishark_panel.query.names import Field, suggestion
from aishark_panel.wire.packets import MAX_TEXT_BYTES, address_bytes, address_text, mac_text, mac_value
from aishark_panel.wire.protocols import PROTOCOLS, protocol_code
from aishark_panel.wire.schema import Kind

__all__ = [
    "KEYS",
    "MAX_FILE_BYTES",
    "MAX_OVER_NS",
    "MAX_RULES",
    "Rule",
    "Severity",
    "duration_ns",
    "fill_template",
    "parse_rule",
    "parse_rules",
]

Severity = Literal["info", "warning", "critical"]

KEYS: Final = (
    "name", "description", "where", "by", "over", "having", "for", "keep_firing_for", "rearm", "mute", "severity",
    "labels", "annotations", "runbook", "notify", "enabled",
)  # fmt: skip
"""What a rule may say."""
MAX_RULES: Final = 500
MAX_FILE_BYTES: Final = 2**20
_MAX_TEXT_CHARS: Final = 4_000
_MAX_COLUMNS: Final = 8
_MAX_LABELS: Final = 32
_MAX_MUTED: Final = 1_000
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(ms|s|min|m|h)", re.ASCII)
_UNITS_MS: Final = {"ms": 1, "s": 1_000, "min": 60_000, "m": 60_000, "h": 3_600_000}
_MIN_OVER_NS: Final = 10**9
MAX_OVER_NS: Final = 3_600 * 10**9
_MAX_FOR_NS: Final = 24 * 3_600 * 10**9
_EACH_PACKET_NS: Final = 10 * 10**9
"""Without `over`, packets of one key less than this apart are one alert."""
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule."""

    name: str
    where: Predicate
    by: tuple[Field, ...]
    """groups: each combination of values of these columns is a key of its own"""
    over_ns: int
    """length of the window"""
    having: Having
    description: str = ""
    for_ns: int = 0
    """how long the condition must hold before the alert fires"""
    keep_firing_for_ns: int = 0
    """how long it goes on to fire once the condition no longer holds"""
    rearm_ns: int = 0
    """how long a key that was resolved does not fire again"""
    mute: tuple[Mapping[str, str], ...] = ()
    """keys that do not fire: values by column, of some columns or all"""
    severity: Severity = "warning"
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    """templates, see `fill_template`"""
    enabled: bool = True
    runbook: str = ""
    """address of a page that says what to do"""
    notify: tuple[str, ...] | None = None
    """names of the channels that are told; None: all that take alerts of this severity"""
    content: Mapping[str, Any] = field(default_factory=dict)
    """the keys as they were written, fit for JSON"""

    def mutes(self, key: Mapping[str, Any]) -> bool:
        """Whether a key, as people read it, is one of those that do not fire."""
        return any(all(str(key[name]) == value for name, value in each.items()) for each in self.mute)

    @property
    def value_names(self) -> tuple[str, ...]:
        """The numbers an alert of this rule comes with."""
        return (*BASIC, *(a.name for a in self.having.aggregates))


def duration_ns(value: object) -> int:
    """`10s`, `500ms`, `2min` or `1h` in nanoseconds; -1 for anything else."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return round(float(match[1]) * _UNITS_MS[match[2]] * 10**6) if match else -1


def fill_template(template: str, values: Mapping[str, object]) -> str:
    """`{src_ip} tried {nunique_dst_port} ports` with the values in their places; names without a value stay."""

    def text(match: re.Match[str]) -> str:
        value = values.get(match[1], match[0])
        if isinstance(value, float):
            return f"{value:,.0f}" if abs(value) >= 100 or value.is_integer() else f"{value:.3g}"
        return str(value)

    return _PLACEHOLDER.sub(text, template)


def parse_rules(text: str, source: str) -> tuple[Rule, ...]:
    """The rules of a YAML text; `source` is what errors call it. Raises ConfigError."""
    if len(text.encode("utf-8", "replace")) > MAX_FILE_BYTES:
        raise ConfigError(f"{source}: larger than {MAX_FILE_BYTES // 2**20} MiB, the most a rules file may have")
    content = plain_yaml(text, source)
    if not isinstance(content, dict) or list(content) != ["rules"] or not isinstance(content["rules"], list):
        raise ConfigError(f"{source}: expected one key, 'rules', with a list of rules below it")
    if len(content["rules"]) > MAX_RULES:
        raise ConfigError(f"{source}: {len(content['rules']):,} rules; at most {MAX_RULES} are accepted")
    rules = tuple(_Reader(source, i, each).rule() for i, each in enumerate(content["rules"], 1))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{source}: {names.count(name)} rules are called {name!r}; names are unique")
    return rules


def parse_rule(content: object, source: str) -> Rule:
    """One rule from its keys; errors as of `parse_rules`."""
    return _Reader(source, 1, content).rule()


class _Reader:
    """Reads the keys of one rule; what is wrong is said with the file, the rule and the key."""

    def __init__(self, source: str, number: int, content: object) -> None:
        self._place = f"{source}: rule {number}"
        if not isinstance(content, dict):
            raise ConfigError(f"{self._place}: expected keys and values, such as name: port_scan")
        self._content: dict[Any, Any] = content
        name = content.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise self._error("name", "a name of up to 64 letters, digits, _ - and . is needed, starting with a letter")
        self._place = f"{source}: rule {name!r}"
        for key in content:
            if key not in KEYS:
                shown = str(key) if isinstance(key, str | int | float) else "that is no text"
                raise ConfigError(f"{self._place}: no key {shown[:40]!r}{suggestion(shown, KEYS)}")

    def _error(self, key: str, problem: str) -> ConfigError:
        return ConfigError(f"{self._place}, {key}: {problem}")

    def rule(self) -> Rule:
        """The rule. Raises ConfigError."""
        by = tuple(self._field(i, name) for i, name in enumerate(self._list("by"), 1))
        has_window = "over" in self._content
        if not has_window and "having" in self._content:
            raise self._error("having", "looks at a window; say how long it is with over: 10s")
        rule = Rule(
            name=self._content["name"],
            description=self._text("description"),
            where=self._where(),
            by=by,
            over_ns=self._duration("over", _MIN_OVER_NS, MAX_OVER_NS) if has_window else _EACH_PACKET_NS,
            having=self._having(),
            for_ns=self._span("for"),
            keep_firing_for_ns=self._span("keep_firing_for"),
            rearm_ns=self._span("rearm"),
            mute=self._mute(by),
            severity=self._severity(),
            labels=self._texts("labels"),
            annotations=self._texts("annotations"),
            enabled=self._flag("enabled"),
            runbook=self._address("runbook"),
            notify=self._names("notify"),
            content=self._content,
        )
        self._check_templates(rule)
        return rule

    def _text(self, key: str) -> str:
        value = self._content.get(key, "")
        if not isinstance(value, str) or len(value) > _MAX_TEXT_CHARS:
            raise self._error(key, f"a text of at most {_MAX_TEXT_CHARS:,} characters is needed, got {_kind(value)}")
        return value

    def _list(self, key: str) -> list[object]:
        value = self._content.get(key, [])
        if not isinstance(value, list) or len(value) > _MAX_COLUMNS:
            raise self._error(
                key, f"a list of at most {_MAX_COLUMNS} columns is needed, such as [src_ip], got {_kind(value)}"
            )
        return value

    def _texts(self, key: str) -> dict[str, str]:
        value = self._content.get(key, {})
        if not isinstance(value, dict) or len(value) > _MAX_LABELS:
            raise self._error(key, f"at most {_MAX_LABELS} names with texts are needed, got {_kind(value)}")
        for name, text in value.items():
            if not isinstance(name, str) or not isinstance(text, str) or len(text) > _MAX_TEXT_CHARS:
                raise self._error(key, f"names and texts are needed, got {_kind(name)} with {_kind(text)}")
        return value

    def _flag(self, key: str) -> bool:
        value = self._content.get(key, True)
        if not isinstance(value, bool):
            raise self._error(key, f"true or false is needed, got {_kind(value)}")
        return value

    def _severity(self) -> Severity:
        value = self._content.get("severity", "warning")
        if value not in get_args(Severity):
            raise self._error("severity", f"one of {', '.join(get_args(Severity))} is needed, got {_kind(value)}")
        return cast(Severity, value)

    def _duration(self, key: str, low_ns: int, high_ns: int) -> int:
        value = self._content[key]
        given_ns = duration_ns(value)
        if not low_ns <= given_ns <= high_ns:
            raise self._error(
                key,
                f"a duration with its unit (ms, s, min, h) from {low_ns // 10**9} s to {high_ns // 3_600_000_000_000} h"
                f" is needed, such as 10s, got {_kind(value)}",
            )
        return given_ns

    def _span(self, key: str) -> int:
        return self._duration(key, 0, _MAX_FOR_NS) if key in self._content else 0

    def _address(self, key: str) -> str:
        value = self._text(key)
        if value and not value.startswith(("https://", "http://")):
            raise self._error(key, f"an address that begins with https:// or http:// is needed, got {_kind(value)}")
        return value

    def _names(self, key: str) -> tuple[str, ...] | None:
        value = self._content.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > _MAX_LABELS or not all(isinstance(each, str) for each in value):
            raise self._error(key, f"a list of names of channels is needed, such as [mail], got {_kind(value)}")
        return tuple(value)

    def _mute(self, by: Sequence[Field]) -> tuple[Mapping[str, str], ...]:
        value = self._content.get("mute", [])
        if not isinstance(value, list) or len(value) > _MAX_MUTED:
            raise self._error("mute", f"a list of at most {_MAX_MUTED} keys is needed, got {_kind(value)}")
        names = [each.name for each in by]
        for key in value:
            if not isinstance(key, dict) or not key:
                raise self._error("mute", f"keys such as {{src_ip: 10.0.0.1}} are needed, got {_kind(key)}")
            for name in key:
                if name not in names:
                    shown = str(name) if isinstance(name, str | int) else "that is no text"
                    raise self._error("mute", f"{shown[:40]!r} is not in by{suggestion(shown, names)}")
        fields = {field.name: field for field in by}
        return tuple({name: self._muted(fields[name], each) for name, each in key.items()} for key in value)

    def _muted(self, field: Field, value: object) -> str:
        """A value as keys have it, in text. What no key can have is an error, or it would mute nothing unnoticed."""
        text = str(value) if isinstance(value, str | int) else ""
        try:
            match field.kind:
                case Kind.ADDRESS:
                    return address_text(address_bytes(text), v6=":" in text)
                case Kind.MAC:
                    return mac_text(mac_value(text))
                case Kind.PROTOCOL:
                    return PROTOCOLS[protocol_code(text)]
                case Kind.BOOLEAN:
                    return str({"true": True, "false": False}[text.lower()])
                case Kind.INTEGER | Kind.FLAGS if not isinstance(value, bool):
                    return str(int(text))
                case Kind.TEXT | Kind.INTERFACE if text and len(text) <= MAX_TEXT_BYTES:
                    return text
        except (ValueError, KeyError, OSError):
            pass
        raise self._error("mute", f"{field.name}: {_kind(value)} is no value that it can have")

    def _where(self) -> Predicate:
        text = self._text("where")
        try:
            return compile_expression(text)
        except ExpressionError as error:
            raise self._error("where", _placed(error)) from error

    def _having(self) -> Having:
        try:
            return compile_having(self._text("having") if "having" in self._content else "packets >= 1")
        except ExpressionError as error:
            raise self._error("having", _placed(error)) from error

    def _field(self, number: int, name: object) -> Field:
        if not isinstance(name, str):
            raise self._error("by", f"column {number} is {_kind(name)}; names such as src_ip are needed")
        try:
            return key_field(name, 0)
        except ExpressionError as error:
            raise self._error("by", str(error)) from error

    def _check_templates(self, rule: Rule) -> None:
        known = (*(each.name for each in rule.by), *rule.value_names)
        for name, template in rule.annotations.items():
            for placeholder in _PLACEHOLDER.findall(template):
                if placeholder not in known:
                    raise self._error(
                        f"annotations, {name}",
                        f"nothing is called {{{placeholder[:40]}}}{suggestion(placeholder, known)};"
                        f" there are {', '.join(known)}",
                    )


def _placed(error: ExpressionError) -> str:
    return str(error) if error.position is None else f"{error} (at character {error.position + 1})"


def _kind(value: object) -> str:
    """What somebody wrote instead; never the whole of it, which YAML's aliases can make endless."""
    match value:
        case str():
            return repr(value[:40])
        case bool() | int() | float() | None:
            return f"{value!r:.40}"
        case list() | dict():
            return f"a {'list' if isinstance(value, list) else 'mapping'} of {len(value):,}"
        case _:
            return f"a {type(value).__name__}"
