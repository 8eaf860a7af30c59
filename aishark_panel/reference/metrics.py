"""docs/reference/metrics.md: every series of hub and agents for Prometheus, from the modules that make them."""

from collections.abc import Iterable
from typing import Final

from aishark_panel.agent.metrics import METRICS as OF_AGENTS
from aishark_panel.reference.markdown import code, table
from aishark_panel.streams.metrics import METRICS as OF_HUBS
from aishark_panel.wire.prometheus import Metric

__all__ = ["render"]

_HEAD: Final = """\
# Metrics

<!-- Made from metrics.py in aishark_panel/streams and aishark_panel/agent by `make docs`; edit these instead. -->

Hub and agents answer `GET /metrics` in Prometheus' text format.

## Hub

`GET /metrics` of the hub, with a token that may `view` in the header `Authorization: Bearer TOKEN`. Whoever asks gets
the sessions that they see; numbers of channels are the administrators'. The labels `session` and `name` are a session's
id and name; `stage` and `part` are those of [the ledger](../protocol.md).

"""
_AGENTS: Final = """
## Agents

On 127.0.0.1, at the port that `--metrics` names, without a token. The label `term` is a counter's name in
[the ledger](../protocol.md).

"""


def render() -> str:
    """The page."""
    return _HEAD + _table(OF_HUBS) + _AGENTS + _table(OF_AGENTS)


def _table(metrics: Iterable[Metric]) -> str:
    rows = ([code(each.name), each.kind, ", ".join(map(code, each.labels)), each.about] for each in metrics)
    return table(["series", "type", "labels", ""], rows)
