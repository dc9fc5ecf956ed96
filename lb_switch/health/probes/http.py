"""Does it answer a GET as it should?  The parsing is h11's.

What a real server may do to the prober is bounded: a header of 16 KiB, an answer of 1 MiB
(interim answers and body included), and the timeout for all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import h11

from lb_switch.health.check import Target
from lb_switch.health.probes.failure import ProbeFailedError
from lb_switch.packet.endpoint import Endpoint

MAX_HEADER = 16 * 1024
MAX_ANSWER = 1024 * 1024
_STEP = 4096
"""Bytes parsed before other probes get their turn."""


async def probe(target: Target) -> str:
    """GET the path and read the whole answer.  Raises ProbeFailedError, OSError."""
    reader, writer = await asyncio.open_connection(str(target.ip), target.port)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER)
        writer.write(_request(connection, target))
        return await _read_answer(connection, reader, target.expect_status)
    except h11.RemoteProtocolError as error:
        if error.error_status_hint == 431:
            raise ProbeFailedError(f"header over {MAX_HEADER // 1024} KiB") from None
        raise ProbeFailedError("not an HTTP answer, or one that was cut off") from None
    finally:
        # Closes at once: nothing is left to be sent, and nobody waits for the other side.
        writer.transport.abort()


def _request(connection: h11.Connection, target: Target) -> bytes:
    # RFC 9112, section 3.2: the port is left out where it is the scheme's own.
    host = str(Endpoint(target.ip, target.port)).removesuffix(":80")
    headers = [("Host", host), ("User-Agent", "lb-switch"), ("Accept", "*/*")]
    request = h11.Request(
        method="GET", target=target.path, headers=[*headers, ("Connection", "close")]
    )
    return (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")


async def _read_answer(
    connection: h11.Connection, reader: asyncio.StreamReader, expect_status: Sequence[int]
) -> str:
    received = 0
    finding = ""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            # A read with bytes at hand does not wait: without this, who sends fast stops the rest.
            await asyncio.sleep(0)
            data = await reader.read(_STEP)
            received += len(data)
            if received > MAX_ANSWER:
                raise ProbeFailedError(f"answer over {MAX_ANSWER // 1024} KiB")
            if not received:
                raise ProbeFailedError("connection closed without an answer")
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            status = event.status_code
            if status not in expect_status:
                raise ProbeFailedError(f"status {status}, expected {_list(expect_status)}")
            finding = f"status {status}"
        elif isinstance(event, h11.EndOfMessage):
            return finding


def _list(statuses: Sequence[int]) -> str:
    *most, last = map(str, statuses)
    return f"{', '.join(most)} or {last}" if most else last
