"""A scripted run of the switch, told as a recording: what the tests of the views look at.

`lines()` is the recording; tests/vectors/told.jsonl holds it, as a file that was kept.  To write it
anew after a change of the schema:

    python -m tests.explain.told > tests/vectors/told.jsonl
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from scapy.layers.inet import ICMP, IP, UDP
from scapy.packet import Raw

from lb_switch.engine.changes import SetAdminState, SetHealth
from lb_switch.engine.events import Event, ProbeEvent
from lb_switch.engine.packet.protocol import TCP
from lb_switch.engine.scheduling import catalogue
from lb_switch.engine.servers import AdminState, RealServer, VirtualServer
from lb_switch.engine.switch import Switch
from lb_switch.explain.style import Style
from lb_switch.explain.views import ViewName, make
from lb_switch.stream import encode
from lb_switch.stream.encode import Encoder
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import PacketRecord, Record
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS6,
    VIP,
    VIP6,
    Dialogue,
    endpoint,
    make_switch,
    send,
)
from tests.support.packets import corrupted, dissect, ip, tcp, udp

VECTOR = Path(__file__).parents[1] / "vectors" / "told.jsonl"

HOSTS = {
    "10.0.1.11": "c1",
    "10.0.2.11": "s1",
    "10.0.2.12": "s2",
    "10.0.2.13": "s3",
    "2001:db8:1::11": "c1",
    "2001:db8:2::11": "s1",
    "2001:db8:2::12": "s2",
}
ONE_ARM = ("10.0.2.100", 80)


class Teller:
    """Listens to a switch and keeps the lines."""

    def __init__(self, switch: Switch, now: float = 0.0) -> None:
        self.encoder = Encoder(switch.listeners.number_of)
        self.lines = [self.encoder.header(switch, HOSTS, now)]
        self._switch = switch
        switch.listen(self.take)

    def take(self, event: Event) -> None:
        self.lines.append(self.encoder.encode(event))

    def finish(self, now: float) -> list[bytes]:
        self._switch.stop_listening(self.take)
        self.lines.append(encode.end(now, self.encoder.packets, 0))
        return self.lines


def _switch() -> Switch:
    switch = make_switch()
    web6 = [RealServer(endpoint(rip)) for rip in RIPS6]
    switch.add_virtual_server(
        VirtualServer("web6", endpoint(VIP6), TCP, catalogue.make("lc"), web6)
    )
    one_arm = [RealServer(endpoint(("10.0.2.12", 80)))]
    switch.add_virtual_server(
        VirtualServer(
            "one-arm", endpoint(ONE_ARM), TCP, catalogue.make("rr"), one_arm, forward="full_nat"
        )
    )
    return switch


def lines() -> list[bytes]:
    """Return the recording of the run."""
    return list(_told())


@functools.cache
def _told() -> tuple[bytes, ...]:
    switch = _switch()
    teller = Teller(switch, 100.0)
    web = switch.virtual_servers["web"]
    s2, s3 = web.real_servers[1:]
    teller.take(ProbeEvent(100.1, web, s2, "http", False, "connect refused", 0.0003, "down"))
    switch.change(SetHealth(s2, False, "connect refused"), 100.1)
    switch.change(SetAdminState(s3, AdminState.DRAIN), 100.2)
    talk = Dialogue(switch)
    talk.now = 100.5
    _request(talk)
    _oddities(switch, talk.now)
    six = Dialogue(switch, CLIENT6, VIP6)
    six.now = talk.now = 102.0
    six.client("S")
    six.server("SA")
    _one_arm(switch)
    _out_of_service(switch)
    talk.wait(400)
    return tuple(teller.finish(talk.now))


def _request(talk: Dialogue) -> None:
    """Packets 1 to 9: a connection from SYN to FIN, with a request and its answer."""
    talk.handshake()
    talk.now += 0.001
    talk.client("PA", b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    talk.now += 0.002
    talk.server("PA", b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300)
    talk.client("A")
    talk.server("FA")
    talk.client("FA")
    talk.server("A")


def _oddities(switch: Switch, now: float) -> None:
    """Packets 10 to 21: what is answered, dropped, passed; UDP, fragments, errors, damage."""
    send(switch, tcp(CLIENT, (VIP[0], 81), "S"), now)
    send(switch, tcp((CLIENT[0], 41000), VIP, "A"), now)
    send(switch, bytes(ip(CLIENT[0], VIP[0]) / ICMP()), now)
    send(switch, b"\x45\0\0\x55abc", now)
    send(switch, tcp(CLIENT, ("10.0.2.13", 22), "S"), now)
    asked = send(switch, udp(CLIENT, VIP, b"who is there?"), now)
    error = ip("10.0.2.1", CLIENT[0]) / ICMP(type=3, code=1) / dissect(asked.data)
    send(switch, bytes(error), now)
    fragment = IP(src=CLIENT[0], dst=VIP[0], id=7, proto=17)
    head = bytes(UDP(sport=CLIENT[1], dport=VIP[1], len=48, chksum=0)) + b"a" * 24
    send(switch, _part(fragment, 32, b"b" * 16), now)
    send(switch, _part(fragment, 0, head), now)
    send(switch, corrupted(tcp((CLIENT[0], 42000), VIP, "S", b"harm"), 42), now)
    partial = bytearray(tcp((CLIENT[0], 43000), VIP, "S"))
    partial[36:38] = b"\x16\x89"  # 0a00 + 010b + 0a00 + 0164 + 0006 + 0014, not inverted
    send(switch, bytes(partial), now, partial=True)
    send(switch, tcp((CLIENT[0], 43000), VIP, "R", seq=1), now)


def _part(template: IP, offset: int, data: bytes) -> bytes:
    packet = template.copy()
    packet.frag, packet.flags = offset // 8, "MF" if offset == 0 else 0
    return bytes(packet / Raw(data))


def _one_arm(switch: Switch) -> None:
    """Packets 24 and 25: full NAT, there and back."""
    there = send(switch, tcp(CLIENT, ONE_ARM, "S"), 102.5)
    source = (there.packet.src, there.packet["TCP"].sport)
    send(switch, tcp(("10.0.2.12", 80), source, "SA"), 102.5)


def _out_of_service(switch: Switch) -> None:
    """Packets 26 to 30: the last real server goes, and with it a live connection."""
    web = switch.virtual_servers["web"]
    # Nobody is told who says nothing: the order in which that happens is another in every process.
    web.on_down = "reschedule"
    s1 = web.real_servers[0]
    talk = Dialogue(switch, (CLIENT[0], 44000))
    talk.now = 103.0
    talk.handshake()
    switch.change(SetHealth(s1, False, "timeout after 1.0 s"), 103.1)
    talk.now = 103.15
    talk.client("PA", b"are you there?")
    send(switch, tcp((CLIENT[0], 45000), VIP, "S"), 103.2)


def records(recorded: list[bytes] | None = None) -> list[Record]:
    return list(Recording(recorded or lines(), "told"))


def packet(number: int) -> PacketRecord:
    """Return one packet of the run."""
    for record in records():
        if isinstance(record, PacketRecord) and record.number == number:
            return record
    raise LookupError(number)


def shown(
    name: ViewName,
    recorded: list[bytes] | None = None,
    style: Style | None = None,
    *,
    checksum: bool = False,
) -> list[str]:
    """Return what a view shows of a recording."""
    recording = Recording(recorded or lines(), "told")
    view = make(name, recording.header, style or Style(), checksum=checksum)
    return [*view.begin(), *(line for record in recording for line in view.show(record))]


def of_packet(name: ViewName, number: int, *, checksum: bool = False) -> list[str]:
    """Return what a view shows of one packet."""
    view = make(name, Recording(lines(), "told").header, Style(), checksum=checksum)
    return list(view.show(packet(number)))


if __name__ == "__main__":
    sys.stdout.write(b"".join(lines()).decode())
