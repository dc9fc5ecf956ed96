"""`failover`: a server dies in mid-traffic; who notices, how soon, and what it costs."""

from __future__ import annotations

import time
from dataclasses import dataclass

from netns_lab.request import Request, answered_by, failures, started_within
from netns_lab.scenarios import scenery
from netns_lab.scenarios.expectations import Expectation, at_least, at_most, between, exactly
from netns_lab.scenarios.health_watch import HealthWatch, Standing
from netns_lab.scenarios.live_chart import LiveChart
from netns_lab.scenarios.running_traffic import Traffic
from netns_lab.scenarios.stage import Stage, SurpriseError

NAME = "failover"
SUMMARY = "a server dies in mid-traffic; who notices, and what it costs"
TOPOLOGY = scenery.topology(NAME, SUMMARY, scenery.web(check="http"))

VICTIM = "s2"
RATE = 200.0
CHECK_INTERVAL = 0.5
CHECK_TIMEOUT = 1.0
FALL = RISE = 2
"""As `netns_lab.config` writes it."""
MARGIN = 0.5
"""Seconds for processes to be scheduled, on a busy machine."""
DETECTION = CHECK_INTERVAL * FALL + CHECK_TIMEOUT + MARGIN
RECOVERY = CHECK_INTERVAL * RISE + MARGIN
STEADY = 1.5
PRECISION = 0.001
"""Seconds: times are told to the millisecond."""


@dataclass(frozen=True)
class Moments:
    """When things happened; seconds of the monotonic clock."""

    killed: float
    down: float
    serving: float
    up: float


def tell(stage: Stage) -> list[Expectation]:
    """Tell the story of a lab that is up.  Raises LabError, SurpriseError."""
    narrator = stage.narrator
    web = stage.lab.topology.virtual_servers[0]
    narrator.chapter("Who watches the servers?")
    narrator.say(
        f"""Servers crash. A load balancer that went on sending users to a dead one would be worse
        than none. So the switch asks each server for a page every {CHECK_INTERVAL:g} seconds: a
        health check. {FALL} failures in a row, and the server is out of the group; {RISE} good
        answers in a row, and it is back. What is known at first (lb-switch show health):"""
    )
    with HealthWatch(stage.lab) as health:
        health.await_all_up()
        _show_health(stage)
        narrator.chapter(f"{VICTIM} dies while {RATE:.0f} requests a second come in")
        narrator.say(
            f"""c1 begins {RATE:.0f} requests each second, each on a new connection, whatever
            becomes of the others. Then the program on {VICTIM} is killed (SIGKILL: no goodbye), and
            later started again."""
        )
        with Traffic(stage.lab, "c1", f"http://{web.endpoint}/", rate=RATE) as traffic:
            moments, cause = _act(stage, traffic, health)
    requests = traffic.requests
    narrator.say(
        f"""The switch had noticed {moments.down - moments.killed:.2f} s after the kill ({cause}).
        Until then a third of the requests failed: each third connection was given to a dead server.
        From then on {VICTIM} was left out, and users saw nothing of it any more.
        {moments.up - moments.serving:.2f} s after it served again it was back in the group."""
    )
    _show_health(stage)
    return judge(requests, moments)


def _show_health(stage: Stage) -> None:
    """Show what `lb-switch show health` says, in the few columns that matter here."""
    web = stage.lab.topology.virtual_servers[0]
    rows = {row["address"]: row for row in stage.rows("health")["real_servers"]}
    lines = []
    for name in web.real_servers:
        row = rows[stage.real_server(web, name)]
        lines.append(
            f"{name}  {row['address']:<14} {row['state']:<5} for {row['seconds']:4.1f} s,"
            f" last answer: {row['last']['finding']}"
        )
    stage.narrator.block(lines)


def _act(stage: Stage, traffic: Traffic, health: HealthWatch) -> tuple[Moments, str]:
    web = stage.lab.topology.virtual_servers[0]
    address = stage.real_server(web, VICTIM)

    def standing(state: str) -> Standing:
        patience = 2 * (DETECTION + RECOVERY)
        if not chart.run_until(lambda: health.is_in(state, web.name, address), patience):
            raise SurpriseError(f"{VICTIM} is not {state} after {patience:g} s")
        chart.note(f"the switch: {VICTIM} is {state}")
        chart.run(STEADY)
        found = health.standing(web.name, address)
        assert found is not None
        return found

    chart = LiveChart(stage.narrator, traffic, scenery.SERVERS, per_character=3)
    chart.run(STEADY)
    killed = time.monotonic()
    stage.lab.kill_server(VICTIM)
    chart.note(f"{VICTIM} is killed")
    down = standing("down")
    stage.lab.start_server(VICTIM)
    serving = time.monotonic()
    chart.note(f"{VICTIM} is started again")
    up = standing("up")
    return Moments(killed, down.since, serving, up.since), down.cause


def judge(requests: list[Request], moments: Moments) -> list[Expectation]:
    """Return the figures against their bounds.  Pure."""
    failed = failures(requests)
    known = moments.down + PRECISION
    blind = started_within(requests, moments.killed, known)
    share = 100 * len(failures(blind)) / len(blind) if blind else 0.0
    absent = answered_by(started_within(requests, known, moments.serving))[VICTIM]
    back = [each.started for each in requests if each.server == VICTIM and each.started > known]
    first = max(0.0, min(back, default=float("inf")) - moments.up)
    lasted = max((each.started for each in requests), default=0.0) - min(
        (each.started for each in requests), default=0.0
    )
    return [
        at_least("requests begun per second", 0.9 * RATE, len(requests) / (lasted or 1.0), ""),
        at_most("time to detection", DETECTION, moments.down - moments.killed, "s"),
        exactly(
            "failed requests that ended before the kill",
            0,
            sum(each.ended < moments.killed for each in failed),
        ),
        between("failed while nobody knew", 20.0, 45.0, share, "%"),
        exactly(
            "failed requests begun after the detection",
            0,
            sum(each.started >= known for each in failed),
        ),
        exactly(f"answers of {VICTIM} while it was down", 0, absent),
        at_most("recovery after the restart", RECOVERY, moments.up - moments.serving, "s"),
        at_most(f"then, {VICTIM}'s first request", 0.2, first, "s"),
    ]
