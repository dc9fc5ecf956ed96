"""The server answers, and nobody who misbehaves harms anybody else.

The server is driven by hand: `serve` calls `handle_ready` as long as its descriptor is readable,
which is what the packet loop does.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lb_switch.control.messages import MAX_REQUEST, ROWS_PER_LINE, RequestError
from lb_switch.control.server import MAX_CLIENTS, ControlServer

SHOW = b'{"version": 1, "verb": "show"}\n'


def handler(request: dict[str, Any], _now: float) -> object:
    match request["verb"]:
        case "show":
            return "shown"
        case "echo":
            return request["text"]
        case "count":
            return iter(range(request["to"]))
        case "refuse":
            raise RequestError("no")
        case "bug":
            raise KeyError("oops")
        case "late_bug":
            return (1 // (3 - n) for n in range(9))
    raise AssertionError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control" / "control.sock"


@pytest.fixture
def server(path: Path) -> Iterator[ControlServer]:
    server = ControlServer(path, handler)
    server.claim()
    server.open()
    yield server
    server.close()


@pytest.fixture
def connect(server: ControlServer) -> Iterator[Callable[[], socket.socket]]:
    opened: list[socket.socket] = []

    def connect() -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        opened.append(client)
        client.connect(str(server.path))
        client.setblocking(False)
        return client

    yield connect
    for client in opened:
        client.close()


def readable(server: ControlServer) -> bool:
    return bool(select.select([server], [], [], 0)[0])


def serve(server: ControlServer, at_most: int = 10_000) -> int:
    """Call `handle_ready` until it has nothing to do; return how often that was."""
    steps = 0
    while readable(server):
        steps += 1
        assert steps <= at_most, "the server spins"
        server.handle_ready(0.0)
    return steps


def received(client: socket.socket) -> bytes:
    data = b""
    try:
        while more := client.recv(1 << 20):
            data += more
    except (BlockingIOError, ConnectionResetError):
        pass
    return data


def at_end(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
    except BlockingIOError:
        return False


def results(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


OK = [{"version": 1, "ok": True, "result": "shown"}]

Connect = Callable[[], socket.socket]


def test_request_and_response(server: ControlServer, connect: Connect) -> None:
    client = connect()
    client.send(SHOW)
    serve(server)
    assert results(received(client)) == OK


def test_idle_it_wakes_nobody(server: ControlServer, connect: Connect) -> None:
    connect()
    serve(server)
    assert not readable(server)


def test_several_requests_in_order(server: ControlServer, connect: Connect) -> None:
    client = connect()
    texts = [f"text {n}" for n in range(20)]
    for text in texts:
        client.send(json.dumps({"version": 1, "verb": "echo", "text": text}).encode() + b"\n")
    serve(server)
    assert [r["result"] for r in results(received(client))] == texts


def test_a_request_that_comes_byte_by_byte(server: ControlServer, connect: Connect) -> None:
    client = connect()
    for n in range(len(SHOW)):
        assert received(client) == b""
        client.send(SHOW[n : n + 1])
        serve(server)
    assert results(received(client)) == OK


def test_a_client_that_sends_and_closes_its_writing_side(
    server: ControlServer, connect: Connect
) -> None:
    client = connect()
    client.send(SHOW + SHOW)
    client.shutdown(socket.SHUT_WR)
    serve(server)
    assert results(received(client)) == OK + OK
    assert at_end(client)


@pytest.mark.parametrize(
    ("request_line", "error"),
    [
        (b"nonsense\n", "the request is not a line of JSON"),
        (b"\n", "the request is not a line of JSON"),
        (b"\xff\x00\n", "the request is not a line of JSON"),
        (b'{"version": 7, "verb": "show"}\n', "protocol version 7 is not spoken here, only 1"),
        (b'{"version": 1, "verb": "refuse"}\n', "no"),
        (b'{"version": 1, "verb": "bug"}\n', "internal error: KeyError: 'oops'"),
    ],
)
def test_a_bad_request_is_answered_and_the_conversation_goes_on(
    server: ControlServer, connect: Connect, request_line: bytes, error: str
) -> None:
    client = connect()
    client.send(request_line + SHOW)
    serve(server)
    assert results(received(client)) == [{"version": 1, "ok": False, "error": error}, *OK]


def test_a_bug_is_told_to_the_log_with_its_place(
    server: ControlServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect()
    client.send(b'{"version": 1, "verb": "refuse"}\n')
    serve(server)
    assert caplog.text == ""
    client.send(b'{"version": 1, "verb": "bug"}\n')
    serve(server)
    assert "internal error in a request" in caplog.text
    assert "in handler" in caplog.text


def test_an_error_after_some_rows_ends_the_response(
    server: ControlServer, connect: Connect
) -> None:
    client = connect()
    client.send(b'{"version": 1, "verb": "late_bug"}\n' + SHOW)
    serve(server)
    error, ok = results(received(client))
    assert error["error"].startswith("internal error: ZeroDivisionError")
    assert ok == OK[0]


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_an_oversized_request_is_refused_and_ends_the_conversation(
    server: ControlServer, connect: Connect, ending: bytes
) -> None:
    client, other = connect(), connect()
    data = b"x" * MAX_REQUEST + ending
    while data:
        try:
            data = data[client.send(data) :]
        except BlockingIOError:
            serve(server)
    serve(server)
    (error,) = results(received(client))
    assert error["error"] == f"the request is over {MAX_REQUEST} bytes"
    assert at_end(client)
    other.send(SHOW)
    serve(server)
    assert results(received(other)) == OK


def test_a_half_sent_request_stops_nobody(server: ControlServer, connect: Connect) -> None:
    half, other = connect(), connect()
    half.send(SHOW[:10])
    other.send(SHOW)
    serve(server)
    assert results(received(other)) == OK
    half.close()
    serve(server)
    other.send(SHOW)
    serve(server)
    assert results(received(other)) == OK


def test_a_long_result_comes_whole_and_in_bounded_steps(
    server: ControlServer, connect: Connect
) -> None:
    client = connect()
    count = 100 * ROWS_PER_LINE + 7
    client.send(json.dumps({"version": 1, "verb": "count", "to": count}).encode() + b"\n")
    data, steps = b"", 0
    while readable(server):
        server.handle_ready(0.0)
        steps += 1
        data += received(client)
    assert [row for line in results(data) for row in line["result"]] == list(range(count))
    assert steps >= 100


def test_a_slow_reader_costs_nothing_and_delays_nobody(
    server: ControlServer, connect: Connect
) -> None:
    slow, other = connect(), connect()
    endless = 10**12
    slow.send(json.dumps({"version": 1, "verb": "count", "to": endless}).encode() + b"\n")
    assert serve(server) < 10_000, "it must stop by itself when the kernel's buffer is full"
    assert not readable(server)
    other.send(SHOW)
    serve(server)
    assert results(received(other)) == OK
    assert len(received(slow)) < 4 << 20
    assert readable(server), "and go on when there is room again"


def test_a_reader_that_leaves_in_the_middle(server: ControlServer, connect: Connect) -> None:
    leaving, other = connect(), connect()
    leaving.send(b'{"version": 1, "verb": "count", "to": 1000000000}\n')
    serve(server)
    leaving.close()
    serve(server)
    other.send(SHOW)
    serve(server)
    assert results(received(other)) == OK


def test_when_all_places_are_taken_the_stillest_client_makes_room(
    server: ControlServer, connect: Connect
) -> None:
    clients = []
    for _ in range(MAX_CLIENTS):
        clients.append(connect())
        serve(server)
    clients[0].send(SHOW)
    serve(server)
    newcomer = connect()
    newcomer.send(SHOW)
    serve(server)
    assert results(received(newcomer)) == OK
    assert results(received(clients[0])) == OK
    assert [at_end(client) for client in clients] == [False, True] + [False] * (MAX_CLIENTS - 2)


def test_nobody_loses_his_place_in_the_middle_of_a_conversation(
    server: ControlServer, connect: Connect
) -> None:
    clients = []
    for number in range(MAX_CLIENTS):
        clients.append(connect())
        clients[-1].send(SHOW[:9])
        if number % 2:  # of the others it has not read anything yet
            serve(server)
    newcomer = connect()
    newcomer.send(SHOW)
    serve(server)
    assert not any(at_end(client) for client in clients)
    with pytest.raises(BlockingIOError):
        newcomer.recv(1)  # it waits in the kernel's queue
    clients[0].close()
    serve(server)
    assert results(received(newcomer)) == OK


def test_random_bytes_never_raise(server: ControlServer, connect: Connect) -> None:
    for seed in range(64):
        client = connect()
        client.send(bytes((seed * 37 + n * n * 11) & 0xFF for n in range(997)) + b"\n")
        client.shutdown(socket.SHUT_WR)
        serve(server)
        assert all(r["ok"] is False for r in results(received(client)))


def test_only_the_owner_may_connect(server: ControlServer) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.path.parent.stat().st_mode) == 0o700


def test_close_removes_the_files_and_may_be_repeated(server: ControlServer) -> None:
    server.close()
    server.close()
    assert not server.path.parent.exists(), "it was made by the server"


def test_without_descriptors_a_client_is_turned_away_and_the_loop_is_not_kept_busy(
    tmp_path: Path,
) -> None:
    server = ControlServer(tmp_path / "s", lambda _request, _now: "yes")
    server.claim()
    server.open()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5.0)
    try:
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
        client.connect(str(tmp_path / "s"))
        server.handle_ready(0.0)
        assert client.recv(1) == b"", "closed at once"
        assert not select.select([server], [], [], 0)[0], "nothing is left to do"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        client.close()
    with socket.socket(socket.AF_UNIX) as later:
        later.settimeout(5.0)
        later.connect(str(tmp_path / "s"))
        later.sendall(b'{"version":1,"verb":"x"}\n')
        while not select.select([later], [], [], 0.01)[0]:
            server.handle_ready(0.0)
        assert b"yes" in later.recv(1000)
    server.close()
