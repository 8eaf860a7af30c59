"""`aishark rules`: check rules, and try them on what was captured.

Heavy imports happen inside the commands, as in aishark_panel.cli.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from aishark_panel.errors import ConfigError
from aishark_panel.hub_commands import DEFAULT_HUB, HubUrl, hub_client, session_id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aishark_panel.alerts.rule import Rule

__all__ = ["rules_app", "show_tried"]

rules_app = typer.Typer(no_args_is_help=True, help="Alert rules: check them, and try them on what was captured.")

RulesFile = Annotated[str, typer.Argument(help="Rules file (YAML, docs/rules.md), or builtin.")]


@rules_app.command("check")
def check(rules_file: RulesFile) -> None:
    """Say what is wrong with a rules file, or list its rules."""
    from rich.console import Console

    from aishark_panel.alerts.load import read_rules
    from aishark_panel.alerts.report import rule_table

    Console().print(rule_table(read_rules(rules_file)))


@rules_app.command("test")
def try_rules(
    rules_file: RulesFile,
    past: Annotated[
        str,
        typer.Argument(
            metavar="FILE|DIR|SESSION",
            help="Capture file (- is standard input), folder of capture files, or session of a hub by name or id.",
        ),
    ],
    hub_url: HubUrl = DEFAULT_HUB,
    over: Annotated[
        Literal["ring", "journal", "recordings"], typer.Option(help="What of a session is looked at.")
    ] = "ring",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")] = False,
) -> None:
    """Say which alerts the rules would have raised: when, for whom, how often, and how noisy each rule is.

    Files of a folder are read in the order of their time. A session is looked at by its hub; the token is read from
    AISHARK_TOKEN.
    """
    from rich.console import Console
    from rich.progress import Progress

    from aishark_panel.alerts.load import read_rules

    rules = read_rules(rules_file)
    terminal = Console(stderr=True)
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        task = progress.add_task(f"Looking at {past}", total=None)

        def show(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        is_local = past == "-" or Path(past).exists() or "/" in past or "." in past
        found = _tried_here(rules, past, show) if is_local else _tried_by_hub(rules, past, hub_url, over, show)
    show_tried(rules, found, as_json=as_json)


def show_tried(rules: "Sequence[Rule]", found: dict[str, Any], *, as_json: bool) -> None:
    """Print which alerts rules would have raised: packets, rules, alerts, more, warnings."""
    from rich.console import Console

    from aishark_panel.alerts.report import noise_table, tried_table

    if as_json:
        print(json.dumps({name: found[name] for name in found if name != "warnings"}))
    else:
        out = Console(width=None if sys.stdout.isatty() else 240)
        if found["alerts"]:
            out.print(tried_table(rules, found["alerts"]))
        fired = [line for line in found["rules"] if line["alerts"]]
        if fired:
            out.print()
            out.print(noise_table(fired))
    count = len(found["alerts"]) + found["more"]
    print(f"{count:,} alert{'' if count == 1 else 's'} in {found['packets']:,} packets", file=sys.stderr)
    if found["more"] and not as_json:
        print(f"the first {len(found['alerts']):,} are listed", file=sys.stderr)
    problems = [f"rule {line['rule']}: {line['problem']}" for line in found["rules"] if line["problem"]]
    for problem in (*problems, *found["warnings"]):
        print(f"aishark: {problem}", file=sys.stderr)


def _tried_here(rules: "tuple[Rule, ...]", past: str, show: "Callable[[int, int | None], None]") -> dict[str, Any]:
    from aishark_panel.alerts.backtest import Backtest, captures_in

    paths, warnings = [Path(past)], []
    if past != "-" and Path(past).is_dir():
        paths, passed_over = captures_in(Path(past))
        warnings = [f"passed over: {reason}" for reason in passed_over]
        if not paths:
            raise ConfigError(f"{past}: there is no capture file with packets in this folder")
    backtest = Backtest(rules, *(past if past == "-" else path for path in paths), progress=show)
    for _ in backtest:
        pass
    tally = backtest.tally
    return {
        "packets": tally.packets,
        "first_ts": tally.first_ts,
        "last_ts": tally.last_ts,
        "rules": tally.rules(),
        "alerts": tally.alerts,
        "more": tally.more,
        "warnings": [*warnings, *backtest.warnings],
    }


def _tried_by_hub(
    rules: "tuple[Rule, ...]", session: str, hub_url: str, over: str, show: "Callable[[int, int | None], None]"
) -> dict[str, Any]:
    import yaml

    async def run() -> dict[str, Any]:
        async with hub_client(hub_url) as client:
            text = yaml.safe_dump({"rules": [dict(rule.content) for rule in rules]})
            wanted = await session_id_of(client, session)
            return await client.try_rules(wanted, text, over, lambda done, total: show(done, total or None))

    answer = asyncio.run(run())
    return {**answer, "warnings": []}


@rules_app.command("notify-test")
def notify_test(
    notify: Annotated[str, typer.Option(help="File (YAML) of channels, as hubs take it.")],
    channels: Annotated[list[str] | None, typer.Argument(help="Channels by name; default: all.")] = None,
) -> None:
    """Tell channels of a made-up alert, and say how it went; exits with 1 if one failed."""
    import os

    from aishark_panel.alerts.channels import load_channels
    from aishark_panel.alerts.letters import Letter
    from aishark_panel.alerts.senders import sender_of
    from aishark_panel.query.names import suggestion

    known = {channel.name: channel for channel in load_channels(notify, os.environ)}
    for name in channels or ():
        if name not in known:
            raise ConfigError(f"{notify}: no channel {name!r}{suggestion(name, list(known))}")
    alert = {
        "session": {"id": "0", "name": "test"},
        "rule": "notify_test",
        "severity": "info",
        "state": "firing",
        "description": "This is a test; nothing happened.",
        "runbook": "",
        "key": {},
        "annotations": {"summary": "aishark can reach this channel"},
    }

    async def tell(name: str) -> bool:
        sender = sender_of(known[name])
        reason, _ = await sender.send(Letter((alert,), 1, 0))
        sender.close()
        print(f"{name} ({sender.kind}): {reason or 'told'}")
        return not reason

    async def tell_all() -> list[bool]:
        return [await tell(name) for name in channels or known]

    if not all(asyncio.run(tell_all())):
        raise typer.Exit(1)
