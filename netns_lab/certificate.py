"""The lab's self-signed certificate.

Made by the `openssl` program: every Debian has it, and it spares a dependency that compiles.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from netns_lab.errors import LabError
from netns_lab.topology import IPAddress

FILE = "certificate.pem"


def create(path: Path, addresses: Iterable[IPAddress]) -> None:
    """Write a key and a certificate for these addresses to one PEM file, valid for ten days.

    `curl --cacert` accepts it, since the addresses are its subject alternative names (RFC 5280,
    section 4.2.1.6).  Raises LabError with openssl's own words.
    """
    key = path.with_suffix(".key")
    names = ",".join(f"IP:{address}" for address in addresses) or "DNS:lab"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "10", "-subj", "/CN=lb-switch lab"]
    command += ["-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(path)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise LabError(f"openssl: {(made.stderr.strip().splitlines() or ['no certificate'])[-1]}")
    with path.open("a", encoding="ascii") as pem:
        pem.write(key.read_text(encoding="ascii"))
    key.unlink()
    path.chmod(0o600)
