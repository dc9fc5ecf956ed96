"""Loads and comparisons, against independent computations of the same numbers."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb_switch.compare.load import (
    LONGEST,
    SHORTEST,
    SPAN,
    Arrival,
    Load,
    recorded,
    synthetic,
)
from lb_switch.compare.run import ComparedGroup, Course, Leave, run
from lb_switch.compare.schedulers import Comparison, compare
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.scheduling.catalogue import CATALOGUE
from lb_switch.engine.switch import Settings
from lb_switch.files.pcap import create_capture, open_capture
from tests.replay.recordings import framed, record
from tests.support.dialogue import CLIENT, RIPS, VIP
from tests.support.packets import tcp, udp

VIP_ENDPOINT = Endpoint.parse("10.0.1.100:80")


def group(*weights: int, protocol: int = TCP) -> ComparedGroup:
    servers = (Endpoint.parse(f"10.0.2.{11 + index}:8080") for index in range(len(weights)))
    return ComparedGroup("web", VIP_ENDPOINT, protocol, tuple(zip(servers, weights, strict=True)))


# -- synthetic loads ---------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_load() -> None:
    assert synthetic(50, 500, 7) == synthetic(50, 500, 7)
    assert synthetic(50, 500, 7).arrivals != synthetic(50, 500, 8).arrivals
    first = synthetic(200, 3000, 1).arrivals[1]
    assert (round(first.start, 6), round(first.duration, 6)) == FIRST, "on every machine and Python"


FIRST = (0.002863, 1.871932)


def test_a_synthetic_load_is_what_it_says() -> None:
    load = synthetic(100, 20_000, 3)
    starts = [arrival.start for arrival in load.arrivals]
    assert len(starts) == 20_000
    assert starts == sorted(starts)
    assert starts[0] == 0.0
    assert starts[-1] == pytest.approx(SPAN)
    assert load.span == pytest.approx(SPAN)
    assert len({arrival.client for arrival in load.arrivals}) == 20_000
    durations = sorted(arrival.duration for arrival in load.arrivals)
    assert durations[0] >= SHORTEST
    assert durations[-1] <= LONGEST
    assert sum(durations[-2000:]) > 0.4 * sum(durations), "a tenth lasts as long as most of them"
    counts = Counter(arrival.client.ip for arrival in load.arrivals).most_common()
    harmonic = sum(1 / rank for rank in range(1, 101))
    assert load.busiest == counts[0][1] / 20_000
    assert load.busiest == pytest.approx(1 / harmonic, rel=0.1)
    assert counts[9][1] / counts[0][1] == pytest.approx(0.1, rel=0.3)


@pytest.mark.parametrize(("clients", "connections"), [(1, 1), (1, 2), (5, 1), (1, 70_000)])
def test_small_and_lopsided_loads(clients: int, connections: int) -> None:
    load = synthetic(clients, connections, 1)
    assert len(load.arrivals) == connections
    assert all(1024 <= arrival.client.port <= 65535 for arrival in load.arrivals)


def test_clients_speak_the_vip_s_protocol() -> None:
    assert synthetic(3, 9, 1, version=6).arrivals[0].client.ip.version == 6


# -- recorded loads ----------------------------------------------------------------------------


def client(flags: str, port: int = 40000) -> bytes:
    return tcp((CLIENT[0], port), VIP, flags)


def answer(flags: str, port: int = 40000) -> bytes:
    return tcp(VIP, (CLIENT[0], port), flags)


def load_of(*packets: tuple[float, bytes], protocol: int = TCP) -> list[tuple[float, float, int]]:
    records = [framed("ethernet", packet, 1000 + time) for time, packet in packets]
    load = recorded(records, VIP_ENDPOINT, protocol, "test")
    return [(round(a.start, 6), round(a.duration, 6), a.client.port) for a in load.arrivals]


def test_a_connection_lasts_from_its_syn_to_the_first_fin_of_either_side() -> None:
    assert load_of(
        (0, client("S")), (1, answer("SA")), (2, client("A")), (5, answer("FA")), (7, client("FA"))
    ) == [(0, 5, 40000)]


def test_a_rst_ends_it_and_the_port_may_come_again() -> None:
    assert load_of((0, client("S")), (1, answer("RA")), (2, client("S")), (3, client("R"))) == [
        (0, 1, 40000),
        (2, 1, 40000),
    ]


def test_a_repeated_syn_is_no_second_connection() -> None:
    assert load_of((0, client("S")), (1, client("S")), (4, client("FA"))) == [(0, 4, 40000)]


def test_what_is_open_at_the_end_lasts_until_the_end() -> None:
    assert load_of((0, client("S")), (1, client("S", 2)), (9, udp(CLIENT, VIP, b"x"))) == [
        (0, 9, 40000),
        (1, 8, 2),
    ]


def test_what_began_earlier_or_is_another_s_is_left_out() -> None:
    other = tcp(CLIENT, ("10.0.9.9", 80), "S")
    at_server = tcp(CLIENT, RIPS[0], "S")
    packets = [(0.0, client("A")), (1.0, answer("A")), (2.0, other), (3.0, at_server)]
    assert load_of(*packets) == []


def test_udp_lasts_from_the_first_datagram_to_the_last() -> None:
    ask, reply = udp(CLIENT, VIP, b"?"), udp(VIP, CLIENT, b"!")
    assert load_of((0, reply), (1, ask), (2, reply), (4, ask), protocol=UDP) == [(1, 3, 40000)]


def test_times_that_go_back_and_frames_without_ip() -> None:
    records = [
        record(b"\xff" * 12 + b"\x08\x06" + bytes(28), 10),
        framed("ethernet", client("S"), 12),
        framed("ethernet", b"\x45\x00", 12),
        framed("ethernet", client("FA"), 11),
    ]
    assert recorded(records, VIP_ENDPOINT, TCP, "").arrivals == (
        Arrival(2.0, 0.0, Endpoint.parse("10.0.1.11:40000")),
    )


def test_a_written_recording_gives_the_load_that_made_it(tmp_path: Path) -> None:
    load = synthetic(5, 40, 2)
    packets = []
    for arrival in load.arrivals:
        place = (str(arrival.client.ip), arrival.client.port)
        packets.append((arrival.start, tcp(place, VIP, "S")))
        packets.append((arrival.start + arrival.duration, tcp(place, VIP, "FA")))
    path = tmp_path / "load.pcapng"
    with create_capture(path) as out:
        for time, packet in sorted(packets):
            out.write(framed("raw", packet, time))
    with open_capture(path) as records:
        found = recorded(records, VIP_ENDPOINT, TCP, "")
    for own, other in zip(load.arrivals, found.arrivals, strict=True):
        assert own.client == other.client
        assert own.start == pytest.approx(other.start, abs=1e-5)
        assert own.duration == pytest.approx(other.duration, abs=1e-5)


# -- one scheduler -----------------------------------------------------------------------------


def active_at(load: Load, course: Course, count: int, time: float) -> tuple[int, ...]:
    """Count who is active just after `time`, from the arrivals alone."""
    active = [0] * count
    for arrival, index in zip(load.arrivals, course.chosen, strict=True):
        if index is not None and arrival.start <= time < arrival.start + arrival.duration:
            active[index] += 1
    return tuple(active)


@pytest.mark.parametrize("scheduler", CATALOGUE)
def test_the_engine_s_counts_are_those_of_the_load(scheduler: str) -> None:
    load = synthetic(20, 300, 5)
    course = run(load, group(1, 2, 3), scheduler, Settings())
    times = [time for time, _ in course.active]
    assert times == sorted(times)
    for at in [number * 0.7 for number in range(140)]:
        _, counts = course.active[bisect_right(times, at) - 1]
        assert counts == active_at(load, course, 3, at), at


def before_each(load: Load, course: Course, count: int) -> list[tuple[int, ...]]:
    """Return the active connections that each arrival found, from the arrivals alone."""
    return [
        tuple(
            sum(
                earlier.start + earlier.duration > arrival.start and index == server
                for earlier, index in zip(load.arrivals[:number], course.chosen, strict=False)
            )
            for server in range(count)
        )
        for number, arrival in enumerate(load.arrivals)
    ]


def test_rr_goes_round() -> None:
    course = run(synthetic(20, 300, 5), group(1, 2, 3), "rr", Settings())
    assert course.chosen == [number % 3 for number in range(300)]


def test_wrr_gives_each_its_weight_in_every_round() -> None:
    course = run(synthetic(20, 300, 5), group(1, 2, 3), "wrr", Settings())
    for begin in range(0, 300, 6):
        assert Counter(course.chosen[begin : begin + 6]) == {0: 1, 1: 2, 2: 3}


@pytest.mark.parametrize(("scheduler", "weights"), [("lc", (1, 1, 1)), ("wlc", (1, 2, 3))])
def test_least_connections_take_the_least(scheduler: str, weights: tuple[int, ...]) -> None:
    load = synthetic(20, 300, 5)
    course = run(load, group(1, 2, 3), scheduler, Settings())
    for counts, index in zip(before_each(load, course, 3), course.chosen, strict=True):
        assert index is not None
        # wlc compares what a server would have with the new one; both take no one who is worse.
        after = [(count + 1) / weight for count, weight in zip(counts, weights, strict=True)]
        now = [count / weight for count, weight in zip(counts, weights, strict=True)]
        assert after[index] == min(after) or now[index] == min(now)


@pytest.mark.parametrize("scheduler", ["sh", "mh"])
def test_hashing_keeps_a_client_at_its_server(scheduler: str) -> None:
    load = synthetic(20, 300, 5)
    course = run(load, group(1, 2, 3), scheduler, Settings())
    homes: dict[object, set[int | None]] = {}
    for arrival, index in zip(load.arrivals, course.chosen, strict=True):
        homes.setdefault(arrival.client.ip, set()).add(index)
    assert all(len(servers) == 1 for servers in homes.values())
    assert len(set(course.chosen)) == 3


@pytest.mark.parametrize("scheduler", CATALOGUE)
def test_nobody_new_meets_the_leaver_and_its_connections_go_on(scheduler: str) -> None:
    load = synthetic(20, 300, 5)
    course = run(load, group(1, 1, 1), scheduler, Settings(), Leave(30.0, 1))
    chosen = list(zip(load.arrivals, course.chosen, strict=True))
    assert any(index == 1 for arrival, index in chosen if arrival.start < 30)
    assert all(index in {0, 2} for arrival, index in chosen if arrival.start >= 30)
    times = [time for time, _ in course.active]
    _, counts = course.active[bisect_right(times, 30.5) - 1]
    assert counts == active_at(load, course, 3, 30.5)
    assert counts[1] > 0


def test_a_full_table_refuses() -> None:
    arrivals = tuple(
        Arrival(float(number), 100.0, Endpoint.parse(f"10.0.1.11:{5000 + number}"))
        for number in range(5)
    )
    load = Load(arrivals, 4.0, "test")
    course = run(load, group(1, 1), "rr", Settings(max_connections=3))
    assert course.chosen == [0, 1, 0, None, None]


def test_long_connections_are_not_timed_out() -> None:
    load = Load((Arrival(0.0, 5000.0, Endpoint.parse("10.0.1.11:5000")),), 6000.0, "test")
    course = run(load, group(1), "rr", Settings())
    assert course.active == [(0.0, (1,)), (5000.0, (0,))] or course.active == [
        (0.0, (0,)),
        (0.0, (1,)),
        (5000.0, (0,)),
    ]


def test_udp_lasts_until_its_timeout() -> None:
    load = Load((Arrival(0.0, 10.0, Endpoint.parse("10.0.1.11:5000")),), 1000.0, "test")
    course = run(load, group(1, protocol=UDP), "rr", Settings())
    (end, counts) = course.active[-1]
    assert counts == (0,)
    assert 310 <= end <= 311


# -- the comparison ----------------------------------------------------------------------------


@st.composite
def loads(draw: st.DrawFn) -> Load:
    """A few connections of a few clients, at any times."""
    starts = sorted(draw(st.lists(st.integers(0, 20), min_size=1, max_size=25)))
    arrivals = []
    for number, start in enumerate(starts):
        duration = draw(st.integers(1, 30)) / 2
        host = draw(st.integers(1, 4))
        arrivals.append(
            Arrival(float(start), duration, Endpoint.parse(f"10.0.1.{host}:{1024 + number}"))
        )
    return Load(tuple(arrivals), float(starts[-1]), "test")


@given(load=loads(), weights=st.lists(st.integers(0, 3), min_size=1, max_size=4).filter(any))
@settings(max_examples=60, deadline=None)
def test_every_number_by_another_way(load: Load, weights: list[int]) -> None:
    """All times are multiples of 0.5, so sampling in the middle of each half second is exact."""
    whole = group(*weights)
    comparison = compare(load, whole, Settings())
    for figures in comparison.figures:
        course = run(load, whole, figures.scheduler, Settings())
        assert list(figures.connections) == [
            course.chosen.count(index) for index in range(len(weights))
        ]
        samples = [
            active_at(load, course, len(weights), 0.25 + 0.5 * number)
            for number in range(int(load.span * 2))
        ]
        mean_weight = sum(weights) / sum(weight > 0 for weight in weights)
        spreads = []
        for counts in samples:
            levels = [c / (w / mean_weight) for c, w in zip(counts, weights, strict=True) if w]
            spreads.append(max(levels) - min(levels))
        if samples:
            assert figures.spread_mean == pytest.approx(sum(spreads) / len(spreads))
            assert figures.spread_most == pytest.approx(max(spreads))
            for index, mean in enumerate(figures.active_mean):
                assert mean == pytest.approx(sum(each[index] for each in samples) / len(samples))
        check_moves(comparison, figures.scheduler)


def check_moves(comparison: Comparison, scheduler: str) -> None:
    load, middle = comparison.load, comparison.load.span / 2
    (figures,) = (each for each in comparison.figures if each.scheduler == scheduler)
    if comparison.leaver is None:
        assert figures.moves is None
        return
    leave = Leave(middle, comparison.leaver)
    results = []
    for left in (leave, None):
        chosen = run(load, comparison.group, scheduler, Settings(), left).chosen
        visits: dict[str, tuple[list[int | None], list[int | None]]] = {}
        for arrival, index in zip(load.arrivals, chosen, strict=True):
            late = arrival.start >= middle
            visits.setdefault(str(arrival.client.ip), ([], []))[late].append(index)
        results.append([(early[-1], late[0]) for early, late in visits.values() if early and late])
    moved, stayed = results
    if not moved:
        assert figures.moves is None
        return
    moves = figures.moves
    assert moves is not None
    assert moves.returning == len(moved)
    assert moves.moved == pytest.approx(sum(a != b for a, b in moved) / len(moved))
    assert moves.must == pytest.approx(sum(a == leave.leaver for a, _ in moved) / len(moved))
    assert moves.beyond == pytest.approx(
        sum(a not in {b, leave.leaver} for a, b in moved) / len(moved)
    )
    assert moves.anyway == pytest.approx(sum(a != b for a, b in stayed) / len(stayed))


def test_maglev_moves_far_fewer_than_modulo() -> None:
    comparison = compare(synthetic(2000, 6000, 1), group(1, 1, 1, 1, 1), Settings())
    moves = {figures.scheduler: figures.moves for figures in comparison.figures}
    assert moves["mh"] is not None
    assert moves["sh"] is not None
    assert 0 < moves["mh"].beyond < 0.1 < 0.5 < moves["sh"].beyond


def test_what_cannot_be_compared() -> None:
    load = synthetic(5, 9, 1)
    with pytest.raises(ValueError, match="web: no real server with a weight above 0"):
        compare(load, group(0, 0), Settings())
    with pytest.raises(ValueError, match=r"10\.0\.2\.11:8080 has weight 0: it cannot leave"):
        compare(load, group(0, 1, 1), Settings(), leaver=0)
    with pytest.raises(ValueError, match="no connection"):
        compare(Load((), 0.0, ""), group(1), Settings())
    assert compare(load, group(1, 0), Settings()).leaver is None
    assert compare(load, group(1, 1, 0), Settings()).leaver == 1
