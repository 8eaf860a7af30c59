"""Whose requests are counted together: those of one address, or of one IPv6 network.

One host has 2^64 addresses of IPv6, which is why its /64 counts as one (RFC 6177). Logins of everybody who uses a
dashboard come from that one; it says whose they are in the header X-Forwarded-For, which is believed where it comes
from this host or from an address that the hub was told of.
"""

import ipaddress
from collections.abc import Iterable

from aishark_panel.errors import ConfigError

__all__ = ["Addresses", "network_of"]


class Addresses:
    """`dashboards` are the addresses, beside this host's own, that are believed. ConfigError if one is none."""

    def __init__(self, dashboards: Iterable[str] = ()) -> None:
        try:
            self._dashboards = {_plain(dashboard) for dashboard in dashboards}
        except ValueError as error:
            raise ConfigError(f"a dashboard is named by its IP address: {error}") from error

    def visitor(self, peer: str, forwarded_for: str) -> str:
        """What the requests of a connection's peer, which may forward others', are counted by."""
        try:
            known = _plain(peer)
            if known.is_loopback or known in self._dashboards:
                return network_of(str(_plain(forwarded_for.rpartition(",")[2].strip())))
        except ValueError:
            pass  # no header, or no address in it
        return network_of(peer)


def network_of(address: str) -> str:
    """The IPv6 network of an address; an IPv4 address, or what is none, as it is."""
    try:
        known = _plain(address)
    except ValueError:
        return address
    return str(known) if known.version == 4 else str(ipaddress.ip_network((known, 64), strict=False))


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address without its zone; IPv4 in IPv6 as IPv4. Raises ValueError."""
    known = ipaddress.ip_address(address.partition("%")[0])
    return (known.ipv4_mapped or known) if isinstance(known, ipaddress.IPv6Address) else known
