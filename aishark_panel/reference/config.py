"""docs/reference/config.md: every key of an agent's file and of a provider's, and every variable of the environment."""

from collections.abc import Callable, Iterator
from typing import Final, get_type_hints

import msgspec

from aishark_panel.config import (
    OPTIONS,
    PROFILE_KEYS,
    SHORT_VARIABLES,
    AgentSection,
    AllowSection,
    PerformanceSection,
    ServerSection,
)
from aishark_panel.configfile import Text
from aishark_panel.reference.markdown import code, field_texts, table
from aishark_panel.streams.oidc_config import SECRET_VARIABLE, OidcConfig

__all__ = ["render"]

_HEAD: Final = """\
# Configuration

<!-- Made from aishark_panel/config.py and aishark_panel/streams/oidc_config.py by `make docs`; edit these instead. -->

An agent can be told everything in a file; a hub and a dashboard take [options](cli.md), and files for what does not fit
on a line:

| file | read by | |
| --- | --- | --- |
| agent | `aishark agent --config FILE` | [below](#agent) |
| identity provider | `aishark hub --oidc FILE` | [below](#identity-provider) |
| alert rules | `aishark hub --rules FILE` | [Alert rules](../rules.md) |
| channels | `aishark hub --notify FILE` | [Telling people](../rules.md#telling-people) |

All are YAML. An unknown key is an error that names the file's line. `${NAME}` in the files of agents and channels
stands for a variable of the environment, which must exist.

## Agent

[Running an agent](../agent.md#configuration) has an example. An option is looked for on the command line, then in the
environment, then in the file; the first that has it counts.
"""
_SECTIONS: Final = {
    "agent": AgentSection,
    "server": ServerSection,
    "performance": PerformanceSection,
    "allow": AllowSection,
}
_VARIABLES: Final = {
    "AISHARK_LOG": "how much is logged: DEBUG, INFO, WARNING, ERROR",
    "AISHARK_LOG_FORMAT": "`--log-format`: log lines for people (`text`) or programs (`json`)",
    "AISHARK_TOKEN_FILE": "a file that holds the token, in place of `AISHARK_TOKEN`: a secret of a container, say",
    "AISHARK_WEBHOOK": "`--webhook`: address to tell of alerts",
    "AISHARK_SCHEDULER": "`--scheduler` of `aishark archive`: a Dask cluster",
    SECRET_VARIABLE: "the secret at the identity provider",
}


def render() -> str:
    """The page."""
    return "\n".join([_HEAD, *map(_section, _SECTIONS), _profiles(), _provider(), _environment()])


def _section(section: str) -> str:
    texts = field_texts(_SECTIONS[section])
    rows = []
    for name, field in OPTIONS.items():
        if name.startswith(f"{section}."):
            about = field.metadata
            default = code(_listed(about["default"]))
            rows.append(
                [code(field.name), _taken(about["parse"]), default, code(about["flag"]), texts[field.name]],
            )
    said = (_SECTIONS[section].__doc__ or "").partition("` ")[2]
    titles = ["key", "takes", "default", "command line", ""]
    return f"### `{section}`\n\n{said[:1].upper()}{said[1:]}\n\n{table(titles, rows)}"


def _listed(value: str | tuple[str, ...]) -> str:
    return ", ".join(value) if isinstance(value, tuple) else value


def _taken(parse: Callable[[Text], object]) -> str:
    """What a value may be, in the words with which its parser refuses another."""
    try:
        return "list of texts" if isinstance(parse("\0"), tuple) else "text"
    except ValueError as error:
        return str(error)


def _profiles() -> str:
    rows = ([code(key), code(name)] for key, name in PROFILE_KEYS.items())
    return (
        "### `profiles`\n\n"
        "Each key is a profile's name, with these keys below it. `agent.profile` says which is in use; "
        "it\ntakes the place of what the file says otherwise.\n\n" + table(["key", "in place of"], rows)
    )


def _provider() -> str:
    texts, hints = field_texts(OidcConfig), get_type_hints(OidcConfig)
    rows = []
    for field in msgspec.structs.fields(OidcConfig):
        default = "needed" if field.required else code(_listed(field.default))
        taken = "text" if hints[field.name] is str else "list of texts"
        rows.append([code(field.name), taken, default, texts[field.name]])
    return (
        "## Identity provider\n\n[Logging in at a provider](../people.md#logging-in-at-a-provider) has an example.\n\n"
        + table(["key", "takes", "default", ""], rows)
    )


def _environment() -> str:
    return (
        "## Environment\n\nEach key of an agent's file is a variable too: `AISHARK_SECTION__KEY`, such as "
        "`AISHARK_AGENT__SNAPLEN`.\n\n" + table(["variable", ""], ([code(name), text] for name, text in _variables()))
    )


def _variables() -> Iterator[tuple[str, str]]:
    yield from (
        (name, f"{code(option)} of an agent, and the same for the other commands")
        for name, option in SHORT_VARIABLES.items()
    )
    yield from _VARIABLES.items()
