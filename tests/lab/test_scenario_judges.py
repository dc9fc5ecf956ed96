"""Each story's judgement, on figures that are good and on figures that are not."""

import ipaddress
from dataclasses import replace

import pytest

from netns_lab.request import Request
from netns_lab.scenarios import drain, failover, health_levels, scale_out
from netns_lab.scenarios.expectations import Expectation
from netns_lab.scenarios.failover import Moments
from netns_lab.scenarios.health_levels import KINDS, Kind, Matrix
from netns_lab.sniff import Seen


def unmet(expectations: list[Expectation]) -> list[tuple[str, str]]:
    """What is not as expected: what it is, and what was seen."""
    return [(each.what, each.seen) for each in expectations if not each.met]


def answered(started: float, server: str) -> Request:
    return Request(started, started + 0.004, server, None)


def failed(started: float) -> Request:
    return Request(started, started + 0.002, None, "ConnectionRefusedError")


# --- failover ------------------------------------------------------------------------------------

MOMENTS = Moments(killed=2.0, down=3.2, serving=5.0, up=5.8)


def of_a_failover(moments: Moments = MOMENTS) -> list[Request]:
    """Ten seconds of round robin, 200 a second, as it should be."""
    requests = []
    for number in range(2000):
        started = number / 200
        in_group = started < moments.down or started >= moments.up
        server = ("s1", "s2", "s3")[number % 3] if in_group else ("s1", "s3")[number % 2]
        dead = moments.killed <= started < moments.serving
        requests.append(failed(started) if server == "s2" and dead else answered(started, server))
    return requests


def test_a_failover_as_it_should_be() -> None:
    expectations = failover.judge(of_a_failover(), MOMENTS)
    assert unmet(expectations) == []
    assert {each.what: each.seen for each in expectations} == {
        "requests begun per second": "200",
        "time to detection": "1.20 s",
        "failed requests that ended before the kill": "0",
        "failed while nobody knew": "33 %",
        "failed requests begun after the detection": "0",
        "answers of s2 while it was down": "0",
        "recovery after the restart": "0.80 s",
        "then, s2's first request": "0.01 s",
    }


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        (failed(1.0), ("failed requests that ended before the kill", "1")),
        (failed(3.3), ("failed requests begun after the detection", "1")),
        (failed(6.0), ("failed requests begun after the detection", "1")),
        (answered(4.0, "s2"), ("answers of s2 while it was down", "1")),
    ],
)
def test_one_request_too_many_is_told(extra: Request, complaint: tuple[str, str]) -> None:
    assert unmet(failover.judge([*of_a_failover(), extra], MOMENTS))[0] == complaint


def test_a_failover_that_took_too_long_is_told() -> None:
    slow = Moments(killed=2.0, down=4.6, serving=5.0, up=6.6)
    assert unmet(failover.judge(of_a_failover(slow), slow)) == [
        ("time to detection", "2.60 s"),
        ("recovery after the restart", "1.60 s"),
    ]


def test_a_server_that_never_comes_back_is_told() -> None:
    requests = [each for each in of_a_failover() if each.started < 5.8 or each.server != "s2"]
    assert ("then, s2's first request", "inf s") in unmet(failover.judge(requests, MOMENTS))


def test_no_traffic_is_no_success() -> None:
    assert ("requests begun per second", "0.00") in unmet(failover.judge([], MOMENTS))


# --- health-levels -------------------------------------------------------------------------------


def matrix(*rows: tuple[str, str]) -> Matrix:
    return {fault: dict(zip(KINDS, cells.split(), strict=True)) for fault, cells in rows}


HEALTH = matrix(
    ("host gone", "down down down"), ("program gone", "up down down"), ("answers 500", "up up down")
)
FAILED = matrix(("host gone", "0 0 0"), ("program gone", "3 0 0"), ("answers 500", "3 3 0"))


def test_the_three_differences() -> None:
    expectations = health_levels.judge(HEALTH, FAILED)
    assert unmet(expectations) == []
    assert len(expectations) == 6
    assert health_levels.matrix_lines(HEALTH) == [
        "              icmp    tcp     http",
        "host gone     down    down    down",
        "program gone  up      down    down",
        "answers 500   up      up      down",
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["host gone", "program gone", "answers 500"])
def test_each_of_the_nine_cells_counts(fault: str, kind: Kind) -> None:
    other = "up" if HEALTH[fault][kind] == "down" else "down"
    wrong = HEALTH | {fault: HEALTH[fault] | {kind: other}}
    ((what, _seen),) = unmet(health_levels.judge(wrong, FAILED))
    assert what == f"{fault}: icmp, tcp, http say"
    more = FAILED | {fault: FAILED[fault] | {kind: "6"}}
    ((what, _seen),) = unmet(health_levels.judge(HEALTH, more))
    assert what == f"{fault}: failed, of 6 each"


def test_a_fault_that_was_never_tried_is_told() -> None:
    del (seen := dict(HEALTH))["answers 500"]
    assert unmet(health_levels.judge(seen, FAILED)) == [
        ("answers 500: icmp, tcp, http say", "nothing nothing nothing")
    ]


# --- drain ---------------------------------------------------------------------------------------

DRAINED = drain.Seen(
    server="s2",
    drained=2.0,
    ready=8.0,
    at_drain=8_000_000,
    in_all=24_000_000,
    active_after=0,
    exit_code=0,
    intact=True,
)


def of_a_drain() -> list[Request]:
    requests = []
    for number in range(600):
        started = number / 60
        ready = not DRAINED.drained <= started < DRAINED.ready
        server = ("s1", "s2", "s3")[number % 3] if ready else ("s1", "s3")[number % 2]
        requests.append(answered(started, server))
    return requests


def test_a_drain_as_it_should_be() -> None:
    expectations = drain.judge(of_a_drain(), DRAINED)
    assert unmet(expectations) == []
    assert ("download: part that came after the drain", "67 %") in [
        (each.what, each.seen) for each in expectations
    ]


@pytest.mark.parametrize(
    ("seen", "complaint"),
    [
        (replace(DRAINED, exit_code=56), ("download: complete and identical", "no")),
        (replace(DRAINED, intact=False), ("download: complete and identical", "no")),
        (replace(DRAINED, active_after=1), ("then, live connections of s2", "1")),
        (
            replace(DRAINED, at_drain=23_900_000),
            ("download: part that came after the drain", "0.42 %"),
        ),
    ],
)
def test_what_goes_wrong_with_a_drain_is_told(seen: drain.Seen, complaint: tuple[str, str]) -> None:
    assert unmet(drain.judge(of_a_drain(), seen)) == [complaint]


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        (answered(5.0, "s2"), ("new requests to s2 while drained", "1")),
        (failed(5.0), ("requests that failed, in all", "1")),
    ],
)
def test_one_request_too_many_during_a_drain(extra: Request, complaint: tuple[str, str]) -> None:
    assert unmet(drain.judge([*of_a_drain(), extra], DRAINED)) == [complaint]


def test_a_server_that_gets_nothing_again_is_told() -> None:
    requests = [each for each in of_a_drain() if each.started < 8.0 or each.server != "s2"]
    assert unmet(drain.judge(requests, DRAINED)) == [("requests to s2 once ready again", "0")]


# --- scale-out -----------------------------------------------------------------------------------

CANARY = Seen(
    time=0.0,
    source=ipaddress.ip_address("10.0.1.11"),
    source_port=40000,
    destination=ipaddress.ip_address("10.0.2.11"),
    destination_port=7,
    protocol=17,
    ttl=64,
    flags=(),
    sequence=0,
    payload=b"",
    ip_checksum=0,
    ip_checksum_ok=True,
    l4_checksum=0,
    l4_checksum_ok=True,
)


def phase(servers: int, per_second: float) -> list[Request]:
    count = round(per_second * scale_out.MEASURED)
    return [answered(n / per_second, f"s{n % servers + 1}") for n in range(count)]


PHASES = [phase(1, 39.0), phase(2, 78.0), phase(3, 117.0)]


def judged(phases: list[list[Request]], seen: list[Seen]) -> list[Expectation]:
    return scale_out.judge(phases, [each for phase in phases for each in phase], seen)


def test_throughput_follows_the_number_of_servers() -> None:
    expectations = judged(PHASES, [CANARY, CANARY])
    assert unmet(expectations) == []
    assert [(each.expected, each.seen) for each in expectations[:3]] == [
        ("32 to 42", "39"),
        ("64 to 84", "78"),
        ("96 to 126", "117"),
    ]


def test_a_server_that_adds_nothing_is_told() -> None:
    stuck = [*PHASES[:2], phase(2, 78.0)]
    assert unmet(judged(stuck, [CANARY])) == [
        ("answers per second, 3 servers", "78"),
        ("who answered, 3 servers", "s1, s2"),
    ]


def test_a_server_that_is_not_limited_is_told() -> None:
    assert unmet(judged([phase(1, 60.0), *PHASES[1:]], [CANARY])) == [
        ("answers per second, 1 server", "60")
    ]


def test_a_real_address_on_a_users_wire_is_told() -> None:
    leak = replace(CANARY, protocol=6, destination_port=80)
    assert unmet(judged(PHASES, [CANARY, leak])) == [
        ("users' packets with a server's own address", "1")
    ]


def test_an_observer_that_sees_nothing_proves_nothing() -> None:
    assert unmet(judged(PHASES, [])) == [("(the observer sees such packets)", "no")]
