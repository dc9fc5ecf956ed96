"""The engine's benchmarks: their parts, and that each, made small, measures what it says."""

from typing import Any

import pytest

from lb_switch.bench import clocks, expiry, growth, lookup, memory, packets, report, world
from lb_switch.bench.world import World, client_key
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.packet.tcp import ACK
from lb_switch.engine.verdict import Reason
from tests.bench import work


def test_a_world_has_established_connections_of_distinct_clients() -> None:
    small_world = World(1000)
    memory.fill(small_world, 0, 200)
    table = small_world.switch.connections
    assert len(table) == 200
    assert {each.state for each in table} == {State.ESTABLISHED}
    assert {each.original_key for each in table} == {client_key(each) for each in range(200)}
    assert len({each.last_seen for each in table}) == 200


def test_two_million_clients_are_distinct() -> None:
    numbers = [0, 1, (1 << 20) - 1, 1 << 20, 1_999_999]
    assert len({client_key(each) for each in numbers}) == len(numbers)


def test_the_longest_are_kept_in_order_with_their_place() -> None:
    longest = clocks.Longest()
    cpu, wall = clocks.mark()
    for where, age_ms in enumerate([0, 2, 7, 0, 60, 3, 20, 30, 40]):
        longest.note((cpu, wall - age_ms * 1_000_000), where)
    summary = longest.summary()
    assert [each["connections"] for each in summary["longest"]] == [4, 8, 7, 6, 2]
    assert summary["count"] == 9
    assert summary["over_1_ms"] >= 7
    assert summary["over_5_ms"] >= 5
    assert summary["worst_ms"] >= 60


def test_the_control_takes_longer_when_it_is_asked_to() -> None:
    short, long = clocks.Control(1e-5), clocks.Control(1e-2)
    assert work.opcodes(long.work) > 10 * work.opcodes(short.work)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (memory, growth, expiry):
        monkeypatch.setattr(module, "CONNECTIONS", 2000)
    monkeypatch.setattr(growth, "WARM_UP", 100)
    monkeypatch.setattr(expiry, "LIVE", 100)
    monkeypatch.setattr(lookup, "LARGE", 2000)
    monkeypatch.setattr(lookup, "PACKETS", 1000)
    for name in ("ESTABLISHED", "NEW", "ERRORS", "FRAGMENTS"):
        monkeypatch.setattr(packets, name, 200)
    monkeypatch.setattr(packets, "SCAPY", 10)


@pytest.mark.usefixtures("small")
def test_every_kind_of_packet_is_measured() -> None:
    costs = packets.run(quick=False)
    assert len(costs) == 9
    assert costs["established, TCP over IPv4, to server"]["ratio"] == 1.0
    assert all(each["packets_per_second"] > 0 for each in costs.values())


def test_packets_on_another_road_are_not_measured_in_its_name() -> None:
    bench = packets.Bench()
    unknown = world.tcp_packet(client_key(1), ACK)  # no connection: it is rejected
    with pytest.raises(packets.MisledError):
        bench.cost([unknown] * 5, Reason.KNOWN_CONNECTION)


@pytest.mark.usefixtures("small")
def test_growth_is_of_established_and_flood_of_half_open_connections() -> None:
    grown, flooded = growth.run(quick=False), growth.run_flood(quick=False)
    assert (grown["half_open"], grown["packets"]["count"]) == (0, 6000)
    assert (flooded["half_open"], flooded["packets"]["count"]) == (2100, 2000)
    assert grown["control"]["count"] == grown["packets"]["count"]
    assert grown["pauses"]["count"] > 0


@pytest.mark.usefixtures("small")
def test_expiry_ends_with_the_live_ones() -> None:
    result = expiry.run(quick=False)
    assert result["slices"] >= 2
    assert result["delays"]["count"] == result["slices"]


@pytest.mark.usefixtures("small")
def test_lookup_compares_two_tables() -> None:
    result = lookup.run(quick=False)
    assert (result["small"], result["large"]) == (1000, 2000)
    assert result["ratio"] > 0


@pytest.mark.usefixtures("small")
def test_memory_is_shared_out_over_connections() -> None:
    result = memory.run(quick=False)
    assert result["connections"] == 2000
    assert result["bytes_per_connection"] >= 0
    # The connections themselves are among what was allocated.
    assert sum(result["allocated_at"].values()) > 200


def test_goals_are_judged_on_their_own_side_of_the_bound() -> None:
    results: dict[str, Any] = {
        "memory": {"bytes_per_connection": 451.0, "allocated_at": {"table.py:1": 48.0}},
        "packets": {
            packets.SCAPYS: {"us": 1.0, "least_us": 1.0, "packets_per_second": 1, "ratio": 100.0}
        },
    }
    lines = report.text(results).splitlines()
    (scapy,) = [line for line in lines if "at least" in line]
    (per_connection,) = [line for line in lines if line.startswith("memory")]
    assert scapy.endswith("met")
    assert per_connection.endswith("MISSED")
    assert not any("growing" in line for line in lines)


def test_a_benchmark_that_does_not_exist_is_refused() -> None:
    with pytest.raises(LookupError, match="no benchmark 'speed'"):
        report.run(["speed"], quick=True, say=print)
