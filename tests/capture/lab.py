"""Namespaces for the capture tests: client - switch - two real servers, made by `ip netns`.

    client 10.0.1.2 -- cli0 10.0.1.1 [switch] 10.0.2.1 srv0 -- servers 10.0.2.11, 10.0.2.12

Sockets are opened inside a namespace by this very process (a socket stays where it was made), so
clients and servers are plain Python without child processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

CLIENT = "10.0.1.2"
ROUTER = "10.0.1.1"
VIP = "10.0.1.100"
SERVERS = ("10.0.2.11", "10.0.2.12")
TCP_VIP = [f"{VIP}:80", 6, [f"{ip}:8080" for ip in SERVERS]]
UDP_VIP = [f"{VIP}:53", 17, [f"{ip}:5353" for ip in SERVERS]]

CLIENT6 = "fd00:1::2"
VIP6 = "fd00:1::100"
SERVERS6 = ("fd00:2::11", "fd00:2::12")
TCP_VIP6 = [f"[{VIP6}]:80", 6, [f"[{ip}]:8080" for ip in SERVERS6]]

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_NUMBERS = itertools.count()
_REPOSITORY = Path(__file__).parents[2]


class Process:
    """A switch running in the lab: its two output streams, read with a bound on time."""

    def __init__(self, popen: subprocess.Popen[str], errors: Path) -> None:
        self.popen = popen
        self._errors = errors

    @property
    def stderr(self) -> str:
        return self._errors.read_text()

    def line(self, timeout: float = 20.0) -> str:
        """Return the next line of stdout; fails after `timeout` seconds."""
        stream = _not_none(self.popen.stdout)
        ready, _, _ = select.select([stream], [], [], timeout)
        assert ready, f"nothing said in {timeout} s; stderr: {self.stderr}"
        line = stream.readline().strip()
        assert line, f"it ended: {self.stderr}"
        return line

    def stop(self, number: int = signal.SIGTERM) -> dict[str, int]:
        """Signal it and wait.  Returns the counters it printed (none after SIGKILL)."""
        self.popen.send_signal(number)
        out, _ = self.popen.communicate(timeout=20)
        if number == signal.SIGKILL:
            return {}
        assert self.popen.returncode == 0, self.stderr
        counters: dict[str, int] = json.loads(out.splitlines()[-1])
        return counters


class Lab:
    def __init__(self, directory: Path) -> None:
        prefix = f"lbc-{os.getpid()}-{next(_NUMBERS)}"
        self.client, self.switch, self.server = (f"{prefix}-{n}" for n in ("cli", "sw", "srv"))
        self.directory = directory
        self.state = directory / "state"
        self._processes: list[Process] = []

    def up(self) -> None:
        for name in (self.client, self.switch, self.server):
            _run("ip", "netns", "add", name)
            self.run(name, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
            _run("ip", "-n", name, "link", "set", "lo", "up")
        self._link(self.client, "cli0", ("10.0.1.1/24", "fd00:1::1/64"), (CLIENT, CLIENT6))
        self._link(self.server, "srv0", ("10.0.2.1/24", "fd00:2::1/64"), (*SERVERS, *SERVERS6))
        for name, ways in (
            (self.client, ("10.0.1.1", "fd00:1::1")),
            (self.server, ("10.0.2.1", "fd00:2::1")),
        ):
            for way in ways:
                _run("ip", "-n", name, "route", "add", "default", "via", way)

    def _link(self, other: str, name: str, own: Sequence[str], others: Sequence[str]) -> None:
        peer = ("peer", "name", "eth0", "netns", other)
        _run("ip", "link", "add", name, "netns", self.switch, "type", "veth", *peer)
        for address in own:
            _run("ip", "-n", self.switch, "addr", "add", address, "dev", name)
        for ip in others:
            address = f"{ip}/64" if ":" in ip else f"{ip}/24"
            _run("ip", "-n", other, "addr", "add", address, "dev", "eth0")
        _run("ip", "-n", self.switch, "link", "set", name, "up")
        _run("ip", "-n", other, "link", "set", "eth0", "up")

    def down(self) -> None:
        for process in self._processes:
            if process.popen.poll() is None:
                process.popen.kill()
            process.popen.communicate(timeout=20)
        for name in (self.client, self.switch, self.server):
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)

    def run(self, name: str, *argv: str) -> str:
        """Run a program in a namespace to its end; returns what it printed."""
        return _run("ip", "netns", "exec", name, *argv)

    def configure(self, *virtual_servers: list[Any]) -> Path:
        """Write the configuration that `start` and SIGHUP read."""
        path = self.directory / "config.json"
        path.write_text(json.dumps(virtual_servers or (TCP_VIP, UDP_VIP)))
        return path

    def launch(
        self, capture: str, *wrap: str, environment: dict[str, str] | None = None
    ) -> Process:
        """Start a switch without waiting for it; `wrap`: a command to run it under."""
        errors = self.directory / f"stderr-{len(self._processes)}"
        if not (config := self.directory / "config.json").exists():
            self.configure()
        program = (sys.executable, "-m", "tests.capture.run_switch")
        arguments = (capture, str(self.state), str(config))
        with errors.open("w") as stderr:
            popen = subprocess.Popen(
                ("ip", "netns", "exec", self.switch, *wrap, *program, *arguments),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=_REPOSITORY,
                env={**os.environ, **(environment or {})},
            )
        process = Process(popen, errors)
        self._processes.append(process)
        return process

    def start(self, capture: str, **environment: str) -> Process:
        """Start a switch and wait until it captures."""
        process = self.launch(capture, environment=environment)
        assert process.line() == "ready"
        return process

    def refused(self, capture: str, *wrap: str, **environment: str) -> str:
        """Start a switch that must not come up; returns its complaint."""
        process = self.launch(capture, *wrap, environment=environment)
        process.popen.communicate(timeout=20)
        assert process.popen.returncode == 1, process.stderr
        return process.stderr.strip()

    def snapshot(self) -> list[str]:
        """Return everything a capture may change in the switch's namespace, as text lines."""
        script = """
            iptables-save | grep -v '^#'; ip6tables-save | grep -v '^#'
            ip addr; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all
            ip neigh show proxy; ip -6 neigh show proxy
            grep -r . /proc/sys/net | grep -v -e conntrack_count -e random
        """
        return self.run(self.switch, "sh", "-c", script).splitlines()

    def open_socket(
        self, name: str, kind: int = socket.SOCK_STREAM, family: int = 2
    ) -> socket.socket:
        with inside(name):
            made = socket.socket(family, kind)
        made.settimeout(10.0)
        return made

    def raw(self, name: str, protocol: int) -> socket.socket:
        """Return a raw IPv4 socket in a namespace; the kernel adds the header."""
        with inside(name):
            return socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)

    def listen(self, ip: str, port: int = 8080) -> socket.socket:
        """Return a listening TCP socket of a real server."""
        listener = self.open_socket(self.server, family=10 if ":" in ip else 2)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ip, port))
        listener.listen(64)
        return listener

    def connect(self, ip: str = VIP, port: int = 80, timeout: float = 10.0) -> socket.socket:
        """Return a client's TCP connection."""
        connection = self.open_socket(self.client, family=10 if ":" in ip else 2)
        connection.settimeout(timeout)
        try:
            connection.connect((ip, port))
        except BaseException:
            connection.close()
            raise
        return connection

    def udp(self, name: str, *address: Any) -> socket.socket:
        """Return a UDP socket in a namespace, bound if an address is given."""
        made = self.open_socket(name, socket.SOCK_DGRAM)
        if address:
            made.bind(address)
        return made


@contextlib.contextmanager
def built(directory: Path) -> Iterator[Lab]:
    """Make the lab, remove it afterwards whatever happens.  `directory`: for its files."""
    made = Lab(directory)
    try:
        made.up()
        yield made
    finally:
        made.down()


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Put this thread into a network namespace for a while."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{name}") as there:
        _setns(there)
        try:
            yield
        finally:
            _setns(home)


@contextlib.contextmanager
def background(target: Any, *arguments: Any) -> Iterator[None]:
    """Run a function in a thread; it must have ended 60 s after the block."""
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive()


def _setns(file: IO[str]) -> None:
    if _LIBC.setns(file.fileno(), _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def _not_none(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
