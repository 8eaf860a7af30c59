"""The statistics of a session."""

import msgspec

from aishark_panel.streams.ring import MIN_LIMIT_BYTES
from aishark_panel.streams.session import Session
from aishark_panel.streams.stats import stats
from aishark_panel.wire.messages import InterfaceInfo
from tests.traffic import hello


def test_interfaces_say_where_their_link_type_is_not_dissected() -> None:
    session = Session("abc", "test", ring_bytes=MIN_LIMIT_BYTES)
    interfaces = tuple(InterfaceInfo(name=f"if{link_type}", link_type=link_type) for link_type in (1, 127))
    session.runs.attach(msgspec.structs.replace(hello(), interfaces=interfaces))
    (agent,) = stats(session)["agents"]
    assert [interface["note"] for interface in agent["interfaces"]] == ["", "link type 127 not dissected"]
