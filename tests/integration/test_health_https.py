"""https checks of a running switch: by its probe process, through the captures' own rules."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns_lab import certificate
from tests.integration.health_bed import running
from tests.support.rig import SERVERS, SERVERS6, VIP, VIP6, built

pytestmark = pytest.mark.netns

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@contextlib.contextmanager
def serving_tls(listener: socket.socket, pem: Path) -> Iterator[None]:
    """Answer each request, one connection after the other, until the block ends."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    ended = threading.Event()
    listener.settimeout(0.1)

    def serve() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(2.0)
                    with context.wrap_socket(connection, server_side=True) as spoken:
                        spoken.recv(4096)
                        spoken.sendall(OK)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10.0)


def virtual_server(name: str, port: int, rip: str, vip: str, check: str) -> str:
    bracketed = [f"[{ip}]" if ":" in ip else ip for ip in (vip, rip)]
    return f"""
[[virtual_server]]
name = "{name}"
address = "{bracketed[0]}:{port}"
health_check = {{ {check}, interval = 0.1, timeout = 5.0, fall = 1 }}
real_server = [{{ address = "{bracketed[1]}:8080" }}]
"""


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_https_is_checked_and_what_is_wrong_is_said(
    tmp_path: Path, capture: str, version: int
) -> None:
    vip, rip = (VIP, SERVERS[0]) if version == 4 else (VIP6, SERVERS6[0])
    pem = tmp_path / "server.pem"
    certificate.create(pem, [ipaddress.ip_address(vip)])
    checks = {
        "trusted": f'kind = "https", host = "{vip}", ca_file = "{pem}"',
        "any": 'kind = "https", verify = false',
        "stranger": f'kind = "https", host = "{vip}"',
        "other": f'kind = "https", ca_file = "{pem}"',
        "clear": 'kind = "http"',
    }
    text = "".join(
        virtual_server(name, 80 + number, rip, vip, check)
        for number, (name, check) in enumerate(checks.items())
    )
    with built(tmp_path) as rig, contextlib.ExitStack() as stack:
        stack.enter_context(serving_tls(stack.enter_context(rig.listen(rip)), pem))
        view = stack.enter_context(running(rig, text, capture))
        seen = view.until(
            lambda seen: (
                {each.state for each in seen.values()} == {"up", "down"}
                and all(each.finding for each in seen.values())
                and sum(each.state == "down" for each in seen.values()) == 3
            )
        )
        findings = {name.split()[0]: (each.state, each.finding) for name, each in seen.items()}
        assert findings == {
            "trusted": ("up", "status 200"),
            "any": ("up", "status 200"),
            "stranger": (
                "down",
                (
                    "certificate refused: self-signed certificate"
                    "; trust it with `ca_file`, or set verify = false"
                ),
            ),
            "other": (
                "down",
                (
                    "certificate refused: IP address mismatch,"
                    f" certificate is not valid for '{rip}'; name the right one with `host`"
                ),
            ),
            "clear": ("down", 'the server speaks TLS; use kind = "https"'),
        }
