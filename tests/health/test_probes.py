"""Probes against real sockets that behave and misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lb_switch.health import probes
from lb_switch.health.check import CheckKind, Target
from lb_switch.health.probes import http, icmp, probe
from lb_switch.health.probes.wire import Wire
from lb_switch.health.tracker import ProbeResult
from tests.health import misbehaving
from tests.health.misbehaving import Behaviour, endlessly, reset, says, serving, silence

LONG = 5.0
"""A timeout that is not meant to come."""
SHORT = 0.1


def target(kind: CheckKind, port: int, timeout: float = LONG, **options: Any) -> Target:
    ip = ipaddress.ip_address(options.pop("ip", "127.0.0.1"))
    return Target(kind, ip, port, 1.0, timeout, **options)


def judge(
    kind: CheckKind, behaviour: Behaviour, timeout: float = LONG, **options: Any
) -> tuple[bool | None, str]:
    async def run() -> ProbeResult:
        async with serving(behaviour, str(options.get("ip", "127.0.0.1"))) as port:
            return await probe(target(kind, port, timeout, **options))

    result = asyncio.run(run())
    assert result.seconds < timeout + 1.0
    return result.passed, result.finding


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("sentence", "behaviour", "finding"),
    [
        ("an answer", says(OK), "status 200"),
        ("byte by byte", says(*(OK[i : i + 1] for i in range(len(OK)))), "status 200"),
        ("a status line in two segments", says(OK[:7], OK[7:]), "status 200"),
        ("until the end of the stream", says(b"HTTP/1.0 200 OK\r\n\r\nbody"), "status 200"),
        (
            "in chunks",
            says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            "status 200",
        ),
        (
            "interim answers first",
            says(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Go On\r\n", b"\r\n", OK),
            "status 200",
        ),
        ("the connection stays open", says(OK, then=silence), "status 200"),
        ("no reason phrase", says(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), "status 200"),
        ("lines that end with LF alone", says(b"HTTP/1.0 200 OK\n\nfine"), "status 200"),
        (
            "a body that never ends",
            says(b"HTTP/1.1 200 OK\r\n\r\n", then=endlessly(b"x" * 50_000)),
            "status 200",
        ),
        (
            "chunks that never end",
            says(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                then=endlessly(b"1\r\nx\r\n" * 1000),
            ),
            "status 200",
        ),
        (
            "a byte at a time, for ever",
            says(b"HTTP/1.1 200 OK\r\n\r\n", then=endlessly(b"x")),
            "status 200",
        ),
        (
            "a body of 2 MB",
            says(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n", b"x" * 2_000_000),
            "status 200",
        ),
        ("the body comes with the RST", says(OK, then=reset), "status 200"),
        *(
            (line, says(f"HTTP/1.1 200 OK\r\n{line}\r\n\r\nok".encode()), "status 200")
            for line in (
                "Content-Type : text/html\r\nContent-Length : 2",
                "X Powered By: me\r\nContent-Length: 2",
                "X-Name: é\r\nContent-Length: 2",
                "X-A:\r\nContent-Length: 2",
                "X-A: b\r\n c\r\nContent-Length: 2",
                "no colon at all",
                "Content-Length: 2\r\nContent-Length: 2",
                "Content-Length: 2\r\nContent-Length: 900",
                "Content-Length: many",
                "Content-Length: 900\r\nTransfer-Encoding: chunked",
                "Transfer-Encoding: gzip, chunked",
                "Transfer-Encoding: identity",
                f"X: {'y' * 20_000}",
            )
        ),
    ],
)
def test_http_passes(sentence: str, behaviour: Behaviour, finding: str) -> None:
    assert judge("http", behaviour) == (True, finding), sentence


@pytest.mark.parametrize(
    ("sentence", "behaviour", "finding"),
    [
        ("500", says(b"HTTP/1.1 500 Oops\r\n\r\n"), "status 500, expected 200"),
        ("RST instead of an answer", reset, "connection reset"),
        ("RST in the middle of it", says(OK[:-1], then=reset), "connection reset"),
        ("closed at once", says(), "connection closed without an answer"),
        (
            "closed in the middle of the header",
            says(OK[:20]),
            "not an HTTP answer, or one that was cut off",
        ),
        (
            "closed in the middle of the body",
            says(OK[:-1]),
            "not an HTTP answer, or one that was cut off",
        ),
        ("another protocol", says(b"220 smtp\r\n"), "not an HTTP answer, or one that was cut off"),
        *(
            (str(start), says(start, then=silence), "not an HTTP answer, or one that was cut off")
            for start in (
                b"<html>",
                b"HTTP/2.0 200 OK\r\n\r\n",
                b"HTTP/1.1 20\r\n\r\n",
                b"http/1.1 ",
            )
        ),
        (
            "a header line that never ends",
            says(b"HTTP/1.1 200 OK\r\nX: ", then=endlessly(b"x" * 1000)),
            "head over 64 KiB",
        ),
        (
            "header lines that never end",
            says(b"HTTP/1.1 200 OK\r\n", then=endlessly(b"X: y\r\n" * 100)),
            "head over 64 KiB",
        ),
        (
            "interim answers that never end",
            says(then=endlessly(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)),
            "answer over 1024 KiB",
        ),
    ],
)
def test_http_fails(sentence: str, behaviour: Behaviour, finding: str) -> None:
    assert judge("http", behaviour, timeout=30.0) == (False, finding), sentence


@pytest.mark.parametrize(
    ("sentence", "behaviour"),
    [
        ("accepts and says nothing", silence),
        ("half a status line", says(OK[:7], then=silence)),
        ("half a header", says(OK[:20], then=silence)),
        ("half a body", says(OK[:-1], then=silence)),
    ],
)
def test_http_times_out(sentence: str, behaviour: Behaviour) -> None:
    assert judge("http", behaviour, SHORT) == (False, "timeout after 0.1 s"), sentence


@contextlib.contextmanager
def dribbling(data: bytes, gap: float) -> Iterator[int]:
    """Yield a port where each connection is sent a byte every `gap` seconds, by a thread."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for byte in data:
                    connection.sendall(bytes([byte]))
                    time.sleep(gap)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                socket.create_connection(listener.getsockname(), 1).close()
            thread.join()


def test_a_dribbled_answer_has_one_timeout_for_all_of_it() -> None:
    """Every byte comes in time, their last one does not."""
    with dribbling(OK, 0.01) as port:
        late = asyncio.run(probe(target("http", port, 0.2)))
    assert late[:2] == (False, "timeout after 0.2 s")
    assert 0.2 <= late.seconds < 0.38
    with dribbling(OK, 0.01) as port:
        assert asyncio.run(probe(target("http", port)))[:2] == (True, "status 200")


@pytest.mark.parametrize("kind", ["icmp", "tcp", "http"])
def test_what_is_found_behind_the_deadline_is_not_found(
    kind: CheckKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turns of other probes are long: the answer is read in one that ends too late."""

    async def found(probed: Target) -> str:
        await asyncio.sleep(0.01)
        time.sleep(0.15)
        return "what it found"

    monkeypatch.setattr(probes, "PROBES", {kind: found})
    result = asyncio.run(probe(target(kind, 1, SHORT)))
    assert result[:2] == (False, "timeout after 0.1 s")
    assert result.seconds >= 0.15
    assert asyncio.run(probe(target(kind, 1)))[:2] == (True, "what it found")


def test_an_http_answer_that_is_parsed_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    original = http._told_length

    def slow(head: bytes) -> int | None:
        time.sleep(0.15)
        return original(head)

    monkeypatch.setattr(http, "_told_length", slow)
    assert judge("http", says(OK), SHORT) == (False, "timeout after 0.1 s")


@pytest.mark.parametrize(
    ("expected", "status", "verdict"),
    [
        ((200, 204), 204, (True, "status 204")),
        ((200, 204), 404, (False, "status 404, expected 200 or 204")),
        ((200, 301, 302), 500, (False, "status 500, expected 200, 301 or 302")),
        ((503,), 503, (True, "status 503")),
        ((101,), 101, (True, "status 101")),
        ((200,), 101, (False, "status 101, expected 200")),
        ((304,), 304, (True, "status 304")),
        ((599,), 599, (True, "status 599")),
        ((503,), 200, (False, "status 200, expected 503")),
    ],
)
def test_which_status_is_expected(
    expected: tuple[int, ...], status: int, verdict: tuple[bool, str]
) -> None:
    answer = says(f"HTTP/1.1 {status} \r\nContent-Length: 0\r\n\r\n".encode())
    if status == 204:
        answer = says(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert judge("http", answer, expect_status=expected) == verdict


@pytest.mark.parametrize(("ip", "host"), [("127.0.0.1", "127.0.0.1:{}"), ("::1", "[::1]:{}")])
def test_the_request(ip: str, host: str) -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        heard.append(host.format(writer.get_extra_info("sockname")[1]).encode())
        writer.write(OK)

    assert judge("http", listen, ip=ip, path="/health?all=1") == (True, "status 200")
    request, expected_host = heard
    lines = request.split(b"\r\n")
    assert lines[0] == b"GET /health?all=1 HTTP/1.1"
    assert b"Host: " + expected_host in lines
    assert b"Connection: close" in lines


def test_the_port_of_http_is_left_out_of_the_host_header() -> None:
    plain = http.request(target("http", 80))
    assert b"\r\nHost: 127.0.0.1\r\n" in plain
    other = http.request(target("http", 8080))
    assert b"\r\nHost: 127.0.0.1:8080\r\n" in other


@pytest.mark.parametrize("length", [2, 5_000, 20_000, 60_000])
def test_an_answer_of_a_server_that_never_reads_the_request(length: int) -> None:
    """Its kernel sends all of it, and then a RST, as the request is unread (xinetd's kind)."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + bytes(length)

    def serve() -> None:
        for _ in range(20):
            connection, _ = listener.accept()
            with connection:
                time.sleep(0.005)  # the request has come
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        found = {asyncio.run(probe(target("http", port)))[:2] for _ in range(20)}
        thread.join()
    assert found == {(True, "status 200")}


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_port_that_refuses(kind: CheckKind, ip: str) -> None:
    with misbehaving.refusing(ip) as port:
        result = asyncio.run(probe(target(kind, port, ip=ip)))
    assert (result.passed, result.finding) == (False, "connect refused")


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_port_that_never_answers(kind: CheckKind) -> None:
    with misbehaving.black_hole() as port:
        result = asyncio.run(probe(target(kind, port, SHORT)))
    assert (result.passed, result.finding) == (False, "timeout after 0.1 s")
    assert SHORT <= result.seconds < 1.0


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_tcp_connects_and_closes_in_order(ip: str) -> None:
    ends: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A RST would raise ConnectionResetError here.
        ends.append(await reader.read())

    async def run() -> ProbeResult:
        async with serving(listen, ip) as port:
            result = await probe(target("tcp", port, ip=ip))
            async with asyncio.timeout(LONG):
                while not ends:
                    await asyncio.sleep(0.001)
            return result

    assert asyncio.run(run())[:2] == (True, "connected")
    assert ends == [b""]


def test_tcp_passes_with_a_server_that_says_nothing_or_greets() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")

    for behaviour in (silence, greet, reset):
        assert judge("tcp", behaviour) == (True, "connected")


@pytest.mark.parametrize("number", sorted(probes.LOCAL_TROUBLE))
def test_trouble_of_this_machine_says_nothing_about_the_server(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def trouble(_target: Target) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(probes, "PROBES", {"tcp": trouble})
    result = asyncio.run(probe(target("tcp", 1)))
    assert result.passed is None
    assert result.finding.startswith("cannot probe: ")


@pytest.mark.parametrize(
    ("number", "finding"),
    [
        (errno.EHOSTUNREACH, "no route to host"),
        (errno.EACCES, "permission denied"),
        (errno.ENETUNREACH, "network is unreachable"),
        (errno.EPIPE, "connection reset"),
    ],
)
def test_what_the_network_says(number: int, finding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def trouble(_target: Target) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(probes, "PROBES", {"tcp": trouble})
    assert asyncio.run(probe(target("tcp", 1)))[:2] == (False, finding)


def test_a_bug_in_a_probe_says_nothing_about_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def buggy(_target: Target) -> str:
        raise RuntimeError("a bug")

    monkeypatch.setattr(probes, "PROBES", {"tcp": buggy})
    result = asyncio.run(probe(target("tcp", 1)))
    assert result[:2] == (None, "cannot probe: internal error: RuntimeError: a bug")


# -- icmp ----------------------------------------------------------------------------------------


def can_echo() -> bool:
    try:
        icmp._open(4).close()
    except PermissionError:
        return False
    return True


needs_icmp = pytest.mark.skipif(
    not can_echo() and os.environ.get("CI") != "true", reason="no raw and no ping sockets here"
)


@needs_icmp
@pytest.mark.parametrize("ip", ["127.0.0.1", "127.1.2.3", "::1"])
def test_echo(ip: str) -> None:
    result = asyncio.run(probe(target("icmp", 1, ip=ip)))
    assert (result.passed, result.finding) == (True, "echo reply")


@needs_icmp
def test_many_echoes_at_once_find_their_own_replies() -> None:
    async def run() -> list[ProbeResult]:
        targets = [target("icmp", 1, ip=f"127.0.1.{n}") for n in range(100)]
        return await asyncio.gather(*map(probe, targets * 3))

    assert {result.passed for result in asyncio.run(run())} == {True}


@pytest.mark.parametrize("version", [4, 6])
def test_a_reply_is_matched_by_type_identifier_and_sequence(version: int) -> None:
    request = icmp.echo_request(version, 0x1234, 0x5678)
    kind, reply_kind = (8, 0) if version == 4 else (128, 129)
    assert request[:2] == bytes([kind, 0])
    assert request[4:8] == b"\x12\x34\x56\x78"
    reply = bytes([reply_kind]) + request[1:]

    def fits(message: bytes) -> bool:
        return icmp.is_reply(message, version, 0x1234, 0x5678)

    assert fits(reply)
    assert not fits(request), "on loopback one hears oneself ask"
    assert not fits(bytes([reply_kind, 1]) + request[2:])
    assert not fits(reply[:4] + b"\x12\x35" + reply[6:])
    assert not fits(reply[:6] + b"\x56\x79" + reply[8:])
    assert not fits(reply[:7])
    assert not fits(b"")


def test_the_checksum_of_an_echo_request() -> None:
    from scapy.layers.inet import ICMP

    request = icmp.echo_request(4, 1, 2)
    rebuilt = ICMP(request)
    del rebuilt.chksum
    assert bytes(rebuilt) == request


@needs_icmp
@pytest.mark.parametrize(("noise", "passed"), [("stale", False), ("stale then true", True)])
def test_other_messages_are_not_taken_for_the_reply(
    noise: str, passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket pair stands in for the raw socket, so that this test says what comes back."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    class Pair:
        type = socket.SOCK_RAW

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            ours.close()

        def connect(self, _address: object) -> None:
            pass

        def send(self, message: bytes) -> None:
            header = bytes([0x46]) + bytes(23)  # with four bytes of options
            number = int.from_bytes(message[6:8], "big")
            stale = ((number - 1) & 0xFFFF).to_bytes(2, "big")
            for _ in range(3):
                theirs.send(header + b"\0" + message[1:6] + stale + message[8:])
                theirs.send(header[:5])
            if passed:
                theirs.send(header + b"\0" + message[1:])

        def __getattr__(self, name: str) -> Any:
            return getattr(ours, name)

    pair = Pair()
    monkeypatch.setattr(icmp, "_open", lambda _version: pair)
    monkeypatch.setattr(
        asyncio.SelectorEventLoop,
        "sock_recv",
        lambda self, _pair, size: _receive(self, ours, size),
        raising=False,
    )
    with theirs:
        result = asyncio.run(probe(target("icmp", 1, SHORT)))
    assert result.passed is passed


async def _receive(loop: asyncio.AbstractEventLoop, sock: socket.socket, size: int) -> bytes:
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
        return sock.recv(size)
    finally:
        loop.remove_reader(sock)


@pytest.mark.netns
@pytest.mark.parametrize(
    ("group_range", "passed"), [("1 0", None), ("0 2147483647", True)], ids=["neither", "ping"]
)
def test_echo_without_raw_sockets(group_range: str, passed: bool | None) -> None:
    """Without CAP_NET_RAW the kernel's ping socket serves, if it may be used."""
    program = (
        "import asyncio, ipaddress; from lb_switch.health.probes import probe;"
        "from lb_switch.health.check import Target;"
        "t = Target('icmp', ipaddress.ip_address('127.0.0.1'), 1, 1.0, 5.0);"
        "r = asyncio.run(probe(t)); print(r.passed, r.finding, sep=';')"
    )
    script = (
        "set -e; ip link set lo up;"
        f' echo "{group_range}" > /proc/sys/net/ipv4/ping_group_range;'
        ' exec setpriv --bounding-set=-net_raw --inh-caps=-net_raw "$0" -c "$1"'
    )
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script, sys.executable, program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        timeout=30,
    )
    verdict, _, finding = done.stdout.strip().partition(";")
    assert verdict == str(passed)
    assert finding == ("echo reply" if passed else "cannot probe: permission denied")


def test_a_large_answer_that_is_all_there_leaves_others_their_turns() -> None:
    async def run() -> int:
        """Return how many turns others had while a probe read an answer of 900 kB."""
        ours, theirs = socket.socketpair()
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + bytes(900_000)
        sending = threading.Thread(target=theirs.sendall, args=(answer,))
        sending.start()
        ours.setblocking(False)
        turns = 0
        wire = Wire(ours)
        reading = asyncio.create_task(http.get(target("http", 80), 80, wire.read, wire.write))
        while not reading.done():
            turns += 1
            await asyncio.sleep(0)
        sending.join()
        wire.close()
        theirs.close()
        assert reading.result() == "status 200"
        return turns

    assert asyncio.run(run()) > 100
