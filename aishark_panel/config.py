"""The options of an agent: what they are called, where they can be given, and what they may be.

An *option* has a section and a key, `agent.snaplen`. It can be given on the command line, in the environment
(AISHARK_AGENT__SNAPLEN), and in a YAML file; the first of these that has it counts, else its default. In the file,
${NAME} stands for a variable of the environment. All of them are texts, read by one parser for each kind of value:
sizes ("64MiB"), durations ("50ms") and bandwidths ("100Mbit") carry their unit. A *profile* is a named set of some
options in the file; `agent.profile` puts it in the place of those the file gives otherwise.

Every error says where: the file's line, the variable or the option. Secrets are in no error, repr or print.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import yaml

from aishark_panel.configfile import ConfigFile, Text, read_text, refuse_if_shared
from aishark_panel.errors import ConfigError

__all__ = [
    "OPTIONS",
    "PROFILE_KEYS",
    "SHORT_VARIABLES",
    "AgentOptions",
    "AgentSection",
    "AllowSection",
    "Given",
    "PerformanceSection",
    "ServerSection",
    "load_agent_options",
    "option_flags",
    "parse_size",
    "print_options",
]

_MAX_KEY_BYTES: Final = 1 << 16
_MASK: Final = "********"


class Given(NamedTuple):
    """An option's value as a text, and where it was given."""

    text: Text
    where: str


# What a value may be. Each parser takes a text and raises ValueError with what it must be.


def _text(value: Text) -> str:
    if not isinstance(value, str):
        raise ValueError("one text")
    return value


def _texts(value: Text) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    return tuple(name.strip() for name in names if name.strip())


def _secret(value: Text) -> str:
    text = _text(value)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("printable ASCII without spaces")
    return text


def _flag(value: Text) -> bool:
    known = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    found = known.get(_text(value).lower())
    if found is None:
        raise ValueError("true or false")
    return found


def _address(value: Text) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("an address such as http://127.0.0.1:8765")
    return text


def _pin(value: Text) -> str:
    """64 lower-case hex digits; '' for none."""
    digits = _text(value).replace(":", "").lower()
    if digits and not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError("the SHA-256 of a certificate: 64 hex digits, with or without colons")
    return digits


def _choice(*names: str) -> Callable[[Text], str]:
    def parse(value: Text) -> str:
        if value not in names:
            raise ValueError(f"one of {', '.join(names)}")
        return _text(value)

    return parse


def _payload(value: Text) -> str | int:
    if value in ("none", "headers", "full"):
        return _text(value)
    try:
        return _integer(1, 262_144)(value)
    except ValueError:
        raise ValueError("none, headers, full or a number of bytes, 1 to 262,144") from None


def _integer(low: int, high: int | None = None) -> Callable[[Text], int]:
    def parse(value: Text) -> int:
        text = _text(value)
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not low <= int(text) <= (int(text) if high is None else high):
            raise ValueError(f"a whole number, {low:,} or more" + ("" if high is None else f" and at most {high:,}"))
        return int(text)

    return parse


def _quantity(kind: str, example: str, units: Mapping[str, float], low: str, high: str) -> Callable[[Text], float]:
    """Parser of a number with a unit; the result counts in the unit whose factor is 1. `low` and `high` are allowed."""

    def number(text: str) -> float | None:
        match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z/]*)", text)
        if match is None or (match[2] not in units and float(match[1])):
            return None
        return float(match[1]) * units.get(match[2], 0)

    least, most = number(low), number(high)

    def parse(value: Text) -> float:
        found = number(_text(value))
        assert least is not None
        assert most is not None
        if found is None or not least <= found <= most:
            raise ValueError(f"a {kind} with its unit, {low} to {high}, such as {example}")
        return found

    return parse


_SIZE_UNITS: Final = {
    "": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_DURATION_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600}
_BANDWIDTH_UNITS: Final = {"bit": 1, "kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}


def _size(low: str, high: str) -> Callable[[Text], int]:
    """Bytes."""
    parse = _quantity("size", "64MiB", _SIZE_UNITS, low, high)
    return lambda value: int(parse(value))


def parse_size(text: str, where: str, low: str, high: str) -> int:
    """Bytes, from a text like 64MiB that was given in `where`. ConfigError unless it is one within these bounds."""
    try:
        return _size(low, high)(text)
    except ValueError as error:
        raise ConfigError(f"{where} must be {error}, not {text!r:.100}.") from error


def _duration(low: str, high: str) -> Callable[[Text], float]:
    """Seconds."""
    return _quantity("duration", "50ms", _DURATION_UNITS, low, high)


def _bandwidth(value: Text) -> int:
    """Bits per second; 0: no limit."""
    return int(_quantity("bandwidth", "100Mbit", _BANDWIDTH_UNITS, "0", "1000Gbit")(value))


def _option(parse: Callable[[Text], Any], default: Text, flag: str = "", *, secret: bool = False) -> Any:
    """A dataclass field: how its text is read, the text of its default, its option on the command line."""
    about = {"parse": parse, "default": default, "flag": flag, "secret": secret}
    return field(default=parse(default), metadata=about, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSection:
    """`agent:` which packets are captured."""

    name: str = _option(_text, "", "--name")
    """what the agent calls itself; empty: the host's name"""
    interfaces: tuple[str, ...] = _option(_texts, (), "--interface")
    """network interfaces to capture on; any: all of them"""
    source: str = _option(_choice("auto", "kernel", "libpcap"), "auto", "--source")
    """what captures there; auto: the kernel's ring on Linux, libpcap on other systems"""
    filter: str = _option(_text, "", "--filter")
    """capture filter (BPF)"""
    snaplen: int = _option(_integer(14, 262_144), "262144", "--snaplen")
    """most bytes kept of a frame"""
    payload: str | int = _option(_payload, "full", "--payload")
    """none: columns only; headers: frames without payload; a number of bytes of payload; full"""
    buffer_size: int = _option(_size("1MiB", "4GiB"), "64MiB", "--buffer-size")
    """kernel ring of each interface, bytes"""
    promiscuous: bool = _option(_flag, "true", "--promiscuous")
    """capture frames for other hosts too"""
    status: str = _option(_text, "", "--status-dir")
    """folder of the file that `aishark agent --status` reads; empty: one in the runtime directory"""
    metrics: int = _option(_integer(0, 65_535), "0", "--metrics")
    """port on 127.0.0.1 for Prometheus; 0: none"""
    profile: str = _option(_text, "", "--profile")
    """profile in use"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSection:
    """`server:` the hub, and how it is reached."""

    url: str = _option(_address, "http://127.0.0.1:8765", "--hub")
    """http(s) address"""
    session: str = _option(_text, "", "--session")
    """session to feed, by name; empty: the hub's own"""
    api_key: str = _option(_secret, "", secret=True)
    """key or token that the hub asks for"""
    api_key_file: str = _option(_text, "", "--api-key-file")
    """file that holds it, which nobody else may read"""
    ca: str = _option(_text, "", "--ca")
    """PEM file of the CA of an https hub; empty: those the system trusts"""
    pin: str = _option(_pin, "", "--pin")
    """SHA-256 of the hub's own certificate; empty: any that is signed by the CA"""
    reconnect_interval: float = _option(_duration("10ms", "1h"), "500ms")
    """first wait before connecting again, seconds; each further one is twice as long"""
    reconnect_max: float = _option(_duration("10ms", "24h"), "15s")
    """longest wait, seconds"""
    max_retries: int = _option(_integer(-1), "5", "--max-retries")
    """tries to reach a hub never reached before; -1: for ever"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceSection:
    """`performance:` what the agent may cost."""

    max_packets_per_second: int = _option(_integer(0), "0", "--max-packets-per-second")
    """what goes beyond is counted and left out; 0: no limit"""
    max_bandwidth: int = _option(_bandwidth, "0", "--max-bandwidth")
    """the same for captured bits per second, before compression"""
    batch_size: int = _option(_integer(1, 65_536), "8192", "--batch-size")
    """most packets in a batch"""
    batch_age: float = _option(_duration("1ms", "1min"), "50ms", "--batch-age")
    """longest wait of a packet for its batch, seconds"""
    compression: str = _option(_choice("auto", "none", "lz4", "zstd", "gzip"), "auto", "--compression")
    """auto: none to a hub on this host, lz4 to others"""
    sampling: int = _option(_integer(1), "1", "--sampling")
    """every how many-th packet is sent"""
    sampling_by: str = _option(_choice("packet", "conversation"), "packet", "--sampling-by")
    """conversation: whole conversations are sent or left out"""
    outbox: int = _option(_size("1MiB", "64GiB"), "64MiB", "--outbox")
    """memory for what the hub has not acknowledged, bytes"""
    spool: str = _option(_text, "", "--spool")
    """folder on disk for what the hub does not take in time, and for what has to outlive the agent; empty: none"""
    spool_size: int = _option(_size("16MiB", "1000GiB"), "1GiB", "--spool-size")
    """most bytes there"""
    on_overload: str = _option(_choice("auto", "spool", "sample", "drop"), "auto", "--on-overload")
    """when outbox and spool are full: auto (spool where there is a folder, else drop), sample, drop"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowSection:
    """`allow:` the most that the hub may ask for, by the word of the host's owner."""

    remote_control: bool = _option(_flag, "true")
    """whether it may ask for anything but to pause and to go on"""
    interfaces: tuple[str, ...] = _option(_texts, ())
    """interfaces it may choose among, `any` for all; empty: agent.interfaces"""
    snaplen: int = _option(_integer(0, 262_144), "0")
    """most bytes of a frame; 0: agent.snaplen"""
    payload: str | int = _option(lambda value: value and _payload(value), "")
    """most that is sent of packets; empty: agent.payload"""
    max_packets_per_second: int = _option(_integer(0), "0")
    """highest rate; 0: performance.max_packets_per_second"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """All options of an agent."""

    agent: AgentSection = AgentSection()
    server: ServerSection = ServerSection()
    performance: PerformanceSection = PerformanceSection()
    allow: AllowSection = AllowSection()
    given: Mapping[str, Given] = field(default_factory=dict, repr=False)
    """the texts behind them, by `section.key`; what is not in it has its default"""
    profiles: Mapping[str, Mapping[str, Given]] = field(default_factory=dict, repr=False)


_SECTIONS: Final = {
    "agent": AgentSection,
    "server": ServerSection,
    "performance": PerformanceSection,
    "allow": AllowSection,
}
OPTIONS: Final[dict[str, Field[Any]]] = {
    f"{section}.{each.name}": each for section, kind in _SECTIONS.items() for each in fields(kind)
}
"""Each option's field, by `section.key`."""
PROFILE_KEYS: Final = {
    "filter": "agent.filter",
    "snaplen": "agent.snaplen",
    "payload": "agent.payload",
    "sampling": "performance.sampling",
    "sampling_by": "performance.sampling_by",
    "max_packets_per_second": "performance.max_packets_per_second",
}
"""What a profile may set: the option of each of its keys."""
SHORT_VARIABLES: Final = {"AISHARK_HUB": "server.url", "AISHARK_TOKEN": "server.api_key", "AISHARK_CA": "server.ca"}
"""Variables shared with the other commands."""
_KEY_PLACES: Final = ("server.api_key", "server.api_key_file")


def load_agent_options(path: str, environment: Mapping[str, str], arguments: Mapping[str, Text | None]) -> AgentOptions:
    """The options from a YAML file ('' for none), environment variables and the command line's `arguments`.

    `arguments` go by `section.key`; None is an argument that was not given. Raises ConfigError with the place.
    """
    in_file, profiles = _read_file(path, environment) if path else ({}, {})
    flags = {name: about.metadata["flag"] for name, about in OPTIONS.items()}
    on_line = {name: Given(text, flags[name]) for name, text in arguments.items() if text is not None}
    in_environment = _from_environment(environment)
    above = in_file | in_environment | on_line
    in_file |= _chosen_profile(above.get("agent.profile"), profiles)
    given: dict[str, Given] = {}
    for layer in (in_file, in_environment, on_line):
        keys = [layer[name] for name in _KEY_PLACES if name in layer and layer[name].text]
        if len(keys) > 1:
            raise ConfigError(f"{keys[0].where} and {keys[1].where}: give one of the two.")
        if keys:
            for name in _KEY_PLACES:
                given.pop(name, None)
        given |= layer
    values: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    for name, each in given.items():
        section, _, key = name.partition(".")
        values[section][key] = _parse(name, each)
    if key_file := values["server"].get("api_key_file"):
        values["server"]["api_key"] = _read_key(Path(key_file), given["server.api_key_file"].where, environment)
    sections: dict[str, Any] = {section: kind(**values[section]) for section, kind in _SECTIONS.items()}
    return AgentOptions(**sections, given=given, profiles=profiles)


def option_flags() -> dict[str, str]:
    """The options that a command line may give: name by flag."""
    return {flag: name for name, about in OPTIONS.items() if (flag := about.metadata["flag"])}


def print_options(options: AgentOptions) -> str:
    """The options in force as a YAML file, each with where it comes from as a comment; secrets are masked."""
    lines = []
    for section in _SECTIONS:
        lines.append(f"{section}:")
        for name, about in OPTIONS.items():
            if name.startswith(f"{section}."):
                text, where = options.given.get(name, Given(about.metadata["default"], "default"))
                shown = _MASK if about.metadata["secret"] and text else text
                lines.append(f"  {_yaml_line(about.name, shown)}  # {where}")
    if options.profiles:
        lines.append("profiles:")
    for profile, keys in options.profiles.items():
        lines.append(f"  {_yaml_line(profile, {})[:-3]}")
        lines += [f"    {_yaml_line(key, each.text)}  # {each.where}" for key, each in keys.items()]
    return "\n".join(lines)


def _yaml_line(key: str, value: Text | dict[str, str]) -> str:
    plain: object = list(value) if isinstance(value, tuple) else value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+|true|false", value):
        plain = yaml.safe_load(value)
    flow = None if isinstance(plain, list) else False
    return str(yaml.safe_dump({key: plain}, default_flow_style=flow, width=10**6, allow_unicode=True)).strip()


def _parse(name: str, given: Given) -> Any:
    about = OPTIONS[name].metadata
    try:
        return about["parse"](given.text)
    except ValueError as error:
        value = "" if about["secret"] else f", not {given.text!r:.100}"
        raise ConfigError(f"{given.where} must be {error}{value}.") from error


def _chosen_profile(chosen: Given | None, profiles: Mapping[str, Mapping[str, Given]]) -> dict[str, Given]:
    if chosen is None or not chosen.text:
        return {}
    if chosen.text not in profiles:
        known = f"there are {', '.join(profiles)}" if profiles else "the configuration has none"
        raise ConfigError(f"{chosen.where}: there is no profile {chosen.text!r:.60}; {known}.")
    return {PROFILE_KEYS[key]: given for key, given in profiles[_text(chosen.text)].items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Given]:
    found = {
        name: Given(environment[variable], variable)
        for variable, name in SHORT_VARIABLES.items()
        if environment.get(variable)
    }
    for variable, text in environment.items():
        section, separator, key = variable.removeprefix("AISHARK_").partition("__")
        if variable.startswith("AISHARK_") and separator:
            name = f"{section}.{key}".lower()
            if name not in OPTIONS:
                near = _nearest(name, OPTIONS).replace(".", "__").upper()
                raise ConfigError(f"{variable} is no option{near and f'; did you mean AISHARK_{near}?'}")
            found[name] = Given(text, variable)
    return found


def _nearest(name: str, known: Mapping[str, object]) -> str:
    """The known name that is most like `name`; '' where none is."""
    return next(iter(difflib.get_close_matches(name, known, 1)), "")


def _read_key(path: Path, where: str, environment: Mapping[str, str]) -> str:
    """The secret a file holds, which only its owner may read."""
    text = read_text(path, where, _MAX_KEY_BYTES)
    refuse_if_shared(path, where, environment)
    key = str(_parse("server.api_key", Given(text.strip(), f"{where}: the key in {path}")))
    if not key:
        raise ConfigError(f"{where}: {path} is empty; the key must stand in it.")
    return key


def _read_file(path: str, environment: Mapping[str, str]) -> tuple[dict[str, Given], dict[str, dict[str, Given]]]:
    """Options and profiles of a YAML file, ${NAME}s replaced."""
    file = ConfigFile(path, environment)
    options: dict[str, Given] = {}
    profiles: dict[str, dict[str, Given]] = {}
    for section, where, node in file.entries(file.root, "the file"):
        if section == "profiles":
            for name, _, keys in file.entries(node, section):
                profiles[name] = _options(file, keys, name, PROFILE_KEYS)
        elif section in _SECTIONS:
            known = {each.name: f"{section}.{each.name}" for each in fields(_SECTIONS[section])}
            found = _options(file, node, section, known)
            options |= {f"{section}.{key}": given for key, given in found.items()}
        else:
            near = _nearest(section, {**_SECTIONS, "profiles": None})
            raise ConfigError(f"{where}: there is no section {section!r:.60}{near and f'; did you mean {near}?'}")
    return options, profiles


def _options(file: ConfigFile, node: yaml.Node, what: str, known: Mapping[str, str]) -> dict[str, Given]:
    """The options of a section or profile, checked; `known` gives the option of each key."""
    found = {}
    for key, place, value in file.entries(node, what):
        if key not in known:
            elsewhere = (name for name in OPTIONS if name.endswith(f".{key}"))
            near = next(elsewhere, "") or _nearest(key, known)
            raise ConfigError(f"{place}: {what} has no key {key!r:.60}{near and f'; did you mean {near}?'}")
        found[key] = Given(
            file.value(value, known[key], secret=OPTIONS[known[key]].metadata["secret"]), f"{place}: {key}"
        )
        _parse(known[key], found[key])
    return found
