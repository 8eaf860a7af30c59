"""Application columns against tshark's over captures by others, in both directions: found where it finds them, and
nowhere else; and the names in the `protocol` column.

What is left out of the comparison is where the two look at different things: QUIC's hellos, which tshark decrypts;
messages inside TCP segments that tshark takes for retransmitted and so does not dissect; hellos cut at the end of a
segment, of which tshark waits for the rest.
"""

from pathlib import Path

import pandas as pd
import pytest

from aishark_panel.wire.schema import Layer
from tests.dissect.test_oracle import NAMES, both, differing, outer_only

__all__ = ["both"]

AGREEMENT = 0.99
PROTOCOL_AGREEMENT = 0.93


@pytest.fixture(scope="module")
def frames(both: pd.DataFrame) -> pd.DataFrame:
    """Frames without tunnels in which both sides look at the application layer."""
    table = outer_only(both)
    not_looked_at = table.protocols.str.endswith((":tcp", ":tcp:data", ":quic")) | table.protocols.str.contains(":quic")
    return table[~not_looked_at]
