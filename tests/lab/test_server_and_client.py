"""The two programs against each other, over loopback: no namespaces, no root."""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from netns_lab import certificate, client, readiness
from netns_lab.payload import payload, payload_blocks, payload_sha256

# Below the range of client ports (ip_local_port_range), so that no connection of this machine takes
# one between the asking and the binding; and each is offered once, so that none is offered twice.
_PORTS = iter(random.sample(range(10_000, 30_000), 20_000))


def free_port(kind: socket.SocketKind) -> int:
    for port in _PORTS:
        with socket.socket(socket.AF_INET, kind) as asking, contextlib.suppress(OSError):
            asking.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port on 127.0.0.1")


@dataclass
class Running:
    http: str
    https: str
    tcp: int
    udp: int
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Running]:
    pem = directory / "certificate.pem"
    certificate.create(pem, [ip_address("127.0.0.1")])
    http, https, tcp = (free_port(socket.SOCK_STREAM) for _ in range(3))
    udp = free_port(socket.SOCK_DGRAM)
    readable, writable = os.pipe()
    argv = [sys.executable, "-m", "netns_lab.server", "--name", "s1", "--listen", "127.0.0.1"]
    argv += ["--service", f"http:{http}", "--service", f"https:{https}"]
    argv += ["--service", f"tcp-echo:{tcp}", "--service", f"udp-echo:{udp}"]
    argv += ["--certificate", str(pem), "--ready-fd", str(writable)]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, pass_fds=[writable])
    os.close(writable)
    try:
        assert readiness.announced(readable, time.monotonic() + 15), (directory / "log").read_text()
        yield Running(f"http://127.0.0.1:{http}", f"https://127.0.0.1:{https}", tcp, udp, process)
    finally:
        os.close(readable)
        process.terminate()
        assert process.wait(10) == 0  # SIGTERM is its ordinary end


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("server")) as it:
        yield it


def fetch(
    url: str, *, method: str = "GET", data: bytes | None = None, accept: str = "*/*"
) -> bytes:
    request = urllib.request.Request(url, data=data, method=method, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as response:
        return bytes(response.read())


def test_it_says_who_it_is_and_what_it_saw(server: Running) -> None:
    connection = client.connect(server.http, 10)
    connection.connect()
    mine = "{}:{}".format(*connection.sock.getsockname())
    answer = client.get_json(connection, server.http)
    connection.close()
    assert answer == {
        "server": "s1",
        "client": mine,
        "reached_at": server.http.removeprefix("http://"),
    }


def test_a_browser_gets_a_page(server: Running) -> None:
    page = fetch(server.http, accept="text/html,*/*").decode()
    assert page.startswith("<!DOCTYPE html>")
    assert "<h1>s1</h1>" in page
    assert server.http.removeprefix("http://") in page


@pytest.mark.parametrize("length", [0, 1, 65521, 65522, 200_000])
def test_bytes_are_the_agreed_ones(server: Running, length: int) -> None:
    assert fetch(f"{server.http}/bytes/{length}") == payload(length)


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_upload_is_answered_with_its_hash(server: Running, method: str) -> None:
    answer = json.loads(fetch(f"{server.http}/upload", method=method, data=payload(100_000)))
    assert (answer["length"], answer["sha256"]) == (100_000, payload_sha256(100_000))


def test_slow_is_slow(server: Running) -> None:
    started = time.monotonic()
    fetch(f"{server.http}/slow?seconds=0.3")
    assert time.monotonic() - started >= 0.3


def test_health_is_what_it_was_told(server: Running) -> None:
    fetch(f"{server.http}/health?status=503", method="PUT", data=b"")
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(f"{server.http}/health")
    refused.value.close()
    assert refused.value.code == 503
    fetch(f"{server.http}/health?status=200", method="PUT", data=b"")
    fetch(f"{server.http}/health")


@pytest.mark.parametrize("path", ["/nothing", "/bytes/-1"])
def test_what_it_does_not_know_it_refuses(server: Running, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(server.http + path)
    refused.value.close()
    assert refused.value.code in {400, 404}


def test_requests_counts_who_answered(server: Running) -> None:
    for scheme in (server.http, server.https):
        result = client.requests(scheme, 11, parallel=3)
        assert result["answers"] == {"s1": 11}
        assert result["clients_seen"] == ["127.0.0.1"]
        assert result["errors"] == []


def test_keep_alive_uses_one_connection(server: Running) -> None:
    connection = client.connect(server.http, 10)
    answers = [client.get_json(connection, server.http)["client"] for _ in range(3)]
    connection.close()
    assert len(set(answers)) == 1
    assert client.requests(server.http, 5, keep_alive=True)["answers"] == {"s1": 5}


def test_three_hundred_connections_are_held_at_once(server: Running) -> None:
    result = client.connections(server.http, 300)
    assert (result["held"], result["answers"], result["moved"]) == (300, {"s1": 300}, 0)


def test_a_silent_tls_client_delays_nobody(server: Running) -> None:
    host, port = server.https.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port))):
        assert client.requests(server.https, 1, timeout=5)["errors"] == []


def test_transfers_are_compared(server: Running) -> None:
    assert client.transfer(server.https, 300_000)["errors"] == []


def test_udp_echo(server: Running) -> None:
    result = client.udp("127.0.0.1", server.udp, [0, 1, 1472, 9000])
    assert result == {"server": "s1", "echoed": [0, 1, 1472, 9000], "errors": []}


def test_tcp_echo_answers_after_the_client_has_finished_sending(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.tcp), timeout=10) as connection:
        connection.sendall(b"half of it ")
        connection.sendall(b"and the rest")
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            assert answer.read() == b"half of it and the rest"


def test_the_client_reports_what_fails() -> None:
    port = free_port(socket.SOCK_STREAM)
    result = client.requests(f"http://127.0.0.1:{port}/", 2)
    assert result["answers"] == {}
    assert len(result["errors"]) == 2
    assert "refused" in result["errors"][0]
    assert client.udp("127.0.0.1", port, [1], timeout=0.5)["errors"]


def test_the_client_program_prints_json_and_its_exit_code_tells(server: Running) -> None:
    argv = [sys.executable, "-m", "netns_lab.client"]
    good = subprocess.run(
        [*argv, "requests", server.http, "-n", "2"], capture_output=True, check=False
    )
    assert (json.loads(good.stdout)["answers"], good.returncode) == ({"s1": 2}, 0)
    nobody = f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    bad = subprocess.run(
        [*argv, "udp", nobody, "--timeout", "0.5"], capture_output=True, check=False
    )
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["echoed"] == []


def test_the_certificate_names_the_address(tmp_path: Path, server: Running) -> None:
    pem = tmp_path / "certificate.pem"
    certificate.create(pem, [ip_address("10.0.1.100"), ip_address("2001:db8::1")])
    assert pem.stat().st_mode & 0o077 == 0
    text = subprocess.run(
        ["openssl", "x509", "-in", pem, "-noout", "-ext", "subjectAltName"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "10.0.1.100" in text
    assert "2001:DB8" in text


def test_the_payload_is_fixed_and_does_not_repeat_early() -> None:
    assert payload(100) == payload(200)[:100]
    assert payload(65521) == payload(131042)[65521:]
    assert payload(65536)[:4096] != payload(65536)[4096:8192]
    assert b"".join(payload_blocks(70_000)) == payload(70_000)
