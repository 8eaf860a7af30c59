"""Application columns and protocol names against tshark's, over captures by others, in both directions.

Left out is where the two look at different things: tshark decrypts QUIC's hellos, keeps NetBIOS's names in fields of
their own, and does not look into TCP segments that it takes for retransmitted.
"""

import pandas as pd
import pytest

from tests.dissect.test_oracle import NAMES, assert_agreement, both, outer_only

__all__ = ["both"]

AGREEMENT = 0.99
PROTOCOL_AGREEMENT = 0.995
BY_PROTOCOL = {
    **dict.fromkeys(("QUIC", "DNS", "SSHv2", "SMB", "RX", "AFS (RX)", "CIP"), 0.99),
    **{"HTTP": 0.997, "TCP": 0.996, "UDP": 0.96, "TLSv1": 0.96, "TLSv1.2": 0.94, "TLSv1.3": 0.97, "SSHv1": 0.95},
}
"""Least share of the frames which either side calls so. Without reassembly tshark loses the version that a longer
ServerHello chose, and takes some middles of TLS records for nothing of TLS."""

SAME_TO_US = {
    "CIP PCCC": "CIP",
    # What a message carries, or a program that uses it.
    **dict.fromkeys(("HTTP/XML", "HTTP/JSON", "OCSP", "MP4"), "HTTP"),
    **dict.fromkeys(("DRSUAPI", "EPM"), "DCERPC"),
    "LANMAN": "SMB",
}
"""Names of tshark's, and ours for what it tells more of."""


def carried_by(both: pd.DataFrame) -> pd.DataFrame:
    """Frames of TCP and UDP without tunnels."""
    frames = outer_only(both)
    names = {name: frames[name].replace(SAME_TO_US) for name in ("ws_col_protocol", "our_protocol")}
    return frames.assign(**names)[frames.protocols.str.contains(":tcp|:udp")]


def applications_of(carried: pd.DataFrame) -> pd.DataFrame:
    """Those in whose payload tshark found a protocol, or looked for one."""
    stops_at_tcp = carried.protocols.str.endswith((":tcp", ":tcp:data"))
    return carried[~stops_at_tcp & ~carried.protocols.str.contains(":quic|:nbns")]


@pytest.fixture(scope="module")
def carried(both: pd.DataFrame) -> pd.DataFrame:
    return carried_by(both)


@pytest.fixture(scope="module")
def applications(carried: pd.DataFrame) -> pd.DataFrame:
    return applications_of(carried)


@pytest.mark.parametrize("column", NAMES)
def test_application_columns_agree_with_tshark_in_both_directions(applications: pd.DataFrame, column: str) -> None:
    assert_agreement(applications, column, NAMES[column], AGREEMENT)


def test_protocol_names_agree_with_tshark(carried: pd.DataFrame) -> None:
    assert_agreement(carried, "protocol", "ws_col_protocol", PROTOCOL_AGREEMENT)


@pytest.mark.parametrize("protocol", BY_PROTOCOL)
def test_each_protocol_is_found_where_tshark_finds_it(carried: pd.DataFrame, protocol: str) -> None:
    frames = carried[(carried.our_protocol == protocol) | (carried.ws_col_protocol == protocol)]
    assert_agreement(frames, "protocol", "ws_col_protocol", BY_PROTOCOL[protocol])
