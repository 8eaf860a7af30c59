"""How the page looks: one colour per protocol family and one set of CSS variables for both colour schemes.

A *family* is the group of protocols that share a colour (TLSv1.2 and TLSv1.3 are both TLS). Neighbours in a stack
differ in lightness too, for people who do not see red or green. Each family has three tones: `chart` stands out from
a white and from a black ground (canvas glyphs do not follow CSS), `light` and `dark` are the text tints of the schemes
(contrast of 4.5:1 and more on the page's grounds).

Everything follows the system's scheme by `prefers-color-scheme`, unless the visitor of a page chose one
(theme_button.js), or JupyterLab has a theme (beacon.js); Python never knows which one is in use. Bokeh reads the
`--bk-*` variables when it paints, so figures follow it too.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["CHOSEN", "FAMILIES", "FIGURE_CSS", "JUPYTERLAB", "VARIABLES", "Family", "family_of", "script", "style"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Protocols that share a colour; `key` is its CSS name (`--p-tls`, `.p-tls`)."""

    name: str
    protocols: tuple[str, ...]
    chart: str
    light: str
    dark: str

    @property
    def key(self) -> str:
        return self.name.lower()


FAMILIES: Final[tuple[Family, ...]] = (
    Family(name="TCP", protocols=("TCP",), chart="#71839b", light="#47586e", dark="#aebccd"),
    Family(
        name="TLS",
        protocols=(
            *("TLS", "SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
            *("DTLS", "DTLSv1.0", "DTLSv1.2"),
        ),
        chart="#3d84f5",
        light="#1a58c2",
        dark="#86b6ff",
    ),
    Family(name="HTTP", protocols=("HTTP", "HTTP2"), chart="#21a366", light="#0f6b3c", dark="#63d49c"),
    Family(name="DNS", protocols=("DNS", "MDNS", "LLMNR", "NBNS"), chart="#dd9f17", light="#7d5400", dark="#efc257"),
    Family(name="UDP", protocols=("UDP",), chart="#8d63f2", light="#6337c9", dark="#bda3ff"),
    Family(name="QUIC", protocols=("QUIC",), chart="#15a5ab", light="#09666a", dark="#58d2d6"),
    Family(name="ICMP", protocols=("ICMP", "ICMPv6"), chart="#df5f9e", light="#a52567", dark="#ff9fcb"),
    Family(name="ARP", protocols=("ARP",), chart="#aa7342", light="#7b4a1c", dark="#dba877"),
    Family(name="Other", protocols=(), chart="#96a0ab", light="#525d69", dark="#b4bdc7"),
)
"""In the order they are stacked; the last one takes every protocol that no other names."""

_BY_PROTOCOL: Final = {protocol: index for index, family in enumerate(FAMILIES) for protocol in family.protocols}

_LIGHT: Final = {
    "bg": "#f3f5f8",
    "card": "#ffffff",
    "raised": "#ffffff",
    "hover": "#eef2f7",
    "selected": "#d8e6ff",
    "line": "#dfe5ec",
    "grid": "#e9edf2",
    "text": "#16202b",
    "muted": "#586573",
    "accent": "#1a5fd0",
    "on-accent": "#ffffff",
    "ok": "#177245",
    "warn": "#8a5a00",
    "danger": "#b3261e",
    "tint": "9%",
}
_DARK: Final = {
    "bg": "#0c1117",
    "card": "#131a22",
    "raised": "#1b2530",
    "hover": "#1c2631",
    "selected": "#1d3a63",
    "line": "#25303c",
    "grid": "#1f2934",
    "text": "#e4eaf1",
    "muted": "#95a3b3",
    "accent": "#78aeff",
    "on-accent": "#08101c",
    "ok": "#52c78f",
    "warn": "#e5b64a",
    "danger": "#ff8a80",
    "tint": "11%",
}

_BOKEH: Final = {
    "axis-line-color": "line",
    "major-tick-line-color": "line",
    "grid-line-color": "grid",
    "major-label-text-color": "muted",
    "axis-label-text-color": "muted",
}


def family_of(protocol: str) -> int:
    """Index into FAMILIES of the family that `protocol` (Wireshark's short name) belongs to."""
    return _BY_PROTOCOL.get(protocol, len(FAMILIES) - 1)


def _colours(colours: dict[str, str], shade: str) -> dict[str, str]:
    return {**colours, **{f"p-{f.key}": getattr(f, shade) for f in FAMILIES}}


_SCHEMES: Final = {"light": _colours(_LIGHT, "light"), "dark": _colours(_DARK, "dark")}


def _following(scheme: str) -> str:
    """The variables of a scheme, each giving way to what the page's visitor chose."""
    return "".join(f"--{name}:var(--chosen-{name},{value});" for name, value in _SCHEMES[scheme].items())


_CHART: Final = "".join(f"--c-{f.key}:{f.chart};" for f in FAMILIES)

VARIABLES: Final = (
    f":root,:host{{{_CHART}{_following('light')}}}"
    f"@media (prefers-color-scheme:dark){{:root,:host{{{_following('dark')}}}}}"
)
"""CSS that defines every variable, for a page (`:root`) and for a view that stands alone (`:host`)."""


def _chosen(scheme: str) -> str:
    """The variables that override what the system has."""
    return "".join(f"--chosen-{name}:{value};" for name, value in _SCHEMES[scheme].items())


CHOSEN: Final = "".join(f":root[data-theme={scheme}]{{color-scheme:{scheme};{_chosen(scheme)}}}" for scheme in _SCHEMES)
"""CSS for a page whose visitor chose a scheme (`data-theme` of its root element)."""

JUPYTERLAB: Final = "".join(
    f"body[data-jp-theme-light={light}]{{--chosen-scheme:{scheme};{_chosen(scheme)}}}"
    for scheme, light in (("light", "true"), ("dark", "false"))
)
"""CSS for a page of JupyterLab, whose own theme is what its user chose; views inherit the variables."""

FIGURE_CSS: Final = (
    VARIABLES
    + ":host{"
    + "".join(f"--bk-{name}:var(--{ours});" for name, ours in _BOKEH.items())
    + "--background-color:var(--raised);--color:var(--text);--divider-color:var(--line)}"
    ".bk-events:focus{outline:none}"
)
"""Stylesheet of a Bokeh figure: its canvas takes the page's colours."""

_CLASSES: Final = "".join(f".p-{f.key}{{--family:var(--c-{f.key});--family-text:var(--p-{f.key})}}" for f in FAMILIES)

_HERE: Final = Path(__file__).parent


def style(*names: str) -> str:
    """Stylesheet of a view: the variables, what all views share (a class `p-tls` gives an element its family's
    colours), and the files of these names beside this module."""
    files = ("base.css", *names)
    return VARIABLES + _CLASSES + "".join((_HERE / file).read_text(encoding="utf-8") for file in files)


def script(*names: str) -> str:
    """ES module of a view: what all views share (`dom.js`), then the files of these names beside this module.

    They are one text because a browser would have to fetch an import from somewhere.
    """
    return "".join((_HERE / file).read_text(encoding="utf-8") for file in ("dom.js", *names))
