"""The https probe, and http where TLS is spoken, against real servers with real certificates."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lb_switch.health.check import CheckKind, Target
from lb_switch.health.probes import probe, tls
from lb_switch.health.probes.wire import Wire
from lb_switch.health.tracker import ProbeResult
from netns_lab import certificate
from tests.health.misbehaving import Behaviour, endlessly, says, serving, silence

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
IPS = ["127.0.0.1", "::1"]
USE_HTTPS = 'the server speaks TLS; use kind = "https"'
H2_ONLY = 'the server speaks HTTP/2 only, the probe HTTP/1.1; use kind = "tcp"'
SETTINGS = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"
"""RFC 9113, section 6.5: a SETTINGS frame with MAX_CONCURRENT_STREAMS = 100."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """self.pem for loopback's addresses, named.pem, and what a CA of our own signed."""
    root = tmp_path_factory.mktemp("certificates")
    certificate.create(root / "self.pem", [ipaddress.ip_address(ip) for ip in IPS])
    certificate.create(root / "other.pem", [ipaddress.ip_address("192.0.2.1")])
    _openssl(
        root,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        " -subj /CN=CA -keyout ca.key -out ca.pem",
    )
    for name, days in (("signed", 2), ("expired", -1)):
        _openssl(
            root,
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
            f" -subj /CN=www.example.org -keyout {name}.key -out {name}.csr",
        )
        (root / "names").write_text("subjectAltName=DNS:www.example.org,IP:127.0.0.1,IP:::1\n")
        _openssl(
            root,
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial"
            f" -days {days} -extfile names -out {name}.crt",
        )
        joined = (root / f"{name}.crt").read_text() + (root / f"{name}.key").read_text()
        (root / f"{name}.pem").write_text(joined)
    return root


def _openssl(directory: Path, words: str) -> None:
    done = subprocess.run(
        ["openssl", *words.split()], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def server_context(pem: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context


def judge(
    kind: CheckKind,
    behaviour: Behaviour,
    context: ssl.SSLContext | None,
    ip: str = "127.0.0.1",
    timeout: float = 10.0,
    **options: Any,
) -> tuple[bool | None, str]:
    async def run() -> ProbeResult:
        async with serving(behaviour, ip, context) as port:
            target = Target(kind, ipaddress.ip_address(ip), port, 1.0, timeout, **options)
            return await probe(target)

    result = asyncio.run(run())
    assert result.seconds < timeout + 1.0
    return result.passed, result.finding


@pytest.mark.parametrize("ip", IPS)
def test_a_certificate_that_is_trusted(files: Path, ip: str) -> None:
    for name, trusted in (("self", "self"), ("signed", "ca")):
        context = server_context(files / f"{name}.pem")
        ca_file = str(files / f"{trusted}.pem")
        assert judge("https", says(OK), context, ip, ca_file=ca_file) == (True, "status 200")


@pytest.mark.parametrize("ip", IPS)
@pytest.mark.parametrize(
    ("pem", "ca", "host", "finding"),
    [
        (
            "self",
            "",
            "",
            (
                "certificate refused: self-signed certificate"
                "; trust it with `ca_file`, or set verify = false"
            ),
        ),
        (
            "signed",
            "",
            "",
            (
                "certificate refused: unable to get local issuer certificate"
                "; trust it with `ca_file`, or set verify = false"
            ),
        ),
        ("expired", "ca.pem", "", "certificate refused: certificate has expired"),
        (
            "other",
            "other.pem",
            "",
            (
                "certificate refused: IP address mismatch, certificate is not valid for '{ip}'"
                "; name the right one with `host`"
            ),
        ),
        (
            "signed",
            "ca.pem",
            "www.example.net",
            (
                "certificate refused: Hostname mismatch, certificate is not valid for"
                " 'www.example.net'; name the right one with `host`"
            ),
        ),
    ],
)
def test_a_certificate_that_is_refused(
    files: Path, ip: str, pem: str, ca: str, host: str, finding: str
) -> None:
    context = server_context(files / f"{pem}.pem")
    ca_file = str(files / ca) if ca else ""
    result = judge("https", says(OK), context, ip, ca_file=ca_file, host=host)
    assert result == (False, finding.format(ip=ip))
    # By choice, any will do.
    assert judge("https", says(OK), context, ip, verify=False, host=host) == (True, "status 200")


@pytest.mark.parametrize("ip", IPS)
def test_the_name_is_in_sni_certificate_and_host_header(files: Path, ip: str) -> None:
    asked: list[str | None] = []
    heard: list[bytes] = []
    context = server_context(files / "signed.pem")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)

    options: dict[str, Any] = {"ca_file": str(files / "ca.pem"), "path": "/health"}
    assert judge("https", listen, context, ip, host="www.example.org", **options)[0]
    assert judge("https", listen, context, ip, **options)[0]
    assert asked == ["www.example.org", None], "an address is no SNI"
    assert heard[0].startswith(b"GET /health HTTP/1.1\r\nHost: www.example.org\r\n")
    shown = f"[{ip}]" if ":" in ip else ip
    assert f"\r\nHost: {shown}:".encode() in heard[1]


def test_the_name_is_in_the_host_header_of_http_too() -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)

    for host in ("www.example.org", "2001:db8::100"):
        assert judge("http", listen, None, host=host) == (True, "status 200")
    assert b"\r\nHost: www.example.org\r\n" in heard[0]
    assert b"\r\nHost: [2001:db8::100]\r\n" in heard[1]


@pytest.mark.parametrize("ip", IPS)
def test_a_server_of_http_2_alone(files: Path, ip: str) -> None:
    context = server_context(files / "self.pem")

    async def http_2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SETTINGS)
        await silence(reader, writer)

    # OpenSSL's callback cannot refuse from Python: such a server goes on without ALPN.
    context.set_alpn_protocols(["h2"])
    assert judge("https", http_2, context, ip, verify=False) == (False, H2_ONLY)
    assert judge("http", http_2, None, ip) == (False, H2_ONLY)
    # As RFC 7301, section 3.2, wants it: the alert no_application_protocol.
    alert = b"\x15\x03\x03\x00\x02\x02\x78"
    assert judge("https", hello_then(alert), None, ip, verify=False) == (False, H2_ONLY)


def test_a_server_of_both_is_asked_in_http_1(files: Path) -> None:
    context = server_context(files / "self.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    chosen: list[str | None] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chosen.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await says(OK)(reader, writer)

    assert judge("https", listen, context, verify=False) == (True, "status 200")
    assert chosen == ["http/1.1"]


def hello_then(data: bytes, then: Behaviour | None = None) -> Behaviour:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(data)
        if then is not None:
            await then(reader, writer)

    return behave


@pytest.mark.parametrize(
    ("sentence", "behaviour", "finding"),
    [
        (
            "HTTP in clear",
            hello_then(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            'the server speaks plain HTTP; use kind = "http"',
        ),
        ("another protocol", hello_then(b"220 smtp\r\n"), "the server speaks no TLS on this port"),
        ("closed at once", hello_then(b""), "connection closed in the TLS handshake"),
        (
            "closed in the middle of a record",
            hello_then(b"\x16\x03\x03\x10\x00\x02"),
            "connection closed in the TLS handshake",
        ),
        (
            "an alert",
            hello_then(b"\x15\x03\x03\x00\x02\x02\x28"),
            "TLS failed: sslv3 alert handshake failure",
        ),
        (
            "handshake messages that never end",
            hello_then(b"", endlessly(b"\x16\x03\x03\x00\x04\x00\x00\x00\x00" * 1000)),
            None,
        ),
    ],
)
def test_what_is_met_instead_of_tls(sentence: str, behaviour: Behaviour, finding: str) -> None:
    passed, found = judge("https", behaviour, None, verify=False)
    assert passed is False, sentence
    assert found == finding or (finding is None and found.startswith("TLS")), sentence


@pytest.mark.parametrize(
    ("sentence", "behaviour", "finding"),
    [
        ("500", says(b"HTTP/1.1 500 Oops\r\n\r\n"), "status 500, expected 200"),
        ("closed without an answer", says(), "connection closed without an answer"),
        (
            "closed in the middle of the body",
            says(OK[:-1]),
            "not an HTTP answer, or one that was cut off",
        ),
    ],
)
def test_what_http_finds_is_found_in_tls(
    files: Path, sentence: str, behaviour: Behaviour, finding: str
) -> None:
    context = server_context(files / "self.pem")
    result = judge("https", behaviour, context, timeout=30.0, verify=False)
    assert result == (False, finding), sentence


def test_the_handshake_and_the_answer_are_within_the_one_timeout(files: Path) -> None:
    context = server_context(files / "self.pem")
    for behaviour, tls_too in ((hello_then(b"", silence), None), (says(OK[:9], then=silence), 1)):
        began = time.monotonic()
        result = judge("https", behaviour, context if tls_too else None, timeout=0.3, verify=False)
        assert result == (False, "timeout after 0.3 s")
        assert 0.3 <= time.monotonic() - began < 2.0


def test_bytes_of_tls_that_carry_nothing_are_counted(files: Path) -> None:
    """Records of a handshake that OpenSSL takes for ever are cut off by our own count."""

    async def run(most: int) -> str:
        records = b"\x16\x03\x03\x40\x00" + bytes(4000)
        async with serving(hello_then(records, silence)) as port:
            wire = await Wire.open(
                Target("https", ipaddress.ip_address("127.0.0.1"), port, 1.0, 10.0)
            )
            stream = tls.Stream(ssl.create_default_context(), "127.0.0.1", wire)
            stream._most = most
            try:
                await stream.shake_hands()
            except Exception as error:
                return str(error)
            finally:
                stream.close()
            return "passed"

    assert asyncio.run(run(1000)) == "TLS handshake over 256 KiB"


@pytest.mark.parametrize("ip", IPS)
def test_http_says_that_it_met_tls(files: Path, ip: str) -> None:
    # Python's server, as others of OpenSSL, hangs up without a word; others send an alert.
    context = server_context(files / "self.pem")
    assert judge("http", says(OK), context, ip) == (False, USE_HTTPS)
    alert = says(b"\x15\x03\x01\x00\x02\x02\x46")
    assert judge("http", alert, None, ip) == (False, USE_HTTPS)
    for words in (
        b"<center>The plain HTTP request was sent to HTTPS port</center>",
        b"Client sent an HTTP request to an HTTPS server.",
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ):
        told = says(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", words)
        result = judge("http", told, None, ip)
        assert result == (False, f"status 400, expected 200: {USE_HTTPS}")
    plain = says(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", b"who are you?")
    assert judge("http", plain, None, ip) == (False, "status 400, expected 200")


def test_a_ca_file_that_cannot_be_read_says_nothing_about_the_server(
    files: Path, tmp_path: Path
) -> None:
    context = server_context(files / "self.pem")
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("no certificate\n")
    for path, why in ((missing, "No such file or directory"), (empty, "no certificate in it")):
        result = judge("https", says(OK), context, ca_file=str(path))
        assert result == (None, f"cannot probe: ca_file {path}: {why}")
    # A file that was put right counts at the next probe.
    empty.write_text((files / "self.pem").read_text())
    os.utime(empty, (1, 1))
    assert judge("https", says(OK), context, ca_file=str(empty)) == (True, "status 200")


@contextlib.contextmanager
def threaded(serve: Callable[[socket.socket], None], ip: str) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.create_server((ip, 0), family=family) as listener:
        thread = threading.Thread(target=lambda: serve(listener.accept()[0]), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10.0)


@pytest.mark.parametrize("ip", IPS)
def test_a_handshake_in_single_bytes(files: Path, ip: str) -> None:
    """A blocking server of its own, whose every record comes in pieces."""
    context = server_context(files / "self.pem")

    def serve(connection: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        spoken = context.wrap_bio(incoming, outgoing, server_side=True)
        steps: list[Callable[[], Any]] = [
            spoken.do_handshake,
            lambda: spoken.read(4096),
            lambda: spoken.write(OK),
        ]
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while steps:
                waits = False
                try:
                    steps[0]()
                    steps.pop(0)
                except ssl.SSLWantReadError:
                    waits = True
                for byte in outgoing.read():
                    connection.send(bytes([byte]))
                if waits:
                    incoming.write(connection.recv(4096))

    with threaded(serve, ip) as port:
        target = Target("https", ipaddress.ip_address(ip), port, 1.0, 10.0, verify=False)
        assert asyncio.run(probe(target))[:2] == (True, "status 200")
