"""Application columns and protocol names against tshark's, over captures by others, in both directions.

Left out is where the two look at different things: tshark decrypts QUIC's hellos, keeps NetBIOS's names in fields of
their own, and does not look into TCP segments that it takes for retransmitted.
"""

import pandas as pd
import pytest

from tests.dissect.test_oracle import NAMES, assert_agreement, both, outer_only

__all__ = ["both"]

AGREEMENT = 0.99
PROTOCOL_AGREEMENT = 0.99

SAME_TO_US = {
    # The conversation tells, not the packet.
    **dict.fromkeys(("TLSv1.2", "TLSv1.3", "SSL"), "TLS"),
    **dict.fromkeys(("SSHv1", "SSHv2"), "SSH"),
    "CIP PCCC": "CIP",
    # What a message carries, or a program that uses it.
    **dict.fromkeys(("HTTP/XML", "HTTP/JSON", "OCSP", "MP4"), "HTTP"),
    **dict.fromkeys(("DRSUAPI", "EPM"), "DCERPC"),
}
"""Names of tshark's, and ours, that one packet alone does not tell apart."""


@pytest.fixture(scope="module")
def applications(both: pd.DataFrame) -> pd.DataFrame:
    """Frames without tunnels in whose TCP or UDP payload tshark found a protocol, or looked for one."""
    frames = outer_only(both)
    stops_at_tcp = frames.protocols.str.endswith((":tcp", ":tcp:data"))
    return frames[frames.protocols.str.contains(":tcp|:udp") & ~stops_at_tcp]


@pytest.mark.parametrize("column", NAMES)
def test_application_columns_agree_with_tshark_in_both_directions(applications: pd.DataFrame, column: str) -> None:
    frames = applications[~applications.protocols.str.contains(":quic|:nbns")]
    assert_agreement(frames, column, NAMES[column], AGREEMENT)


def test_protocol_names_agree_with_tshark(applications: pd.DataFrame) -> None:
    # A short header of QUIC has no sign of its own; tshark wants to have seen the connection begin.
    unsure = (applications.ws_col_protocol == "UDP") & (applications.our_protocol == "QUIC")
    frames = applications[~unsure]
    names = frames.assign(
        ws_col_protocol=frames.ws_col_protocol.replace(SAME_TO_US),
        our_protocol=frames.our_protocol.replace(SAME_TO_US),
    )
    assert_agreement(names, "protocol", "ws_col_protocol", PROTOCOL_AGREEMENT)
