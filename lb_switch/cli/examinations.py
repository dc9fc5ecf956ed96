"""What `lb-switch doctor` looks at: each examination is a function that yields findings.

Whatever has to be tried is tried in a throw-away network namespace (`unshare -n`), so that
nothing of the host changes.
"""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import platform
import shlex
import shutil
import ssl
import struct
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lb_switch import interpreter
from lb_switch.cli import privileges, security
from lb_switch.cli.finding import Finding
from lb_switch.daemon.advice import (
    FULL_NAT,
    dropped_by_forward,
    empty_groups,
    instead_of_own,
    unserved_clients,
    where_nat_fails,
)
from lb_switch.host.plan import IPTABLES

if TYPE_CHECKING:
    from lb_switch.config.schema import Config

NODE = Path("/dev/net/tun")
_TUNGETFEATURES = 0x800454CF
_IFF_VNET_HDR = 0x4000

PATIENCE = 20.0
"""Seconds that one trial may take."""


def examine(capture: str, versions: Collection[int] = (4, 6)) -> Iterator[Finding]:
    """Look at what `lb-switch run` needs with this capture, then at what the rest needs.

    `versions`: those of IP that are to be served.
    """
    yield from python()
    yield from packages(capture)
    yield from capabilities(capture)
    yield from tools(capture, versions)
    yield from tun(needed=capture == "tun")
    yield from nfqueue(capture == "nfqueue", versions)


def python() -> Iterator[Finding]:
    """Is this Python new enough?"""
    version = platform.python_version()
    yield Finding("python", sys.version_info >= (3, 11), version, "use Python 3.11 or newer")


def packages(capture: str) -> Iterator[Finding]:
    """Can the Python packages be imported?  (scapy is only looked for: importing it is slow.)"""
    for module, package, needed in (
        ("pydantic", "pydantic", True),
        ("pytun", "python-pytun", capture == "tun"),
        ("netfilterqueue", "netfilterqueue", capture == "nfqueue"),
    ):
        try:
            importlib.import_module(module)
            why = ""
        except Exception as error:
            why = " ".join(str(error).split())
        yield Finding(f"python package {package}", not why, why, f"pip install {package}", needed)
    found = importlib.util.find_spec("scapy") is not None
    yield Finding("python package scapy", found, "", "pip install scapy", needed=False)


def capabilities(capture: str) -> Iterator[Finding]:
    """May this process do what is necessary?"""
    effective = privileges.effective()
    for name in privileges.NUMBERS:
        needed = name in privileges.FOR_CAPTURE[capture]
        purpose = "" if needed else "for nfqueue" if name == "CAP_NET_RAW" else "for the lab"
        yield Finding(name, name in effective, purpose, "run it with sudo", needed)


TOOLS = {
    "ip": "iproute2",
    "iptables": "iptables",
    "ip6tables": "iptables",
    "unshare": "util-linux",
    "sysctl": "procps",
    "ethtool": "ethtool",
    "openssl": "openssl",
    "curl": "curl",
    "tcpdump": "tcpdump",
}
"""The programs that are called, each with the Debian package that holds it."""


def tools(capture: str, versions: Collection[int]) -> Iterator[Finding]:
    """Are the programs installed?"""
    tables = {IPTABLES[version] for version in versions}
    needed = {"ip"} if capture == "tun" else {"ip"} | tables
    for program, package in TOOLS.items():
        path = shutil.which(program)
        fix = f"apt-get install {package}"
        yield Finding(program, path is not None, path or "", fix, program in needed)


def tun(needed: bool) -> Iterator[Finding]:
    """Can a TUN device be made, with the header that lets large segments through whole?"""
    fix = f"modprobe tun; mkdir -p {NODE.parent} && mknod {NODE} c 10 200"
    try:
        with NODE.open("r+b", buffering=0) as node:
            (features,) = struct.unpack("I", fcntl.ioctl(node, _TUNGETFEATURES, bytes(4)))
    except OSError as error:
        fix = _SUDO if isinstance(error, PermissionError) else fix
        yield Finding(str(NODE), ok=False, detail=error.strerror or "", fix=fix, needed=needed)
        return
    yield Finding(str(NODE), ok=True, needed=needed)
    vnet_header = bool(features & _IFF_VNET_HDR)
    yield Finding("tun with vnet_hdr", vnet_header, "", "use a newer kernel", needed)
    complaint = _try_apart("ip tuntap add dev lbdoctor mode tun vnet_hdr")
    yield Finding("a tun device can be made", not complaint, complaint, _SUDO, needed)


_SUDO = "run doctor with sudo; in a container: --cap-add NET_ADMIN --cap-add SYS_ADMIN"

_QUEUE_RULES = {
    "raw": "{program} -t raw -A PREROUTING -j NFQUEUE --queue-num 0",
    "mangle": "{program} -t mangle -A POSTROUTING -j NFQUEUE --queue-num 0 --queue-bypass",
}

_FRAGMENT_RULE = 'iptables -t raw -A PREROUTING -m u32 --u32 "4&0x3fff=0x2000" -j ACCEPT'
"""How IPv4's first fragments are told from later ones."""

_BIND_QUEUE = (
    "import netfilterqueue; q = netfilterqueue.NetfilterQueue(); q.bind(0, print); q.unbind()"
)


def nfqueue(needed: bool, versions: Collection[int]) -> Iterator[Finding]:
    """Do iptables' NFQUEUE target and the queue itself work?"""
    for program in (IPTABLES[version] for version in versions):
        for table, rule in _QUEUE_RULES.items():
            complaint = _try_apart(rule.format(program=program))
            what = f"NFQUEUE in {program}'s {table}"
            yield Finding(what, not complaint, complaint, _queue_fix(complaint), needed)
    complaint = _try_apart(_FRAGMENT_RULE)
    fix = _queue_fix(complaint).replace("xt_NFQUEUE nfnetlink_queue", "xt_u32")
    yield Finding("the u32 match of iptables", not complaint, complaint, fix, needed)
    complaint = _try_apart(f"exec {shlex.join(interpreter.code(_BIND_QUEUE))}")
    yield Finding("a queue can be bound", not complaint, complaint, _queue_fix(complaint), needed)


def _queue_fix(complaint: str) -> str:
    if complaint.startswith("unshare:"):  # the trial itself was not allowed
        return _SUDO
    return "modprobe xt_NFQUEUE nfnetlink_queue (the kernel may lack them), or use capture tun"


def _try_apart(command: str) -> str:
    """Run a shell command in a network namespace of its own; return "" or its complaint."""
    try:
        done = subprocess.run(
            ["unshare", "-n", "sh", "-c", command],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return "unshare is not installed"
    except subprocess.TimeoutExpired:
        return f"no answer within {PATIENCE:g} s"
    if done.returncode == 0:
        return ""
    complaint = done.stderr.strip() or f"exit code {done.returncode}"
    return complaint.splitlines()[-1]


def running(path: Path) -> Iterator[Finding]:
    """Is all that the running switch has changed on the host still there?"""
    from lb_switch.control.client import ControlClient, ControlError

    try:
        with ControlClient(path) as switch:
            amiss = switch.ask("show", what="host")["amiss"]
    except (ControlError, KeyError, TypeError):
        return  # none runs, or one of another version
    fix = "see the switch's log: who takes it away?"
    yield Finding("the switch's part of the host", not amiss, ", ".join(amiss), fix, needed=False)


def certificates(config: Config) -> Iterator[Finding]:
    """Can the certificates that https checks trust be read?"""
    checks = {
        check.ca_file: None
        for each in config.virtual_server
        if (check := each.health_check).kind == "https" and check.verify and check.ca_file
    }
    for path in checks:
        try:
            ssl.create_default_context(cafile=path)
            complaint = ""
        except ssl.SSLError:
            complaint = "no certificate in it"
        except OSError as error:
            complaint = error.strerror or str(error)
        fix = "name a PEM file, or without ca_file trust the machine's own store"
        yield Finding(f"ca_file {path}", not complaint, complaint, fix)


def configuration(config: Config, capture: str) -> Iterator[Finding]:
    """Does a configuration make sense on this host, and what does it mean for its security?"""
    from lb_switch.config.build import build
    from lb_switch.host.error import HostError
    from lb_switch.host.plan import check
    from lb_switch.host.services import Services
    from lb_switch.host.view import read

    virtual_servers = build(config).virtual_servers.values()
    for line in empty_groups(virtual_servers):
        yield Finding("group", ok=False, detail=line, fix="add a real_server", needed=False)
    yield from certificates(config)
    try:
        host = read()
        check(Services().of(virtual_servers), host)
    except HostError as error:
        yield Finding("routes to the real servers", ok=False, detail=str(error))
        return
    yield Finding("routes to the real servers", ok=True)
    failing = where_nat_fails(virtual_servers, host)
    for line in failing:
        detail = line.removesuffix(f": {FULL_NAT}")
        yield Finding("way back", ok=False, detail=detail, fix=FULL_NAT, needed=False)
    if not failing:
        subnets = unserved_clients(virtual_servers, host)
        detail = f"but not for clients in {subnets}, real servers included" if subnets else ""
        yield Finding("way back through the switch", ok=True, detail=detail)
    for line in dropped_by_forward(virtual_servers, host, capture):
        detail, fix = line.rsplit(": ", 1)
        yield Finding("firewall", ok=False, detail=detail, fix=fix, needed=False)
    for virtual_server in virtual_servers:
        vip = virtual_server.endpoint.ip
        if host.is_local(vip):
            fix = instead_of_own(vip, host)
            detail = f"{vip} of {virtual_server.name} is an address of this host"
            meant = capture == "nfqueue" and config.switch.take_own_addresses
            yield Finding("VIP", False, detail, fix, needed=not meant)
    yield from security.facts(config, capture, virtual_servers, host)
