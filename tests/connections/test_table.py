"""The connection table against a plain dict."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lb_switch.connections.connection import Connection
from lb_switch.connections.table import ConnectionTable, KeyClashError, TableFullError
from lb_switch.connections.tcp_state import State
from lb_switch.nat.path import NatPath
from lb_switch.packet.endpoint import Endpoint
from lb_switch.packet.protocol import TCP, UDP
from lb_switch.servers import RealServer
from lb_switch.tally import TO_CLIENT

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
        self.table = ConnectionTable(max_connections=BOUND)
        self.model: dict[tuple[int, bytes], Connection] = {}
        self.members: list[Connection] = []
        self.closed: list[Connection] = []

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
                member.state = state
                self.table.note_state(member)
                if state is State.TIME_WAIT:
                    self.closed.append(member)

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        members = [each for each in self.members if each.protocol == UDP]
        if members:
            data.draw(st.sampled_from(members)).tally += TO_CLIENT[1]

    @invariant()
    def the_same_connections(self) -> None:
        assert len(self.table) == len(self.members)
        assert {id(each) for each in self.table} == {id(each) for each in self.members}
        for (protocol, key), member in self.model.items():
            assert self.table.find(protocol, key) is member

    @invariant()
    def the_right_ones_give_way_in_order_of_arrival(self) -> None:
        tcp = [each for each in self.members if each.protocol == TCP]
        half_open = [each for each in tcp if each.state is State.SYN_RECV]
        closed = [each for each in self.closed if each in tcp]
        unanswered = [each for each in self.members if each.protocol == UDP and not each.answered]
        assert self.table.half_open == len(half_open)
        first = [*half_open, *closed, *unanswered, None][0]
        assert self.table.first_to_give_way(TCP) is first
        first = [*unanswered, *closed, *half_open, None][0]
        assert self.table.first_to_give_way(UDP) is first


TestTable = TableAgainstDict.TestCase
TestTable.settings = settings(max_examples=60, stateful_step_count=40)


def test_the_protocol_is_part_of_the_key() -> None:
    table = ConnectionTable()
    table.insert(connection(bytes(12), bytes(11) + b"\1", State.ESTABLISHED))
    assert table.find(UDP, bytes(12)) is None
