"""Traffic until SIGTERM: one new connection for each request, one line of JSON for each outcome.

    python -m netns_lab.traffic http://10.0.1.100/ --rate 200
    python -m netns_lab.traffic http://10.0.1.100/work --users 16
    python -m netns_lab.traffic udp://10.0.1.100:7 --rate 20 --seconds 60

`--rate`: so many requests are begun each second, whatever becomes of them (an open loop: users do
not come more slowly because others wait).  `--users`: so many users, each of whom asks again once
the answer is there (a closed loop: it finds out what the servers can do).  After SIGTERM, or after
`--seconds`, no request is begun, and those under way are waited for.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import signal
import threading
import time
from collections.abc import Callable, Sequence

from netns_lab import client
from netns_lab.client import FAILURES
from netns_lab.request import Request, to_line

TIMEOUT = 5.0
MOST_UNDER_WAY = 64
"""Requests of an open loop at the same time.  With more, the loop would wait, and say less."""


def ask(url: str) -> Request:
    """Make one request on a connection of its own."""
    server = error = None
    started = time.monotonic()
    try:
        server = str(client.ask(url, TIMEOUT)["server"])
    except FAILURES as failure:
        error = f"{type(failure).__name__}: {failure}"
    return Request(started, time.monotonic(), server, error)


def open_loop(ask_once: Callable[[], None], rate: float, stopping: threading.Event) -> None:
    """Begin `rate` requests per second until told to stop."""
    with concurrent.futures.ThreadPoolExecutor(MOST_UNDER_WAY) as pool:
        due = time.monotonic()
        while not stopping.wait(max(0.0, due - time.monotonic())):
            pool.submit(ask_once)
            due += 1 / rate
        pool.shutdown(cancel_futures=True)  # what has had no turn yet is not begun


def closed_loop(ask_once: Callable[[], None], users: int, stopping: threading.Event) -> None:
    """Let each user ask again and again until told to stop."""

    def use() -> None:
        while not stopping.is_set():
            ask_once()

    with concurrent.futures.ThreadPoolExecutor(users) as pool:
        for user in [pool.submit(use) for _ in range(users)]:
            user.result()


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m netns_lab.traffic")
    parser.add_argument("url")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--rate", type=float, help="requests per second")
    how.add_argument("--users", type=int, help="each with one request at a time")
    parser.add_argument("--seconds", type=float, help="end after so long")
    options = parser.parse_args(arguments)

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    printing = threading.Lock()

    def ask_once() -> None:
        line = to_line(ask(options.url))
        with printing:
            print(line, flush=True)

    if options.seconds is not None:
        ending = threading.Timer(options.seconds, stopping.set)
        ending.daemon = True
        ending.start()
    if options.rate is not None:
        open_loop(ask_once, options.rate, stopping)
    else:
        closed_loop(ask_once, options.users, stopping)


if __name__ == "__main__":
    main()
