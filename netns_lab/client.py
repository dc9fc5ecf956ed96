"""The clients' program: who answered how often, and does it hold.  Standard library only.

    python -m netns_lab.client requests http://10.0.1.100/ -n 10 [--parallel 4] [--keep-alive]
    python -m netns_lab.client requests udp://10.0.1.100:7 -n 10
    python -m netns_lab.client connections http://10.0.1.100/ -n 300
    python -m netns_lab.client transfer http://10.0.1.100/ --bytes 1000000
    python -m netns_lab.client udp 10.0.1.100:7 --sizes 1,512,1472

One JSON object on stdout; exit code 0 if nothing went wrong, else 1.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from netns_lab.payload import payload, payload_sha256

Result = dict[str, Any]
# What a broken, refused or silent connection raises in http.client and ssl.
FAILURES = (OSError, http.client.HTTPException, ValueError)
ECHO_PORT = 7  # RFC 862

_ECHO = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def requests(
    url: str,
    count: int,
    *,
    parallel: int = 1,
    keep_alive: bool = False,
    timeout: float = 5.0,
) -> Result:
    """`count` requests by `parallel` workers; each on a new connection unless `keep_alive`.

    The URL may name an echo service too (tcp://, udp://), which is asked who it is.
    """
    is_echo = urlsplit(url).scheme in _ECHO
    shares = [count // parallel + (worker < count % parallel) for worker in range(parallel)]

    def work(share: int) -> tuple[list[Result], list[str]]:
        answers: list[Result] = []
        errors: list[str] = []
        connection = None
        for _ in range(share):
            try:
                if is_echo:
                    answers.append(ask(url, timeout))
                    continue
                connection = connection or connect(url, timeout)
                answers.append(get_json(connection, url))
            except FAILURES as error:
                errors.append(_describe(error))
                broken = True
            else:
                broken = False
            if connection is not None and (broken or not keep_alive):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()
        return answers, errors

    answers: list[Result] = []
    errors: list[str] = []
    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        for some_answers, some_errors in pool.map(work, shares):
            answers += some_answers
            errors += some_errors
    seen = [answer for answer in answers if "client" in answer]
    return {
        "requests": count,
        "answers": _count(answer["server"] for answer in answers),
        "order": [answer["server"] for answer in answers],
        "clients_seen": sorted({answer["client"].rpartition(":")[0] for answer in seen}),
        "reached_at": sorted({answer["reached_at"] for answer in seen}),
        "errors": errors,
    }


def ask(url: str, timeout: float) -> Result:
    """Make one request on a connection of its own; who answered.  Raises one of FAILURES."""
    kind = _ECHO.get(urlsplit(url).scheme)
    if kind is None:
        connection = connect(url, timeout)
        try:
            return get_json(connection, url)
        finally:
            connection.close()
    parts = urlsplit(url)
    host = parts.hostname or ""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as asking:
        asking.settimeout(timeout)
        asking.connect((host, parts.port or ECHO_PORT))
        asking.send(b"who")
        name = asking.recv(65535).decode()
        if not name:
            raise ConnectionError("the connection was closed without an answer")
        return {"server": name}


def connections(url: str, count: int, *, timeout: float = 10.0) -> Result:
    """Open `count` connections, hold them all, then use each twice: one server each, kept."""
    errors: list[str] = []
    moved = 0
    servers: list[str] = []
    with contextlib.ExitStack() as held:
        opened = []
        for _ in range(count):
            try:
                connection = connect(url, timeout)
                connection.connect()
            except FAILURES as error:
                errors.append(_describe(error))
                continue
            held.callback(connection.close)
            opened.append(connection)
        for connection in opened:
            try:
                first = get_json(connection, url)["server"]
                second = get_json(connection, url)["server"]
            except FAILURES as error:
                errors.append(_describe(error))
                continue
            servers.append(first)
            moved += first != second
    return {
        "connections": count,
        "held": len(opened),
        "answers": _count(servers),
        "moved": moved,
        "errors": errors if moved == 0 else [*errors, f"{moved} connections changed their server"],
    }


def transfer(
    url: str,
    length: int,
    *,
    directions: Sequence[str] = ("download", "upload"),
    timeout: float = 30.0,
) -> Result:
    """Download and upload `length` bytes, each on a connection of its own.

    Both sides' SHA-256 must be the expected one.
    """
    expected = payload_sha256(length)
    errors: list[str] = []
    seconds: dict[str, float] = {}

    def download() -> str:
        connection.request("GET", f"/bytes/{length}")
        response = connection.getresponse()
        digest = hashlib.sha256()
        while block := response.read(65536):
            digest.update(block)
        return digest.hexdigest()

    def upload() -> str:
        connection.request("PUT", "/upload", body=payload(length))
        return str(json.loads(connection.getresponse().read())["sha256"])

    runs: dict[str, Callable[[], str]] = {"download": download, "upload": upload}
    for name in directions:
        connection = connect(url, timeout)
        started = time.perf_counter()
        try:
            if runs[name]() != expected:
                errors.append(f"{name}: the bytes differ")
        except FAILURES as error:
            errors.append(f"{name}: {_describe(error)}")
        finally:
            connection.close()
        seconds[name] = round(time.perf_counter() - started, 6)
    return {"bytes": length, "seconds": seconds, "errors": errors}


def udp(host: str, port: int, sizes: Sequence[int], *, timeout: float = 2.0) -> Result:
    """Send one datagram of each size from one socket; each must come back, and unchanged.

    The socket is connected: an answer from any other address than the one asked is not heard, and
    an ICMP error arrives as a refused connection.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    errors: list[str] = []
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(timeout)
        asking.connect((host, port))
        server = None
        try:
            asking.send(b"who")
            server = asking.recv(65535).decode()
        except OSError as error:
            errors.append(f"who: {_describe(error)}")
        echoed = []
        for size in sizes:
            try:
                asking.send(payload(size))
                answer = asking.recv(65535)
            except OSError as error:
                errors.append(f"{size} bytes: {_describe(error)}")
                continue
            if answer == payload(size):
                echoed.append(size)
            else:
                errors.append(f"{size} bytes: {len(answer)} other bytes came back")
    return {"server": server, "echoed": echoed, "errors": errors}


def connect(url: str, timeout: float) -> http.client.HTTPConnection:
    """A connection, opened at its first use, that trusts the lab's self-signed certificate."""
    parts = _parts(url)
    assert parts.hostname is not None
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(
            parts.hostname, parts.port or 443, timeout=timeout, context=context
        )
    return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout)


def get_json(connection: http.client.HTTPConnection, url: str) -> Result:
    """One GET; the answer's JSON object.  Raises one of FAILURES."""
    parts = _parts(url)
    connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    response = connection.getresponse()
    body = response.read()
    if response.status != http.HTTPStatus.OK:
        raise http.client.HTTPException(f"status {response.status}")
    answer: Result = json.loads(body)
    return answer


def _parts(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url!r} is not an http or https URL")
    return parts


def _count(servers: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(servers).items()))


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the checks, print its result, return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m netns_lab.client")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("requests", "connections", "transfer"):
        command = commands.add_parser(name)
        command.add_argument("url")
        command.add_argument("--timeout", type=float, default=10.0)
        if name == "transfer":
            command.add_argument("--bytes", type=int, default=1_000_000)
            command.add_argument("--only", choices=["download", "upload"])
        else:
            command.add_argument("-n", "--count", type=int, default=10)
        if name == "requests":
            command.add_argument("--parallel", type=int, default=1)
            command.add_argument("--keep-alive", action="store_true")
    command = commands.add_parser("udp")
    command.add_argument("endpoint", help="ADDRESS:PORT")
    command.add_argument("--sizes", default="1,64,512,1472")
    command.add_argument("--timeout", type=float, default=2.0)
    options = parser.parse_args(arguments)

    match options.command:
        case "requests":
            result = requests(
                options.url,
                options.count,
                parallel=options.parallel,
                keep_alive=options.keep_alive,
                timeout=options.timeout,
            )
        case "connections":
            result = connections(options.url, options.count, timeout=options.timeout)
        case "transfer":
            directions = (options.only,) if options.only else ("download", "upload")
            result = transfer(
                options.url, options.bytes, directions=directions, timeout=options.timeout
            )
        case _:
            host, _, port = options.endpoint.rpartition(":")
            sizes = [int(size) for size in options.sizes.split(",")]
            result = udp(host.strip("[]"), int(port), sizes, timeout=options.timeout)
    print(json.dumps(result))
    return 1 if result["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
