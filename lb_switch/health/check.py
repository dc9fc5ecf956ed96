"""How the real servers of one virtual server are checked, as plain data."""

from __future__ import annotations

from typing import Literal, NamedTuple

from lb_switch.engine.packet.endpoint import Endpoint, IPAddress

CheckKind = Literal["icmp", "tcp", "http", "https"]


class HealthCheck(NamedTuple):
    """What the configuration says; times are in seconds.

    interval: from the start of one probe to the start of the next.  rise, fall: how many
    consecutive passes or failures bring a real server up or down.  port: 0 is the real server's
    own.  path, expect_status, host: of `http` and `https`; host empty: the real server's address.
    verify, ca_file: of `https`; ca_file empty: the machine's own store of certificates.
    """

    kind: CheckKind
    interval: float = 2.0
    timeout: float = 1.0
    rise: int = 2
    fall: int = 3
    port: int = 0
    path: str = "/"
    expect_status: tuple[int, ...] = (200,)
    host: str = ""
    verify: bool = True
    ca_file: str = ""

    def aimed_at(self, real_server: Endpoint) -> Target:
        """Return what is to be probed for a real server."""
        port = self.port or real_server.port
        return Target(
            self.kind,
            real_server.ip,
            port,
            self.interval,
            self.timeout,
            self.path,
            self.expect_status,
            self.host,
            self.verify,
            self.ca_file,
        )


class Target(NamedTuple):
    """Everything that a prober needs to know of one check."""

    kind: CheckKind
    ip: IPAddress
    port: int
    interval: float
    timeout: float
    path: str = "/"
    expect_status: tuple[int, ...] = (200,)
    host: str = ""
    verify: bool = True
    ca_file: str = ""
