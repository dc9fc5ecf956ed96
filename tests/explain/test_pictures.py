"""The state diagram and Maglev's strip say what the engine does."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.flow_key import FlowKey, pack_endpoint
from lb_switch.engine.scheduling.mh import Maglev
from lb_switch.engine.servers import RealServer
from lb_switch.explain import maglev_strip, states_svg
from lb_switch.explain.states import transitions

CLIENT, VIRTUAL = Endpoint.parse("10.0.1.11:40000"), Endpoint.parse("10.0.1.100:80")
CANDIDATES = [f"10.0.2.{number}:80" for number in (11, 12, 13)]


def chosen(weights: dict[str, int], hash_key: str = "") -> tuple[str, dict[str, Any]]:
    """Return what the engine chooses, and its facts."""
    (source, source_port), (vip, port) = pack_endpoint(CLIENT), pack_endpoint(VIRTUAL)
    key = FlowKey(source, vip, source_port, port).pack()
    servers = tuple(RealServer(Endpoint.parse(each), weight) for each, weight in weights.items())
    explained = Maglev(("src_ip", "src_port"), hash_key).explain(key, servers)
    return str(explained.server.endpoint), dict(explained.facts)


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 1, 2)])
def test_the_strip_is_the_engines_table(weights: tuple[int, ...]) -> None:
    known = dict(zip(CANDIDATES, weights, strict=True))
    server, facts = chosen(known)
    strip = maglev_strip.strip(server, CANDIDATES, known, facts, CLIENT, VIRTUAL)
    assert strip is not None
    assert strip.before[strip.slot] == strip.gone == server
    for owner, weight in known.items():
        share = strip.before.count(owner) / len(strip.before)
        assert share == pytest.approx(weight / sum(weights), abs=0.01)
    assert server not in strip.after
    assert strip.freed == strip.before.count(server)
    assert 0 < strip.moved < 0.05 * len(strip.after)
    picture = ET.fromstring(maglev_strip.svg(strip, lambda each: f"<{each}>"))
    words = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert [f"<{each}>" for each in CANDIDATES] == words[-3:]


def test_a_table_that_cannot_be_known_is_not_drawn() -> None:
    known = dict.fromkeys(CANDIDATES, 1)
    server, facts = chosen(known)
    another = next(each for each in CANDIDATES if each != server)

    def strip(server: str, weights: dict[str, int], facts: dict[str, Any]) -> Any:
        return maglev_strip.strip(server, CANDIDATES, weights, facts, CLIENT, VIRTUAL)

    assert strip(server, known, facts) is not None
    assert strip(another, known, facts) is None
    assert strip(server, {**known, another: 0}, facts) is None
    assert strip(server, {}, facts) is None
    by_secret, its_facts = chosen(known, "a secret")
    assert strip(by_secret, known, its_facts) is None
    assert strip(server, known, {**facts, "slot": "x"}) is None


def test_the_last_server_leaves_nobody() -> None:
    server, facts = chosen({CANDIDATES[0]: 1})
    strip = maglev_strip.strip(server, CANDIDATES[:1], {CANDIDATES[0]: 1}, facts, CLIENT, VIRTUAL)
    assert strip is not None
    assert set(strip.after) == {""}
    ET.fromstring(maglev_strip.svg(strip, str))


def test_the_state_diagram_has_every_transition_and_marks_the_way() -> None:
    way = ["SYN_RECV", "ESTABLISHED", "FIN_WAIT", "TIME_WAIT"]
    picture = ET.fromstring(states_svg.svg(way, "connection 7"))
    lines = list(picture.iter("{http://www.w3.org/2000/svg}line"))
    assert len(lines) == len(transitions())
    assert sum("gone" in each.get("class", "") for each in lines) == len(way) - 1
    boxes = [each.get("class", "") for each in picture.iter("{http://www.w3.org/2000/svg}rect")]
    assert sum("taken" in each.split() for each in boxes) == len(way)
    assert sum("last" in each.split() for each in boxes) == 1
    title = picture.find("{http://www.w3.org/2000/svg}title")
    assert title is not None
    assert title.text == f"connection 7: {', then '.join(way)}"
    assert "UDP" not in states_svg.svg(["UDP"], "connection 8")
