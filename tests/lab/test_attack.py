"""The attackers' packets are what they pretend to be, and what they do is judged rightly."""

from __future__ import annotations

import dataclasses
import json
from ipaddress import ip_address
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6ExtHdrFragment

from netns_lab.attack import __main__ as command
from netns_lab.attack import blind, floods, report
from netns_lab.attack.blind import Ends
from netns_lab.attack.floods import KINDS, Target
from netns_lab.attack.report import Attack, Outcome
from netns_lab.attack.sender import Plan
from netns_lab.attack.topology import FORGED, topology
from netns_lab.errors import LabError
from tests.support.packets import dissect, recomputed
from tests.support.soundness import repaired

families = pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])


def target(six: bool, replies_to: bytes = b"") -> Target:
    def packed(net: int, host: int) -> bytes:
        text = f"2001:db8:{net}::{host}" if six else f"10.0.{net}.{host}"
        return ip_address(text).packed

    return Target(
        vip=packed(1, 100),
        tcp=7,
        udp=7,
        void=9,
        real_servers=(packed(2, 11), packed(2, 12)),
        replies_to=replies_to,
        forged=bytes.fromhex(FORGED[6 if six else 4][0]),
        client=packed(1, 11),
    )


# -- floods ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@families
def test_a_floods_packets_are_sound_and_of_many_sources(six: bool, kind: str) -> None:
    packets = list(islice(KINDS[kind](target(six), Random(7)), 300))
    for packet in packets:
        whole = recomputed(packet) if kind not in {"fragments", "mixed"} else repaired(packet)
        assert packet == whole
        assert len(packet) + 14 < 256, "a frame fits in its slot"
    assert len({dissect(packet).src for packet in packets}) > 50


@families
def test_a_flood_can_be_sent_twice(six: bool) -> None:
    again = [list(islice(KINDS["mixed"](target(six), Random(3)), 200)) for _ in range(2)]
    assert again[0] == again[1]


@families
def test_what_the_kinds_consist_of(six: bool) -> None:
    it = target(six)
    syn = dissect(next(floods.syn(it, Random(1))))
    assert (syn.dst, syn[TCP].dport, str(syn[TCP].flags)) == (str(ip_address(it.vip)), 7, "S")
    asks, *answers, ends = (dissect(each) for each in islice(floods.handshake(it, Random(1)), 4))
    assert [str(each[TCP].flags) for each in (asks, *answers, ends)] == ["S", "SA", "SA", "A"]
    assert [ip_address(each.src).packed for each in answers] == list(it.real_servers)
    for answer in answers:
        assert (answer.dst, answer[TCP].dport) == (asks.src, asks[TCP].sport)
        assert answer[TCP].ack == asks[TCP].seq + 1
        assert ends[TCP].ack == answer[TCP].seq + 1
    assert dissect(next(floods.udp_void(it, Random(1))))[UDP].dport == 9
    quote = dissect(next(floods.icmp_quotes(it, Random(1))))
    assert (ICMPv6DestUnreach if six else ICMP) in quote
    pieces = [dissect(each) for each in islice(floods.fragments(it, Random(1)), 5)]
    offsets = [each[IPv6ExtHdrFragment].offset if six else each.frag for each in pieces]
    assert offsets == [0, 4, 4, 1, 1]


def test_with_full_nat_a_forged_answer_goes_to_the_address_that_servers_see() -> None:
    snat = ip_address("10.0.2.200").packed
    _, answer = islice(floods.handshake(target(six=False, replies_to=snat), Random(1)), 2)
    assert dissect(answer).dst == "10.0.2.200"


# -- blind segments ----------------------------------------------------------------------------

ENDS = [
    Ends(ip_address("10.0.1.11").packed, ip_address("10.0.1.100").packed, b"\x9c\x40\0\7"),
    Ends(ip_address("10.0.2.11").packed, ip_address("10.0.1.11").packed, b"\0\7\x9c\x40"),
]


def test_spaced_numbers_go_once_through_the_sequence_space() -> None:
    packets = list(blind.segments(ENDS, ["rst"], 4 * 2048, "spaced", Random(1)))
    numbers: dict[tuple[bytes, int], list[int]] = {}
    for packet in packets:
        name, flags = packet[12:16], packet[33]
        numbers.setdefault((name, flags), []).append(int.from_bytes(packet[24:28], "big"))
    assert len(numbers) == 4
    for each in numbers.values():
        steps = {after - before for before, after in pairwise(sorted(each))}
        assert len(each) == 2048
        assert steps == {2 << 20}


def test_every_kind_of_segment_bears_both_names() -> None:
    packets = list(blind.segments(ENDS, list(blind.SEGMENTS), 800, "random", Random(1)))
    assert len(packets) == 800
    seen = {(segment.src, str(segment[TCP].flags)) for segment in map(dissect, packets)}
    flags = {"R", "RA", "F", "FA", "S", "SA", "A", "PA"}
    assert seen == {(name, each) for name in ("10.0.1.11", "10.0.2.11") for each in flags}
    assert all(recomputed(packet) == packet for packet in packets)


def test_a_plan_survives_its_way_to_the_sender() -> None:
    ends = [("10.0.1.11", 40000, "10.0.1.100", 7)]
    plan = Plan("02:00:00:00:00:01", 8, 0.0, ends=ends, segments=["rst", "data"])
    again = Plan(**json.loads(json.dumps(dataclasses.asdict(plan))))
    assert list(again.stream()) == list(plan.stream())
    assert len(list(plan.stream())) == 8


# -- what is asked for -------------------------------------------------------------------------


def test_what_is_not_given_means_all_of_it() -> None:
    chosen = command.attacks(command._parser().parse_args([]))
    assert len(chosen) == 2 * 2 * 2 * (len(KINDS) + 1)
    assert {each.kind for each in chosen} == {*KINDS, "blind"}
    assert {each.packets for each in chosen if each.kind == "blind"} == {command.BLIND_PACKETS}
    few = command.attacks(command._parser().parse_args(["--kind", "syn", "--family", "6"]))
    assert {(each.kind, each.family) for each in few} == {("syn", 6)}


def test_the_lab_has_an_attacker_on_either_side() -> None:
    lab = topology("full_nat")
    assert (lab.host("x1").segment, lab.host("x2").segment) == ("clients", "servers")
    assert all(each.snat for each in lab.virtual_servers)
    assert not any(each.snat for each in topology("nat").virtual_servers)


# -- judging -----------------------------------------------------------------------------------

FLOOD = Attack("tun", "nat", 4, "syn", 1000, 100.0, transfers=10, max_connections=1000)
BLIND = dataclasses.replace(FLOOD, kind="blind", idle=5)


def honest(**changes: Any) -> dict[str, Any]:
    return {
        "transfers": 10,
        "transfers_whole": 10,
        "idle": 5,
        "idle_alive": 5,
        "broken": {},
        "delay_99": 0.004,
        "delay_max": 0.01,
        "tried": {"tcp": 100, "udp": 100},
        "served": {"tcp": 100, "udp": 95},
        "errors": {},
        **changes,
    }


def outcome(**changes: Any) -> Outcome:
    fields: dict[str, Any] = {
        "sent": 1000,
        "seconds": 10.0,
        "reached": 1000,
        "lost": 0,
        "honest": honest(),
        "memory": (30 << 20, 31 << 20),
        "states": {"ESTABLISHED": 15},
        "active": (15, 15),
    }
    return Outcome(**fields | changes)


def test_what_holds_has_no_faults() -> None:
    assert report.faults(FLOOD, outcome()) == []
    assert report.faults(BLIND, outcome()) == []
    assert report.row(FLOOD, outcome())[-1] == "holds"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"honest": honest(transfers_whole=9)}, "only 9 of 10 transfers"),
        ({"honest": honest(idle_alive=4)}, "only 4 of 5 idle"),
        ({"honest": honest(served={"tcp": 94, "udp": 95})}, "only 94.0% of new tcp"),
        ({"honest": honest(served={"tcp": 100})}, "only 0.0% of new udp"),
        ({"memory": (30 << 20, 90 << 20)}, "memory rose to 90 MiB"),
        ({"errors": 3}, "3 packets made the switch raise"),
        ({"states": {"ESTABLISHED": 14}}, "of 15 connections"),
        ({"states": {"ESTABLISHED": 14, "CLOSE": 1}}, "of 15 connections"),
        ({"shortened": 2}, "2 connections have less time left"),
        ({"active": (15, 14)}, "15 before, 14 after"),
    ],
)
def test_what_does_not_hold_is_a_line(changes: dict[str, Any], fault: str) -> None:
    (line,) = report.faults(BLIND, outcome(**changes))
    assert fault in line
    assert report.row(BLIND, outcome(**changes))[-1] == "fails"


def test_a_busy_machine_is_said_and_no_fault() -> None:
    assert report.doubts(outcome(waited=0.1)) == []
    (line,) = report.doubts(outcome(waited=0.5))
    assert "waited 50% of the time for a processor" in line
    assert report.faults(FLOOD, outcome(waited=0.5)) == []


def test_the_table_is_markdown_of_even_width() -> None:
    rows = [report.row(FLOOD, outcome()), report.row(BLIND, outcome(errors=1))]
    lines = report.table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "| 15 → 15 " in lines[3]
    assert lines[2].endswith("| holds |")


def test_the_command_goes_on_after_a_lab_that_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def run(attack: Attack) -> tuple[Outcome, list[str]]:
        if attack.kind == "syn":
            raise LabError("the switch did not start")
        return outcome(), [] if attack.kind == "ack" else ["it does not hold"]

    monkeypatch.setattr(command, "run", run)
    few = ["--capture", "tun", "--forward", "nat", "--family", "4", "--json", str(tmp_path / "it")]
    kinds = ["--kind", "syn", "--kind", "ack", "--kind", "udp"]
    assert command.main([*few, *kinds]) == 1
    said = capsys.readouterr()
    assert "the switch did not start" in said.err
    assert "it does not hold" in said.err
    assert [line.split("|")[4].strip() for line in said.out.splitlines()[2:]] == ["ack", "udp"]
    assert [each["kind"] for each in json.loads((tmp_path / "it").read_text())] == ["ack", "udp"]
    assert command.main([*few, "--kind", "ack"]) == 0
