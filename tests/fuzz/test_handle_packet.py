"""The fuzzer's world without the fuzzer: its corpus, random bytes, and whether it would notice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb_switch.engine.bookkeeping import Bookkeeping
from lb_switch.engine.connections.connection import Connection
from lb_switch.engine.connections.fragments import FragmentTracker
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.invariants import InvariantError
from lb_switch.engine.nat.port_pool import PortPool
from lb_switch.engine.nat.translation import Translation
from lb_switch.engine.short_road import ShortRoad
from lb_switch.engine.verdict import Action, Reason, Verdict
from tests.fuzz import inputs
from tests.fuzz.world import FindingError, run

CORPUS = Path(__file__).parent / "corpus"
OF_CAPTURES = {Reason.NOT_IP, Reason.CUT_BY_CAPTURE, Reason.INTERNAL_ERROR}
WRITTEN = inputs.written()


def corpus() -> list[Path]:
    return sorted(CORPUS.iterdir())


def test_the_corpus_holds_and_reaches_every_reason() -> None:
    reasons: Counter[Reason] = Counter()
    sent = 0
    for path in corpus():
        world = run(path.read_bytes())
        sent += world.sent
        reasons += world.reasons
        reasons += {Reason.FRAGMENT_EXPIRED: world.switches[0].fragments.expired}
    assert set(Reason) - OF_CAPTURES - set(reasons) == set()
    assert sent, "nobody was told of a real server that is out of service"


def test_the_corpus_reaches_every_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversation whose numbers nobody believes would stay in SYN_RECV, and nobody notice."""
    seen = {State.SYN_RECV, State.UDP}  # where connections begin
    change = Bookkeeping.change_state

    def changed(books: Bookkeeping, connection: Connection, new: State, now: float) -> None:
        seen.add(new)
        change(books, connection, new, now)

    monkeypatch.setattr(Bookkeeping, "change_state", changed)
    for path in corpus():
        run(path.read_bytes())
    assert seen == set(State)


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in corpus()) < 200_000


@pytest.mark.parametrize("name", WRITTEN)
def test_what_was_written_by_hand_is_in_the_corpus(name: str) -> None:
    assert (CORPUS / name).read_bytes() == WRITTEN[name]


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_any_bytes(data: bytes) -> None:
    run(data)


@given(st.lists(st.sampled_from(sorted(WRITTEN)), min_size=2, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_bent_conversations(names: list[str], data: st.DataObject) -> None:
    bent = bytearray(b"".join(WRITTEN[name][:200] for name in names))
    for _ in range(data.draw(st.integers(0, 12))):
        bent[data.draw(st.integers(0, len(bent) - 1))] = data.draw(st.integers(0, 255))
    run(bytes(bent))


# -- would it notice? --------------------------------------------------------------------------


def everything() -> None:
    for path in corpus():
        run(path.read_bytes())


def test_it_notices_a_wrong_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Translation.__init__

    def wrong(self: Translation, old: bytes, new: bytes) -> None:
        original(self, old, new)
        self.l4_delta += 1

    monkeypatch.setattr(Translation, "__init__", wrong)
    with pytest.raises(FindingError, match="afterwards"):
        everything()


def test_it_notices_a_write_outside_the_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ShortRoad.take

    def wrong(
        self: ShortRoad, buffer: bytearray, start: int, length: int, now: float, partial: bool
    ) -> Connection | None:
        taken = original(self, buffer, start, length, now, partial)
        if taken:
            buffer[start + length] ^= 1
        return taken

    monkeypatch.setattr(ShortRoad, "take", wrong)
    with pytest.raises(FindingError, match="outside"):
        everything()


def test_it_notices_that_the_roads_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ShortRoad.take

    def wrong(
        self: ShortRoad, buffer: bytearray, start: int, length: int, now: float, partial: bool
    ) -> Connection | None:
        taken = original(self, buffer, start, length, now, partial)
        if taken:
            buffer[start + 1] ^= 1
        return taken

    monkeypatch.setattr(ShortRoad, "take", wrong)
    with pytest.raises(FindingError, match="readable road"):
        everything()


def test_it_notices_a_port_that_is_never_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PortPool, "release", lambda self, port: None)
    with pytest.raises((FindingError, InvariantError)):
        everything()


def test_it_notices_a_wrong_account(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Bookkeeping.forget

    def wrong(self: Bookkeeping, connection: object, now: float, cause: str) -> None:
        original(self, connection, now, cause)  # type: ignore[arg-type]
        connection.real_server.active += 1  # type: ignore[attr-defined]

    monkeypatch.setattr(Bookkeeping, "forget", wrong)
    with pytest.raises(InvariantError, match="active"):
        everything()


def test_it_notices_a_fragment_that_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    original = FragmentTracker._drop

    def wrong(self: FragmentTracker, key: object) -> None:
        expired = self.expired
        original(self, key)  # type: ignore[arg-type]
        self.expired = expired

    monkeypatch.setattr(FragmentTracker, "_drop", wrong)
    with pytest.raises(FindingError, match="counted"):
        everything()


def test_it_notices_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> bool:
        raise IndexError("beyond the end")

    monkeypatch.setattr(ShortRoad, "take", wrong)
    with pytest.raises(IndexError):
        everything()


def test_it_notices_a_dropped_packet_that_was_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    from lb_switch.engine import outcome

    changed = Verdict(Action.DROP, Reason.UDP_ZERO_CHECKSUM)
    monkeypatch.setattr("lb_switch.engine.readable_road.NEW", changed)
    with pytest.raises((FindingError, InvariantError)):
        everything()
    assert outcome.NEW is not changed
