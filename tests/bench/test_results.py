"""Medians, ratios, the table and the document."""

import json

import pytest

from netns_lab.bench import results
from netns_lab.bench.results import Run


def run(number: int, contestant: str, **figures: float) -> Run:
    return Run(number, contestant, "requests", figures)


RUNS = [
    run(1, "haproxy", requests=50.0, cpu_requests=10.0),
    run(1, "tun", requests=40.0, cpu_requests=12.0),
    run(1, "kernel-dnat", requests=70.0),
    run(2, "tun", requests=90.0, cpu_requests=13.0),
    run(2, "haproxy", requests=60.0, cpu_requests=11.0),
    run(2, "kernel-dnat", requests=70.0),
    run(3, "haproxy", requests=52.0, cpu_requests=12.0),
    run(3, "tun", requests=41.6, cpu_requests=11.0),
    Run(3, "kernel-dnat", "requests", error="it does not serve"),
    Run(3, "tun", "udp", {"udp": 30.0}, ["5 of 100 datagrams were lost"]),
]


def test_the_median_is_not_moved_by_one_odd_round() -> None:
    table = results.medians(RUNS)
    assert table["tun"]["requests"] == 41.6
    assert table["haproxy"]["requests"] == 52.0


def test_contestants_are_in_the_order_they_are_shown_whoever_ran_first() -> None:
    assert list(results.medians(RUNS)) == ["kernel-dnat", "haproxy", "tun"]


def test_ratios_are_to_haproxy_and_missing_where_it_has_no_figure() -> None:
    ratios = results.ratios(results.medians(RUNS))
    assert ratios["tun"]["requests"] == pytest.approx(0.8)
    assert ratios["haproxy"]["requests"] == 1.0
    assert "udp" not in ratios["tun"]
    assert "cpu_requests" not in ratios["kernel-dnat"]


def test_without_the_reference_there_are_no_ratios() -> None:
    alone = results.medians([each for each in RUNS if each.contestant == "tun"])
    assert results.ratios(alone) == {"tun": {}}
    assert "(" not in results.table_text(alone).splitlines()[-1]


def test_spreads_are_least_and_greatest() -> None:
    assert results.spreads(RUNS)["tun"]["requests"] == (40.0, 90.0)


def test_the_table_is_aligned_markdown_with_ratios_and_gaps_named() -> None:
    lines = results.table_text(results.medians(RUNS)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].startswith("| median (ratio to HAProxy)")
    assert set(lines[1]) == set("|-: ")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][1:] == ["kernel-dnat", "haproxy", "tun"]
    assert cells[2] == [
        "keep-alive requests, 16 conns [k/s]", "70.0 (1.35)", "52.0 (1.00)", "41.6 (0.80)",
    ]  # fmt: skip
    assert ["UDP echo, 64 bytes [k/s]", "n/a", "n/a", "30.0"] in cells
    assert not any("latency" in row[0] for row in cells)


def test_failures_and_doubts_are_told_with_their_place() -> None:
    assert results.doubts(RUNS) == [
        "round 3, kernel-dnat, requests: it does not serve",
        "round 3, tun, udp: 5 of 100 datagrams were lost",
    ]


def test_the_document_holds_every_run_and_is_json() -> None:
    document = json.loads(json.dumps(results.document(RUNS, {"kernel": "6.1"}, {"rounds": 3})))
    assert document["medians"]["tun"]["requests"] == 41.6
    assert document["ratios"]["tun"]["requests"] == pytest.approx(0.8)
    assert document["spreads"]["haproxy"]["requests"] == [50.0, 60.0]
    assert len(document["runs"]) == len(RUNS)
    assert document["figures"]["requests"]["unit"] == "k/s"
    assert document["environment"] == {"kernel": "6.1"}
    assert document["settings"] == {"rounds": 3}
