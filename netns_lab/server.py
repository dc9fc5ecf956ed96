"""The real servers' program: HTTP, HTTPS, TCP echo and UDP echo.  Standard library only.

    python -m netns_lab.server --name s1 --listen 10.0.2.11 --service http:80 --service udp-echo:7

Every HTTP answer names the server, the client address it saw and the address it was reached at:
behind destination NAT that is the client's own address and the *real* server's.

    GET  /                  who answered: JSON, or a page for a browser
    GET  /bytes/N           N bytes of netns_lab.payload; with ?rate=R, R of them per second
    POST /upload  (or PUT)  the length and the SHA-256 of the body, as JSON
    GET  /slow?seconds=S    answers after S seconds (at most 60)
    GET  /health            200, or the status set by PUT /health?status=N (200 to 599)
    PUT  /fault?status=500  every GET is answered with this status from now on; 200 ends it
    PUT  /fault?seconds=3   every answer, an echo too, comes so much later; 0 ends it
    PUT  /fault?silent=1    nothing is answered: connections open, and then wait; 0 ends it
    GET  /work              who answered, once a worker had time for it (at first: at once)
    PUT  /capacity?workers=2&seconds=0.05
                            from now on so many workers, each taking so long for one /work

    GET  /fault             the three, as JSON

A fault is the whole program's: it holds on each of its ports, but what is about faults is answered.

Echo (RFC 862): what comes in goes back.  A datagram or a first TCP segment of exactly `who` is
answered with the server's name.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import html
import ipaddress
import json
import os
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from netns_lab.payload import payload_blocks

BACKLOG = 1024
LONGEST_WAIT = 60.0
MOST_WORKERS = 10_000
WHO = b"who"


class _Faults:
    """How the program misbehaves, at all of its ports."""

    def __init__(self) -> None:
        self.status = 200
        self.seconds = 0.0
        self._speaks = threading.Event()
        self._speaks.set()

    @property
    def silent(self) -> bool:
        """Whether nothing is answered."""
        return not self._speaks.is_set()

    @silent.setter
    def silent(self, wanted: bool) -> None:
        (self._speaks.clear if wanted else self._speaks.set)()

    def told(self) -> dict[str, Any]:
        """As GET /fault says it."""
        return {"status": self.status, "seconds": self.seconds, "silent": self.silent}

    def hold_back(self) -> None:
        """Return when an answer may go."""
        if self.seconds:
            time.sleep(self.seconds)
        self._speaks.wait()


class _Workforce:
    """So many workers, each of whom takes so many seconds for one piece of work."""

    def __init__(self, workers: int, seconds: float) -> None:
        self._free = threading.Semaphore(workers)
        self._seconds = seconds

    def work(self) -> None:
        """Wait for a worker, then for the work."""
        with self._free:
            time.sleep(self._seconds)


class _Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One listening TCP socket; one thread per connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = BACKLOG

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[socketserver.BaseRequestHandler],
        name: str,
        faults: _Faults,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.address_family = _family(address[0])
        self.name = name
        self.faults = faults
        self.tls = tls
        self.health_status = 200
        self.workforce: _Workforce | None = None
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; the TLS handshake is left to the connection's own thread."""
        connection, client = super().get_request()
        if self.tls is None:
            return connection, client
        wrapped = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, client

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is its own business; anything else is worth a traceback."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _HTTPHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "netns-lab"
    server: _Listener
    # Header and body as one segment, and none of it held back (RFC 896).
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path, query = self._target()
        if path == "/fault":
            self._json(self.server.faults.told())
            return
        self.server.faults.hold_back()
        if self.server.faults.status != 200:
            self._json(self._who(), self.server.faults.status)
        elif path == "/":
            self._identity()
        elif path == "/work":
            if self.server.workforce is not None:
                self.server.workforce.work()
            self._identity()
        elif path.startswith("/bytes/"):
            self._bytes(path.removeprefix("/bytes/"), _number(query, "rate", 0.0))
        elif path == "/slow":
            time.sleep(min(_number(query, "seconds", 1.0), LONGEST_WAIT))
            self._identity()
        elif path == "/health":
            self._json(self._who(), self.server.health_status)
        else:
            self._json({"error": f"no such path: {path}"}, 404)

    do_HEAD = do_GET  # noqa: N815 - the base class's names

    def do_POST(self) -> None:
        path, query = self._target()
        if path == "/upload":
            self._upload()
        elif path == "/health" and 200 <= _number(query, "status", 0) < 600:
            self._discard_body()
            self.server.health_status = int(_number(query, "status", 200))
            self._json(self._who())
        elif path == "/fault" and self._misbehave(query):
            self._discard_body()
            self._json(self._who())
        elif path == "/capacity" and 1 <= _number(query, "workers", 0) <= MOST_WORKERS:
            self._discard_body()
            seconds = min(max(_number(query, "seconds", 0.0), 0.0), LONGEST_WAIT)
            self.server.workforce = _Workforce(int(_number(query, "workers", 1)), seconds)
            self._json(self._who())
        else:
            self.close_connection = True
            self._json({"error": f"no such path: {path}"}, 404)

    do_PUT = do_POST  # noqa: N815

    def _misbehave(self, query: dict[str, list[str]]) -> bool:
        """Take on the faults that are named; False, and none of them, if one cannot be."""
        faults = self.server.faults
        status = _number(query, "status", faults.status)
        seconds = _number(query, "seconds", faults.seconds)
        silent = _number(query, "silent", faults.silent)
        known = query.keys() and query.keys() <= {"status", "seconds", "silent"}
        if not known or not 200 <= status < 600 or not 0 <= seconds <= LONGEST_WAIT:
            return False
        faults.status, faults.seconds, faults.silent = int(status), seconds, bool(silent)
        return True

    def _target(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return parts.path, parse_qs(parts.query)

    def _who(self) -> dict[str, str]:
        return {
            "server": self.server.name,
            "client": _text(self.connection.getpeername()),
            "reached_at": _text(self.connection.getsockname()),
        }

    def _identity(self) -> None:
        if "text/html" in self.headers.get("Accept", ""):
            self._answer(_page(self._who()).encode(), "text/html; charset=utf-8")
        else:
            self._json(self._who())

    def _json(self, value: dict[str, Any], status: int = 200) -> None:
        self._answer(json.dumps(value).encode() + b"\n", "application/json", status)

    def _answer(self, body: bytes, kind: str, status: int = 200) -> None:
        self._head(len(body), kind, status)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, length: int, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _bytes(self, text: str, rate: float) -> None:
        if not text.isascii() or not text.isdigit():
            self._json({"error": f"not a number of bytes: {text}"}, 400)
            return
        self._head(int(text), "application/octet-stream")
        if self.command != "HEAD":
            for block in payload_blocks(int(text)):
                self.wfile.write(block)
                if rate > 0:
                    time.sleep(min(len(block) / rate, LONGEST_WAIT))

    def _upload(self) -> None:
        if self.headers.get("Content-Length") is None:
            self.close_connection = True
            self._json({"error": "Content-Length is needed"}, 411)
            return
        length, digest = self._discard_body()
        self._json({**self._who(), "length": length, "sha256": digest})

    def _discard_body(self) -> tuple[int, str]:
        """Read the body; return its length and SHA-256."""
        digest = hashlib.sha256()
        expected = left = int(self.headers.get("Content-Length", 0))
        while left and (block := self.rfile.read(min(left, 65536))):
            digest.update(block)
            left -= len(block)
        return expected - left, digest.hexdigest()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """One line per request, without the reverse look-up that a lab has no name server for."""
        print(self.server.name, _text(self.client_address), format % args, flush=True)


class _EchoHandler(socketserver.BaseRequestHandler):
    server: _Listener
    request: socket.socket

    def handle(self) -> None:
        first = True
        while data := self.request.recv(65536):
            self.server.faults.hold_back()
            self.request.sendall(self.server.name.encode() if first and data == WHO else data)
            first = False


def _echo_datagrams(listening: socket.socket, name: str, faults: _Faults) -> None:
    while True:
        data, client = listening.recvfrom(65535)
        faults.hold_back()
        # An answer that cannot be sent (client gone, no route) must not end the service.
        with contextlib.suppress(OSError):
            listening.sendto(name.encode() if data == WHO else data, client)


def _family(address: str) -> socket.AddressFamily:
    is_ipv6 = ipaddress.ip_address(address).version == 6
    return socket.AF_INET6 if is_ipv6 else socket.AF_INET


def _text(address: tuple[Any, ...]) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _number(query: dict[str, list[str]], key: str, default: float) -> float:
    try:
        return float(query[key][0])
    except (KeyError, ValueError):
        return default


def _page(who: dict[str, str]) -> str:
    """A page whose colour belongs to the server: reload, and see the balancer at work."""
    hue = int.from_bytes(hashlib.sha256(who["server"].encode()).digest()[:2], "big") % 360
    name, client, reached_at = (html.escape(who[key]) for key in ("server", "client", "reached_at"))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>
body {{ font: 1.2rem/1.6 system-ui, sans-serif; margin: 0; min-height: 100vh; display: grid;
  place-content: center; background: hsl({hue} 60% 92%); color: hsl({hue} 60% 20%) }}
h1 {{ font-size: 6rem; margin: 0 }}
dt {{ font-weight: bold }} dd {{ margin: 0 0 .6rem; font-family: monospace }}
</style></head><body><h1>{name}</h1><dl>
<dt>Your address, as this server sees it</dt><dd>{client}</dd>
<dt>The address this server was reached at</dt><dd>{reached_at}</dd>
</dl></body></html>
"""


def _serve(
    kind: str, address: tuple[str, int], name: str, faults: _Faults, tls: ssl.SSLContext | None
) -> None:
    """Bind now; serve in a thread of its own.  Raises OSError if the address is taken."""
    if kind == "udp-echo":
        listening = socket.socket(_family(address[0]), socket.SOCK_DGRAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        listening.bind(address)
        threading.Thread(
            target=_echo_datagrams, args=(listening, name, faults), daemon=True
        ).start()
        return
    handler: type[socketserver.BaseRequestHandler]
    handler = _EchoHandler if kind == "tcp-echo" else _HTTPHandler
    listener = _Listener(address, handler, name, faults, tls if kind == "https" else None)
    threading.Thread(target=listener.serve_forever, daemon=True).start()


def _service(text: str) -> tuple[str, int]:
    kind, _, port = text.partition(":")
    if kind not in {"http", "https", "tcp-echo", "udp-echo"} or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND:PORT")
    return kind, int(port)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m netns_lab.server")
    parser.add_argument("--name", required=True)
    parser.add_argument("--listen", action="append", required=True, metavar="ADDRESS")
    parser.add_argument("--service", action="append", required=True, type=_service)
    parser.add_argument("--certificate", type=Path, help="PEM: certificate and key, for https")
    parser.add_argument("--ready-fd", type=int, help="write a line there once all ports are bound")
    options = parser.parse_args(arguments)

    tls = None
    if options.certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.certificate)
    elif any(kind == "https" for kind, _ in options.service):
        parser.error("https needs --certificate")
    # Blocked before the threads start, so that they inherit it and sigwait alone receives it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    faults = _Faults()
    for address in options.listen:
        for kind, port in options.service:
            _serve(kind, (address, port), options.name, faults, tls)
    if options.ready_fd is not None:
        os.write(options.ready_fd, b"ready\n")
        os.close(options.ready_fd)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
