"""Whom an agent trusts to be its hub: a CA, a pinned certificate, or both.

A *pin* is the SHA-256 of the hub's own certificate in DER. It is checked in the handshake, before the key is shown.
"""

import hashlib
import ssl

from aishark_panel.errors import ConfigError

__all__ = ["WrongPinError", "trusted"]


class WrongPinError(ssl.SSLCertVerificationError):
    """The hub shows another certificate than the one that is pinned; `seen` is its pin."""

    def __init__(self, seen: str) -> None:
        # Tornado ends a connection quietly whose error has this number.
        super().__init__(ssl.SSL_ERROR_EOF, f"the certificate is another than the one pinned; its pin is {seen}")
        self.seen = seen


def trusted(ca: str = "", pin: str = "") -> ssl.SSLContext:
    """Trust what a CA of that PEM file signed ('': of the system), and with a `pin` (hex digits) that certificate only.

    A pin without a CA is enough: who signed the certificate, for which name and until when does not matter then.
    """
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError as error:
        raise ConfigError(f"{ca} holds no certificates in PEM form: {error.strerror or error}. Check --ca.") from error
    if pin:
        if not ca:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.sslsocket_class = _pinned(pin)
    return context


def _pinned(pin: str) -> type[ssl.SSLSocket]:
    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            seen = hashlib.sha256(self.getpeercert(binary_form=True) or b"").hexdigest()
            if seen != pin:
                raise WrongPinError(seen)

    return PinnedSocket
