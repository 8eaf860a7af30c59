"""Addresses: what requests of strangers are counted by."""

import pytest

from aishark_panel.errors import ConfigError
from aishark_panel.streams.addresses import Addresses, network_of


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("somewhere", "somewhere"),
    ],
)
def test_a_network_of_ipv6_counts_as_one(address: str, counted: str) -> None:
    assert network_of(address) == counted


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "counted"),
    [
        ("127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("::1", "192.0.2.7", "192.0.2.7"),
        ("198.51.100.1", "192.0.2.7", "192.0.2.7"),
        ("::ffff:198.51.100.1", "2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("127.0.0.1", "10.9.9.9, 192.0.2.7", "192.0.2.7"),  # what is before a proxy's own word, anybody may have said
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("198.51.100.2", "192.0.2.7", "198.51.100.2"),
    ],
)
def test_who_is_forwarded_is_believed_of_dashboards_only(peer: str, forwarded_for: str, counted: str) -> None:
    assert Addresses(["198.51.100.1"]).visitor(peer, forwarded_for) == counted


def test_a_dashboard_is_named_by_its_address() -> None:
    with pytest.raises(ConfigError, match="IP address"):
        Addresses(["dashboard.example"])
