"""`subscribe`: a snapshot, then every event, over a real socket; slow and dead readers."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lb_switch.control import subscription
from lb_switch.control.messages import RequestError
from lb_switch.control.server import ControlServer
from lb_switch.control.verbs import Verbs
from lb_switch.engine.changes import SetHealth, SetWeight
from lb_switch.engine.events import Cause
from lb_switch.engine.switch import Switch
from lb_switch.stream.picture import Picture
from lb_switch.stream.schema import (
    CompleteRecord,
    ConnectionRecord,
    DroppedRecord,
    Header,
    PacketRecord,
    Record,
    ServerRecord,
    decode,
)
from tests.support.dialogue import CLIENT, Dialogue, make_switch, send
from tests.support.packets import tcp


class Reader:
    """A subscriber, with what it has read so far."""

    opened: ClassVar[list[socket.socket]] = []

    def __init__(self, server: ControlServer, **fields: object) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.opened.append(self.socket)
        self.socket.connect(str(server.path))
        self.socket.setblocking(False)
        request = {"version": 1, "verb": "subscribe", **fields}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        self._server = server
        self._data = b""
        self.lines: list[bytes] = []

    def read(self) -> None:
        """Let the server work and read what comes, until nothing does."""
        while serve(self._server) or self._receive():
            pass

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return False
        *whole, self._data = (self._data + data).split(b"\n")
        self.lines += whole
        return bool(data)

    @property
    def records(self) -> list[Record]:
        return [decode(line) for line in self.lines[1:]]

    @property
    def picture(self) -> Picture:
        picture = Picture(Header.model_validate_json(self.lines[0]))
        for record in self.records:
            picture.learn(record)
        return picture


def serve(server: ControlServer, now: float = 0.0) -> int:
    steps = 0
    while select.select([server], [], [], 0)[0]:
        steps += 1
        assert steps < 100_000, "the server spins"
        server.handle_ready(now)
        if steps > 50:
            break
    return steps


@pytest.fixture
def switch() -> Switch:
    return make_switch()


@pytest.fixture
def server(tmp_path: Path, switch: Switch) -> Iterator[ControlServer]:
    server = ControlServer(tmp_path / "s", Verbs(switch, 0.0))
    server.claim()
    server.open()
    yield server
    server.close()
    while Reader.opened:
        Reader.opened.pop().close()


def test_first_everything_that_is_then_everything_that_happens(
    switch: Switch, server: ControlServer
) -> None:
    old = Dialogue(switch)
    old.handshake()
    reader = Reader(server, kinds=["connections", "servers"])
    reader.read()
    present, complete = reader.records
    assert isinstance(present, ConnectionRecord)
    assert (present.stage, present.state) == ("present", "ESTABLISHED")
    assert isinstance(complete, CompleteRecord)
    assert complete.connections == 1
    new = Dialogue(switch, (CLIENT[0], 40001))
    new.handshake()
    new.client("R", seq=1001)
    switch.change(SetWeight(switch.virtual_servers["web"].real_servers[1], 7), 1.0)
    reader.read()
    happened = [
        (each.stage, each.connection.number, each.state)
        for each in reader.records[2:]
        if isinstance(each, ConnectionRecord)
    ]
    assert happened == [
        ("opened", 2, "SYN_RECV"),
        ("changed", 2, "ESTABLISHED"),
        ("changed", 2, "CLOSE"),
    ]
    last = reader.records[-1]
    assert isinstance(last, ServerRecord)
    assert (last.changed, last.real_server.weight) == ("weight", 7)
    assert not any(isinstance(each, PacketRecord) for each in reader.records)


def test_two_readers_agree_on_every_number(switch: Switch, server: ControlServer) -> None:
    one, two = Reader(server, kinds=["connections"]), Reader(server)
    one.read()
    two.read()
    for port in range(5):
        Dialogue(switch, (CLIENT[0], 50000 + port)).handshake()
    one.read()
    two.read()
    events = [each for each in two.lines if b'"event":"connection"' in each]
    assert [each for each in one.lines if b'"event":"connection"' in each] == events != []


def test_packets_are_told_only_as_far_as_they_are_wanted(
    switch: Switch, server: ControlServer
) -> None:
    reader = Reader(server, kinds=["packets"], keep=24)
    reader.read()
    send(switch, tcp(CLIENT, ("10.0.1.100", 80), "S"))
    reader.read()
    (packet,) = [each for each in reader.records if isinstance(each, PacketRecord)]
    assert (packet.length, len(packet.bytes_before), len(packet.bytes_after)) == (40, 24, 24)
    reader.socket.close()
    serve(server)
    assert not switch.listeners, "nobody wants anything any more"


def test_who_wants_no_packets_makes_none_be_told(switch: Switch, server: ControlServer) -> None:
    reader = Reader(server, kinds=["connections", "servers", "probes"])
    reader.read()
    assert switch.listeners.packets is None
    assert switch.listeners.connections is not None


def test_a_slow_reader_knows_exactly_what_it_missed(
    switch: Switch, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "BOUND", 5_000)
    slow, fast = Reader(server, kinds=["connections"]), Reader(server, kinds=["connections"])
    for each in (slow, fast):
        each.read()
    for number in range(1200):
        Dialogue(switch, (f"10.9.{number >> 8}.{number & 255}", 1000)).client("S")
        if not number % 5:
            fast.read()
    fast.read()
    slow.read()
    Dialogue(switch, (CLIENT[0], 1)).client("S")
    fast.read()
    slow.read()
    assert not any(isinstance(each, DroppedRecord) for each in fast.records)
    missing = sum(each.count for each in slow.records if isinstance(each, DroppedRecord))
    told = sum(isinstance(each, ConnectionRecord) for each in slow.records)
    assert missing > 100
    assert told + missing == 1201
    assert slow.lines[-1] == fast.lines[-1]
    assert slow.picture.missed == missing


def test_a_dead_reader_costs_its_bound_and_nothing_else(
    switch: Switch, server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "BOUND", 5_000)
    reader = Reader(server, kinds=["connections"])
    reader.read()
    (client,) = server._clients.values()
    stream = client.subscription
    assert stream is not None
    for number in range(1000):
        Dialogue(switch, (f"10.9.{number >> 8}.{number & 255}", 1000)).client("S")
        serve(server)
    assert stream._size <= 5_000
    assert stream.dropped > 500
    reader.socket.close()
    serve(server)
    assert not server._clients
    assert not switch.listeners


def test_the_table_is_told_while_it_changes(switch: Switch, server: ControlServer) -> None:
    """Connections open, change and close between the pieces: in the end the picture is right."""
    talks = [Dialogue(switch, (f"10.8.{n >> 8}.{n & 255}", 1000)) for n in range(700)]
    for talk in talks:
        talk.client("S")
    reader = Reader(server, kinds=["connections", "servers"])
    for number, talk in enumerate(talks):
        server.handle_ready(0.0)
        reader._receive()
        talk.server("SA")
        if number % 3 == 0:
            talk.client("A")
        elif number % 3 == 1:
            switch._books.forget(talk.connection_of_client(), 0.0, Cause.TIMEOUT)
        Dialogue(switch, (f"10.7.{number >> 8}.{number & 255}", 1000)).client("S")
    reader.read()
    picture = reader.picture
    assert picture.complete
    assert {number: each.state for number, each in picture.connections.items()} == {
        each.number: each.state.name for each in switch.connections
    }
    told = [
        (server["active"], server["inactive"], server["connections"])
        for group in picture.rows()
        for server in group["real_servers"]
    ]
    assert told == [
        (server.active, server.inactive, server.connections_total)
        for group in switch.virtual_servers.values()
        for server in group.real_servers
    ]


def test_health_is_told_with_its_finding(switch: Switch, server: ControlServer) -> None:
    reader = Reader(server, kinds=["servers"])
    reader.read()
    first = switch.virtual_servers["web"].real_servers[0]
    switch.change(SetHealth(first, False, "connect refused"), 3.0)
    reader.read()
    last = reader.records[-1]
    assert isinstance(last, ServerRecord)
    assert (last.time, last.changed, last.finding) == (3.0, "health", "connect refused")
    assert reader.picture.virtual_servers["web"].real_servers[0].healthy is False


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"kinds": "packets"}, "subscribe: kinds is no list of connections, servers"),
        ({"kinds": ["colours"]}, "subscribe: kinds is no list of connections, servers"),
        ({"keep": -1}, "subscribe: keep is no whole number from 0 to 65536"),
        ({"keep": True}, "subscribe: keep is no whole number"),
        ({"what": "all"}, "subscribe: unknown field 'what'"),
    ],
)
def test_what_cannot_be_subscribed(switch: Switch, fields: dict[str, Any], error: str) -> None:
    with pytest.raises(RequestError) as caught:
        Verbs(switch, 0.0)({"version": 1, "verb": "subscribe", **fields}, 0.0)
    assert str(caught.value).startswith(error)
    assert not switch.listeners
