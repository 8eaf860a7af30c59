"""`aishark rules`: check rules, and try them on a capture file.

Heavy imports happen inside the commands, as in aishark_panel.cli.
"""

import sys
from typing import Annotated

import typer

__all__ = ["rules_app"]

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
def test(
    rules_file: RulesFile,
    file: Annotated[str, typer.Argument(help="Capture file; - is standard input.")],
) -> None:
    """List the alerts that the rules would have raised on a capture file."""
    from rich.console import Console
    from rich.progress import Progress

    from aishark_panel.alerts.backtest import Backtest
    from aishark_panel.alerts.load import read_rules
    from aishark_panel.alerts.report import alert_table

    rules = read_rules(rules_file)
    terminal = Console(stderr=True)
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        task = progress.add_task(f"Reading {file}", total=None)
        backtest = Backtest(rules, file, lambda done, total: progress.update(task, completed=done, total=total))
        table = alert_table(backtest)
    if table.row_count:
        Console(width=None if sys.stdout.isatty() else 240).print(table)
    alerts = f"{table.row_count:,} alert" + ("" if table.row_count == 1 else "s")
    print(f"{alerts} in {backtest.packets:,} packets", file=sys.stderr)
    for status in backtest.status():
        if problem := status.problem:
            print(f"aishark: rule {status.rule.name}: {problem}", file=sys.stderr)
    if backtest.warning:
        print(f"aishark: {backtest.warning}", file=sys.stderr)
