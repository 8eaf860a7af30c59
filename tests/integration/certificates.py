"""Certificates made by openssl."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Certificate", "make_ca", "make_certificate"]


class Certificate(NamedTuple):
    """PEM files of a certificate and its private key."""

    cert: Path
    key: Path


def make_ca(openssl: str, folder: Path) -> Certificate:
    """A CA's certificate."""
    return _make(openssl, folder, "ca", ["keyUsage=critical,keyCertSign"])


def make_certificate(openssl: str, folder: Path, address: str, ca: Certificate | None = None) -> Certificate:
    """A hub's certificate for an IP address, signed by that CA or by itself."""
    names = [f"subjectAltName=IP:{address}"]
    if ca is None:
        return _make(openssl, folder, "hub", names)
    signer = ["-CA", str(ca.cert), "-CAkey", str(ca.key)]
    return _make(openssl, folder, "hub", [*names, "basicConstraints=critical,CA:FALSE"], signer)


def _make(openssl: str, folder: Path, name: str, extensions: Sequence[str], signer: Sequence[str] = ()) -> Certificate:
    made = Certificate(folder / f"{name}.pem", folder / f"{name}-key.pem")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", f"/CN={name}", *(word for each in extensions for word in ("-addext", each)), *signer]
        + ["-keyout", str(made.key), "-out", str(made.cert)],
        check=True,
        capture_output=True,
    )
    return made
