"""Reading Arrow IPC streams in tests."""

import pyarrow as pa

__all__ = ["read_stream"]


def read_stream(body: bytes | memoryview | pa.Buffer) -> pa.Table:
    """The table of an Arrow IPC stream."""
    with pa.ipc.open_stream(body) as reader:
        return reader.read_all()
