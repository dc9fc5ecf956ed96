"""What the page asks for, and what it may change."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from lb_switch.control.client import ControlClient
from lb_switch.web.app import application
from lb_switch.web.feed import Feed
from lb_switch.web.lab import RefusedError
from tests.support.dialogue import Dialogue
from tests.web.live import Page, browser_of

HEADERS = {"origin": "http://127.0.0.1:8480", "content-type": "application/json"}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browser_of(tmp_path) as made:
        yield made


def test_the_page_and_its_modules(page: Page) -> None:
    index = page.browser.get("/")
    assert index.status_code == 200
    assert '<script type="module" src="/page/main.js">' in index.text
    for name in ("main", "store", "stage", "panel"):
        module = page.browser.get(f"/page/{name}.js")
        assert module.headers["content-type"].startswith("text/javascript")
    assert page.browser.get("/page/../feed.py").status_code == 404
    assert page.browser.get("/settings").json() == {"readOnly": False, "lab": False}


def test_a_packet_a_connection_and_its_ladder(page: Page) -> None:
    Dialogue(page.switch, ("10.0.1.11", 40000), ("10.0.1.100", 80)).handshake()
    page.until(lambda: page.browser.get("/packet/3").status_code == 200)
    packet = page.browser.get("/packet/1").json()
    assert (packet["verdict"], packet["reason"]) == ("forward", "new_connection")
    assert packet["choice"]["scheduler"] == "rr"
    connection = page.browser.get("/connection/1").json()
    assert connection["packets"] == [1, 2, 3]
    ladder = page.browser.get("/connection/1/ladder.svg")
    assert ladder.headers["content-type"] == "image/svg+xml"
    assert "connection 1, tcp" in ladder.text
    gone = page.browser.get("/packet/99")
    assert (gone.status_code, gone.json()) == (404, {"missing": "this packet is not kept any more"})


def test_an_act_changes_the_switch_and_a_refusal_says_why(page: Page) -> None:
    server = page.switch.virtual_servers["web"].real_servers[0]
    place = {"virtual_server": "web", "real_server": str(server.endpoint)}
    done = page.act({"verb": "set", "weight": 7, **place})
    assert (done.status_code, server.weight) == (200, 7)
    assert done.json()["done"][0] == "web: real server 10.0.2.11:8080 weight 1 -> 7"
    refused = page.act({"verb": "set", "weight": -1, **place})
    assert refused.status_code == 409
    assert "weight" in refused.json()["refused"]
    unknown = page.act({"verb": "set", "state": "drain", **place, "real_server": "x"})
    assert "has no real server 'x'" in unknown.json()["refused"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"nonsense", b'{"verb":"show"}', b'{"verb":"reload"}', b"[" * 5000]
)
def test_what_is_no_act_is_refused(page: Page, body: bytes) -> None:
    answer = page.browser.post("/act", content=body, headers=HEADERS)
    assert answer.status_code == 400
    assert answer.json()["refused"]


def test_a_page_that_may_only_look(tmp_path: Path) -> None:
    with browser_of(tmp_path, read_only=True) as page:
        assert page.browser.get("/settings").json() == {"readOnly": True, "lab": False}
        refused = page.act({"verb": "set", "virtual_server": "web", "weight": 7})
        assert refused.status_code == 403
        assert "--read-only" in refused.json()["refused"]


def test_metrics_equal_what_show_says(page: Page) -> None:
    Dialogue(page.switch, ("10.0.1.11", 40000), ("10.0.1.100", 80)).handshake()
    answer = page.browser.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert found["lb_switch_connections",] == 1
    assert found["lb_switch_max_connections",] == page.switch.settings.max_connections
    assert found["lb_switch_packets_total", ("reason", "known_connection")] == 2
    with ControlClient(page.path) as client:
        (group,) = client.rows("show", what="virtual_servers")
    for server in group["real_servers"]:
        place = (("real_server", server["address"]), ("virtual_server", "web"))
        assert found["lb_switch_real_server_weight", *place] == server["weight"]
        assert (
            found["lb_switch_real_server_given_connections_total", *place]
            == (server["connections"])
        )
        there = (("direction", "to_server"), *place)
        assert found["lb_switch_real_server_bytes_total", *there] == server["to_server"]["bytes"]
        assert found["lb_switch_real_server_up", *place] == 1


def test_promtool_is_content_with_a_thousand_real_servers(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
            pytest.fail("CI must be able to run this: promtool is missing", pytrace=False)
        pytest.skip("promtool is missing (scripts/setup test)")
    servers = "".join(
        f'  [[virtual_server.real_server]]\n  address = "10.{2 + n // 250}.2.{n % 250 + 1}:80"\n'
        for n in range(1000)
    )
    group = '[[virtual_server]]\nname = "web"\naddress = "10.0.1.100:80"\n'
    with browser_of(tmp_path, config=group + servers) as page:
        Dialogue(page.switch, ("10.0.1.11", 40000), ("10.0.1.100", 80)).handshake()
        text = page.browser.get("/metrics").text
    assert text.count("lb_switch_real_server_up{") == 1000
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


class ALab:
    """Remembers what it was asked to do."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def state(self) -> dict[str, Any]:
        return {"machines": [], "virtual_servers": ["web"]}

    def act(self, wanted: Mapping[str, Any]) -> list[str]:
        self.asked.append(dict(wanted))
        if wanted.get("act") != "kill":
            raise RefusedError("the lab knows no such act")
        return ["s1: the server is killed (SIGKILL)"]


def test_acts_on_a_lab(tmp_path: Path) -> None:
    lab = ALab()
    with browser_of(tmp_path, lab=lab) as page:
        assert page.browser.get("/settings").json() == {"readOnly": False, "lab": True}
        assert page.browser.get("/lab").json() == lab.state()
        done = page.browser.post("/lab", json={"act": "kill", "host": "s1"}, headers=HEADERS)
        assert done.json() == {"done": ["s1: the server is killed (SIGKILL)"]}
        refused = page.browser.post("/lab", json={"act": "burn"}, headers=HEADERS)
        assert (refused.status_code, refused.json()) == (
            409,
            {"refused": "the lab knows no such act"},
        )
        assert page.browser.post("/lab", content=b"[]", headers=HEADERS).status_code == 400
        foreign = {**HEADERS, "origin": "http://127.0.0.1:8481"}
        strange = page.browser.post("/lab", json={"act": "kill", "host": "s2"}, headers=foreign)
        assert strange.status_code == 403
    assert lab.asked == [{"act": "kill", "host": "s1"}, {"act": "burn"}]
    with browser_of(tmp_path, lab=lab, read_only=True) as page:
        refused = page.browser.post("/lab", json={"act": "kill", "host": "s1"}, headers=HEADERS)
        assert refused.status_code == 403
    with browser_of(tmp_path) as page:
        assert page.browser.get("/lab").status_code == 404
    assert len(lab.asked) == 2


def test_metrics_without_a_switch_are_an_error(tmp_path: Path) -> None:
    def connect() -> ControlClient:
        return ControlClient(tmp_path / "none.sock")

    app = application(Feed(connect), connect, {"127.0.0.1:8480"}, 8480, "t", read_only=True)
    with TestClient(app, base_url="http://127.0.0.1:8480") as browser:
        answer = browser.get("/metrics")
    assert answer.status_code == 503
    assert "lb-switch is not running" in answer.text
