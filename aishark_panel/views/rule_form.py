"""A rule as a form, as the mapping that the hub keeps, and as YAML; and what is wrong with it, field by field. Pure.

The form has the keys that most rules need. What else a rule says (labels, mute, notify ...) is only seen in its YAML,
and stays as it is while the form is filled in.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import yaml

from aishark_panel.alerts.rule import parse_rules
from aishark_panel.errors import ConfigError
from aishark_panel.views.completion import fault_of
from aishark_panel.views.rule_completion import by_fault, columns_of, having_fault

__all__ = [
    "STAND_IN",
    "Fault",
    "content_of",
    "content_of_yaml",
    "faults_of",
    "form_of",
    "words_of",
    "yaml_of",
    "yaml_place",
]

_TEXTS: Final = (
    "name", "description", "where", "over", "having", "for", "keep_firing_for", "rearm", "severity", "runbook",
)  # fmt: skip
_ANNOTATIONS: Final = ("summary", "explanation")
_MAX_CHARS: Final = 20_000
_LONG_CHARS: Final = 90
"""A text of YAML that is longer is folded."""
STAND_IN: Final = "new_rule"
"""The name of a rule that has none yet, while it is checked and tried."""
_SAID: Final = re.compile(
    r"rule: rule (?:'(?P<name>[^']*)'|\d+)(?:, (?P<key>\w+)(?:, (?P<inner>\w+))?)?: (?P<said>.*)", re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with a field of the form, or with the YAML text (field 'yaml')."""

    field: str
    message: str
    position: int | None = None
    """index of the character in `text`"""
    text: str = ""
    fix: str = ""
    """the text as it was probably meant"""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def form_of(content: Mapping[str, Any]) -> dict[str, str]:
    """What the form shows of a rule; every field is a text."""
    by, annotations = content.get("by"), content.get("annotations")
    return {
        **{key: _text(content.get(key)) for key in _TEXTS},
        "severity": _text(content.get("severity")) or "warning",
        "by": ", ".join(map(_text, by)) if isinstance(by, list) else _text(by),
        **{key: _text(annotations.get(key)) if isinstance(annotations, dict) else "" for key in _ANNOTATIONS},
    }


def content_of(form: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The rule that a form means; what it does not show is that of `base`."""
    fields = {name: str(form.get(name, ""))[:_MAX_CHARS].strip() for name in (*_TEXTS, "by", *_ANNOTATIONS)}
    said: dict[str, Any] = {key: fields[key] for key in _TEXTS} | {"by": columns_of(fields["by"])}
    known = base.get("annotations")
    annotations = {**(known if isinstance(known, dict) else {}), **{key: fields[key] for key in _ANNOTATIONS}}
    said["annotations"] = {key: value for key, value in annotations.items() if value != ""}
    order = ["name", "description", "where", "by", "over", "having", "for"]
    keys = [*order, *(key for key in base if key not in order), *said]
    merged = {**base, **said}
    return {key: merged[key] for key in dict.fromkeys(keys) if key in merged and merged[key] not in ("", [], {})}


def yaml_of(content: Mapping[str, Any]) -> str:
    """The rule as a rules file of its own."""
    return str(yaml.dump({"rules": [dict(content)]}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def content_of_yaml(text: str) -> dict[str, Any] | Fault:
    """The one rule of a YAML text, a rules file or its keys alone; not yet checked but for being a mapping."""
    text = text[:_MAX_CHARS]
    try:
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" in line {mark.line + 1}" if mark else ""
        return Fault(
            field="yaml", message=f"This is not YAML{place}: {error.problem}", position=mark and mark.index, text=text
        )
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        return Fault(field="yaml", message=f"This is not YAML: {str(error).splitlines()[0]:.200}", text=text)
    if isinstance(content, dict) and list(content) == ["rules"]:
        content = content["rules"]
        if not isinstance(content, list) or len(content) != 1:
            return Fault(field="yaml", message="One rule is edited at a time; write one below 'rules'.", text=text)
        content = content[0]
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        return Fault(field="yaml", message="A rule is keys and values, such as name: port_scan.", text=text)
    return content


def faults_of(content: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with a rule, at most one fault for each field, in the order of the form."""
    faults = dict(_own_faults(content))
    for tried in (content, {**content, "name": STAND_IN}):
        if (fault := _fault_of_whole(tried)) and fault.field not in faults:
            faults[fault.field] = fault
    order = ("name", *_TEXTS, "by", *_ANNOTATIONS)
    return sorted(faults.values(), key=lambda fault: order.index(fault.field) if fault.field in order else len(order))


def words_of(content: Mapping[str, Any]) -> list[str]:
    """What may stand in braces in the texts of a rule's alerts; none as long as its expressions are wrong."""
    try:
        (rule,) = parse_rules(yaml_of({**content, "name": STAND_IN, "annotations": {}}), "rule")
    except ConfigError:
        return []
    return [*(field.name for field in rule.by), *rule.value_names]


def _own_faults(content: Mapping[str, Any]) -> list[tuple[str, Fault]]:
    """Faults of the expressions, each at its character."""
    form = form_of(content)
    checks = {"where": fault_of, "by": by_fault, "having": having_fault}
    found = [(field, check(form[field])) for field, check in checks.items() if form[field]]
    return [(field, Fault(field=field, **fault)) for field, fault in found if fault]


def _fault_of_whole(content: Mapping[str, Any]) -> Fault | None:
    """The first thing that is wrong with a rule, as the hub says it."""
    try:
        parse_rules(yaml_of(content), "rule")
    except ConfigError as error:
        said = _SAID.fullmatch(str(error))
        if said is None:
            return Fault(field="rule", message=str(error))
        field = said["inner"] if said["inner"] in _ANNOTATIONS else said["key"] or "rule"
        return Fault(field=field, message=said["said"], text=form_of(content).get(field, ""))
    return None


def yaml_place(text: str, fault: Fault) -> Fault:
    """The fault of a field at its place in the YAML that the rule was read from."""
    try:
        node = _rule_node(yaml.compose(text[:_MAX_CHARS], Loader=yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError):
        return fault
    value = _value_of(node, fault.field) or _value_of(_value_of(node, "annotations"), fault.field)
    if value is None:
        return Fault(field=fault.field, message=fault.message, text=text)
    position = value.start_mark.index
    one_line = value.start_mark.line == value.end_mark.line
    if fault.position is not None and one_line and isinstance(value, yaml.ScalarNode) and value.style != "|":
        position += fault.position + (value.style in ("'", '"'))
    return Fault(field=fault.field, message=fault.message, position=position, text=text)


def _rule_node(node: Any) -> Any:
    rules = _value_of(node, "rules")
    return rules.value[0] if isinstance(rules, yaml.SequenceNode) and rules.value else node


def _value_of(node: Any, key: str) -> Any:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for name, value in pairs if name.value == key), None)


def _text(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value!s:.200}"


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # yaml has no types
    """Lists of columns on one line and long texts on several, as people write them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_list(self, data: Any) -> Any:
        flow = all(isinstance(each, str) for each in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)

    def represent_str(self, data: str) -> Any:
        folded = len(data) > _LONG_CHARS and "\n" not in data
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=">" if folded else None)


_Dumper.add_representer(list, _Dumper.represent_list)
_Dumper.add_representer(str, _Dumper.represent_str)
