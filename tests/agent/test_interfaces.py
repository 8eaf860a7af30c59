"""What passed an interface, from the text of /proc/net/dev."""

from aishark_panel.agent.interfaces import Traffic, parse_counts

TEXT = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier comp
    lo: 1000      10    0    0    0     0          0         0     1000      10    0    0    0     0       0          0
  eth0:18446744073709 7 0    0    0     0          0         0     2000      20    0    0    0     0       0          0
"""


def test_both_directions_count_and_the_loopback_once() -> None:
    assert parse_counts(TEXT) == {"lo": Traffic(10, 1000), "eth0": Traffic(27, 18446744075709)}
