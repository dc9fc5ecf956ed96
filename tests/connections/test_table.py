"""The connection table against a plain dict."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lb_switch.connections.connection import Connection
from lb_switch.connections.table import ConnectionTable, KeyClashError, TableFullError
from lb_switch.connections.tcp_state import State
from lb_switch.nat.translation import Translation
from lb_switch.packet.endpoint import Endpoint
from lb_switch.packet.protocol import TCP, UDP
from lb_switch.servers import RealServer

BOUND = 6
SERVER = RealServer(Endpoint.parse("10.0.2.11:80"))

protocols = st.sampled_from([TCP, UDP])
keys = st.one_of(
    st.integers(0, 7).map(lambda n: bytes(11) + bytes([n])),
    st.integers(0, 3).map(lambda n: bytes(35) + bytes([n])),
)
states = st.sampled_from([State.SYN_RECV, State.ESTABLISHED])


def connection(protocol: int, original: bytes, reply: bytes, state: State) -> Connection:
    same = Translation(original, original)
    return Connection(protocol, original, reply, SERVER, same, same, state, 0.0)


class TableAgainstDict(RuleBasedStateMachine):
    """Random inserts and removals; the model is one dict with both keys of each connection."""

    def __init__(self) -> None:
        super().__init__()
        self.table = ConnectionTable(max_connections=BOUND)
        self.model: dict[tuple[int, bytes], Connection] = {}
        self.members: list[Connection] = []

    @rule(protocol=protocols, original=keys, reply=keys, state=states)
    def insert(self, protocol: int, original: bytes, reply: bytes, state: State) -> None:
        if original == reply:
            return
        new = connection(protocol, original, reply, state)
        if len(self.members) >= BOUND:
            with pytest.raises(TableFullError):
                self.table.insert(new)
        elif (protocol, original) in self.model or (protocol, reply) in self.model:
            with pytest.raises(KeyClashError) as clash:
                self.table.insert(new)
            assert clash.value.holder in self.members
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

    @rule(data=st.data())
    def establish(self, data: st.DataObject) -> None:
        if self.members:
            member = data.draw(st.sampled_from(self.members))
            member.state = State.ESTABLISHED
            self.table.no_longer_half_open(member)

    @invariant()
    def the_same_connections(self) -> None:
        assert len(self.table) == len(self.members)
        assert {id(each) for each in self.table} == {id(each) for each in self.members}
        for (protocol, key), member in self.model.items():
            assert self.table.find(protocol, key) is member

    @invariant()
    def half_open_in_order_of_arrival(self) -> None:
        half_open = [each for each in self.members if each.state is State.SYN_RECV]
        assert self.table.half_open == len(half_open)
        assert self.table.oldest_half_open() is (half_open[0] if half_open else None)


TestTable = TableAgainstDict.TestCase
TestTable.settings = settings(max_examples=60, stateful_step_count=40)


def test_the_protocol_is_part_of_the_key() -> None:
    table = ConnectionTable()
    table.insert(connection(TCP, bytes(12), bytes(11) + b"\1", State.ESTABLISHED))
    assert table.find(UDP, bytes(12)) is None
