"""When did a server go down?  From what the switch tells."""

from typing import Any

from netns_lab.scenarios.health_watch import Standing, Standings

WEB = "10.0.2.11:80"


def header(healthy: bool = True) -> dict[str, Any]:
    """The first line of `lb-switch events`, as far as it matters."""
    servers = [{"address": WEB, "healthy": healthy}]
    return {"time": 100.0, "virtual_servers": [{"name": "web", "real_servers": servers}]}


def changed(healthy: bool, time: float, finding: str, what: str = "health") -> dict[str, Any]:
    return {
        "event": "server",
        "time": time,
        "virtual_server": "web",
        "real_server": {"address": WEB, "healthy": healthy},
        "changed": what,
        "finding": finding,
    }


def probe(passed: bool | None, time: float, finding: str) -> dict[str, Any]:
    return {
        "event": "probe",
        "time": time,
        "virtual_server": "web",
        "real_server": WEB,
        "passed": passed,
        "finding": finding,
    }


def standings(*lines: dict[str, Any]) -> Standings:
    seen = Standings()
    for line in lines:
        seen.note(line)
    return seen


def test_what_nobody_has_told_is_not_known() -> None:
    assert Standings().get("web", WEB) is None
    assert Standings().all() == []


def test_what_was_so_when_the_telling_began() -> None:
    assert standings(header()).all() == [Standing("unknown", 100.0, "")]
    assert standings(header(healthy=False)).all() == [Standing("down", 100.0, "")]


def test_a_server_is_up_when_a_probe_has_said_so() -> None:
    seen = standings(header(), probe(False, 100.2, "timeout"), probe(None, 100.3, "no socket"))
    assert seen.all() == [Standing("unknown", 100.0, "")]
    seen.note(probe(True, 100.5, "status 200"))
    seen.note(probe(True, 101.0, "status 200"))
    assert seen.all() == [Standing("up", 100.5, "status 200")]


def test_the_moment_of_a_change_is_the_switchs_own() -> None:
    seen = standings(header(), probe(True, 100.5, "status 200"))
    seen.note(changed(False, 103.25, "connect refused"))
    seen.note(probe(True, 103.9, "status 200"))
    assert seen.all() == [Standing("down", 103.25, "connect refused")]
    seen.note(changed(True, 104.5, "status 200"))
    assert seen.all() == [Standing("up", 104.5, "status 200")]


def test_other_changes_and_events_say_nothing_of_health() -> None:
    seen = standings(header(), changed(False, 101.0, "", "weight"), {"event": "complete"})
    assert seen.all() == [Standing("unknown", 100.0, "")]
