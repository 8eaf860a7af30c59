"""`aishark tls`: certificates of a private CA, and how hub, agents and dashboard use them."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from aishark_panel.privateca import HubCertificate, make_hub_certificate, names_of_this_host

__all__ = ["tls_app"]

tls_app = typer.Typer(no_args_is_help=True, help="Make certificates for hub and dashboard.")


@tls_app.callback()
def _tls() -> None:
    """Make certificates for hub and dashboard."""


@tls_app.command()
def init(
    host: Annotated[
        list[str] | None,
        typer.Option(help="Name or address by which the hub is reached; repeatable. This host's own are added."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where they are kept; default: aishark/tls in your state directory.")
    ] = None,
) -> None:
    """Make a private CA and a certificate for the hub that it signed, and print the commands that use them.

    Run it again to renew the certificate, or for other names: the CA is kept, so agents that trust it need nothing new.
    """
    from aishark_panel.streams.store import default_state_dir

    made = make_hub_certificate(folder or default_state_dir() / "tls", [*(host or ()), *names_of_this_host()])
    typer.echo(_told(made))


def _told(made: HubCertificate) -> str:
    name = made.names[0]
    address = f"https://{f'[{name}]' if ':' in name else name}:8765"
    ca, cert, key = (shlex.quote(str(path)) for path in (made.ca, made.cert, made.key))
    tls = f"--tls-cert {cert} --tls-key {key}"
    return f"""\
{"A new CA" if made.is_new_ca else "The CA of before"}: {made.ca} (no secret; its key stays beside it)
A certificate for {", ".join(made.names)}
until {made.expires:%Y-%m-%d}: run this again before, then restart the hub. The CA stays; the pin changes.

On this host, the hub:
  aishark hub --host 0.0.0.0 {tls}

Agents, with the token in AISHARK_TOKEN and a copy of ca.pem:
  aishark agent -i eth0 --hub {address} --ca ca.pem
or without, until the certificate is renewed:
  aishark agent -i eth0 --hub {address} --pin {made.pin}

On this host, the dashboard for browsers that trust ca.pem:
  AISHARK_CA={ca} aishark serve --hub {address} --host {name} {tls}

Other commands, notebooks and scripts:
  AISHARK_CA=ca.pem AISHARK_HUB={address} aishark agents list"""
