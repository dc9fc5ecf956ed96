"""Clients that go on for as long as somebody holds their standard input open.

    python -m tests.support.steady_client requests http://10.0.1.100/ --rate 100
    python -m tests.support.steady_client transfer http://10.0.1.100/bytes/50000000 --rate 1000000

`requests` sends so many a second, each on a connection of its own; `transfer` reads one body at so
many bytes a second, and the rest at full speed once its standard input has ended.  One JSON object
on stdout tells what came of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from netns_lab.client import FAILURES, connect, get_json
from netns_lab.payload import payload_sha256

WORKERS = 16
TIMEOUT = 10.0


def requests(url: str, rate: float, stopping: threading.Event) -> dict[str, object]:
    errors: list[str] = []
    answers: dict[str, int] = {}
    slowest = 0.0

    def one() -> None:
        nonlocal slowest
        connection = connect(url, TIMEOUT)
        start = time.monotonic()
        try:
            server = get_json(connection, url)["server"]
        except FAILURES as error:
            errors.append(f"{type(error).__name__}: {error}")
        else:
            answers[server] = answers.get(server, 0) + 1
        finally:
            connection.close()
        slowest = max(slowest, time.monotonic() - start)

    start = time.monotonic()
    sent = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        while not stopping.wait(max(0.0, start + sent / rate - time.monotonic())):
            pool.submit(one)
            sent += 1
    seconds = time.monotonic() - start
    return {
        "requests": sent,
        "seconds": seconds,
        "answers": answers,
        "errors": errors,
        "slowest": slowest,
    }


def transfer(url: str, rate: float, stopping: threading.Event) -> dict[str, object]:
    length = int(url.rpartition("/")[2])
    connection = connect(url, TIMEOUT)
    connection.request("GET", urlsplit(url).path)
    response = connection.getresponse()
    digest = hashlib.sha256()
    received = 0
    start = time.monotonic()
    while not stopping.wait(max(0.0, start + received / rate - time.monotonic())):
        block = response.read(16384)
        digest.update(block)
        received += len(block)
        if received == length:
            break
    unfinished = received < length
    while block := response.read(65536):
        digest.update(block)
        received += len(block)
    connection.close()
    return {
        "bytes": received,
        "identical": digest.hexdigest() == payload_sha256(length),
        "outlasted": unfinished,
        "seconds": time.monotonic() - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["requests", "transfer"])
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, required=True)
    options = parser.parse_args()
    stopping = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        stopping.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    run = requests if options.what == "requests" else transfer
    print(json.dumps(run(options.url, options.rate, stopping)))


if __name__ == "__main__":
    main()
