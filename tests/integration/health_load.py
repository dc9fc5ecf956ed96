"""A client that asks at a steady rate, whatever becomes of the answers, and writes down each.

    python -m tests.integration.health_load 10.0.1.100 80 --rate 200

Each line of stdout is one request on a connection of its own, as JSON: when it started and ended
(seconds of CLOCK_MONOTONIC, which all namespaces share), who answered, or what went wrong.  It ends
when its stdin does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

TIMEOUT = 5.0


async def request(host: str, port: int) -> dict[str, Any]:
    """Ask once."""
    started = time.monotonic()
    server = error = None
    writer = None
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")
            header, _, body = (await reader.read()).partition(b"\r\n\r\n")
            assert header.startswith(b"HTTP/1.1 200"), header[:40]
            server = json.loads(body)["server"]
    except (OSError, ValueError, AssertionError) as failure:
        error = f"{type(failure).__name__}: {failure}"
    finally:
        if writer is not None:
            writer.transport.abort()
    return {"start": started, "end": time.monotonic(), "server": server, "error": error}


async def ask_steadily(host: str, port: int, rate: float) -> None:
    """Start requests at their times, an answer or not, until stdin ends."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), stopping.set)
    due = loop.time()
    requests = []
    while not stopping.is_set():
        requests.append(asyncio.create_task(request(host, port)))
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - loop.time()))
    for result in await asyncio.gather(*requests):
        print(json.dumps(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, required=True)
    options = parser.parse_args()
    asyncio.run(ask_steadily(options.host, options.port, options.rate))
