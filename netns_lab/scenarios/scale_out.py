"""`scale-out`: one server has too much to do; adding servers, live, is all it takes."""

from __future__ import annotations

import time

from netns_lab.request import (
    Request,
    answered_by,
    ended_within,
    failures,
    mean_seconds,
)
from netns_lab.scenarios import scenery
from netns_lab.scenarios.chart import bars
from netns_lab.scenarios.expectations import Expectation, between, exactly
from netns_lab.scenarios.live_chart import LiveChart
from netns_lab.scenarios.running_traffic import Traffic
from netns_lab.scenarios.stage import Stage
from netns_lab.sniff import Seen, sniff

NAME = "scale-out"
SUMMARY = "one server is overloaded; servers added under way speed it up"
TOPOLOGY = scenery.topology(NAME, SUMMARY, scenery.web(("s1",)))

WORKERS = 2
SERVICE_SECONDS = 0.05
CAPACITY = WORKERS / SERVICE_SECONDS
"""What a server can answer, in requests per second."""
USERS = 16
SETTLING = 1.0
"""Seconds after a change that belong to neither phase."""
MEASURED = 3.0
TOLERANCE = (0.80, 1.05)
"""Of the capacity: below, because starting and ending an answer takes its time as well."""
CANARY_PORT = 7


def tell(stage: Stage) -> list[Expectation]:
    """Tell the story of a lab that is up.  Raises LabError, SurpriseError."""
    narrator, lab = stage.narrator, stage.lab
    web = lab.topology.virtual_servers[0]
    narrator.chapter("One server, and more users than it can serve")
    narrator.say(
        f"""A shop has one server, s1. For the sake of the story each server here is slow on
        purpose: {WORKERS} workers, each of whom needs {1000 * SERVICE_SECONDS:.0f} ms for one
        answer. So a server can give {CAPACITY:.0f} answers a second and not one more, whatever the
        machine; who comes while all are busy has to wait."""
    )
    for name in scenery.SERVERS:
        order = f"/capacity?workers={WORKERS}&seconds={SERVICE_SECONDS}"
        stage.tell_server(name, order)
    narrator.say(
        f"""{USERS} users, all on c1, ask for a page, and again as soon as they have it. They know
        one address: http://{web.endpoint}/. It is that of no machine: the switch takes what is
        sent there and passes it on to the servers it was told of. At first that is s1 alone."""
    )
    phases: list[list[Request]] = []
    with sniff(lab, "c1", "net 10.0.2.0/24") as watcher:
        lab.client("c1", "udp", f"{lab.topology.host('s1').ips[0]}:{CANARY_PORT}", "--sizes", "1")
        with Traffic(lab, "c1", f"http://{web.endpoint}/work", users=USERS) as traffic:
            chart = LiveChart(narrator, traffic, scenery.SERVERS, seconds=1.0, per_character=3)
            phases.append(_phase(chart, traffic))
            for name in scenery.SERVERS[1:]:
                chart.give_way()
                stage.operate("add", web.endpoint, stage.real_server(web, name))
                phases.append(_phase(chart, traffic))
    _summarize(stage, phases)
    return judge(phases, traffic.requests, watcher.packets)


def _phase(chart: LiveChart, traffic: Traffic) -> list[Request]:
    chart.run(SETTLING)
    begin = time.monotonic()
    chart.run(MEASURED)
    return ended_within(list(traffic.requests), begin, begin + MEASURED)


def rate(phase: list[Request]) -> float:
    """Return answers per second of a phase."""
    return sum(answered_by(phase).values()) / MEASURED


def _servers(number: int) -> str:
    return "1 server" if number == 1 else f"{number} servers"


def _summarize(stage: Stage, phases: list[list[Request]]) -> None:
    narrator = stage.narrator
    narrator.chapter("More servers, more answers")
    narrator.say("Answers per second in each phase, and how long a user waited for one:")
    narrator.block(
        bars(
            [
                (
                    _servers(number),
                    rate(phase),
                    f"{rate(phase):5.1f}/s {1000 * mean_seconds(phase):4.0f} ms",
                )
                for number, phase in enumerate(phases, 1)
            ]
        )
    )
    narrator.say(
        """Nobody restarted anything, no user was told anything: the switch gives each new
        connection to the next server in turn (round robin), and a server that was added is in the
        round from that moment. This is what load balancers are for."""
    )
    stage.operate("show")


def judge(
    phases: list[list[Request]], requests: list[Request], seen: list[Seen]
) -> list[Expectation]:
    """Return the figures against what the servers' capacity allows.  Pure.

    seen: what an observer on the client saw of the servers' own network, its canary included.
    """
    low, high = TOLERANCE
    expectations = [
        between(
            f"answers per second, {_servers(number)}",
            low * number * CAPACITY,
            high * number * CAPACITY,
            rate(phase),
            "",
        )
        for number, phase in enumerate(phases, 1)
    ]
    canary = [each for each in seen if CANARY_PORT in (each.source_port, each.destination_port)]
    return [
        *expectations,
        *(
            exactly(f"who answered, {_servers(number)}", ", ".join(scenery.SERVERS[:number]), names)
            for number, phase in enumerate(phases, 1)
            for names in [", ".join(sorted(answered_by(phase)))]
        ),
        exactly("requests that failed", 0, len(failures(requests))),
        exactly("users' packets with a server's own address", 0, len(seen) - len(canary)),
        exactly("(the observer sees such packets)", "yes", "yes" if canary else "no"),
    ]
