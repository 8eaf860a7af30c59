"""DHCP: message type and host name, against messages made by scapy."""

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Advertise, DHCP6_Request
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tests.dissect.rows import row_of


def frame(*options: object) -> bytes:
    return bytes(Ether() / IP() / UDP(sport=68, dport=67) / BOOTP(chaddr=b"abcdef") / DHCP(options=list(options)))


@pytest.mark.parametrize(("kind", "number"), [("discover", 1), ("offer", 2), ("request", 3), ("ack", 5), ("inform", 8)])
def test_the_message_type(kind: str, number: int) -> None:
    values = row_of(frame(("message-type", kind), "end"))
    assert (values["protocol"], values["dhcp_type"], values["dhcp_host"]) == ("DHCP", number, None)


def test_the_host_name_is_found_after_padding_and_other_options() -> None:
    values = row_of(frame("pad", ("vendor_class_id", b"MSFT"), ("hostname", b"Laptop"), ("message-type", 3), "end"))
    assert (values["dhcp_type"], values["dhcp_host"]) == (3, "Laptop")


def test_a_message_without_a_type_is_bootp() -> None:
    values = row_of(frame(("hostname", b"old"), "end"))
    assert (values["protocol"], values["dhcp_type"], values["dhcp_host"]) == ("BOOTP", None, None)


def test_options_cut_by_the_capture_are_truncated_and_those_that_do_not_fit_are_left() -> None:
    whole = frame(("message-type", "request"), ("hostname", b"laptop"), "end")
    for length in (100, 285, len(whole) - 3):
        cut = row_of(whole[:length], orig_len=len(whole))
        assert (cut["dhcp_host"], cut["truncated"], cut["malformed"]) == (None, True, False)
    broken = whole.replace(b"\x0c\x06laptop", b"\x0c\xf6laptop")
    values = row_of(broken)
    assert (values["dhcp_type"], values["dhcp_host"], values["truncated"]) == (3, None, False)


@pytest.mark.parametrize(("message", "number"), [(DHCP6_Advertise(), 2), (DHCP6_Request(), 3)])
def test_dhcpv6_has_types_of_its_own(message: object, number: int) -> None:
    values = row_of(Ether() / IPv6() / UDP(sport=546, dport=547) / message)
    assert (values["protocol"], values["dhcp_type"]) == ("DHCPv6", number)
