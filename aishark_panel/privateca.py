"""A private CA: makes certificates for a hub and a dashboard that the agents of one team trust, and nobody else.

The CA's key stays in the folder where it was made. Making a certificate again keeps the CA, so who trusts that need not
be told. Needs the package `cryptography`, which the extra `hub` installs; nothing else here does.
"""

import contextlib
import datetime
import hashlib
import ipaddress
import os
import re
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from aishark_panel.errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["HubCertificate", "make_hub_certificate", "names_of_this_host"]

_CA_DAYS: Final = 3_650
_HUB_DAYS: Final = 397
"""The longest life that browsers accept."""
_SLACK: Final = datetime.timedelta(hours=1)
"""Certificates begin so much before they are made: clocks differ."""
_MAX_NAMES: Final = 100
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)


class HubCertificate(NamedTuple):
    """What was made, and where it is."""

    ca: Path
    """the CA's certificate; no secret"""
    cert: Path
    key: Path
    names: tuple[str, ...]
    """host names and addresses it is good for"""
    pin: str
    """SHA-256 of the certificate, hex digits"""
    expires: datetime.datetime
    is_new_ca: bool


def names_of_this_host() -> list[str]:
    """What a hub on this host is called where nothing else is said."""
    names = [socket.gethostname(), socket.getfqdn(), "localhost", "127.0.0.1", "::1"]
    found = []
    for name in dict.fromkeys(names):
        with contextlib.suppress(ConfigError):
            found.append(_checked(name))
    return found


def make_hub_certificate(folder: Path, names: Iterable[str]) -> HubCertificate:
    """A new certificate for these host names and addresses, signed by the CA in `folder`, which is made if need be.

    ConfigError where a name is none, the CA cannot be used, the folder cannot be written, or `cryptography` is missing.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding
    except ImportError as error:
        raise ConfigError(
            "Making certificates needs cryptography, which is not installed: pip install 'aishark-panel[hub]'"
        ) from error
    wanted = tuple(dict.fromkeys(_checked(name) for name in names))
    if not 1 <= len(wanted) <= _MAX_NAMES:
        raise ConfigError(f"A certificate is for 1 to {_MAX_NAMES} names; these are {len(wanted)}.")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_new_ca = not (folder / "ca.pem").exists()
        ca, ca_key = _new_ca(folder) if is_new_ca else _known_ca(folder)
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        expires = min(now - _SLACK + datetime.timedelta(days=_HUB_DAYS), ca.not_valid_after_utc)
        if expires <= now:
            raise ConfigError(f"The CA in {folder} has expired. Move the folder away to make another.")
        usage = _usage(digital_signature=True)
        certificate = (
            _builder("aishark hub", ca.subject, key, now - _SLACK, expires)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in wanted]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        _write(folder / "hub-key.pem", _key_pem(key), 0o600)
        _write(folder / "hub.pem", certificate.public_bytes(Encoding.PEM), 0o644)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} cannot be used: {error.strerror or error}.") from error
    return HubCertificate(
        ca=folder / "ca.pem",
        cert=folder / "hub.pem",
        key=folder / "hub-key.pem",
        names=wanted,
        pin=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        expires=expires,
        is_new_ca=is_new_ca,
    )


def _checked(name: str) -> str:
    """A host name or address as a certificate has it; ConfigError where it is neither."""
    text = name.strip().lower().rstrip(".")
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(text.strip("[]")))
    with contextlib.suppress(UnicodeError):
        text = text.encode("idna").decode()
    labels = text.removeprefix("*.").split(".")
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdecimal():
        raise ConfigError(f"{name!r:.100} is no host name or IP address; one looks like hub.example or 192.0.2.7.")
    return text


def _general_name(name: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _new_ca(folder: Path) -> "tuple[x509.Certificate, EllipticCurvePrivateKey]":
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    # A name of its own: who trusts two such CAs is to tell them apart.
    name = f"aishark CA of {socket.gethostname()[:30]}, {now:%Y-%m-%d %H:%M:%S}"
    ca = (
        _builder(name, None, key, now - _SLACK, now + datetime.timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(folder / "ca-key.pem", _key_pem(key), 0o600)
    _write(folder / "ca.pem", ca.public_bytes(Encoding.PEM), 0o644)  # last: it says that there is a CA
    return ca, key


def _known_ca(folder: Path) -> "tuple[x509.Certificate, EllipticCurvePrivateKey]":
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key_path = folder / "ca-key.pem"
    try:
        ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        key = load_pem_private_key(key_path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{folder} holds no CA that can be used: {error}. Name another folder.") from error
    if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != ca.public_key():
        raise ConfigError(f"{key_path} is not the key of {folder / 'ca.pem'}. Name another folder.")
    if key_path.stat().st_mode & 0o077:
        raise ConfigError(f"{key_path} can be read by others: whoever did can be this hub. Move it away, or chmod 600.")
    return ca, key


def _builder(
    name: str,
    issuer: "x509.Name | None",
    key: "EllipticCurvePrivateKey",
    begins: datetime.datetime,
    expires: datetime.datetime,
) -> "x509.CertificateBuilder":
    """What all certificates have; without an issuer it signs itself."""
    from cryptography import x509

    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(expires)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: "EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    """Put a whole file in the place of what is there."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    with open(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    part.rename(path)
