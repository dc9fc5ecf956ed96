"""A lab whose clients and real servers are sockets of this very process, around `lb-switch run`.

    client 10.0.1.2 -- cli0 10.0.1.1 [switch] 10.0.2.1 srv0 -- servers 10.0.2.11, 10.0.2.12

A socket stays in the namespace where it was made, so clients and servers are plain Python without
child processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from lb_switch.control.client import ControlClient
from lb_switch.host.setup import DEFAULT_DIRECTORY
from netns_lab import plan
from netns_lab.lab import Lab
from netns_lab.programs import environment, lb_switch
from netns_lab.topology import SWITCH, Host, Segment, Topology

CLIENT = "10.0.1.2"
ROUTER = "10.0.1.1"
VIP = "10.0.1.100"
SERVERS = ("10.0.2.11", "10.0.2.12")

CLIENT6 = "fd00:1::2"
VIP6 = "fd00:1::100"
SERVERS6 = ("fd00:2::11", "fd00:2::12")


class Group(NamedTuple):
    """A virtual server: VIP and port, real servers, and the source addresses of full NAT."""

    address: str
    real_servers: Sequence[str]
    protocol: str = "tcp"
    snat: Sequence[str] = ()

    def text(self) -> str:
        """Return it as it stands in a configuration."""
        lines = [
            "[[virtual_server]]",
            f'name = "{self.protocol}-{self.address}"',
            f'address = "{self.address}"',
            f'protocol = "{self.protocol}"',
        ]
        if self.snat:
            lines += ['forward = "full_nat"', f"snat = {list(self.snat)!r}".replace("'", '"')]
        for address in self.real_servers:
            lines += ["  [[virtual_server.real_server]]", f'  address = "{address}"']
        return "\n".join(lines) + "\n"


TCP_VIP = Group(f"{VIP}:80", [f"{ip}:8080" for ip in SERVERS])
UDP_VIP = Group(f"{VIP}:53", [f"{ip}:5353" for ip in SERVERS], "udp")
TCP_VIP6 = Group(f"[{VIP6}]:80", [f"[{ip}]:8080" for ip in SERVERS6])
UDP_VIP6 = Group(f"[{VIP6}]:53", [f"[{ip}]:5353" for ip in SERVERS6], "udp")

TOPOLOGY = Topology(
    name="rig",
    summary="one client, one machine with all real servers",
    segments=(
        Segment("cli0", (f"{ROUTER}/24", "fd00:1::1/64")),
        Segment("srv0", ("10.0.2.1/24", "fd00:2::1/64")),
    ),
    hosts=(
        Host("client", "cli0", (CLIENT, CLIENT6)),
        Host("server", "srv0", (*SERVERS, *SERVERS6)),
    ),
    virtual_servers=(),
    offload=True,
)

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_PATIENCE = 20.0


class Process:
    """A switch running in the rig: what it says, read with a bound on time."""

    def __init__(self, popen: subprocess.Popen[str], errors: Path, control_socket: Path) -> None:
        self.popen = popen
        self._errors = errors
        self._control_socket = control_socket
        self._said = ""

    @property
    def stderr(self) -> str:
        """What it complained about, without its name in front of each line."""
        return self._errors.read_text().replace("lb-switch: ", "")

    def line(self, timeout: float = _PATIENCE) -> str:
        """Return the next line of stdout; fails after `timeout` seconds."""
        line = self._next_line(timeout)
        assert line is not None, f"nothing said in {timeout} s; stderr: {self.stderr}"
        return line

    def _next_line(self, timeout: float) -> str | None:
        descriptor = _not_none(self.popen.stdout).fileno()
        while "\n" not in self._said:
            if not select.select([descriptor], [], [], timeout)[0]:
                return None
            data = os.read(descriptor, 4096).decode()
            assert data, f"it ended: {self.stderr}"
            self._said += data
        line, _, self._said = self._said.partition("\n")
        return line.removeprefix("lb-switch: ")

    def await_serving(self) -> None:
        """Wait until it handles packets."""
        while "serving" not in self.line():
            pass

    def counters(self) -> dict[str, int]:
        """Return how many packets it has handled, by reason, without those of zero."""
        with ControlClient(self._control_socket) as client:
            packets = client.ask("show", what="stats")["packets"]
        return {reason: count for reason, count in packets.items() if count}

    def reload(self) -> list[str]:
        """Let it read its file again; return what it has to say of that.  Raises AssertionError."""
        complained = len(self.stderr)
        self.popen.send_signal(signal.SIGHUP)
        until = time.monotonic() + _PATIENCE
        said: list[str] = []
        while time.monotonic() < until:
            # Its lines come together: a pause after one is their end.
            if (line := self._next_line(0.3)) is not None:
                said.append(line.removeprefix("reload: "))
            elif said:
                return said
            elif complaint := self.stderr[complained:]:
                raise ReloadRefusedError(complaint.replace("reload: ", "").strip())
        raise AssertionError("nothing said of the reload")

    def stop(self, number: int = signal.SIGTERM) -> dict[str, int]:
        """Signal it and wait.  Returns its counters until then (none after SIGKILL)."""
        counters = {} if number == signal.SIGKILL else self.counters()
        self.popen.send_signal(number)
        self.popen.communicate(timeout=_PATIENCE)
        assert self.popen.returncode == (-number if number == signal.SIGKILL else 0), self.stderr
        return counters


class ReloadRefusedError(Exception):
    """The switch has not taken its new file; the text is why."""


class Rig:
    """The lab, and what the tests do in it.  `directory`: for its files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lab = Lab(TOPOLOGY, switch=False)
        self.client, self.switch, self.server = (
            plan.namespace(self.lab.prefix, name) for name in ("client", SWITCH, "server")
        )
        self.config = directory / "lb.toml"
        self.control_socket = directory / "control.sock"
        self._errors = 0

    def up(self) -> None:
        """Build it.  The switch's host is no router yet: the switch makes it one."""
        self.lab.up()
        for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            self.run(self.switch, "sh", "-c", f"echo 0 >/proc/sys/net/{name}")

    def down(self) -> None:
        """Remove it.  A killed switch's journal is for the next one in its namespace: none."""
        journal = self.journal if Path(f"/run/netns/{self.switch}").exists() else None
        self.lab.down()
        if journal is not None:
            journal.unlink(missing_ok=True)

    @property
    def journal(self) -> Path:
        """The file in which the switch notes what it changes of its host."""
        inode = Path(f"/run/netns/{self.switch}").stat().st_ino
        return DEFAULT_DIRECTORY / f"{inode}.state"

    def run(self, name: str, *argv: str) -> str:
        """Run a program in a namespace to its end; returns what it printed."""
        return _run("ip", "netns", "exec", name, *argv)

    def configure(self, *groups: Group, settings: str = "") -> Path:
        """Write the configuration that `start` and a reload read.  `settings`: lines of [switch].

        Without groups: TCP and UDP by IPv4.
        """
        text = "".join(group.text() for group in groups or (TCP_VIP, UDP_VIP))
        return self.write_config(f"{settings}\n{text}")

    def write_config(self, text: str) -> Path:
        """Write the configuration; `text` begins with further lines of [switch], if any."""
        self.config.write_text(f'[switch]\ncontrol_socket = "{self.control_socket}"\n{text}')
        return self.config

    def launch(
        self,
        capture: str,
        *wrap: str,
        program: Sequence[str] = (),
        errors: str = "",
        **variables: str,
    ) -> Process:
        """Start a switch without waiting for it.

        `wrap`: a command to run it under.  `program`: what to run instead of `lb-switch`.
        `errors`: the name of the file that stderr goes to.  `variables`: of its environment.
        """
        if not self.config.exists():
            self.configure()
        self._errors += 1
        path = self.directory / (errors or f"stderr-{self._errors}")
        argv = (*(program or lb_switch()), "run", str(self.config), "--capture", capture)
        surroundings: Mapping[str, str] = {**environment(self.lab.directory), **variables}
        with path.open("w") as stderr:
            popen = self.lab.popen(
                SWITCH,
                [*wrap, *argv],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=surroundings,
            )
        return Process(popen, path, self.control_socket)

    def start(self, capture: str, **variables: str) -> Process:
        """Start a switch and wait until it captures."""
        process = self.launch(capture, **variables)
        process.await_serving()
        return process

    def refused(self, capture: str, *wrap: str, code: int = 1) -> str:
        """Start a switch that must end with this exit code instead; returns its complaint."""
        process = self.launch(capture, *wrap)
        process.popen.communicate(timeout=_PATIENCE)
        assert process.popen.returncode == code, process.stderr
        return process.stderr.strip()

    def snapshot(self) -> list[str]:
        """Return everything a capture may change in the switch's namespace, as text lines.

        (But for the operational state of the two bridges: it follows their ports some time later.)
        """
        script = """
            iptables-save | grep -v '^#'; ip6tables-save | grep -v '^#'
            ip addr | sed -E "/: (cli0|srv0): /s/ state [A-Z]*//"; ip rule; ip -6 rule
            ip route show table all; ip -6 route show table all
            ip neigh show proxy; ip -6 neigh show proxy
            grep -r . /proc/sys/net | grep -v -e conntrack_count -e random
        """
        return self.run(self.switch, "sh", "-c", script).splitlines()

    def open_socket(
        self, name: str, kind: int = socket.SOCK_STREAM, family: int = 2
    ) -> socket.socket:
        """Return a socket in a namespace."""
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
def built(directory: Path) -> Iterator[Rig]:
    """Make the rig, remove it afterwards whatever happens.  `directory`: for its files."""
    made = Rig(directory)
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
