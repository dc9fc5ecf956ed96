"""The honest program: transfers that go on, connections that idle, newcomers; all is verified.

    python -m netns_lab.attack.honest 10.0.1.100 --tcp 7 --udp 7 --transfers 1000 --idle 100

It says `ready` once all connections stand, and obeys a word a line on stdin: `attack` (newcomers
begin to come), `over` (they cease).  After `end`, or the end of stdin, each idle connection says
something, and one JSON object on stdout tells what came of all.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import socket
import sys
import time
from collections import Counter
from typing import Any

from netns_lab.attack.newcomers import Newcomers, read

PATIENCE = 30.0
"""Seconds after which a message that did not come back counts as a broken connection: TCP has
sent it again six times by then."""
_OPENING = 50
"""Connections opened at a time."""


class Honest:
    """Established connections to one endpoint, and what became of them."""

    def __init__(self, host: str, tcp: int) -> None:
        self._place = (host, tcp)
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._ending = asyncio.Event()
        self._gate = asyncio.Semaphore(_OPENING)
        self.broken = Counter[str]()
        self.messages = 0
        self.delays: list[float] = []
        """Seconds there and back, of each message of a transfer."""

    async def open(self) -> socket.socket:
        """Open a connection and say something, so that both ends are heard."""
        stream = socket.socket(self._family, socket.SOCK_STREAM)
        stream.setblocking(False)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with self._gate, asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_connect(stream, self._place)
            for number in range(3):
                await self._exchange(stream, b"first", number)
        return stream

    async def _exchange(self, stream: socket.socket, name: bytes, number: int) -> None:
        message = hashlib.blake2b(name + number.to_bytes(8, "big")).digest()
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_sendall(stream, message)
            if await read(stream, len(message)) != message:
                raise ValueError("other bytes came back")

    async def transfer(self, stream: socket.socket, interval: float) -> bool:
        """Exchange a message every `interval` seconds or so, until the end; whether all went."""
        name = stream.getsockname()[1].to_bytes(2, "big")
        number = 0
        try:
            while not self._ending.is_set():
                start = time.monotonic()
                await self._exchange(stream, name, number)
                self.delays.append(time.monotonic() - start)
                number += 1
                self.messages += 1
                pause = interval * random.uniform(0.5, 1.5)  # noqa: S311 - spread in time only
                try:
                    await asyncio.wait_for(self._ending.wait(), pause)
                except TimeoutError:
                    continue
        except (OSError, ValueError) as error:
            self.broken[f"transfer: {type(error).__name__}"] += 1
            return False
        return True

    async def wake(self, stream: socket.socket) -> bool:
        """Let a connection speak that was idle; whether it is answered."""
        try:
            async with self._gate:
                await self._exchange(stream, b"idle", 0)
        except (OSError, ValueError) as error:
            self.broken[f"idle: {type(error).__name__}"] += 1
            return False
        return True

    def end(self) -> None:
        """Let the transfers finish."""
        self._ending.set()


async def _run(options: argparse.Namespace) -> dict[str, Any]:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    honest = Honest(options.host, options.tcp)
    count = options.transfers + options.idle
    streams = await asyncio.gather(*(honest.open() for _ in range(count)))
    busy, idle = streams[: options.transfers], streams[options.transfers :]
    transfers = [asyncio.create_task(honest.transfer(each, options.interval)) for each in busy]
    ports = {"busy": [_port(each) for each in busy], "idle": [_port(each) for each in idle]}
    _say(json.dumps({"ready": ports}))
    newcomers = Newcomers(options.host, options.tcp, options.udp, options.newcomers)
    coming: asyncio.Task[None] | None = None
    while (word := (await lines.readline()).strip()) not in {b"", b"end"}:
        if word == b"attack":
            coming = asyncio.create_task(newcomers.come())
        elif coming is not None:
            newcomers.stop()
            await coming
            _say("over")
    honest.end()
    whole = await asyncio.gather(*transfers)
    awake = await asyncio.gather(*(honest.wake(each) for each in idle))
    for stream in streams:
        stream.close()
    delays = sorted(honest.delays) or [0.0]
    return {
        "transfers": len(busy),
        "transfers_whole": sum(whole),
        "idle": len(idle),
        "idle_alive": sum(awake),
        "broken": dict(honest.broken),
        "messages": honest.messages,
        "delay_median": delays[len(delays) // 2],
        "delay_99": delays[len(delays) * 99 // 100],
        "delay_max": delays[-1],
        "tried": dict(newcomers.tried),
        "served": dict(newcomers.served),
        "at_once": dict(newcomers.at_once),
        "errors": dict(newcomers.errors),
    }


def _port(stream: socket.socket) -> int:
    port: int = stream.getsockname()[1]
    return port


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run until told to end."""
    parser = argparse.ArgumentParser(prog="netns_lab.attack.honest")
    parser.add_argument("host")
    parser.add_argument("--tcp", type=int, required=True)
    parser.add_argument("--udp", type=int, required=True)
    parser.add_argument("--transfers", type=int, default=1000)
    parser.add_argument("--idle", type=int, default=0)
    parser.add_argument("--interval", type=float, default=2.0, help="between two messages")
    parser.add_argument("--newcomers", type=float, default=20.0, help="a second, of each protocol")
    _say(json.dumps(asyncio.run(_run(parser.parse_args()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
