"""What is remembered of clients, against a model that remembers everything."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.nat.path import NatPath
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.scheduling import persistence as module
from lb_switch.engine.scheduling.persistence import Persistence, Template
from lb_switch.engine.servers import RealServer
from lb_switch.engine.tally import TO_CLIENT, TO_SERVER

SERVERS = tuple(RealServer(Endpoint.parse(f"10.0.2.{n}:80")) for n in (11, 12, 13))
MOST = 16
TIMEOUT = 60.0


def key(client: int) -> bytes:
    return bytes([10, 0, client >> 8, client & 255]) + bytes(8)


def connection(client: int, server: RealServer, now: float) -> Connection:
    path = NatPath(server, key(client), bytes(12))
    return Connection(key(client), bytes(12), path, State.UDP, now)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", MOST)


def opened(memory: Persistence, client: int, server: RealServer, now: float) -> Template:
    template = memory.begin(key(client), server, now)
    template.joined_by(connection(client, server, now), may_prove_it=False)
    return template


def test_an_eighth_is_kept_for_those_who_have_proved_nothing() -> None:
    """So that a newcomer's connections go together, when all the others are there to stay."""
    memory = Persistence(TIMEOUT)
    for client in range(40):
        memory.prove(opened(memory, client, SERVERS[0], 0.0), 0.0)
    assert sum(each.proved for each in memory) == MOST - MOST // 8
    assert len(memory) == MOST
    opened(memory, 99, SERVERS[1], 0.0)
    assert memory.recall(key(99), SERVERS, 1.0) is SERVERS[1]
    assert memory.recall(key(3), SERVERS, 1.0) is SERVERS[0], "who came first is there to stay"


def test_the_work_for_a_newcomer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though all that is remembered is over at once, or lives on."""
    monkeypatch.setattr(module, "MAX_CLIENTS", 5000)
    for lives in (True, False):
        memory = Persistence(TIMEOUT)
        for client in range(4000):
            template = memory.begin(key(client), SERVERS[0], 0.0)
            template.connections += lives
            memory.prove(template, 0.0)
        before = len(memory)
        opened(memory, 4001, SERVERS[0], 1e6)
        assert 0 <= before - len(memory) + 1 <= 10
        assert memory.recall(key(17), SERVERS, 1e6) is (SERVERS[0] if lives else None)


def test_no_dict_grows_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that outgrows itself is copied while a packet waits."""
    monkeypatch.setattr(module, "MAX_CLIENTS", 20_000)
    memory = Persistence(TIMEOUT)
    for client in range(25_000):
        memory.begin(key(client), SERVERS[0], 0.0)
    assert len(memory) == 20_000
    assert max(map(len, memory._tentative._shards)) < 1000


def test_a_conversation_is_its_own_witness() -> None:
    memory = Persistence(TIMEOUT)
    template = memory.begin(key(1), SERVERS[0], 0.0)
    talk = connection(1, SERVERS[0], 0.0)
    template.joined_by(talk, may_prove_it=True)
    talk.tally = 2 * TO_SERVER[0] + TO_CLIENT[0]
    for client in range(100, 100 + MOST - 1):
        memory.begin(key(client), SERVERS[1], 0.0)
    talk.tally += TO_CLIENT[0]
    for client in range(200, 300):
        memory.begin(key(client), SERVERS[1], 0.0)
    assert template.proved
    assert memory.recall(key(1), SERVERS, TIMEOUT + 1) is SERVERS[0]
    template.left_by(talk)
    assert memory.recall(key(1), SERVERS, TIMEOUT + 1) is None


class AgainstAModel(RuleBasedStateMachine):
    """Clients open connections, prove them and end them; the bound is small."""

    def __init__(self) -> None:
        super().__init__()
        module.MAX_CLIENTS = MOST
        self.memory = Persistence(TIMEOUT)
        self.now = 0.0
        self.live: list[tuple[int, Template, Connection, RealServer]] = []

    def teardown(self) -> None:
        module.MAX_CLIENTS = 100_000

    def given(self, client: int, server: RealServer) -> RealServer:
        return self.memory.recall(key(client), SERVERS, self.now) or server

    @rule(client=st.integers(0, 40), server=st.sampled_from(SERVERS), udp=st.booleans())
    def begin(self, client: int, server: RealServer, udp: bool) -> None:
        server = self.given(client, server)
        template = self.memory.begin(key(client), server, self.now)
        assert template.real_server is server
        who = connection(client, server, self.now)
        template.joined_by(who, may_prove_it=udp)
        self.live.append((client, template, who, server))
        assert self.memory.recall(key(client), SERVERS, self.now) is server

    @rule(first=st.integers(1000, 2000), count=st.integers(1, 30))
    def flood(self, first: int, count: int) -> None:
        """Of clients that are not there; their connections have given way already."""
        for client in range(first, first + count):
            self.memory.begin(key(client), SERVERS[0], self.now)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def prove(self, data: st.DataObject) -> None:
        client, template, _, _ = data.draw(st.sampled_from(self.live))
        proved = sum(each.proved for each in self.memory)
        self.memory.prove(template, self.now)
        if proved < MOST - MOST // 8:
            assert self.memory.recall(key(client), SERVERS, self.now + 1) is not None

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def exchange(self, data: st.DataObject) -> None:
        _, _, who, _ = data.draw(st.sampled_from(self.live))
        who.tally += TO_SERVER[0] + TO_CLIENT[0]

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(self.live))
        self.live.remove(gone)
        gone[1].left_by(gone[2])

    @rule(seconds=st.sampled_from([1.0, 30.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def it_is_bounded_and_counts_exactly(self) -> None:
        assert len(self.memory) <= MOST
        assert sum(each.proved for each in self.memory) <= MOST - MOST // 8
        for template in {*self.memory, *(each[1] for each in self.live)}:
            assert template.connections == sum(each[1] is template for each in self.live)

    @invariant()
    def who_is_there_is_remembered(self) -> None:
        for template in self.memory:
            if template.proved and template.connections:
                found = self.memory.recall(template.client + bytes(8), SERVERS, self.now + 1e6)
                assert found is template.real_server


TestMemory = AgainstAModel.TestCase
TestMemory.settings = settings(max_examples=60, stateful_step_count=40)
