"""Does it answer a GET as it should?

The status decides, as soon as the head of the answer is there; a body is read only as far as its
length was told, to notice one that is cut off.  What stands in the other lines of the head is
nobody's business here: a server that browsers understand must not be down for a blank too many.

What a real server may do to the prober is bounded: a head of 64 KiB, an answer of 1 MiB (interim
answers and body included; what is behind it is not looked at), and the timeout for all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.health.check import Target
from lb_switch.health.probes import tls
from lb_switch.health.probes.failure import ProbeFailedError
from lb_switch.health.probes.wire import Wire

Read = Callable[[int], Awaitable[bytes]]
"""Returns at most so many bytes; none: the stream has ended."""

MAX_HEAD = 64 * 1024
MAX_ANSWER = 1024 * 1024
_STEP = 4096
"""Bytes taken before other probes get their turn."""
_SECOND_LOOK = 0.5
"""Seconds, at the most, to find out whether a server that hung up on HTTP speaks TLS."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01][ \t]+(\d{3})(?=\s|$)")
"""RFC 9112, section 4; the blank before an empty reason may be missing."""
_BEGINNING = b"HTTP/1."
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
"""RFC 9112, section 2.2: a bare LF may be taken for a line's end."""
_SWITCHING = 101
_NOT_HTTP = "not an HTTP answer, or one that was cut off"

USE_HTTPS = 'the server speaks TLS; use kind = "https"'
_SAYS_TLS = (
    b"plain HTTP request was sent to HTTPS port",
    b"sent an HTTP request to an HTTPS server",
    b"speaking plain HTTP to an SSL-enabled server port",
)
"""What nginx, Go's server and Apache write into the body of a 400."""


async def probe(target: Target) -> str:
    """GET the path and read the answer.  Raises ProbeFailedError, OSError."""
    give_up = asyncio.get_running_loop().time() + target.timeout
    wire = await Wire.open(target)
    try:
        return await get(target, 80, wire.read, wire.write)
    except (_NoAnswerError, ConnectionResetError):
        # OpenSSL's servers hang up on a request in clear without a word.
        if await _speaks_tls(target, give_up):
            raise ProbeFailedError(USE_HTTPS) from None
        raise
    finally:
        wire.close()


async def get(target: Target, usual_port: int, read: Read, write: Callable[[bytes], object]) -> str:
    """Ask and read over a stream; returns what was found.  Raises ProbeFailedError, OSError."""
    write(request(target, usual_port))
    return await _Answer(read, target.expect_status).judge()


class _NoAnswerError(ProbeFailedError):
    """The server hung up without a byte."""


def request(target: Target, usual_port: int = 80) -> bytes:
    """Return the GET."""
    if target.host:
        host = f"[{target.host}]" if ":" in target.host else target.host
    else:
        # RFC 9112, section 3.2: the port is left out where it is the scheme's own.
        host = str(Endpoint(target.ip, target.port)).removesuffix(f":{usual_port}")
    lines = [
        f"GET {target.path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: lb-switch",
        "Accept: */*",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


class _Head(NamedTuple):
    """What matters of a head.  length: bytes of the body; None: not told, or in chunks."""

    status: int
    length: int | None


class _Answer:
    """An answer, read from a stream as far as it takes to judge it."""

    def __init__(self, read: Read, expected: Sequence[int]) -> None:
        self._read = read
        self._expected = expected
        self._unread = b""
        """What has come, behind the last head."""
        self._received = 0

    async def judge(self) -> str:
        """Return the finding of an answer that passes.  Raises ProbeFailedError, OSError."""
        while True:
            head = await self._head()
            if head.status in self._expected:
                await self._body(head)
                return f"status {head.status}"
            if head.status >= 200 or head.status == _SWITCHING:
                finding = f"status {head.status}, expected {_list(self._expected)}"
                if head.status == 400 and await self._says_tls():
                    finding = f"{finding}: {USE_HTTPS}"
                raise ProbeFailedError(finding)

    async def _head(self) -> _Head:
        """Read a head, and leave what is behind it."""
        while (end := _END_OF_HEAD.search(self._unread, 0, MAX_HEAD)) is None:
            if len(self._unread) >= MAX_HEAD:
                raise ProbeFailedError(f"head over {MAX_HEAD // 1024} KiB")
            if not await self._more():
                raise (
                    ProbeFailedError(_NOT_HTTP)
                    if self._received
                    else _NoAnswerError("connection closed without an answer")
                )
            _recognise(self._unread)
            start = self._unread[: len(_BEGINNING)]
            if start != _BEGINNING[: len(start)]:
                raise ProbeFailedError(_NOT_HTTP)
        head, self._unread = self._unread[: end.start()], self._unread[end.end() :]
        found = _STATUS_LINE.match(head)
        if found is None:
            raise ProbeFailedError(_NOT_HTTP)
        return _Head(int(found[1]), _told_length(head))

    async def _body(self, head: _Head) -> None:
        """Read a body whose length is known, as far as the bound.  Raises ProbeFailedError."""
        if head.length is None or head.status < 200 or head.status in {204, 304}:
            return  # RFC 9112, section 6.3: none, or its end is not told beforehand
        missing = head.length - len(self._unread)
        while missing > 0 and self._received < MAX_ANSWER:
            self._unread = b""
            if not await self._more():
                raise ProbeFailedError(_NOT_HTTP)
            missing -= len(self._unread)

    async def _says_tls(self) -> bool:
        """Whether the words of a 400 say that TLS was expected."""
        with contextlib.suppress(OSError):
            while not (found := any(words in self._unread for words in _SAYS_TLS)):
                if len(self._unread) >= _STEP or not await self._more():
                    break
        return found

    async def _more(self) -> bool:
        """Read on; False at the end of the stream."""
        data = await self._read(_STEP)
        self._received += len(data)
        if self._received > MAX_ANSWER + _STEP:
            raise ProbeFailedError(f"answer over {MAX_ANSWER // 1024} KiB")
        self._unread += data
        return bool(data)


def _told_length(head: bytes) -> int | None:
    """Return the Content-Length; None without one, in chunks, or where it is told in two ways."""
    lengths = set()
    for line in head.split(b"\n")[1:]:
        name, _, value = line.partition(b":")
        match name.strip().lower():
            case b"transfer-encoding":
                return None
            case b"content-length":
                lengths.add(value.strip())
    if len(lengths) != 1:
        return None
    (length,) = lengths
    return int(length) if length.isdigit() and len(length) < 20 else None


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
