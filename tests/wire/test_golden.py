"""Every version of the protocol that was ever recorded is read as it was meant, or refused in words."""

import pytest

from aishark_panel.errors import ProtocolError
from aishark_panel.wire.messages import PROTOCOL_VERSION
from aishark_panel.wire.protocol import AgentEnd, HubEnd
from tests.traffic import hello
from tests.wire.golden import FOLDER, meaning, recorded, recordings

VERSIONS = sorted(int(path.stem) for path in FOLDER.glob("*.json"))


def includes(read: object, meant: object) -> bool:
    """Whether that is what was meant; fields that came since may be there, with their defaults."""
    if isinstance(meant, dict):
        return isinstance(read, dict) and all(name in read and includes(read[name], meant[name]) for name in meant)
    if isinstance(meant, list):
        return isinstance(read, list) and len(read) == len(meant) and all(map(includes, read, meant))
    return read == meant


def test_this_version_has_a_recording() -> None:
    assert PROTOCOL_VERSION in VERSIONS, "run python -m tests.wire.golden"


def test_what_was_recorded_of_this_version_is_read_as_it_was_meant() -> None:
    for sender, message, meant in recordings(PROTOCOL_VERSION):
        assert includes(meaning(sender, message), meant), (sender, meant)


def test_no_message_of_this_version_is_missing_in_its_recording() -> None:
    def kinds(messages: list[tuple[str, object]]) -> set[tuple[str, str]]:
        return {
            (sender, meant["type"] if isinstance(meant, dict) and "type" in meant else "") for sender, meant in messages
        }

    now = kinds([(sender, meaning(sender, message)) for sender, message in recorded()])
    assert kinds([(sender, meant) for sender, _, meant in recordings(PROTOCOL_VERSION)]) == now


def test_greetings_of_all_versions_are_taken_or_refused_in_words() -> None:
    for version in VERSIONS:
        greetings = {sender: message for sender, message, meant in recordings(version) if "protocol" in meant}
        for end, sender in ((HubEnd(), "agent"), (AgentEnd(hello()), "hub")):
            if version == PROTOCOL_VERSION:
                assert end.receive(greetings[sender]) is not None
            else:
                with pytest.raises(ProtocolError, match=f"{sender} speaks protocol {version}, this .*; update the "):
                    end.receive(greetings[sender])


@pytest.mark.parametrize(
    ("spoken", "older"), [(PROTOCOL_VERSION - 1, "agent"), (PROTOCOL_VERSION + 1, "hub")], ids=["older", "newer"]
)
@pytest.mark.parametrize(
    "rest", ["", ', "type": "hello", "agent": 7', ', "type": "greetings"'], ids=["none", "odd", "new"]
)
def test_a_version_is_refused_whatever_else_it_says(spoken: int, older: str, rest: str) -> None:
    greeting = f'{{"protocol": {spoken}{rest}}}'
    with pytest.raises(ProtocolError, match=f"agent speaks protocol {spoken}, this hub .*; update the {older}$"):
        HubEnd().receive(greeting)
    mine = {"agent": "hub", "hub": "agent"}[older]
    with pytest.raises(ProtocolError, match=f"hub speaks protocol {spoken}, this agent .*; update the {mine}$"):
        AgentEnd(hello()).receive(greeting)
