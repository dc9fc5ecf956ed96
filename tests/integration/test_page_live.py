"""The page of a lab in a real browser: real traffic, acts and what they do to it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from netns_lab.lab import Lab
from netns_lab.programs import lb_switch
from netns_lab.topologies import TEXTBOOK
from netns_lab.topology import with_health
from tests.support.browser import OpenPage, accessibility_faults
from tests.support.waiting import wait_until

pytestmark = pytest.mark.netns
URL = "http://10.0.1.100/"
OPENS_WITHIN = 2.0


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(with_health(TEXTBOOK, "http"), check_invariants=True, check_interval=0.3) as made:
        yield made


@pytest.fixture
def page(lab: Lab, open_page: OpenPage) -> Page:
    opened = open_page(lab.start_page("--listen", "0"))
    expect(opened.locator("#status")).to_have_text("connected")
    return opened


def ask(lab: Lab, count: int, client: str = "c1") -> dict[str, int]:
    answer = lab.client(client, "requests", URL, "-n", str(count), "--timeout", "2")
    assert answer["errors"] == []
    found: dict[str, int] = answer["answers"]
    return found


def rows(lab: Lab, what: str = "virtual_servers") -> Any:
    return json.loads(lab.cli("show", what, "--json").stdout)


def box(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=re.compile(f"^{re.escape(name)}, "))


def choose(page: Page, name: str) -> None:
    box(page, name).click()
    expect(page.locator("#panel h2")).to_have_text(name)


def act(page: Page, button: str, said: str) -> None:
    """Press a button of the panel, and wait for what came of it."""
    page.locator("#panel").get_by_role("button", name=button, exact=True).click()
    expect(page.locator("#panel .said", has_text=said)).to_be_visible()


# -- looking ---------------------------------------------------------------------------------------


def test_it_opens_at_once_and_shows_what_show_says(lab: Lab, open_page: OpenPage) -> None:
    ask(lab, 5)
    address = lab.start_page("--listen", "0")
    begun = time.monotonic()
    page = open_page(address)
    expect(page.locator("svg .box").first).to_be_visible()
    took = time.monotonic() - begun
    assert took < OPENS_WITHIN, f"{took:.2f} s"
    assert "token" not in page.url
    for group in rows(lab):
        for server in group["real_servers"]:
            name = next(
                host.name
                for host in lab.topology.servers
                if host.addresses[0] == server["address"].split(":")[0]
            )
            label = (
                f"{name} {server['address']}, up, weight {server['weight']}, "
                f"{server['active']} active connections"
            )
            expect(page.get_by_role("button", name=label)).to_be_visible()
    for client in lab.topology.clients:
        expect(page.get_by_role("button", name=f"client {client.name}")).to_be_visible()
    assert accessibility_faults(page) == []


def test_packets_travel_and_can_be_asked(lab: Lab, page: Page) -> None:
    ask(lab, 1)
    expect(page.locator("svg .token", has_text="to 10.0.1.100:80").first).to_be_visible()
    expect(page.locator("svg .token.rip", has_text="to 10.0.2.11:80").first).to_be_visible()
    expect(page.locator("#packets button").first).to_contain_text(re.compile("c1 10.0.1.11"))
    page.locator("#packets button", has_text="#1 SYN").click()
    expect(page.locator("#panel h2")).to_have_text("Packet 1")
    expect(page.locator("#panel")).to_contain_text("Why this server?")
    expect(page.locator("#panel tr.changed", has_text="destination").first).to_contain_text(
        "10.0.2.11"
    )
    page.get_by_text("Checksum, word by word").click()
    expect(page.locator("#panel details pre").first).to_contain_text("checksum")
    page.get_by_role("button", name="Connection 1").click()
    expect(page.locator("#panel h2")).to_have_text("Connection 1")
    expect(page.locator(".way li").last).to_have_text("CLOSE")
    expect(page.locator("#panel")).to_contain_text("c1 10.0.1.11:")
    assert page.url.endswith("#connection=1")
    page.reload()
    expect(page.locator("#panel h2")).to_have_text("Connection 1")


def test_the_scheduler_is_explained(lab: Lab, page: Page) -> None:
    for scheduler, fact in (("lc", "active"), ("sh", "hash"), ("mh", "slot")):
        assert lab.cli("set", "web", "--scheduler", scheduler).returncode == 0
        before = page.locator("#packets button", has_text=" SYN c1").count()
        ask(lab, 1)
        expect(page.locator("#packets button", has_text=" SYN c1")).to_have_count(before + 1)
        page.locator("#packets button", has_text=" SYN c1").first.click()
        expect(page.locator("#panel th", has_text=re.compile(f"^{fact}$"))).to_be_visible()
        expect(page.locator("#panel p", has_text=f"{scheduler}: ")).to_be_visible()
    strip = page.locator("#panel img")
    expect(strip).to_be_visible()
    assert strip.evaluate("image => image.naturalWidth") > 500
    expect(page.locator("#panel")).to_contain_text("slots go to others")


def test_it_says_how_many_packets_it_leaves_out(lab: Lab, page: Page) -> None:
    lab.client("c1", "requests", URL, "-n", "300", "--parallel", "8")
    expect(page.locator("#counts")).to_have_text(
        re.compile(r"last 10 s: [\d,]+ of [1-9],\d{3} packets shown")
    )


def test_pause_holds_the_moment_and_live_goes_on(lab: Lab, page: Page) -> None:
    ask(lab, 1)
    expect(page.locator("#packets button").first).to_be_visible()
    page.keyboard.press(" ")
    page.wait_for_timeout(300)
    count = page.locator("#packets button").count()
    ask(lab, 1)
    page.wait_for_timeout(800)
    assert page.locator("#packets button").count() == count
    page.keyboard.press("l")
    page.wait_for_function(
        "count => document.querySelectorAll('#packets button').length > count", arg=count
    )


def test_numbers_over_time(lab: Lab, page: Page) -> None:
    ask(lab, 20)
    chart = page.get_by_role("img", name=re.compile("^New connections a second"))
    expect(chart).to_be_visible()
    expect(page.locator("#numbers .legend li")).to_have_count(4)
    stats = rows(lab, "stats")
    known = stats["packets"]["known_connection"]
    expect(page.locator("#numbers tr", has_text="known connection")).to_contain_text(f"{known:,}")


# -- acting on the switch --------------------------------------------------------------------------


def test_drain_weight_scheduler_remove_and_add(lab: Lab, page: Page) -> None:
    choose(page, "s1 10.0.2.11:80")
    act(page, "drain", "ready -> drain")
    expect(box(page, "s1 10.0.2.11:80")).to_have_attribute("aria-label", re.compile("drain"))
    assert ask(lab, 6) == {"s2": 6}
    act(page, "ready", "drain -> ready")
    weight = page.locator("#panel").get_by_label("weight")
    weight.fill("3")
    weight.press("Tab")
    act(page, "set weight", "weight 1 -> 3")
    page.get_by_role("button", name="virtual server web").click()
    page.locator("#panel").get_by_label("scheduler").select_option("wrr")
    act(page, "set scheduler", "'rr' -> 'wrr'")
    assert ask(lab, 8) == {"s1": 6, "s2": 2}
    choose(page, "s2 10.0.2.12:80")
    act(page, "remove", "real server 10.0.2.12:80 removed")
    expect(box(page, "s2 10.0.2.12:80")).to_have_count(0)
    assert ask(lab, 3) == {"s1": 3}
    page.get_by_role("button", name="virtual server web").click()
    page.get_by_label("RIP:PORT or NAME:PORT").fill("s2:80")
    act(page, "add a real server", "real server 10.0.2.12:80 added")
    expect(box(page, "s2 10.0.2.12:80")).to_be_visible()
    wait_until(lambda: set(ask(lab, 8)) == {"s1", "s2"}, 10)


def test_a_refusal_is_said_in_words_and_changes_nothing(lab: Lab, page: Page) -> None:
    before = rows(lab)
    page.get_by_role("button", name="virtual server web").click()
    page.get_by_label("RIP:PORT or NAME:PORT").fill("s9:80")
    act(page, "add a real server", "s9")
    expect(page.locator("#panel .refused")).to_be_visible()
    choose(page, "s1 10.0.2.11:80")
    page.locator("#panel").get_by_label("weight").fill("70000")
    act(page, "set weight", "70000")
    expect(page.locator("#panel .refused")).to_be_visible()
    page.wait_for_timeout(1500)
    expect(page.locator("#panel .refused")).to_be_visible()
    for old, new in zip(before, rows(lab), strict=True):
        assert [each["weight"] for each in old["real_servers"]] == [
            each["weight"] for each in new["real_servers"]
        ]


def test_a_page_that_may_only_look_has_no_buttons(lab: Lab, open_page: OpenPage) -> None:
    page = open_page(lab.start_page("--listen", "0", "--read-only"))
    choose(page, "s1 10.0.2.11:80")
    expect(page.locator("#panel h3", has_text="What probes have found")).to_be_visible()
    assert page.get_by_role("button", name="drain").count() == 0
    assert page.get_by_role("button", name="kill").count() == 0


# -- acting on the lab -----------------------------------------------------------------------------


def test_requests_from_a_client(lab: Lab, page: Page) -> None:
    page.get_by_role("button", name="client c2").click()
    act(page, "one request", "1 answer: s1 1")
    act(page, "ten requests", "10 answers: s1 5, s2 5")
    page.locator("#panel").get_by_label("virtual server").select_option("secure")
    act(page, "ten requests", "10 answers: s2 5, s3 5")
    page.locator("#panel").get_by_label("virtual server").select_option("web")
    page.locator("#panel").get_by_label("requests a second").fill("50")
    act(page, "a second, for a minute", "c2: 50 requests a second")
    wait_until(lambda: rows(lab, "stats")["connections"] > 80, 10)
    act(page, "stop", "the load has ended")
    count = rows(lab, "stats")["packets"]["new_connection"]
    time.sleep(0.5)
    assert rows(lab, "stats")["packets"]["new_connection"] == count


def test_kill_fault_and_cable_of_a_server(lab: Lab, page: Page) -> None:
    choose(page, "s2 10.0.2.12:80")
    up, down = (re.compile(f"10.0.2.12:80, {state}") for state in ("up", "down"))
    label = page.get_by_role("button", name=re.compile("^s2 10.0.2.12:80, "))
    acts_and_ends = [
        ("kill", "is killed", "start", "the server runs"),
        ("answer 500", "answers 500", "answer well", "answers as it should"),
        ("answer nothing", "answers nothing", "answer well", "answers as it should"),
        ("unplug", "is unplugged", "plug in", "is plugged in"),
    ]
    for button, said, end, said_then in acts_and_ends:
        act(page, button, said)
        expect(label).to_have_attribute("aria-label", down)
        expect(label.locator("rect")).to_have_class(re.compile("down"))
        assert ask(lab, 4) == {"s1": 4}, button
        act(page, end, said_then)
        expect(label).to_have_attribute("aria-label", up)
        assert ask(lab, 4) == {"s1": 2, "s2": 2}, end
    assert "it answers" not in page.locator("#panel .standing").inner_text()


def test_a_slow_server_is_slow_to_its_clients(lab: Lab, page: Page) -> None:
    choose(page, "s2 10.0.2.12:80")
    act(page, "answer slowly", "answers after 3 s")
    expect(page.locator("#panel .standing")).to_contain_text("answers after 3 s")
    expect(box(page, "s2 10.0.2.12:80")).to_have_attribute("aria-label", re.compile("down"))
    begun = time.monotonic()
    lab.client("c1", "requests", "http://10.0.2.12/", "-n", "1")
    assert time.monotonic() - begun > 2.9


# -- what goes wrong -------------------------------------------------------------------------------


def test_it_waits_for_a_switch_that_is_started_again(lab: Lab, page: Page) -> None:
    ask(lab, 1)
    expect(page.locator("#packets button").first).to_be_visible()
    lab.stop_switch()
    expect(page.locator("#status")).to_contain_text("waiting for it")
    expect(page.locator("#status")).to_have_class("off")
    lab.start_switch()
    expect(page.locator("#status")).to_have_text("the switch was started again")
    expect(page.locator("#packets button")).to_have_count(0)
    ask(lab, 1)
    expect(page.locator("#packets button").first).to_be_visible()


def test_it_says_that_the_web_process_is_gone(lab: Lab, page: Page) -> None:
    (web,) = [each for each in lab.processes() if each.host == "(page)"]
    lab.end_page()
    expect(page.locator("#status")).to_have_text("lb-switch web does not answer (trying again)")
    assert not web.alive
    choose_one = page.get_by_role("button", name="client c1")
    choose_one.click()
    assert accessibility_faults(page) == []


def test_hostile_names_stay_text(open_page: OpenPage) -> None:
    bad = "<img/src=x/onerror=alert(1)>\"'&"
    with Lab(TEXTBOOK, switch=False) as lab:
        config = lab.config_path.read_text()
        config = config.replace('"c1" =', f"{json.dumps(bad)} =").replace(
            'name = "web"', f"name = {json.dumps(bad)}"
        )
        lab.config_path.write_text(config)
        run = lab.popen("switch", [*lb_switch(), "run", str(lab.config_path)])
        wait_until(lab.control_socket.exists, 10)
        page = open_page(lab.start_page("--listen", "0"))
        ask(lab, 2)
        expect(page.locator("#packets button").first).to_be_visible()
        expect(page.locator("#packets")).to_contain_text("<img/src=x")
        page.locator("#packets button", has_text="#1 SYN").click()
        expect(page.locator("#panel h2")).to_have_text("Packet 1")
        page.get_by_role("button", name="Connection 1").click()
        expect(page.locator("#panel")).to_contain_text("<img/src=x")
        for picture in page.locator("#panel img").all():
            expect(picture).to_have_js_property("complete", True)
            assert picture.evaluate("image => image.naturalWidth") > 300
        assert page.locator("img[src=x]").count() == 0
        run.terminate()
        run.wait(10)


def test_it_needs_no_privilege_beyond_the_socket(lab: Lab, open_page: OpenPage) -> None:
    """Root without a single capability, who may not get one again."""
    weak = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs"]
    argv = [*weak, *lb_switch(), "web", "--socket", str(lab.control_socket), "--listen", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as web:
        assert web.stdout is not None
        address = web.stdout.readline().split()[-1]
        status = Path(f"/proc/{web.pid}/status").read_text()
        assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
        page = open_page(address)
        choose(page, "s1 10.0.2.11:80")
        act(page, "drain", "ready -> drain")
        assert ask(lab, 3) == {"s2": 3}
        web.terminate()
