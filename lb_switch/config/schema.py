"""The whole configuration as frozen pydantic models: keys, types, ranges and defaults.

The docstring below a key is its description in the JSON Schema, which editors show.  All times are
seconds.  What several keys say together is checked in `contradictions`.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic.functional_validators import AfterValidator

from lb_switch.capture.interface import DEFAULT_QUEUE
from lb_switch.engine.packet.endpoint import Endpoint, IPAddress
from lb_switch.harmless import shortened

SchedulerName = Literal["rr", "wrr", "lc", "wlc", "sh", "mh"]
KeyPart = Literal["src_ip", "src_port", "dst_ip", "dst_port"]

DEFAULT_CONTROL_SOCKET = "/run/lb-switch/control.sock"

MAX_SNATS = 64
"""Source addresses of one virtual server, at the most."""

LONGEST_SOCKET_PATH = 107
"""Bytes of `sun_path` without its final NUL (unix(7))."""


def parse_endpoint(value: object) -> Endpoint:
    """Read `ADDRESS:PORT`.  Raises ValueError with one clear line."""
    if isinstance(value, Endpoint):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string ADDRESS:PORT")
    endpoint = Endpoint.parse(value)
    _refuse_unusable(endpoint.ip, value)
    return endpoint


def parse_snat(value: object) -> IPAddress | None:
    """Read an IP address without port; the empty string is None.  Raises ValueError."""
    if isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return value
    if value == "" or value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string")
    try:
        ip = ipaddress.ip_address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address (without a port)") from None
    _refuse_unusable(ip, value)
    return ip


def parse_snats(value: object) -> tuple[IPAddress, ...]:
    """Read a source address, or a list; an empty string or list is none.  Raises ValueError."""
    if not isinstance(value, list | tuple):
        ip = parse_snat(value)
        return () if ip is None else (ip,)
    if len(value) > MAX_SNATS:
        raise ValueError(f"{len(value)} addresses are more than {MAX_SNATS}")
    addresses = tuple(ip for text in value if (ip := parse_snat(text)) is not None)
    if len(addresses) < len(value):
        raise ValueError("an address in the list is empty")
    if len(set(addresses)) < len(addresses):
        raise ValueError("an address stands there twice")
    return addresses


def parse_host(value: object) -> tuple[IPAddress, ...]:
    """Read the addresses of one machine: a string, or a list of them.  Raises ValueError."""
    texts = value if isinstance(value, list | tuple) else [value]
    addresses = tuple(ip for text in texts if (ip := parse_snat(text)) is not None)
    if len(addresses) < max(1, len(texts)):
        raise ValueError("a host needs at least one IP address, and no empty one")
    return addresses


def _refuse_unusable(ip: IPAddress, text: str) -> None:
    if ip.is_unspecified or ip.is_multicast or ip == ipaddress.IPv4Address("255.255.255.255"):
        raise ValueError(f"{text!r}: {ip} is not the address of one machine")
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        raise ValueError(f"{text!r}: an address with a zone (%{ip.scope_id}) cannot be balanced")


def _check_name(name: str) -> str:
    if not name or len(name) > 64 or not name.isprintable() or " " in name:
        raise ValueError(f"{name!r} is not a name: 1 to 64 printable characters without spaces")
    return name


def _check_host_names(hosts: dict[str, tuple[IPAddress, ...]]) -> dict[str, tuple[IPAddress, ...]]:
    for name in hosts:
        _check_name(name)
    return hosts


def _check_socket_path(path: str) -> str:
    if not PurePosixPath(path).is_absolute():
        raise ValueError(f"{path!r} is not an absolute path")
    if "\0" in path or len(path.encode()) > LONGEST_SOCKET_PATH:
        raise ValueError(f"{path!r} is longer than a Unix socket's path may be (107 bytes)")
    return path


_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def _check_http_host(host: str) -> str:
    if not host or (len(host) <= 253 and _HOST_NAME.fullmatch(host)):
        return host
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        text = f"{shortened(host)!r} is not a host name or an IP address (without a port)"
        raise ValueError(text) from None


def _check_ca_file(path: str) -> str:
    if path and ("\0" in path or not PurePosixPath(path).is_absolute()):
        raise ValueError(f"{path!r} is not an absolute path")
    return path


def _check_http_path(path: str) -> str:
    if not path.startswith("/") or not path.isascii() or any(c <= " " or c == "\x7f" for c in path):
        raise ValueError(f"{path!r} is not a path as HTTP sends it: '/', then no space, ASCII only")
    return path


_ENDPOINT_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": r"^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$",
    "examples": ["10.0.1.100:80", "[2001:db8::100]:80"],
}

EndpointText = Annotated[Endpoint, PlainValidator(parse_endpoint), WithJsonSchema(_ENDPOINT_SCHEMA)]
SnatText = Annotated[
    tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...],
    PlainValidator(parse_snats),
    WithJsonSchema(
        {
            "type": ["string", "array"],
            "items": {"type": "string"},
            "maxItems": MAX_SNATS,
            "examples": ["", "10.0.2.100", ["10.0.2.100", "10.0.2.101"]],
        }
    ),
]
HostText = Annotated[
    tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...],
    PlainValidator(parse_host),
    WithJsonSchema(
        {
            "type": ["string", "array"],
            "items": {"type": "string"},
            "examples": ["10.0.1.11", ["10.0.1.11", "2001:db8:1::11"]],
        }
    ),
]
Name = Annotated[str, AfterValidator(_check_name)]
LONGEST_SECONDS = 1e9
"""Thirty years: no timer needs more, and sums of it with any clock are exact to the microsecond."""

Seconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)]
Interval = Annotated[float, Field(ge=0.01, le=LONGEST_SECONDS, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Status = Annotated[int, Field(ge=100, le=599)]


class Table(BaseModel):
    """One TOML table: unknown keys are errors, nothing is converted, nothing changes later."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class Timeouts(Table):
    """How long a connection is remembered after its last packet, by state (IPVS's defaults)."""

    syn_recv: Seconds = 60.0
    """A SYN was seen, the handshake is not complete."""
    established: Seconds = 900.0
    """The handshake is complete, nobody closes."""
    fin_wait: Seconds = 120.0
    """The real server sent its FIN first."""
    close_wait: Seconds = 60.0
    """The client sent its FIN first."""
    last_ack: Seconds = 30.0
    """Both sent their FIN; the last ACK is missing."""
    time_wait: Seconds = 120.0
    """Closed, remembered for late packets."""
    close: Seconds = 10.0
    """Reset."""
    udp: Seconds = 300.0
    """A UDP connection."""


Rate = Annotated[int, Field(ge=0, le=1_000_000_000)]


class AnswersPerSecondTable(Table):
    """How many answers of its own the switch sends in a second; 50 may leave at once.  0: no limit.

    What is over the limit is dropped with the reason `answer_limit`.
    """

    icmp_errors: Rate = 1000
    """Port unreachables, for UDP that is refused (RFC 4443 asks for a limit; Linux's default)."""
    resets: Rate = 0
    """RSTs, for TCP that is refused.  Who gets none tries again, or waits."""
    echo_replies: Rate = 0
    """To pings of a VIP."""


class SwitchTable(Table):
    """The switch itself."""

    capture: Literal["tun", "nfqueue"] = "tun"
    """How packets reach the switch: a TUN device with routes, or iptables' NFQUEUE target."""
    queue: Annotated[int, Field(ge=0, le=65535)] = DEFAULT_QUEUE
    """nfqueue: the queue's number."""
    take_own_addresses: bool = False
    """nfqueue: a VIP may be an address of this machine.  All that comes for it goes to the switch,
    and what no virtual server serves is refused: a session to that address, by ssh perhaps, is
    reset when the switch starts."""
    control_socket: Annotated[str, AfterValidator(_check_socket_path)] = DEFAULT_CONTROL_SOCKET
    """The Unix socket on which `lb-switch show` and its like find the running switch."""
    max_connections: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1_000_000
    """The connection table's bound.  Half-open, closed, and UDP connections make room when it is
    reached, each kind for itself; TCP in which both sides went on after the handshake never does.
    """
    hash_key: Annotated[str, Field(max_length=1000)] = ""
    """The key of sh and mh.  Same key, same choice, on any host.  Empty: a constant that everybody
    can read, so that a stranger can find addresses and ports that all meet one real server; set a
    secret one where strangers come (`lb-switch check` proposes one)."""
    unknown_tcp: Literal["reset", "drop", "schedule"] = "reset"
    """What a TCP packet meets that is neither a SYN nor of a known connection."""
    answers_per_second: AnswersPerSecondTable = AnswersPerSecondTable()
    """Bounds of what the switch itself says, by kind."""
    max_half_open_per_source: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Half-open connections one source address may have; more SYNs are dropped.  0: no limit."""
    timeouts: Timeouts = Timeouts()
    """Seconds until an idle connection is forgotten, by state."""


class HealthCheckTable(Table):
    """How the real servers of one virtual server are probed."""

    kind: Literal["icmp", "tcp", "http", "https", "none"] = "none"
    """icmp: an echo; tcp: the service port accepts; http: GET, then the status; https: the same
    over TLS, in HTTP/1.1 (a server that speaks HTTP/2 alone is told apart); none: no probe."""
    path: Annotated[str, AfterValidator(_check_http_path)] = "/"
    """http, https: what to GET."""
    host: Annotated[str, AfterValidator(_check_http_host)] = ""
    """http, https: the name that is asked for, in the Host header as it stands here, and with https
    in TLS (SNI) and in the certificate.  Empty: the real server's address, and no SNI."""
    verify: bool = True
    """https: the certificate must be trusted, in time, and for `host`.  false: any will do, as for
    self-signed ones; then the probe tells that the service works, not who it is."""
    ca_file: Annotated[str, AfterValidator(_check_ca_file)] = ""
    """https: a PEM file with the certificates to trust, a CA's or the server's own.  Empty: the
    machine's own store."""
    expect_status: Annotated[tuple[Status, ...], Field(strict=False, min_length=1)] = (200,)
    """http, https: the status codes of a healthy real server."""
    interval: Interval = 2.0
    """From the start of one probe to the start of the next."""
    timeout: Seconds = 1.0
    """A probe that takes longer has failed."""
    rise: Count = 2
    """Consecutive successes until a real server is up."""
    fall: Count = 3
    """Consecutive failures until it is down."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """The probed port; 0: the real server's own."""


class RealServerTable(Table):
    """One machine's service."""

    address: EndpointText
    """RIP and port, `10.0.2.11:80`.  The port may differ from the VIP's."""
    weight: Annotated[int, Field(ge=0, le=65535)] = 1
    """Its share of new connections (wrr, wlc, mh); 0: no new connections (drain)."""


class VirtualServerTable(Table):
    """What clients see, and the group of real servers behind it."""

    name: Name
    """Unique; appears in `show`, in `replay` and in messages."""
    address: EndpointText
    """VIP and port, `10.0.1.100:80` or `[2001:db8::100]:80`."""
    protocol: Literal["tcp", "udp"] = "tcp"
    """The protocol that is balanced."""
    scheduler: SchedulerName = "rr"
    """Picks the real server of a new connection."""
    hash_on: Annotated[tuple[KeyPart, ...], Field(strict=False, min_length=1)] = ("src_ip",)
    """sh, mh: the parts of the flow key that are hashed."""
    persistence_timeout: Annotated[float, Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)] = (
        0.0
    )
    """A client comes back to the same real server while it has connections, and within this many
    seconds of its latest one that was proved (TCP: by its handshake); 0: off."""
    persistence_prefix: Annotated[int, Field(ge=0, le=128)] = 0
    """Clients whose addresses agree in this many bits count as one; 0: each is its own."""
    one_packet: bool = False
    """udp: each datagram is scheduled on its own (IPVS's ops), as suits DNS."""
    on_down: Literal["reset", "reschedule", "keep"] = "reset"
    """What happens to live connections of a real server that went down or is in maint.  keep: they
    go on.  reset: client and real server get a RST at once, whoever waits for an answer too.
    reschedule: the client's next packet is answered by a RST, but a SYN that is sent again goes to
    another real server.  Datagrams go to another one, unless keep."""
    forward: Literal["nat", "full_nat"] = "nat"
    """nat rewrites the destination; full_nat (one-arm) the source as well."""
    snat: SnatText = ()
    """full_nat: the source address towards real servers, or a list of them; empty: the VIP.  Each
    gives one real server room for 64,512 connections of each protocol."""
    health_check: HealthCheckTable = HealthCheckTable()
    """Without this table nothing is probed."""
    real_server: Annotated[tuple[RealServerTable, ...], Field(strict=False)] = ()
    """The group; it may be empty."""


class Config(Table):
    """A configuration file."""

    switch: SwitchTable = SwitchTable()
    """The switch itself."""
    virtual_server: Annotated[tuple[VirtualServerTable, ...], Field(strict=False)] = ()
    """What clients see, one table each."""
    hosts: Annotated[dict[str, HostText], AfterValidator(_check_host_names)] = Field(
        default_factory=dict
    )
    """Names of machines, for explanations: `c1 = "10.0.1.11"`, or a list of addresses."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a configuration file, for editors."""
    schema = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "lb-switch configuration"
    return schema
