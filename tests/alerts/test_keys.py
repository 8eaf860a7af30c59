import numpy as np

from aishark_panel.alerts.keys import KeyColumn, key_field, key_words
from aishark_panel.query.rows import Rows
from aishark_panel.wire.layers import Layer
from tests.query.blocks import SAMPLE, TCP, fill


def test_an_address_in_a_tunnel_is_read_back_as_the_packet_in_the_tunnel_had_it() -> None:
    row = {
        **SAMPLE[0],
        "src_ip": "::ffff:10.0.0.1",
        "inner_src_ip": "::ffff:10.0.0.1",
        "inner_dst_ip": "::1",
        "inner_ip_proto": 6,
    }
    packets = fill({**row, "layers": TCP | inner} for inner in (Layer.INNER_IPV4, Layer.INNER_IPV6))
    column = KeyColumn(key_field("inner_src_ip", 0))
    words = key_words([column], Rows(packets, 0, 2, []), np.arange(2))
    assert [column.value(each.tolist()) for each in words] == ["10.0.0.1", "::ffff:10.0.0.1"]
