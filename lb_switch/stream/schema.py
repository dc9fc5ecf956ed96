"""A recording: JSON lines, the first of which is a `Header`, each other one an event.

    {"format":"lb-switch recording","version":3,"time":10.0,"snap":192,"hosts":{"10.0.1.11":"c1"},…}
    {"event":"connection","stage":"opened",…}
    {"event":"packet","number":1,"verdict":"forward","reason":"new_connection",…}
    {"event":"end","time":12.5,"packets":1,"dropped":0}

Endpoints are text (`10.0.2.11:80`, `[2001:db8::11]:80`), times are seconds on the clock of the
switch that made the recording (the header's `time` is when it began), bytes are hexadecimal.  A
whole recording ends with `end`; one without was cut off.  A field that is added, removed or changes
its meaning makes a new VERSION: a reader takes its own version and no other.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from lb_switch.harmless import harmless

FORMAT = "lb-switch recording"
VERSION = 3

SNAP = 192
"""Bytes kept of each packet: enough for all headers, those quoted in an ICMP error included."""


def _check_hex(text: str) -> str:
    bytes.fromhex(text)
    if not text.isalnum():  # fromhex() skips blanks
        raise ValueError("blanks among hexadecimal digits")
    return text


Text = Annotated[str, AfterValidator(harmless)]
"""Whatever it is, it stays on its line and does nothing to a terminal."""
Hex = Annotated[str, AfterValidator(lambda text: text and _check_hex(text))]
Number = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
Seconds = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]


class Entry(BaseModel):
    """A JSON object of a recording: every key is there, none is unknown."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )


class RealServerEntry(Entry):
    """A real server at one moment."""

    address: Text
    """RIP and port."""
    weight: Number
    state: Literal["ready", "drain", "maint"]
    """What the operator wants of it."""
    healthy: bool
    active: Number
    """Connections before their first FIN or RST."""
    inactive: Number
    connections: Number
    """How many it was given in all."""


class VirtualServerEntry(Entry):
    """A virtual server at one moment, as `show virtual_servers` has it."""

    name: Text
    address: Text
    """VIP and port."""
    protocol: Literal["tcp", "udp"]
    scheduler: Text
    forward: Literal["nat", "full_nat"]
    on_down: Literal["reset", "reschedule", "keep"]
    persistence_timeout: Seconds
    persistence_prefix: Number
    one_packet: bool
    real_servers: tuple[RealServerEntry, ...] = Field(strict=False)


class AnswersEntry(Entry):
    """Answers of its own that the switch sends in a second at the most; 0: as many as asked for."""

    icmp_errors: Seconds
    resets: Seconds
    echo_replies: Seconds


class SettingsEntry(Entry):
    """What holds for the whole switch."""

    max_connections: Number
    max_half_open_per_source: Number
    unknown_tcp: Literal["reset", "drop", "schedule"]
    answers_per_second: AnswersEntry
    timeouts: dict[Text, Seconds]
    """By state."""


class Header(Entry):
    """The first line."""

    format: Literal["lb-switch recording"]
    version: Literal[3]
    time: Seconds
    """When the recording began."""
    snap: Number
    """How many bytes are kept of a packet."""
    hosts: dict[Text, Text]
    """Names of machines, by address."""
    settings: SettingsEntry
    virtual_servers: tuple[VirtualServerEntry, ...] = Field(strict=False)


class ConnectionEntry(Entry):
    """Which connection: its ends as each side sees them."""

    number: Number
    """Counts the connections told of, from 1."""
    protocol: Literal["tcp", "udp"]
    client: Text
    virtual: Text
    """Where the client sends to: the VIP and its port."""
    source: Text
    """Where its packets come from in the eyes of the real server: the client (full NAT: not)."""
    real: Text
    """The real server."""


class PassedOver(Entry):
    """A real server that could not be chosen."""

    address: Text
    because: Text


class ChoiceEntry(Entry):
    """Why a new connection got its real server."""

    real_server: Text | None
    """None: there was no candidate."""
    scheduler: Text
    persistent: bool
    """The client was remembered (persistence): no scheduler was asked."""
    rule: Text | None
    """By which rule the scheduler chose; None: it was not asked, or there was no candidate."""
    facts: dict[Text, Number | Text | dict[Text, Number]]
    """The numbers behind the rule; counts per server are keyed by endpoint."""
    candidates: tuple[Text, ...] = Field(strict=False)
    passed_over: tuple[PassedOver, ...] = Field(strict=False)


class SentPacket(Entry):
    """A packet that the switch sent besides: its own answer, or one that it had held back."""

    length: Number
    data: Hex
    """Its beginning, at most `snap` bytes."""

    @property
    def bytes_sent(self) -> bytes:
        """The packet, as far as it was kept."""
        return bytes.fromhex(self.data)


class PacketRecord(Entry):
    """One packet was handled."""

    event: Literal["packet"]
    time: Seconds
    number: Number
    """Counts the packets from 1, also those whose event was dropped."""
    verdict: Literal["forward", "reply", "pass", "drop"]
    reason: Text
    virtual_server: Text | None
    direction: Literal["original", "reply"] | None
    """From the client to the real server, or back; None: it belongs to no connection."""
    old_state: Text | None
    """The connection's state before the packet; None: it had none, or it does not matter."""
    state: Text | None
    timeout: Seconds | None
    """How many seconds the connection now lives without another packet."""
    connection: ConnectionEntry | None
    choice: ChoiceEntry | None
    """Only where the packet opened a connection, or should have."""
    partial: bool
    """The L4 checksum field holds only the pseudo-header sum (checksum offload)."""
    length: Number
    """Of the whole IP packet."""
    before: Hex
    """The packet as it came, at most `snap` bytes."""
    after: Hex | None
    """As it went on; None: unchanged.  What it lacks at the end is as in `before`."""
    sent: tuple[SentPacket, ...] = Field(strict=False)
    """The first few packets that were sent besides; all of them, where packets are kept whole."""
    sent_count: Number
    """How many there were."""

    @property
    def bytes_before(self) -> bytes:
        """The packet as it came, as far as it was kept."""
        return bytes.fromhex(self.before)

    @property
    def bytes_after(self) -> bytes:
        """The packet as it went on, as far as it was kept."""
        if self.after is None:
            return self.bytes_before
        return bytes.fromhex(self.after + self.before[len(self.after) :])

    @property
    def whole(self) -> bool:
        """Whether nothing of it is missing here."""
        return len(self.before) == 2 * self.length


class TrafficEntry(Entry):
    """What a connection carried in one direction, so far."""

    packets: Number
    bytes: Number


class ConnectionRecord(Entry):
    """A connection came into the table, changed its state, or left the table."""

    event: Literal["connection"]
    time: Seconds
    stage: Literal["opened", "changed", "closed", "present"]
    """present: it was there when its reader began to listen."""
    virtual_server: Text | None
    connection: ConnectionEntry
    old_state: Text | None
    state: Text
    cause: Text | None
    """Why it left: timeout, port_reuse and the like; None unless it did."""
    to_server: TrafficEntry
    to_client: TrafficEntry


class SentRecord(Entry):
    """The switch sent a packet of its own that nobody had asked for."""

    event: Literal["sent"]
    time: Seconds
    virtual_server: Text | None
    connection: ConnectionEntry
    direction: Literal["original", "reply"]
    """To the real server, or to the client."""
    length: Number
    """Of the whole IP packet."""
    data: Hex
    """The packet, at most `snap` bytes."""

    @property
    def bytes_sent(self) -> bytes:
        """The packet, as far as it was kept."""
        return bytes.fromhex(self.data)


class ServerRecord(Entry):
    """A real server changed: its health, its administrative state or its weight."""

    event: Literal["server"]
    time: Seconds
    virtual_server: Text
    real_server: RealServerEntry
    changed: Literal["health", "state", "weight"]
    finding: Text
    """What a health check found, if it was one; else empty."""


class VirtualServerRecord(Entry):
    """A virtual server came, changed or went, or a real server came into its group or left it."""

    event: Literal["virtual_server"]
    time: Seconds
    stage: Literal["added", "changed", "removed", "server_added", "server_removed"]
    virtual_server: VirtualServerEntry
    real_server: Text | None
    """The one that came or left."""
    names: tuple[Text, ...] = Field(strict=False)
    """Those of all virtual servers now, in order."""


class SettingsRecord(Entry):
    """Other settings hold from now on."""

    event: Literal["settings"]
    time: Seconds
    settings: SettingsEntry


class ProbeRecord(Entry):
    """A health probe has ended."""

    event: Literal["probe"]
    time: Seconds
    virtual_server: Text
    real_server: Text
    kind: Text
    """icmp, tcp, http or https."""
    passed: bool | None
    """None: it could not be made."""
    finding: Text
    seconds: Seconds
    """How long it took."""
    became: Literal["up", "down"] | None
    """The health that this result decided."""


class LossesRecord(Entry):
    """The capture has lost something since the last time."""

    event: Literal["losses"]
    time: Seconds
    capture: Text
    """tun or nfqueue."""
    counts: dict[Text, Number]
    """By kind, since the switch began: overruns (packets that the kernel had no room for), refused
    (verdicts), write_errors, circling (packets that would have come back to the switch)."""


class HostRecord(Entry):
    """Somebody, or the kernel, has changed what the switch needs of its host."""

    event: Literal["host"]
    time: Seconds
    what: Literal["restored", "changed", "given_up", "amiss"]
    """restored: put back; changed: the host is another, the rules were made anew; given_up: others
    take it away again and again, it is left to them; amiss: all that is missing now."""
    lines: tuple[Text, ...] = Field(strict=False)
    """As the host's programs print them."""


class DroppedRecord(Entry):
    """Events are missing here: whoever reads them was too slow."""

    event: Literal["dropped"]
    count: Number


class CompleteRecord(Entry):
    """Every connection that was in the table when a reader came has been told of."""

    event: Literal["complete"]
    time: Seconds
    connections: Number


class EndRecord(Entry):
    """The last line."""

    event: Literal["end"]
    time: Seconds
    packets: Number
    """How many were handled while the recording ran."""
    dropped: Number
    """How many events are missing in all."""


Record = (
    PacketRecord
    | ConnectionRecord
    | SentRecord
    | ServerRecord
    | VirtualServerRecord
    | SettingsRecord
    | ProbeRecord
    | LossesRecord
    | HostRecord
    | DroppedRecord
    | CompleteRecord
    | EndRecord
)

_RECORDS: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="event")])


def decode(line: bytes | str) -> Record:
    """Read a line other than the first.  Raises pydantic's ValidationError (a ValueError)."""
    return _RECORDS.validate_json(line)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a recording's lines: the first, or any other."""
    schema = TypeAdapter(Header | Record).json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"a line of a recording of lb-switch, version {VERSION}"
    return schema
