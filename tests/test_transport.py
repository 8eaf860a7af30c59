"""A connection that is lost while a question is being written: the asker hears of it, and nobody else."""

import asyncio
import gc
from typing import Any

import pytest
from tornado.websocket import WebSocketClosedError

from aishark_panel.client import HubClient
from aishark_panel.errors import HubUnreachableError


def test_a_connection_lost_in_the_middle_of_a_question_leaves_no_error_behind() -> None:
    left: list[dict[str, Any]] = []

    async def ask() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: left.append(context))
        client = HubClient("http://127.0.0.1:1", "token")

        class Socket:
            async def write_message(self, _message: str) -> None:
                client._lost("closed")
                raise WebSocketClosedError

            def close(self) -> None:
                pass

        client._socket = Socket()  # type: ignore[assignment]
        with pytest.raises(HubUnreachableError, match="was lost"):
            await client.sessions()
        gc.collect()

    asyncio.run(ask())
    gc.collect()
    assert left == []
