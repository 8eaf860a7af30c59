"""Both ends of the agent-hub conversation, talking to each other without sockets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aishark_panel.errors import ExpressionError, NotFoundError, ProtocolError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import (
    Ack,
    Batch,
    Hello,
    Reply,
    Welcome,
    encode_control,
    encode_reply,
)
from aishark_panel.wire.protocol import WINDOW_BYTES, AgentEnd, ClientEnd, HubEnd, error_reply
from tests.traffic import hello

HELLO = hello()


def packed(sequence: int, size: int = 10) -> bytes:
    return Batch.pack(sequence, Frames.from_list([b"x" * size], [sequence]), "none", {})


def conversation(next_sequence: int = 1) -> tuple[AgentEnd, HubEnd]:
    agent, hub = AgentEnd(HELLO), HubEnd()
    assert hub.receive(agent.open()) == HELLO
    agent.receive(hub.open("s", next_sequence=next_sequence, capture=True))
    return agent, hub


def test_batches_flow_and_acknowledgements_move_both_marks() -> None:
    agent, hub = conversation()
    for sequence in (1, 2, 3):
        message = packed(sequence)
        agent.batch_sent(sequence, len(message))
        assert isinstance(hub.receive(message), Batch)
    assert agent.in_flight_bytes == hub.pending_bytes > 0
    agent.receive(hub.acknowledge(taken=3, durable=1))
    assert (agent.taken, agent.durable, agent.in_flight_bytes, hub.pending_bytes) == (3, 1, 0, 0)


def test_a_new_connection_goes_on_where_the_hub_says() -> None:
    agent, hub = conversation(next_sequence=5)
    assert agent.sent == 4
    agent.batch_sent(5, 100)
    assert isinstance(hub.receive(packed(5)), Batch)


def test_a_duplicate_is_dropped() -> None:
    _, hub = conversation(next_sequence=3)
    assert hub.receive(packed(2)) is None


def test_a_gap_is_refused() -> None:
    _, hub = conversation()
    with pytest.raises(ProtocolError, match="batch 2 came after 0"):
        hub.receive(packed(2))


def test_the_credit_bounds_what_is_under_way() -> None:
    agent, _ = conversation()
    assert agent.may_send(WINDOW_BYTES + 1)  # nothing under way: one batch may always go
    agent.batch_sent(1, WINDOW_BYTES - 10)
    assert agent.may_send(10)
    assert not agent.may_send(11)


def test_an_agent_that_ignores_its_credit_is_refused() -> None:
    _, hub = conversation()
    allowed = WINDOW_BYTES // len(packed(1, 250_000))
    for sequence in range(1, allowed + 1):
        hub.receive(packed(sequence, 250_000))
    with pytest.raises(ProtocolError, match="credit"):
        hub.receive(packed(allowed + 1, 250_000))


@pytest.mark.parametrize(
    "ack", [Ack(taken=1, durable=0), Ack(taken=0, durable=1), Ack(taken=2**40, durable=0)], ids=str
)
def test_an_acknowledgement_of_what_was_not_sent_is_refused(ack: Ack) -> None:
    agent, _ = conversation()
    with pytest.raises(ProtocolError, match="acknowledged"):
        agent.receive(encode_control(ack))


def test_each_side_insists_on_the_order_of_greetings() -> None:
    agent, hub = AgentEnd(HELLO), HubEnd()
    with pytest.raises(ProtocolError, match="before its welcome"):
        agent.receive(encode_control(Ack(taken=0, durable=0)))
    with pytest.raises(ProtocolError, match="before its hello"):
        hub.receive(packed(1))
    hub.receive(agent.open())
    with pytest.raises(ProtocolError, match="twice"):
        hub.receive(agent.open())


def test_another_protocol_version_is_refused_in_words() -> None:
    with pytest.raises(ProtocolError, match="speaks protocol 2"):
        HubEnd().receive(
            AgentEnd(Hello(**{**{f: getattr(HELLO, f) for f in HELLO.__struct_fields__}, "protocol": 2})).open()
        )
    agent = AgentEnd(HELLO)
    with pytest.raises(ProtocolError, match="speaks protocol 9"):
        agent.receive(encode_control(Welcome(protocol=9, session="s", next_sequence=1, window_bytes=1)))


@given(st.lists(st.sampled_from(["send", "take", "cut"]), max_size=60))
def test_whatever_breaks_each_batch_is_taken_exactly_once_in_order(script: list[str]) -> None:
    taken: list[int] = []
    produced = 0
    agent, hub = conversation()
    under_way: list[bytes] = []
    for step in script:
        if step == "send":
            sequence = agent.sent + 1
            produced = max(produced, sequence)
            agent.batch_sent(sequence, len(packed(sequence)))
            under_way.append(packed(sequence))
        elif step == "take" and under_way:
            batch = hub.receive(under_way.pop(0))
            assert isinstance(batch, Batch)
            taken.append(batch.sequence)
            agent.receive(hub.acknowledge(batch.sequence, batch.sequence))
        elif step == "cut":
            under_way.clear()
            agent, hub = conversation(next_sequence=len(taken) + 1)
    assert taken == list(range(1, len(taken) + 1))
    assert len(taken) <= produced


def test_a_reply_finds_its_request_and_errors_keep_their_kind() -> None:
    client = ClientEnd()
    request_id, message = client.request("rows", {"first": 1})
    assert '"rows"' in message
    assert client.receive(encode_reply(Reply(id=request_id, result={"n": 1}), b"b"))[:2] == (request_id, {"n": 1})
    _, error, _ = client.receive(encode_reply(error_reply(request_id, ExpressionError("no", 4))))
    assert isinstance(error, ExpressionError)
    assert error.position == 4
    _, error, _ = client.receive(encode_reply(error_reply(request_id, NotFoundError("gone"))))
    assert isinstance(error, NotFoundError)
