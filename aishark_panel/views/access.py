"""Which hub this server shows, how far it is trusted, and how a visitor's token travels."""

import functools
import os
import secrets
import ssl
import sys
import threading
from typing import Final

from aishark_panel.embedded import embedded_hub
from aishark_panel.transport import trusted

__all__ = ["LOGIN_COOKIE", "TOKEN_COOKIE", "hub_tls", "hub_url", "is_start_token", "public_url"]

TOKEN_COOKIE: Final = "aishark_token"
LOGIN_COOKIE: Final = "aishark_login"
"""what brings somebody who logged in the next token"""

_announced: Final = threading.Event()


def hub_url() -> str:
    """Address of the hub AISHARK_HUB names, else of this process's own; blocks while that one starts.

    The embedded hub's token is printed once: without it nobody could come in.
    """
    url = os.environ.get("AISHARK_HUB")
    if url:
        return url.rstrip("/")
    hub = embedded_hub()
    if not _announced.is_set():
        _announced.set()
        sys.stderr.write(f"\n  aishark's start token: {hub.token}\n\n")
    return hub.url


def is_start_token(token: str) -> bool:
    """Whether it is the one that whoever started this server knows: of AISHARK_TOKEN, or of this process's own hub.

    A stranger does not know it, so an address with it is none that a stranger made to log somebody in as themselves."""
    own = os.environ.get("AISHARK_TOKEN", "") if os.environ.get("AISHARK_HUB") else embedded_hub().token
    return bool(own) and secrets.compare_digest(token.encode("utf-8", "surrogatepass"), own.encode())


def public_url() -> str:
    """What a proxy shows page and hub as; '' if there is none."""
    return os.environ.get("AISHARK_PUBLIC_URL", "")


@functools.cache
def hub_tls() -> ssl.SSLContext:
    """Whose certificate an https hub may show: that of the file AISHARK_CA names, else what the system trusts."""
    return trusted()
