"""Colours can be told from their ground, and every protocol has one."""

import re

import pytest

from aishark_panel.views.theme import CHOSEN, FAMILIES, VARIABLES, Family, family_of
from aishark_panel.wire.protocols import PROTOCOLS

LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+):(?:var\(--chosen-[\w-]+,)?(#[0-9a-f]{6})", part))
    for part in VARIABLES.split("@media (prefers-color-scheme:dark)")
)


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def tinted(colour: str, ground: str, share: float) -> str:
    pairs = ((int(colour[k : k + 2], 16), int(ground[k : k + 2], 16)) for k in (1, 3, 5))
    return "#" + "".join(f"{round(c * share + g * (1 - share)):02x}" for c, g in pairs)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["text", "muted", "ok", "warn", "danger", "accent"])
def test_text_is_readable_on_every_ground(scheme: dict[str, str], name: str) -> None:
    assert contrast(scheme[name], scheme["bg"]) >= 4.5
    assert contrast(scheme[name], scheme["card"]) >= 4.5


@pytest.mark.parametrize(("scheme", "share"), [(LIGHT, 0.09), (DARK, 0.11)], ids=["light", "dark"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.key)
def test_a_row_in_its_protocols_tint_is_readable(scheme: dict[str, str], share: float, family: Family) -> None:
    key = family.key
    ground = tinted(family.chart, scheme["card"], share)
    assert contrast(scheme[f"p-{key}"], ground) >= 4.5
    assert contrast(scheme["text"], ground) >= 4.5
    assert contrast(scheme["muted"], ground) >= 4.5


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.key)
def test_chart_colours_stand_out_in_both_schemes(family: Family) -> None:
    chart = family.chart
    assert contrast(chart, LIGHT["card"]) >= 2.2
    assert contrast(chart, DARK["card"]) >= 3


def test_both_schemes_define_the_same_colours() -> None:
    assert set(DARK) <= set(LIGHT)
    assert set(LIGHT) - set(DARK) == {f"c-{f.key}" for f in FAMILIES}


def test_a_chosen_scheme_has_the_colours_that_the_systems_would_have() -> None:
    light, dark = (dict(re.findall(r"--chosen-([\w-]+):(#[0-9a-f]{6})", part)) for part in CHOSEN.split("}")[:2])
    assert light == {name: colour for name, colour in LIGHT.items() if not name.startswith("c-")}
    assert dark == DARK


def test_families_name_protocols_that_exist_and_each_only_once() -> None:
    named = [p for family in FAMILIES for p in family.protocols]
    assert len(named) == len(set(named))
    assert set(named) <= set(PROTOCOLS)


def test_a_protocol_of_no_family_is_other() -> None:
    assert FAMILIES[family_of("OSPF")].name == "Other"
    assert FAMILIES[family_of("TLSv1.3")].name == "TLS"
