"""What a lab needs of the machine, and the one line that names what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21

TOOLS = {
    "ip": "iproute2",
    "sysctl": "procps",
    "ethtool": "ethtool",
    "openssl": "openssl",
}
"""The programs a lab calls, each with the Debian package that holds it."""


def missing() -> str | None:
    """None, or one line that names the first thing missing, with its fix."""
    effective = _effective_capabilities()
    for number, name in ((CAP_NET_ADMIN, "CAP_NET_ADMIN"), (CAP_SYS_ADMIN, "CAP_SYS_ADMIN")):
        if not effective >> number & 1:
            return f"a lab of network namespaces needs {name}: run it as root (sudo)"
    for program, package in TOOLS.items():
        if shutil.which(program) is None:
            return f"the program {program} is missing: apt-get install {package}"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun is missing: modprobe tun (in a container: --device /dev/net/tun)"
    return None


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
