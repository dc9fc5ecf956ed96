"""When did a server go down?  From looks that each say for how long it has been."""

from typing import Any

from netns_lab.scenarios.health_watch import Standing, Standings


def document(state: str, seconds: float | None, cause: str | None = None) -> dict[str, Any]:
    """What `lb-switch show health --json` says of one real server."""
    row = {
        "virtual_server": "web",
        "address": "10.0.2.11:80",
        "state": state,
        "seconds": seconds,
        "cause": cause,
    }
    return {"probes": {}, "real_servers": [row]}


def test_what_nobody_has_told_is_not_known() -> None:
    assert Standings().get("web", "10.0.2.11:80") is None
    assert Standings().all() == []


def test_the_look_that_came_with_the_least_delay_is_nearest_to_the_truth() -> None:
    standings = Standings()
    for arrival, seconds in ((100.30, 0.25), (100.41, 0.40), (100.55, 0.50)):
        standings.take(document("down", seconds, "connect refused"), arrival)
    found = standings.get("web", "10.0.2.11:80")
    assert found is not None
    assert (found.state, found.cause, round(found.since, 6)) == ("down", "connect refused", 100.01)


def test_a_change_begins_anew() -> None:
    standings = Standings()
    standings.take(document("up", 50.0), 100.0)
    standings.take(document("down", 0.1, "timeout"), 101.0)
    standings.take(document("up", 0.25, "status 200"), 103.25)
    assert standings.all() == [Standing("up", 103.0, "status 200")]


def test_a_server_that_is_not_checked_has_no_time() -> None:
    standings = Standings()
    standings.take(document("unknown", None), 100.0)
    assert standings.all() == [Standing("unknown", 100.0, "")]
