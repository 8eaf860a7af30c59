"""`aishark agent install`, `hub install` and `serve install`: systemd units that run this installation."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aishark_panel import logs
from aishark_panel.errors import ConfigError

if TYPE_CHECKING:
    from aishark_panel.unit import Service

__all__ = ["agent_install", "hub_install", "serve_install"]

Name = Annotated[str, typer.Option("--service", help="Name of the service.")]
Write = Annotated[bool, typer.Option("--write", help="Write it into /etc/systemd/system.")]


def agent_install(
    context: typer.Context,
    service: Name = "aishark-agent",
    config: Annotated[Path, typer.Option(help="Its configuration.")] = Path("/etc/aishark/agent.yaml"),
    key: Annotated[Path, typer.Option(help="File that holds its key.")] = Path("/etc/aishark/key"),
    write: Write = False,
) -> None:
    """Print the systemd unit that runs an agent with this installation, hardened; docs/agent.md has the rest."""
    from aishark_panel.unit import agent_service

    if given := _options_before(context):
        raise ConfigError(f"{given[0][0]}: what an agent's service does stands in the file of its --config.")
    _give(agent_service(service, config, key), write=write)


def hub_install(
    context: typer.Context,
    service: Name = "aishark-hub",
    token_file: Annotated[Path, typer.Option(help="File that holds its start token.")] = Path("/etc/aishark/token"),
    write: Write = False,
) -> None:
    """Print the systemd unit that runs a hub with this installation, hardened: docs/howto/install.md.

    Options of the hub stand before `install`: `aishark hub --ring-mib 1024 install`. Where it keeps files is the
    service's own: /var/lib/aishark.
    """
    from aishark_panel.unit import hub_service

    _give(hub_service(service, _options_before(context), token_file), write=write)


def serve_install(context: typer.Context, service: Name = "aishark-dashboard", write: Write = False) -> None:
    """Print the systemd unit that runs a dashboard with this installation, hardened: docs/howto/install.md.

    Options of the dashboard stand before `install`: `aishark serve --hub URL install`.
    """
    from aishark_panel.unit import dashboard_service

    _give(dashboard_service(service, _options_before(context)), write=write)


def _options_before(context: typer.Context) -> list[tuple[str, str]]:
    """The options that the command line gives before `install`, each with its value; a switch has ""."""
    before = context.parent
    assert before is not None
    options: list[tuple[str, str]] = []
    for parameter in before.command.params:
        name = parameter.name or ""
        source = before.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        value = before.params[name]
        if isinstance(value, bool):
            options.append(((parameter.opts if value else parameter.secondary_opts)[-1], ""))
        else:
            values = value if isinstance(value, list | tuple) else [value]
            options += [(parameter.opts[-1], str(each)) for each in values]
    return options


def _give(service: "Service", *, write: bool) -> None:
    from aishark_panel import unit

    text = service.text()
    if not write:
        typer.echo(text, nl=False)
        if warning := unit.warning():
            logs.say(f"aishark: {warning}", logging.WARNING)
        return
    typer.echo(f"{unit.install(text, service.name)} is written; now: systemctl daemon-reload, then")
    typer.echo(f"systemctl enable --now {service.name}")
