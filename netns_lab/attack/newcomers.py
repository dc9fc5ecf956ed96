"""Clients that come once: a connection, or a question, and whether it was answered.

They retry as their protocols do and no more: TCP's kernel repeats a SYN (after 1 and 3 seconds), a
resolver asks again (RFC 1035, section 4.2.1).  A refusal is a failure.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections import Counter

TCP_PATIENCE = 7.0
"""Seconds for a connection, a message there and back, and the end."""
UDP_PATIENCE = 1.0
"""Seconds until the same question is asked again."""
UDP_TRIES = 4
_MESSAGE = 32


class Newcomers:
    """New clients by TCP and by UDP, `rate` a second of each, until `stop`."""

    def __init__(self, host: str, tcp: int, udp: int, rate: float) -> None:
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._host, self._tcp, self._udp, self._rate = host, tcp, udp, rate
        self._stopping = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self.tried = Counter[str]()
        self.served = Counter[str]()
        self.at_once = Counter[str]()
        """Of those, the ones that needed no second try."""
        self.errors = Counter[str]()

    def stop(self) -> None:
        """Let nobody come any more."""
        self._stopping.set()

    async def come(self) -> None:
        """Come until told to stop, then wait until all are done."""
        start = time.monotonic()
        for number in itertools.count(1):
            for client in (self._connect(), self._ask()):
                task = asyncio.create_task(client)
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            pause = start + number / self._rate - time.monotonic()
            try:
                await asyncio.wait_for(self._stopping.wait(), max(0.0, pause))
            except TimeoutError:
                continue
            break
        await asyncio.gather(*self._under_way)

    async def _connect(self) -> None:
        self.tried["tcp"] += 1
        loop = asyncio.get_running_loop()
        message = os.urandom(_MESSAGE)
        start = time.monotonic()
        with socket.socket(self._family, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            try:
                async with asyncio.timeout(TCP_PATIENCE):
                    await loop.sock_connect(client, (self._host, self._tcp))
                    await loop.sock_sendall(client, message)
                    answer = await read(client, len(message))
            except OSError as error:  # a TimeoutError is one
                self.errors[f"tcp: {type(error).__name__}"] += 1
                return
        self._note("tcp", answer == message, time.monotonic() - start < 1.0)

    async def _ask(self) -> None:
        self.tried["udp"] += 1
        loop = asyncio.get_running_loop()
        message = os.urandom(_MESSAGE)
        with socket.socket(self._family, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect((self._host, self._udp))
            for attempt in range(UDP_TRIES):
                try:
                    await loop.sock_sendall(client, message)
                    async with asyncio.timeout(UDP_PATIENCE):
                        answer = await loop.sock_recv(client, 2048)
                except TimeoutError:
                    continue
                except OSError as error:
                    self.errors[f"udp: {type(error).__name__}"] += 1
                    return
                self._note("udp", answer == message, attempt == 0)
                return
        self.errors["udp: no answer"] += 1

    def _note(self, what: str, right: bool, at_once: bool) -> None:
        if right:
            self.served[what] += 1
            self.at_once[what] += at_once
        else:
            self.errors[f"{what}: a wrong answer"] += 1


async def read(stream: socket.socket, length: int) -> bytes:
    """So many bytes.  Raises ConnectionError if there are fewer."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < length:
        more = await loop.sock_recv(stream, length - len(data))
        if not more:
            raise ConnectionError("the other side ended it")
        data += more
    return data
