"""The connection table against a plain dict."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.table import (
    SHARD_MASK,
    SHARD_SHIFT,
    ConnectionTable,
    KeyClashError,
    TableFullError,
)
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.nat.path import NatPath
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.flow_key import source_address
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.servers import RealServer

BOUND = 6
SERVER = RealServer(Endpoint.parse("10.0.2.11:80"))

protocols = st.sampled_from([TCP, UDP])
keys = st.one_of(
    st.integers(0, 7).map(lambda n: bytes(11) + bytes([n])),
    st.integers(0, 3).map(lambda n: bytes(35) + bytes([n])),
)
states = st.sampled_from([State.SYN_RECV, State.ESTABLISHED])


PATH = NatPath(SERVER, bytes(12), bytes(12))


def connection(original: bytes, reply: bytes, state: State) -> Connection:
    return Connection(original, reply, PATH, state, 0.0)


class TableAgainstDict(RuleBasedStateMachine):
    """Random inserts and removals; the model is one dict with both keys of each connection."""

    def __init__(self) -> None:
        super().__init__()
        self.table = ConnectionTable(BOUND, count_half_open_by_source=True)
        self.model: dict[tuple[int, bytes], Connection] = {}
        self.members: list[Connection] = []

    @rule(protocol=protocols, original=keys, reply=keys, state=states)
    def insert(self, protocol: int, original: bytes, reply: bytes, state: State) -> None:
        new = connection(original, reply, State.UDP if protocol == UDP else state)
        if original == reply:
            with pytest.raises(KeyClashError):
                self.table.insert(new)
        elif (protocol, original) in self.model or (protocol, reply) in self.model:
            with pytest.raises(KeyClashError) as clash:
                self.table.insert(new)
            assert clash.value.holder in self.members
        elif len(self.members) >= BOUND:
            with pytest.raises(TableFullError):
                self.table.insert(new)
        else:
            self.table.insert(new)
            self.model[protocol, original] = self.model[protocol, reply] = new
            self.members.append(new)

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.members:
            gone = self.members.pop(data.draw(st.integers(0, len(self.members) - 1)))
            self.table.remove(gone)
            del self.model[gone.protocol, gone.original_key]
            del self.model[gone.protocol, gone.reply_key]

    @rule(data=st.data(), state=st.sampled_from([State.ESTABLISHED, State.TIME_WAIT]))
    def change(self, data: st.DataObject, state: State) -> None:
        members = [each for each in self.members if each.protocol == TCP]
        if members:
            member = data.draw(st.sampled_from(members))
            if member.state < state:
                old, member.state = member.state, state
                self.table.note_state(member, old)

    @invariant()
    def the_same_connections(self) -> None:
        assert len(self.table) == len(self.members)
        assert {id(each) for each in self.table} == {id(each) for each in self.members}
        for (protocol, key), member in self.model.items():
            assert self.table.find(protocol, key) is member

    @invariant()
    def the_half_open_are_counted(self) -> None:
        half_open = [each for each in self.members if each.state is State.SYN_RECV]
        assert self.table.half_open == len(half_open)
        for source in {source_address(each.original_key) for each in self.members}:
            of_it = [each for each in half_open if source_address(each.original_key) == source]
            assert self.table.half_open_of(source) == len(of_it)


TestTable = TableAgainstDict.TestCase
TestTable.settings = settings(max_examples=60, stateful_step_count=40)


def test_the_protocol_is_part_of_the_key() -> None:
    table = ConnectionTable()
    table.insert(connection(bytes(12), bytes(11) + b"\1", State.ESTABLISHED))
    assert table.find(UDP, bytes(12)) is None


@pytest.mark.parametrize("reply_only", [False, True])
def test_both_keys_or_neither_also_when_memory_runs_out(reply_only: bool) -> None:
    class Full(dict[bytes, Connection]):
        def __setitem__(self, key: bytes, value: Connection) -> None:
            raise MemoryError

    for key in (bytes(12), bytes(11) + b"\1"):
        table = ConnectionTable()
        shards = list(table.shards[TCP])
        at = hash(key) >> SHARD_SHIFT & SHARD_MASK
        shards[at] = Full()
        table.shards[TCP] = tuple(shards)
        new = connection(bytes(12), bytes(11) + b"\1", State.SYN_RECV)
        if reply_only and key == bytes(12):
            continue
        with pytest.raises(MemoryError):
            table.insert(new, reply_only=reply_only)
        assert sum(map(len, table.shards[TCP])) == len(table) == table.half_open == 0
