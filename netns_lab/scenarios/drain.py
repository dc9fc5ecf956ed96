"""`drain`: a server is to be taken away for repair, and nobody shall notice."""

from __future__ import annotations

import hashlib
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netns_lab.payload import payload_sha256
from netns_lab.request import Request, answered_by, failures, started_within
from netns_lab.scenarios import scenery
from netns_lab.scenarios.expectations import Expectation, at_least, exactly
from netns_lab.scenarios.live_chart import LiveChart
from netns_lab.scenarios.running_traffic import Traffic
from netns_lab.scenarios.stage import Stage, SurpriseError
from netns_lab.topologies import VirtualServer

NAME = "drain"
SUMMARY = "a server leaves for repair; its long download is not cut off"
TOPOLOGY = scenery.topology(NAME, SUMMARY, scenery.web())

RATE = 60.0
DOWNLOADER = "c2"
SIZE = 6_000_000
SPEED = 1_000_000
"""Bytes per second, at which the server sends: a client that read slowly would not do, the whole
download could be waiting in its kernel's buffer by the time of the drain."""
STEADY = 1.5
PATIENCE = 20.0
MEGABYTE = 1e6


@dataclass
class Seen:
    """What happened.  Times are seconds of the monotonic clock."""

    server: str = ""
    """Who served the download, and was drained."""
    drained: float = 0.0
    """When the switch had been told to drain it."""
    ready: float = 0.0
    """When the switch was about to be told that it is ready again."""
    at_drain: int = 0
    """Bytes of the download that had passed the switch by then."""
    in_all: int = 0
    active_after: int = -1
    exit_code: int = -1
    intact: bool = False


def tell(stage: Stage) -> list[Expectation]:
    """Tell the story of a lab that is up.  Raises LabError, SurpriseError."""
    narrator = stage.narrator
    web = stage.lab.topology.virtual_servers[0]
    narrator.chapter("A server needs repair, and somebody is using it")
    narrator.say(
        f"""Three servers share the work. {DOWNLOADER} has begun a long download
        ({SIZE / MEGABYTE:.0f} MB at {SPEED / MEGABYTE:.0f} MB a second), while c1 makes
        {RATE:.0f} short requests each second. Now the very server that serves the download is to be
        shut down for repair. To switch it off would cut the download off. So it is drained first:
        it keeps the connections it has, and gets no new ones."""
    )
    seen = Seen()
    path = stage.lab.directory / "download"
    url = f"http://{web.endpoint}/bytes/{SIZE}?rate={SPEED}"
    argv = ["curl", "-sSf", "-o", str(path), url]
    download = stage.lab.popen(DOWNLOADER, argv, stderr=subprocess.DEVNULL)
    with Traffic(stage.lab, "c1", f"http://{web.endpoint}/", rate=RATE) as traffic:
        chart = LiveChart(narrator, traffic, scenery.SERVERS, per_character=1)
        _drain(stage, chart, download, seen)
        _download_ends(stage, chart, download, seen)
        seen.intact = _sha256(path) == payload_sha256(SIZE)
        _repair(stage, chart, seen)
    narrator.say(
        f"""When {seen.server} was drained, {seen.at_drain / MEGABYTE:.1f} MB of the download had
        come. The rest came from {seen.server} too, although all new connections went to the others:
        the switch remembers for each connection where it belongs. Then nobody used {seen.server}
        any more, and it could be switched off without anyone noticing."""
    )
    return judge(traffic.requests, seen)


def _drain(stage: Stage, chart: LiveChart, download: subprocess.Popen[Any], seen: Seen) -> None:
    web = stage.lab.topology.virtual_servers[0]
    chart.run(STEADY)
    seen.server = _server_of(stage, _download_row(stage)["destination"], web)
    chart.note(f"{DOWNLOADER}'s download is served by {seen.server}: drain {seen.server}")
    row = _download_row(stage)
    _set_state(stage, chart, seen.server, "drain")
    seen.drained = time.monotonic()
    seen.at_drain = row["to_client"]["bytes"]
    chart.run(1.0)
    chart.give_way()
    stage.operate("show")
    if download.poll() is not None:
        raise SurpriseError("the download was over before anything could be shown")


def _download_ends(
    stage: Stage, chart: LiveChart, download: subprocess.Popen[Any], seen: Seen
) -> None:
    web = stage.lab.topology.virtual_servers[0]
    if not chart.run_until(lambda: download.poll() is not None, PATIENCE):
        raise SurpriseError(f"the download has not ended after {PATIENCE:g} s")
    seen.exit_code = download.returncode
    chart.note(f"the download has ended (curl's exit code: {download.returncode})")
    seen.in_all = _download_row(stage)["to_client"]["bytes"]
    chart.run(0.5)
    seen.active_after = _active(stage, web, seen.server)


def _repair(stage: Stage, chart: LiveChart, seen: Seen) -> None:
    stage.lab.kill_server(seen.server)
    chart.note(f"{seen.server} is switched off")
    chart.run(1.0)
    stage.lab.start_server(seen.server)
    chart.note(f"{seen.server} is repaired and on again")
    seen.ready = time.monotonic()
    _set_state(stage, chart, seen.server, "ready")
    chart.run(STEADY)


def _set_state(stage: Stage, chart: LiveChart, server: str, state: str) -> None:
    web = stage.lab.topology.virtual_servers[0]
    chart.give_way()
    stage.operate("set", web.endpoint, stage.real_server(web, server), "--state", state)


def _download_row(stage: Stage) -> dict[str, Any]:
    ip = stage.lab.topology.host(DOWNLOADER).ips[0]
    rows: list[dict[str, Any]] = stage.rows("connections")
    for row in rows:
        if row["source"].startswith(f"{ip}:"):
            return row
    raise SurpriseError("the download is not in the connection table")


def _server_of(stage: Stage, address: str, web: VirtualServer) -> str:
    return next(name for name in web.real_servers if stage.real_server(web, name) == address)


def _active(stage: Stage, web: VirtualServer, server: str) -> int:
    address = stage.real_server(web, server)
    (row,) = stage.rows("virtual_servers")
    return int(next(each["active"] for each in row["real_servers"] if each["address"] == address))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def judge(requests: list[Request], seen: Seen) -> list[Expectation]:
    """Return the figures against what they should be.  Pure."""
    drained = started_within(requests, seen.drained, seen.ready)
    others = set(scenery.SERVERS) - {seen.server}
    answers = answered_by(drained)
    again = answered_by(started_within(requests, seen.ready, float("inf")))[seen.server]
    before = answered_by(started_within(requests, 0.0, seen.drained))[seen.server]
    return [
        at_least(f"requests to {seen.server} before the drain", 1, before, ""),
        exactly(f"new requests to {seen.server} while drained", 0, answers[seen.server]),
        at_least("... to each of the others", 10, min(answers[name] for name in others), ""),
        at_least(
            "download: part that came after the drain",
            30.0,
            100 * (1 - seen.at_drain / seen.in_all) if seen.in_all else 0.0,
            "%",
        ),
        exactly(
            "download: complete and identical",
            "yes",
            "yes" if seen.exit_code == 0 and seen.intact else "no",
        ),
        exactly(f"then, live connections of {seen.server}", 0, seen.active_after),
        exactly("requests that failed, in all", 0, len(failures(requests))),
        at_least(f"requests to {seen.server} once ready again", 1, again, ""),
    ]
