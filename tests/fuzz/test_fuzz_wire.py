"""Mutated messages straight into the protocol's state machine: whatever comes, nothing but ProtocolError."""

import os
import random
import struct

from aishark_panel.errors import ProtocolError
from aishark_panel.wire.messages import Batch, CodecName, Heartbeat, encode_control
from aishark_panel.wire.protocol import HubEnd
from tests.fuzz.sockets import mutate
from tests.traffic import frames, hello
from tests.wire.test_columnbatch import made

MESSAGES = int(os.environ.get("AISHARK_FUZZ_MESSAGES", "30000"))


def test_no_mutated_message_does_harm() -> None:
    rng = random.Random(1)
    codecs: tuple[CodecName, ...] = ("none", "lz4", "zstd", "gzip")
    batches = [Batch.pack(1, content, codec, {"captured": 8}) for codec in codecs for content in (frames(8), made(4))]
    texts = [encode_control(hello()), encode_control(Heartbeat(sent_ns=1, counters={"captured": 5}))]
    end, accepted, refused = HubEnd(), 0, 0
    for _ in range(MESSAGES):
        if end.hello is None:
            end.receive(encode_control(hello()))
            end.open("session", next_sequence=1, capture=True)
        try:
            if rng.random() < 0.1:
                end.receive(mutate(rng.choice(texts).encode(), rng).decode("utf-8", "replace"))
            else:
                seed = rng.choice(batches)
                numbered = seed[:16] + struct.pack("<Q", end.received + 1) + seed[24:]
                batch = end.receive(mutate(numbered, rng, spare=rng.choice((0, 24, 300))))
                if isinstance(batch, Batch):
                    content = batch.content()
                    assert len(content) == batch.rows
                    end.acknowledge(batch.sequence, batch.sequence)
            accepted += 1
        except ProtocolError:
            refused += 1
            end = HubEnd()
    assert min(accepted, refused) > MESSAGES // 20
