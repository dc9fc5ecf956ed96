"""Does it answer a GET as it should?  The parsing is h11's.

What a real server may do to the prober is bounded: a header of 16 KiB, an answer of 1 MiB
(interim answers and body included), and the timeout for all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import h11

from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.health.check import Target
from lb_switch.health.probes import tls
from lb_switch.health.probes.failure import ProbeFailedError

Read = Callable[[int], Awaitable[bytes]]
"""Returns at most so many bytes; none: the stream has ended."""

MAX_HEADER = 16 * 1024
MAX_ANSWER = 1024 * 1024
_STEP = 4096
"""Bytes parsed before other probes get their turn."""
_SECOND_LOOK = 0.5
"""Seconds, at the most, to find out whether a server that hung up on HTTP speaks TLS."""

USE_HTTPS = 'the server speaks TLS; use kind = "https"'
_SAYS_TLS = (
    b"plain HTTP request was sent to HTTPS port",
    b"sent an HTTP request to an HTTPS server",
    b"speaking plain HTTP to an SSL-enabled server port",
)
"""What nginx, Go's server and Apache write into the body of a 400."""


async def probe(target: Target) -> str:
    """GET the path and read the whole answer.  Raises ProbeFailedError, OSError."""
    give_up = asyncio.get_running_loop().time() + target.timeout
    reader, writer = await asyncio.open_connection(str(target.ip), target.port)
    try:
        return await get(target, 80, reader.read, writer.write)
    except (_NoAnswerError, ConnectionError) as failure:
        # OpenSSL's servers hang up on a request in clear without a word.
        if isinstance(failure, _NoAnswerError | ConnectionResetError) and await _speaks_tls(
            target, give_up
        ):
            raise ProbeFailedError(USE_HTTPS) from None
        raise
    finally:
        # Closes at once: nothing is left to be sent, and nobody waits for the other side.
        writer.transport.abort()


async def get(target: Target, usual_port: int, read: Read, write: Callable[[bytes], object]) -> str:
    """Ask and read over a stream; returns what was found.  Raises ProbeFailedError, OSError."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER)
    write(_request(connection, target, usual_port))
    try:
        return await _read_answer(connection, read, target.expect_status)
    except h11.RemoteProtocolError as error:
        if error.error_status_hint == 431:
            raise ProbeFailedError(f"header over {MAX_HEADER // 1024} KiB") from None
        raise ProbeFailedError("not an HTTP answer, or one that was cut off") from None


class _NoAnswerError(ProbeFailedError):
    """The server hung up without a byte."""


def _request(connection: h11.Connection, target: Target, usual_port: int = 80) -> bytes:
    if target.host:
        host = f"[{target.host}]" if ":" in target.host else target.host
    else:
        # RFC 9112, section 3.2: the port is left out where it is the scheme's own.
        host = str(Endpoint(target.ip, target.port)).removesuffix(f":{usual_port}")
    headers = [("Host", host), ("User-Agent", "lb-switch"), ("Accept", "*/*")]
    request = h11.Request(
        method="GET", target=target.path, headers=[*headers, ("Connection", "close")]
    )
    return (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")


async def _read_answer(connection: h11.Connection, read: Read, expect_status: Sequence[int]) -> str:
    received = 0
    finding = unexpected = ""
    start = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            # A read with bytes at hand does not wait: without this, who sends fast stops the rest.
            await asyncio.sleep(0)
            data = await read(_STEP)
            received += len(data)
            if received > MAX_ANSWER:
                raise ProbeFailedError(unexpected or f"answer over {MAX_ANSWER // 1024} KiB")
            if not received:
                raise _NoAnswerError("connection closed without an answer")
            if len(start) < _STEP:
                start += data
                _recognise(start)
            connection.receive_data(data)
            if unexpected and (not data or received > _STEP):
                raise ProbeFailedError(unexpected)
        elif isinstance(event, h11.Response):
            status = event.status_code
            finding = f"status {status}"
            if status not in expect_status:
                unexpected = f"status {status}, expected {_list(expect_status)}"
                if status != 400:
                    raise ProbeFailedError(unexpected)
        elif isinstance(event, h11.Data) and unexpected:
            if any(words in start for words in _SAYS_TLS):
                raise ProbeFailedError(f"{unexpected}: {USE_HTTPS}")
        elif isinstance(event, h11.EndOfMessage):
            if unexpected:
                raise ProbeFailedError(unexpected)
            return finding


def _recognise(start: bytes) -> None:
    """Raise ProbeFailedError if an answer begins as another protocol's."""
    if tls.begins_record(start):
        raise ProbeFailedError(USE_HTTPS)
    # A frame of type SETTINGS on stream 0: what every HTTP/2 server says first (RFC 9113, 3.4).
    if start[:2] == b"\0\0" and start[3:4] == b"\x04" and start[5:9] == bytes(4):
        raise ProbeFailedError(tls.H2_ONLY)


async def _speaks_tls(target: Target, give_up: float) -> bool:
    """Say hello in TLS, and look at the first bytes of the answer."""
    remaining = give_up - asyncio.get_running_loop().time()
    with contextlib.suppress(OSError, ProbeFailedError):
        async with asyncio.timeout(min(_SECOND_LOOK, remaining / 2)):
            return await tls.answers_hello(target)
    return False


def _list(statuses: Sequence[int]) -> str:
    *most, last = map(str, statuses)
    return f"{', '.join(most)} or {last}" if most else last
