"""What a hub is told of the provider at which people log in: a YAML file, its secret there or elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from aishark_panel.configfile import read_text, refuse_if_shared
from aishark_panel.errors import ConfigError
from aishark_panel.streams.people import known_capabilities

__all__ = ["OidcConfig", "is_safe_url", "load_oidc"]

SECRET_VARIABLE: Final = "AISHARK_OIDC_SECRET"
_MAX_FILE_BYTES: Final = 1 << 16


class OidcConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider (OpenID Connect Core 1.0), and whom of its people the hub lets in."""

    issuer: str
    """its address, as its ID tokens say it"""
    client_id: str
    """what this hub is called there"""
    client_secret: str = ""
    """its secret there, in a file that nobody else may read"""
    client_secret_file: str = ""
    """or the file that holds the secret; with neither it is taken from AISHARK_OIDC_SECRET"""
    provider: str = ""
    """name on the page's button; empty: the issuer's host"""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    """what is asked for; openid has to be among them"""
    name_claim: str = "email"
    """claim that names a person here; it has to be one that people cannot choose for themselves"""
    capabilities: tuple[str, ...] = ("view",)
    """what somebody may do who comes for the first time"""
    domains: tuple[str, ...] = ()
    """domains of (verified) mail addresses that are let in; empty: all"""
    groups: tuple[str, ...] = ()
    """groups of which a person has to be in one; empty: nobody's group matters"""
    groups_claim: str = "groups"
    """claim that names a person's groups"""

    @property
    def called(self) -> str:
        """What people call the provider."""
        return self.provider or urlsplit(self.issuer).netloc


def load_oidc(path: Path, environment: Mapping[str, str]) -> OidcConfig:
    """The configuration that a file holds, with its secret; ConfigError with the reason if it cannot be used."""
    where = "--oidc"
    try:
        config = msgspec.yaml.decode(read_text(path, where, _MAX_FILE_BYTES), type=OidcConfig)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{where}: {path}: {error}") from error
    secret = config.client_secret
    if secret:
        refuse_if_shared(path, where)
    elif config.client_secret_file:
        file = path.parent / config.client_secret_file
        secret = read_text(file, where, _MAX_FILE_BYTES).strip()
        refuse_if_shared(file, where)
    else:
        secret = environment.get(SECRET_VARIABLE, "")
    if not is_safe_url(config.issuer):
        raise ConfigError(f"{where}: {path}: issuer must be an https address (or http on this host).")
    if "openid" not in config.scopes:
        raise ConfigError(f"{where}: {path}: scopes must name openid, or the provider gives no ID token.")
    return msgspec.structs.replace(config, client_secret=secret, capabilities=known_capabilities(config.capabilities))


def is_safe_url(url: str) -> bool:
    """Whether what goes to an address cannot be read on the way: https, or http that stays on this host."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or parts.username is not None or "#" in url or not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in ("127.0.0.1", "::1", "localhost"))
