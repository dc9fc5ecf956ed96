"""Replay: clocks, timers, link types and what cannot be replayed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1Q, Ether

from lb_switch.engine.events import Event, PacketEvent
from lb_switch.engine.packet.hop import with_hop_taken
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Action, Reason, Verdict
from lb_switch.files.link import LINK_TYPES
from lb_switch.files.record import CapturedPacket, CaptureFileError, CaptureInterface
from lb_switch.replay import Replay, Replayed
from tests.replay.recordings import CLIENT_MAC, HEADERS, SWITCH_MAC, framed, record
from tests.support.dialogue import CLIENT, CLIENT6, RIPS, VIP, VIP6, make_switch
from tests.support.packets import dissect, edited, tcp, udp

SYN = tcp(CLIENT, VIP, "S", seq=1000)
STRAY = tcp(CLIENT, (VIP[0], 81), "S", seq=1000)


def replayed(switch: Switch, *records: CapturedPacket) -> list[Replayed]:
    return list(Replay(switch, records))


def reasons(results: list[Replayed]) -> list[Reason]:
    return [result.verdict.reason for result in results]


# -- what a result says ------------------------------------------------------------------------


def test_the_json_of_a_forwarded_packet() -> None:
    (result,) = replayed(make_switch(), framed("ethernet", SYN, 1.5))
    assert json.loads(json.dumps(result.as_dict())) == {
        "n": 1,
        "time": 1.5,
        "verdict": "forward",
        "reason": "new_connection",
        "virtual_server": "web",
        "real_server": "10.0.2.11:8080",
        "direction": "original",
        "state": "SYN_RECV",
    }


def test_the_json_has_null_where_nothing_applies() -> None:
    other = tcp(CLIENT, ("10.0.9.9", 80), "S")
    (result,) = replayed(make_switch(), framed("ethernet", other))
    assert result.as_dict() == {
        "n": 1,
        "time": 0.0,
        "verdict": "pass",
        "reason": "not_for_the_switch",
        "virtual_server": None,
        "real_server": None,
        "direction": None,
        "state": None,
    }
    assert result.sent == ()


def test_the_result_tells_the_state_of_its_own_moment() -> None:
    back = tcp(RIPS[0], CLIENT, "RA", seq=1, ack=1001)
    results = replayed(make_switch(), framed("raw", SYN), framed("raw", back, 1))
    assert [result.as_dict()["state"] for result in results] == ["SYN_RECV", "CLOSE"]


def test_the_summary_counts_every_record_once() -> None:
    switch = make_switch()
    records = [
        framed("ethernet", SYN),
        framed("ethernet", STRAY, 1),
        record(Ether() / ARP(), 2),
        record(HEADERS["ethernet"][1] + SYN, 3, wire_length=1500),
        framed("ethernet", SYN[:10], 4),
    ]
    replay = Replay(switch, records)
    for done, _ in enumerate(replay, 1):
        assert sum(replay.summary().values()) == done
    summary = replay.summary()
    assert set(summary) == {reason.value for reason in Reason}
    assert {reason: count for reason, count in summary.items() if count} == {
        "new_connection": 1,
        "no_virtual_server": 1,
        "not_ip": 1,
        "cut_by_capture": 1,
        "truncated": 1,
    }


def test_a_listener_of_the_switch_hears_every_packet_and_stays() -> None:
    heard: list[Event] = []
    switch = make_switch()
    listener: Callable[[Event], None] = heard.append
    switch.listen(listener)
    results = replayed(switch, framed("raw", SYN), framed("raw", STRAY, 1))
    told = [event for event in heard if isinstance(event, PacketEvent)]
    assert told == [result.event for result in results]
    assert len(switch.listeners) == 1


# -- link types --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HEADERS)
def test_a_forwarded_frame_keeps_its_header(kind: str) -> None:
    (result,) = replayed(make_switch(), framed(kind, SYN, 7))
    link_type, header = HEADERS[kind]
    expected = header + with_hop_taken(edited(SYN, destination=RIPS[0]))
    assert result.sent == (record(expected, 7, link_type),)


@pytest.mark.parametrize("kind", HEADERS)
def test_an_answer_goes_back_with_the_same_link_type(kind: str) -> None:
    (result,) = replayed(make_switch(), framed(kind, STRAY, 7))
    link_type, header = HEADERS[kind]
    (answer,) = result.sent
    assert (answer.interface.link_type, answer.time) == (link_type, 7)
    assert answer.data[: len(header)] == LINK_TYPES[link_type].turn_round(header)
    packet = dissect(answer.data[len(header) :])
    assert (packet[IP].src, packet[IP].dst) == (VIP[0], CLIENT[0])
    assert packet[TCP].flags == "RA"
    assert not answer.cut


def test_an_ethernet_answer_swaps_addresses_inside_the_same_vlan() -> None:
    (result,) = replayed(make_switch(), framed("vlan", STRAY))
    answer = Ether(result.sent[0].data)
    assert (answer.src, answer.dst) == (SWITCH_MAC, CLIENT_MAC)
    assert answer[Dot1Q].vlan == 7
    assert answer[IP].dst == CLIENT[0]


@pytest.mark.parametrize(("kind", "layer"), [("cooked", CookedLinux), ("cooked_v2", CookedLinuxV2)])
def test_a_cooked_answer_is_one_that_the_host_sent(
    kind: str, layer: type[CookedLinux | CookedLinuxV2]
) -> None:
    (result,) = replayed(make_switch(), framed(kind, STRAY))
    answer = layer(result.sent[0].data)
    assert answer.pkttype == 4
    assert answer[IP].dst == CLIENT[0]


def test_ethernet_padding_is_kept_on_forwarded_frames() -> None:
    padding = bytes(6)
    (result,) = replayed(make_switch(), framed("ethernet", SYN + padding))
    header = HEADERS["ethernet"][1]
    assert (
        result.sent[0].data == header + with_hop_taken(edited(SYN, destination=RIPS[0])) + padding
    )


def test_ipv6_on_ethernet() -> None:
    switch = make_switch(VIP6, (("2001:db8:2::11", 8080),))
    header = bytes(Ether(src=CLIENT_MAC, dst=SWITCH_MAC, type=0x86DD))
    syn, stray = tcp(CLIENT6, VIP6, "S"), tcp(CLIENT6, (VIP6[0], 81), "S")
    forwarded, refused = replayed(switch, record(header + syn), record(header + stray, 1))
    assert forwarded.sent[0].data == header + with_hop_taken(
        edited(syn, destination=("2001:db8:2::11", 8080))
    )
    answer = Ether(refused.sent[0].data)
    assert (answer.dst, answer[IPv6].dst) == (CLIENT_MAC, CLIENT6[0])


def test_two_interfaces_of_different_link_types() -> None:
    """A conversation seen on Ethernet at the client's side and cooked at the servers'."""
    cooked = HEADERS["cooked"][1]
    back = tcp(RIPS[0], CLIENT, "SA", seq=5, ack=1001)
    there, again = replayed(
        make_switch(),
        framed("ethernet", SYN),
        record(cooked + back, 0.1, link_type=113, number=1),
    )
    assert there.sent[0].interface == CaptureInterface(0, 1)
    assert again.sent == (
        record(cooked + with_hop_taken(edited(back, source=VIP)), 0.1, 113, number=1),
    )


def test_an_unknown_link_type_is_one_clear_error_after_what_was_before() -> None:
    results = iter(Replay(make_switch(), [framed("raw", SYN), record(b"x", link_type=195)]))
    assert next(results).verdict.reason is Reason.NEW_CONNECTION
    with pytest.raises(CaptureFileError) as caught:
        next(results)
    assert str(caught.value).startswith("packet 2 has link type 195; supported are ")
    assert "Ethernet (1)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_frames_without_ip_are_reported_and_go_on() -> None:
    results = replayed(make_switch(), record(Ether() / ARP()), record(b""), framed("raw", SYN, 1))
    assert reasons(results) == [Reason.NOT_IP, Reason.NOT_IP, Reason.NEW_CONNECTION]
    assert results[0].verdict.action is Action.PASS
    assert results[0].sent == ()


def test_a_packet_that_the_snap_length_cut_is_dropped_by_that_name() -> None:
    whole = HEADERS["ethernet"][1] + SYN
    (result,) = replayed(make_switch(), record(whole[:-1], wire_length=len(whole)))
    assert result.verdict == Verdict(Action.DROP, Reason.CUT_BY_CAPTURE)
    assert result.as_dict()["virtual_server"] is None


def test_an_empty_raw_packet_is_dropped() -> None:
    (result,) = replayed(make_switch(), record(b"", link_type=101))
    assert result.verdict.action is Action.DROP


# -- time --------------------------------------------------------------------------------------


class Watched(Switch):
    """A switch that notes when it was called, and may have timers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, float]] = []
        self.deadlines: list[float] = []
        self.released: tuple[bytes, ...] = ()

    def handle_packet(
        self,
        buffer: bytearray,
        start: int,
        length: int,
        now: float,
        partial: bool = False,
        readable: bool = False,
    ) -> Verdict:
        self.calls.append(("packet", now))
        return super().handle_packet(buffer, start, length, now, partial, readable)

    def next_deadline(self) -> float | None:
        return self.deadlines[0] if self.deadlines else None

    def handle_timers(self, now: float) -> tuple[bytes, ...]:
        self.calls.append(("timers", now))
        self.deadlines = [deadline for deadline in self.deadlines if deadline > now]
        return self.released


def test_the_engines_clock_never_goes_back_but_results_keep_their_timestamps() -> None:
    switch = Watched()
    results = replayed(switch, *[framed("raw", SYN, time) for time in (100, 50, 101)])
    assert switch.calls == [("packet", 100), ("packet", 100), ("packet", 101)]
    assert [result.as_dict()["time"] for result in results] == [100, 50, 101]


def test_timers_run_at_their_own_time_before_the_packet_behind_them() -> None:
    switch = Watched()
    switch.deadlines = [110, 120, 130]
    replayed(switch, framed("raw", SYN, 100), framed("raw", SYN, 120), framed("raw", SYN, 121))
    assert switch.calls == [
        ("packet", 100),
        ("timers", 110),
        ("timers", 120),
        ("packet", 120),
        ("packet", 121),
    ]


def test_a_deadline_in_the_past_does_not_turn_the_clock_back() -> None:
    switch = Watched()
    records = [framed("raw", SYN, 100), framed("raw", SYN, 200)]
    replay = iter(Replay(switch, records))
    next(replay)
    switch.deadlines = [50]
    next(replay)
    assert switch.calls[1:] == [("timers", 100), ("packet", 200)]


def test_work_left_over_at_one_deadline_is_finished_before_the_packet() -> None:
    class Slow(Watched):
        rest = 3

        def handle_timers(self, now: float) -> tuple[bytes, ...]:
            self.calls.append(("timers", now))
            self.rest -= 1
            if not self.rest:
                self.deadlines = []
            return ()

    switch = Slow()
    switch.deadlines = [110]
    replayed(switch, framed("raw", SYN, 150))
    assert switch.calls == [("timers", 110), ("timers", 150), ("timers", 150), ("packet", 150)]


def test_what_a_timer_sends_gets_the_latest_header_of_its_ip_version() -> None:
    switch = Watched()
    switch.deadlines = [10]
    back, onward = tcp(VIP, CLIENT, "R"), udp(("10.0.5.5", 5), ("10.0.6.6", 6), b"held back")
    switch.released = (back, onward)
    first, second = replayed(switch, framed("ethernet", SYN, 5), framed("ethernet", SYN, 20))
    assert first.sent == ()
    header = HEADERS["ethernet"][1]
    turned = LINK_TYPES[1].turn_round(header)
    assert second.sent == (record(turned + back, 10), record(header + onward, 10))


def test_connections_expire_by_the_clock_of_the_capture() -> None:
    switch = make_switch()
    ack = tcp(CLIENT, VIP, "A", seq=1001, ack=1)
    results = replayed(
        switch,
        framed("raw", SYN, 1700000000),
        framed("raw", ack, 1700000059),
        framed("raw", ack, 1700000121),
    )
    assert reasons(results) == [
        Reason.NEW_CONNECTION,
        Reason.KNOWN_CONNECTION,
        Reason.UNKNOWN_TCP,
    ]
    assert len(switch.connections) == 0


# -- a bug in the engine -----------------------------------------------------------------------


def test_an_exception_in_the_engine_costs_one_packet(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(Switch):
        def handle_packet(
            self,
            buffer: bytearray,
            start: int,
            length: int,
            now: float,
            partial: bool = False,
            readable: bool = False,
        ) -> Verdict:
            if now == 1:
                raise IndexError("out of range")
            return super().handle_packet(buffer, start, length, now, partial, readable)

    with caplog.at_level(logging.ERROR):
        results = replayed(Faulty(), *[framed("raw", SYN, time) for time in (0, 1, 2)])
    assert [result.verdict.reason for result in results][1] is Reason.INTERNAL_ERROR
    assert len(results) == 3
    assert caplog.messages == ["packet 2: the switch raised IndexError('out of range')"]
    assert results[1].sent == ()
