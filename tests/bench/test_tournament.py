"""Who runs when, which programs are needed, what /proc says."""

from collections import Counter

import pytest

from netns_lab.bench import arena, processor, tournament
from netns_lab.bench.contestants import CONTESTANTS
from netns_lab.bench.measures import MEASURES, needed_programs
from netns_lab.errors import LabError

STAT = "1234 (a (strange) name) S 77 1 1 0 -1 4194304 1 2 3 4 250 150 5 6 20 0 1 0 9999 0 0\n"
MACHINE = "cpu  1000 0 500 8000 300 0 100 100 0 0\ncpu0 1 2 3\n"
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0100007F:1451 0200007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 2
"""


def test_everybody_runs_once_a_round_and_is_first_in_turn() -> None:
    todo = tournament.plan(rounds=6)
    orders = [todo.order(number) for number in range(1, 7)]
    assert all(Counter(order) == Counter(CONTESTANTS.values()) for order in orders)
    assert len({order[0].name for order in orders}) == len(CONTESTANTS)


def test_nobody_is_asked_for_udp_who_has_none() -> None:
    todo = tournament.plan()
    assert "udp" not in [each.name for each in todo.measures_of(CONTESTANTS["haproxy"])]
    assert "udp" in [each.name for each in todo.measures_of(CONTESTANTS["tun"])]
    assert todo.total == todo.rounds * (len(CONTESTANTS) * len(MEASURES) - 1)


def test_a_tuning_run_takes_part_of_it_in_the_same_order() -> None:
    todo = tournament.plan(["tun", "haproxy"], ["udp", "bulk1"], rounds=2, seconds=1)
    assert [each.name for each in todo.contestants] == ["haproxy", "tun"]
    assert [each.name for each in todo.measures] == ["bulk1", "udp"]
    assert todo.total == 2 * (1 + 2)


@pytest.mark.parametrize(
    ("only", "measures", "words"),
    [(["hapoxy"], [], "no contestant 'hapoxy'"), ([], ["speed"], "no measure 'speed'")],
)
def test_unknown_names_are_refused(only: list[str], measures: list[str], words: str) -> None:
    with pytest.raises(LookupError, match=words):
        tournament.plan(only, measures)


def test_only_what_the_measures_use_is_needed() -> None:
    assert needed_programs((MEASURES["bulk1"],)) == {"iperf3", "nginx", "wrk"}
    assert needed_programs((MEASURES["udp"],)) == {"nginx", "wrk"}


def test_a_missing_program_is_named_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name == "wrk" else f"/bin/{name}")
    with pytest.raises(LabError, match=r"^not on this machine: wrk; .*apt-get install wrk\)$"):
        arena.require({"wrk", "nginx"})
    arena.require({"nginx"})


@pytest.mark.parametrize("name", MEASURES)
def test_every_measure_lasts_as_long_as_asked_and_goes_to_the_target(name: str) -> None:
    command = " ".join(MEASURES[name].command("10.0.1.100", 7))
    assert "10.0.1.100" in command
    assert "7s" in command or " 7" in command


def test_a_name_with_spaces_and_parentheses_does_not_shift_the_fields() -> None:
    fields = processor.stat_fields(STAT)
    assert (fields[0], fields[1], fields[11], fields[12]) == ("S", "77", "250", "150")


def test_the_machines_time_is_parted_into_busy_idle_and_stolen() -> None:
    time = processor.parse_machine_time(MACHINE)
    later = processor.MachineTime(time.busy + 3, time.idle + 6, time.steal + 1)
    assert time.busy / time.idle == pytest.approx(1600 / 8300)
    assert time.steal / time.idle == pytest.approx(100 / 8300)
    assert later.since(time).busy_share == pytest.approx(0.4)


def test_listeners_are_told_from_connections() -> None:
    assert arena.listens_in(TCP, "0A", 80)
    assert not arena.listens_in(TCP, "0A", 5201)
    assert not arena.listens_in(TCP, "0A", 0x1451)
