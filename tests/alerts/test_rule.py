"""Rules: what is accepted, and what a mistake is told."""

import time

import pytest

from aishark_panel.alerts.load import BUILTIN, read_rules
from aishark_panel.alerts.rule import MAX_RULES, fill_template, parse_rule, parse_rules
from aishark_panel.errors import ConfigError
from tests.alerts.blocks import SECOND, one_rule


def test_a_rule_with_every_key() -> None:
    (rule,) = parse_rules(
        """
        rules:
          - name: r.1
            description: words
            where: tcp.flags.syn == 1
            by: [src_ip, ip.dst]
            over: 1.5 min
            having: nunique(dst_port) >= 20 and (mean(orig_len) < 100 or max(ip_ttl) > 5)
            for: 500ms
            severity: critical
            labels: {team: net}
            annotations: {summary: "{src_ip} {dst_ip} {nunique_dst_port} {mean_orig_len} {packets}"}
            enabled: false
        """,
        "x.yaml",
    )
    assert (rule.over_ns, rule.for_ns, rule.enabled, rule.severity) == (90 * SECOND, SECOND // 2, False, "critical")
    assert [field.name for field in rule.by] == ["src_ip", "dst_ip"]
    assert rule.value_names[4:] == ("nunique_dst_port", "mean_orig_len", "max_ip_ttl")


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"wher": "tcp"}, r"test.yaml: rule 'tested': no key 'wher'; did you mean where\?"),
        ({"where": "src_prt == 1"}, r"rule 'tested', where: no column or protocol 'src_prt'.*\(at character 1\)"),
        ({"where": "[1]"}, "where: a text .* got a list of 1"),
        ({"by": "src_ip"}, r"by: a list .* such as \[src_ip\], got 'src_ip'"),
        ({"by": "[[src_ip]]"}, "by: column 1 is a list"),
        ({"by": "[ip.addr]"}, "by: ip.addr means two columns"),
        ({"by": "[tcp]"}, "by: tcp means a protocol"),
        ({"by": "[ts]"}, "by: ts differs in every packet"),
        ({"by": "[number]"}, "by: number differs"),
        ({"by": "[" + ", ".join(["src_ip"] * 9) + "]"}, "at most 8 columns"),
        ({"over": "10"}, "over: a duration with its unit"),
        ({"over": "500ms"}, "over: .* from 1 s to 1 h"),
        ({"over": "2h"}, "over: .* from 1 s to 1 h"),
        ({"over": "1e3s"}, "over: a duration"),
        ({"over": "10s", "for": "'-1s'"}, "for: a duration"),
        ({"having": "packets > 1"}, "having: looks at a window"),
        ({"over": "10s", "having": "packet > 1"}, r"having: no aggregate 'packet'; did you mean packets\?"),
        ({"over": "10s", "having": "nunique(dst_prt) > 1"}, "having: no column or protocol 'dst_prt'"),
        ({"severity": "high"}, "severity: one of info, warning, critical is needed, got 'high'"),
        ({"severity": "[]"}, "severity: one of"),
        ({"enabled": "1"}, "enabled: true or false is needed, got 1"),
        ({"labels": "{a: 1}"}, "labels: names and texts are needed, got 'a' with 1"),
        ({"annotations": "[a]"}, "annotations: at most 32 names"),
        (
            {"annotations": "{summary: '{scr_ip}'}", "by": "[src_ip]"},
            r"nothing is called \{scr_ip\}; did you mean src_ip",
        ),
        ({"annotations": "{summary: '{packets.__class__}'}"}, "nothing is called"),
        ({"name": "'two words'"}, "rule 1, name: a name of up to 64"),
        ({"name": "[1]"}, "rule 1, name"),
        ({"1": "2"}, "no key '1'"),
        ({"? [a]": "b"}, "not YAML"),
    ],
)
def test_a_mistake_is_told_with_file_rule_and_key(keys: dict[str, str], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        one_rule(**keys)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "expected one key, 'rules'"),
        ("rules: 5", "expected one key, 'rules'"),
        ("- name: a", "expected one key, 'rules'"),
        ("rules: []\nmore: 1", "expected one key, 'rules'"),
        ("rules: [1]", "rule 1: expected keys and values"),
        ("rules: [{name: a}, {name: a}]", "2 rules are called 'a'"),
        ("rules: [{name: a},\n{name: b]", "not YAML at line 2"),
        ("rules: !!python/object/apply:os.getcwd []", "not YAML at line 1"),
        ("rules:\n- name: a\n  where: \x00", "not YAML"),
        ("rules: " + "[" * 1_000, "not YAML"),
        ("rules: [" + "{name: a}, " * (MAX_RULES + 1) + "]", "501 rules; at most 500"),
        ("#" * 2**20 + "#", "larger than 1 MiB"),
    ],
)
def test_a_hostile_file_is_refused(text: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        parse_rules(text, "x.yaml")


def test_aliases_that_would_grow_without_end_stay_small() -> None:
    levels = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    with pytest.raises(ConfigError) as caught:
        parse_rules("rules:\n- name: bomb\n  by: [*a39]".replace("*a39", "1") + "\n" + "\n".join(levels), "x.yaml")
    assert len(str(caught.value)) < 500
    laughs = "rules:\n- name: bomb\n  labels: {a: &a [x, x], b: &b [*a, *a], c: &c [*b, *b]}\n  where: *c"
    with pytest.raises(ConfigError, match="not YAML at line 3: aliases"):
        parse_rules(laughs, "x.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "enabled: !!bool x",
        "over: !!int ''",
        "over: !!float ''",
        "over: !!timestamp x",
        "over: " + "1:" * 20_000 + "1",
        'description: "\\UFFFFFFFF"',
        'description: "\\U00110000"',
        'description: "\\uD800"',
        "over: 0x" + "f" * 6_000,
        "labels: " + "[" * 2_000,
    ],
)
def test_yaml_that_breaks_its_reader_is_refused_in_a_sentence(text: str) -> None:
    began_s = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        parse_rules(f"rules:\n- name: a\n  {text}\n", "x.yaml")
    assert len(str(caught.value)) < 400
    assert time.monotonic() - began_s < 2


@pytest.mark.parametrize(
    ("by", "given", "muted"),
    [
        ("src_ip", "2001:DB8:0::1", "2001:db8::1"),
        ("src_ip", "10.0.0.9", "10.0.0.9"),
        ("eth_src", "02-AA-bb-00-00-01", "02:aa:bb:00:00:01"),
        ("protocol", "udp", "UDP"),
        ("dst_port", "443", 443),
        ("dst_port", 443, 443),
        ("iface", "eth0", "eth0"),
        ("dns_query", "example.org", "example.org"),
    ],
)
def test_muted_values_are_those_that_keys_have(by: str, given: object, muted: object) -> None:
    rule = parse_rule({"name": "a", "by": [by], "mute": [{by: given}]}, "x")
    assert rule.mutes({by: muted})
    assert not rule.mutes({by: "another"})


@pytest.mark.parametrize(
    ("by", "given"),
    [
        ("src_ip", "10.0.0.0/8"),
        ("src_ip", "10.0.0.1x"),
        ("src_ip", 10),
        ("eth_src", "ff:ff:ff:ff:ff:ff:ff:ff"),
        ("protocol", "no such"),
        ("dst_port", 443.0),
        ("dst_port", True),
        ("dns_query", "x" * 256),
    ],
)
def test_values_that_no_key_has_mute_nothing_unnoticed(by: str, given: object) -> None:
    with pytest.raises(ConfigError, match="is no value that it can have"):
        parse_rule({"name": "a", "by": [by], "mute": [{by: given}]}, "x")


def test_templates_take_numbers_and_texts() -> None:
    values = {"a": 20.0, "b": 0.1234567, "c": 1234567.8, "d": "10.0.0.1"}
    assert fill_template("{a} {b} {c} {d} {e}", values) == "20 0.123 1,234,568 10.0.0.1 {e}"


def test_the_built_in_rules_explain_themselves() -> None:
    rules = read_rules(BUILTIN)
    assert len(rules) >= 18
    assert all(rule.description and {"summary", "explanation"} <= set(rule.annotations) for rule in rules)
