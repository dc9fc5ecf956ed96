"""Other schedulers on a recording: its own one makes the same choices again, another its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lb_switch.compare.load import ServerChange
from lb_switch.compare.recorded import Recorded, recorded
from lb_switch.compare.run import run as run_load
from lb_switch.engine.changes import SetAdminState, SetHealth
from lb_switch.engine.scheduling.catalogue import CATALOGUE
from lb_switch.engine.servers import AdminState, RealServer
from lb_switch.engine.switch import Settings
from lb_switch.engine.verdict import Action
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import ConnectionRecord
from tests.cli.conftest import Run
from tests.cli.conftest import config as config  # noqa: PLC0414 - a fixture
from tests.cli.conftest import run as run  # noqa: PLC0414
from tests.explain import told
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    RIPS6,
    VIP,
    VIP6,
    Dialogue,
    endpoint,
    make_switch,
    send,
)
from tests.support.packets import udp


def lines(scheduler: str = "rr", *, v6: bool = False) -> list[bytes]:
    """Thirty connections, one each second; s2 is down from 5.5 to 15.5, s3 drained from 20.5 on.

    Those with an even number last 2 s, the others 7 s.
    """
    client, vip, rips = (
        (CLIENT6, VIP6, (*RIPS6, ("2001:db8:2::13", 8080)))
        if v6
        else (
            CLIENT,
            VIP,
            RIPS,
        )
    )
    switch = make_switch(vip, rips, scheduler)
    teller = told.Teller(switch, 100.0)
    servers = switch.virtual_servers["web"].real_servers
    talks: dict[int, Dialogue] = {}
    clock = Dialogue(switch, client, vip)
    clock.now = 100.0
    for half in range(1, 80):
        clock.wait(0.5)
        if half == 11:
            switch.change(SetHealth(servers[1], False, "connect refused"), clock.now)
        elif half == 31:
            switch.change(SetHealth(servers[1], True, "HTTP 200"), clock.now)
        elif half == 41:
            switch.change(SetAdminState(servers[2], AdminState.DRAIN), clock.now)
        if half % 2:
            continue
        number = half // 2
        for one, talk in list(talks.items()):
            if number == one + (7 if one % 2 else 2):
                talk.now = clock.now
                # One whose real server is down ends at once, with a RST of the switch.
                if Action.REPLY is not talk.client("FA").action:
                    talk.server("FA")
                    talk.client("A")
                del talks[one]
        if number <= 30:
            place = (client[0], 40000 + number)
            talks[number] = Dialogue(switch, place, vip)
            talks[number].now = clock.now
            talks[number].handshake()
    return teller.finish(clock.now)


def read(recording: list[bytes], name: str = "web") -> Recorded:
    whole = Recording(recording, "rec.jsonl")
    (entry,) = [each for each in whole.header.virtual_servers if each.name == name]
    return recorded(whole.header, whole, entry, "rec.jsonl")


def got(recording: list[bytes], name: str = "web") -> list[str]:
    """Return the real servers of the connections, as they were recorded."""
    return [
        record.connection.real
        for record in Recording(recording, "rec.jsonl")
        if isinstance(record, ConnectionRecord)
        and record.stage == "opened"
        and record.virtual_server == name
    ]


@pytest.mark.parametrize("v6", [False, True], ids=["v4", "v6"])
@pytest.mark.parametrize("scheduler", CATALOGUE)
def test_the_recorded_scheduler_makes_the_same_choices_again(scheduler: str, v6: bool) -> None:
    recording = lines(scheduler, v6=v6)
    load, group, numbers = read(recording)
    course = run_load(load, group, scheduler, Settings())
    names = [str(address) for address, _ in group.real_servers]
    assert [names[index] for index in course.chosen if index is not None] == got(recording)
    assert numbers == tuple(range(1, 31))
    assert len(load.arrivals) == 30
    assert len(set(got(recording))) > (0 if scheduler == "sh" else 1)


def test_the_load_is_what_was_recorded() -> None:
    load, group, _ = read(lines())
    assert load.about == "rec.jsonl, 3 changes of its real servers"
    assert [arrival.start for arrival in load.arrivals] == [float(n) for n in range(1, 31)]
    assert [arrival.duration for arrival in load.arrivals[:4]] == [7.0, 2.0, 7.0, 2.0]
    assert load.span == 39.5
    assert load.changes == (
        *(ServerChange(0.0, index, True, AdminState.READY, 1) for index in range(3)),
        ServerChange(5.5, 1, False, AdminState.READY, 1),
        ServerChange(15.5, 1, True, AdminState.READY, 1),
        ServerChange(20.5, 2, True, AdminState.DRAIN, 1),
    )
    assert [weight for _, weight in group.real_servers] == [1, 1, 1]


@pytest.mark.parametrize("scheduler", CATALOGUE)
def test_nobody_gets_a_real_server_that_was_out_of_service(scheduler: str) -> None:
    load, group, _ = read(lines())
    course = run_load(load, group, scheduler, Settings())
    for arrival, index in zip(load.arrivals, course.chosen, strict=True):
        assert index is not None
        assert not (index == 1 and 5.5 < arrival.start < 15.5)
        assert not (index == 2 and arrival.start > 20.5)


def test_udp_lasts_from_its_first_datagram_to_its_last() -> None:
    switch = make_switch()
    teller = told.Teller(switch, 10.0)
    for time in (11.0, 12.5):
        send(switch, udp(CLIENT, VIP, b"hello"), time)
    (arrival,) = read(teller.finish(20.0), "dns").load.arrivals
    assert (arrival.start, arrival.duration, arrival.client) == (1.0, 1.5, endpoint(CLIENT))


def test_a_real_server_that_was_added_is_away_until_then() -> None:
    switch = make_switch(rips=RIPS[:1])
    teller = told.Teller(switch)
    group = switch.virtual_servers["web"]
    for number in range(6):
        if number == 3:
            server = RealServer(endpoint(RIPS[1]))
            group.add(server)
            switch.change(SetHealth(server, True, "HTTP 200"), 2.5)
        talk = Dialogue(switch, (CLIENT[0], 40000 + number))
        talk.now = float(number)
        talk.handshake()
    recording = teller.finish(10.0)
    load, found, _ = read(recording)
    course = run_load(load, found, "lc", Settings())
    assert course.chosen == [0, 0, 0, 1, 1, 1]
    assert load.about == "rec.jsonl, 1 change of its real servers"


def test_missing_events_are_told() -> None:
    recording = lines()
    recording[3:5] = [b'{"event":"dropped","count":2}\n']
    assert "2 events are missing" in read(recording).load.about


# -- what a connection would have got ----------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rec.jsonl"
    path.write_bytes(b"".join(lines()))
    return path


def test_what_a_connection_would_get_with_lc(run: Run, file: Path) -> None:
    result = run("explain", "choice", "--from", file, "--connection", "3", "--scheduler", "lc")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "connection 3 at 3.000000: c1 10.0.1.11:40003 → web 10.0.1.100:80",
        "    recorded: rr chooses s3: next after s2 (3 of 3 usable); not s1 or s2",
        "    likewise: lc chooses s3: fewest active connections: 0 (active: s1 1, s2 1,",
        "      s3 0); not s1 or s2",
        "",
    ]
    other = run("explain", "choice", "--from", file, "--connection", "18", "--scheduler", "lc")
    assert other.stdout.splitlines()[1:] == [
        "    recorded: rr chooses s1: next after s3 (1 of 3 usable); not s2 or s3",
        "    instead: lc chooses s2: fewest active connections: 0 (active: s1 1, s2 0, s3",
        "      2); not s1 or s3",
        "",
    ]


def test_all_others_are_asked_by_default(run: Run, file: Path) -> None:
    result = run("explain", "choice", "--from", file, "--connection", "10.0.1.11:40008")
    text = " ".join(result.stdout.split())
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "recorded: rr chooses s" in text
    for name in CATALOGUE:
        assert text.count(f": {name} chooses s") == 1
    assert text.count("skipped s2 (down)") == len(CATALOGUE)
    everybody = run("explain", "choice", "--from", file, "--connection", "c1", "--scheduler", "wlc")
    assert everybody.stdout.count("recorded: ") == 30


def test_hashing_is_as_configured(run: Run, file: Path, config: Path) -> None:
    config.write_text(
        '[switch]\nhash_key = "00112233445566778899aabbccddeeff"\n' + config.read_text()
    )
    options = ("explain", "choice", "--from", file, "--connection", "1", "--scheduler", "sh")
    keyed, plain = run(*options, "--config", config), run(*options)
    assert keyed.exit_code == plain.exit_code == 0
    assert keyed.stdout != plain.stdout


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (("--connection", "99"), 1, "{file}: no connection 99 begins in it, to a virtual server"),
        (("--connection", "1", "--scheduler", "best"), 2, "'best' is none of rr, wrr, lc, wlc"),
        (("--scheduler", "lc"), 2, "Missing option '--connection'."),
    ],
)
def test_a_question_that_has_no_answer(
    run: Run, file: Path, options: tuple[str, ...], code: int, line: str
) -> None:
    result = run("explain", "choice", "--from", file, *options)
    assert (result.exit_code, result.stdout) == (code, "")
    assert line.format(file=file) in result.stderr
    assert result.stderr.count("\n") == 1


# -- compare --from ----------------------------------------------------------------------------


def test_a_recording_is_compared_with_its_servers_health(run: Run, file: Path) -> None:
    result = run("compare", "--from", file, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    shown = json.loads(result.stdout)
    assert shown["load"] == {
        "about": "rec.jsonl, 3 changes of its real servers",
        "connections": 30,
        "clients": 1,
        "seconds": 39.5,
    }
    assert [each["address"] for each in shown["real_servers"]] == [f"{ip}:{p}" for ip, p in RIPS]
    recorded_shares = [got(lines()).count(f"{ip}:{port}") for ip, port in RIPS]
    assert shown["schedulers"]["rr"]["connections"] == recorded_shares
    assert recorded_shares[1] < 10
    assert sum(shown["schedulers"]["lc"]["connections"]) == 30
    text = run("compare", "--from", file).stdout
    assert "web tcp 10.0.1.100:80: 30 connections of 1 client" in text
    assert "3 changes of its real" in text


def test_other_weights_hold_all_the_time(run: Run, file: Path) -> None:
    shown = json.loads(run("compare", "--from", file, "--weights", "8,1,1", "--json").stdout)
    assert [each["weight"] for each in shown["real_servers"]] == [8, 1, 1]
    assert shown["schedulers"]["wrr"]["connections"][0] > 20


def test_the_virtual_server_that_anybody_came_to(run: Run, tmp_path: Path) -> None:
    switch = make_switch()
    teller = told.Teller(switch)
    send(switch, udp(CLIENT, VIP, b"hello"), 1.0)
    path = tmp_path / "dns.jsonl"
    path.write_bytes(b"".join(teller.finish(2.0)))
    assert json.loads(run("compare", "--from", path, "--json").stdout)["virtual_server"] == "dns"
    result = run("compare", "--from", path, "--virtual-server", "web")
    assert result.stderr == f"lb-switch: {path}: no connection to web 10.0.1.100:80 begins in it\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "Missing argument 'CONFIG' (or --from FILE, or --example)."),
        (("{config}", "in.pcap", "--from", "{file}"), "IN.pcap and --from cannot go together."),
        (("--from", "{file}", "--clients", "3"), "--clients is not for a recording."),
        (("--from", "{file}", "--virtual-server", "x"), "No virtual server 'x' (there is: "),
        (("--from", "{file}", "--weights", "1"), "web takes 3 --weights up to 65535: not '1'."),
    ],
)
def test_bad_usage_is_one_clear_line(
    run: Run, config: Path, file: Path, arguments: tuple[str, ...], line: str
) -> None:
    result = run("compare", *(each.format(config=config, file=file) for each in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"lb-switch: {line}")
    assert result.stderr.count("\n") == 1


def test_what_is_no_whole_recording(run: Run, file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(file.read_bytes()[:-20])
    for path, problem in (
        (cut, "cut off in line"),
        (tmp_path / "no", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        result = run("compare", "--from", path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"lb-switch: {path}: {problem}")
        assert result.stderr.count("\n") == 1
