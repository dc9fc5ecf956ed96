"""Changes of a running switch: what lives on, what follows, and that a refusal changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lb_switch.config import difference
from lb_switch.control.messages import RequestError
from lb_switch.engine.changes import SetHealth
from lb_switch.engine.servers import AdminState
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Reason
from tests.control.live import DNS, THIRD, Live, web
from tests.support.dialogue import Dialogue, send
from tests.support.packets import udp

VIP = "10.0.1.100:80"
RIPS = ["10.0.2.11:8080", "10.0.2.12:8080", "10.0.2.13:8080"]


@pytest.fixture
def live(tmp_path: Path) -> Live:
    return Live(tmp_path / "lb.toml", web())


def chosen(switch: Switch, count: int, host: str = "10.0.1.12", first: int = 1) -> list[str]:
    """Open connections; return the last byte of each one's real server."""
    servers = []
    for port in range(first, first + count):
        dialogue = Dialogue(switch, (host, port))
        dialogue.handshake()
        assert dialogue.rip is not None
        servers.append(dialogue.rip[0].rpartition(".")[2])
    return servers


# --- reload ---------------------------------------------------------------------------------------


def test_the_same_file_changes_nothing(live: Live) -> None:
    before = live.picture()
    assert live.reload(web()) == []
    assert live.picture() == before
    assert (live.rules.updates, live.told) == ([], [])


def test_connections_counters_and_the_schedulers_position_survive(live: Live) -> None:
    dialogue = Dialogue(live.switch)
    dialogue.handshake()
    scheduler = live.virtual_server().scheduler
    assert live.reload(web(weight=5, on_down="keep")) == [
        "web: on_down 'reset' -> 'keep'",
        "web: real server 10.0.2.11:8080 weight 1 -> 5",
    ]
    assert live.virtual_server().scheduler is scheduler
    assert live.server(0).weight == 5
    assert (live.server(0).active, live.server(0).connections_total) == (1, 1)
    assert dialogue.client("PA", b"more").reason is Reason.KNOWN_CONNECTION
    assert chosen(live.switch, 2) == ["12", "11"], "the one after the last chosen comes next"
    assert live.rules.updates == [], "neither VIPs nor RIPs changed"


def test_a_thousand_reloads_touch_no_rule_of_the_host(live: Live) -> None:
    texts = (web(weight=2), web(weight=3, on_down="keep"))
    for number in range(1000):
        assert live.reload(texts[number % 2]) != []
    assert live.rules.updates == []


def test_real_servers_come_and_go(live: Live) -> None:
    dialogue = Dialogue(live.switch)
    dialogue.handshake()
    old = live.server(0)
    assert live.reload(web() + THIRD) == ["web: real server 10.0.2.13:8080 added (weight 1)"]
    assert chosen(live.switch, 3) == ["12", "13", "11"]
    without_first = web().replace(
        '  [[virtual_server.real_server]]\n  address = "10.0.2.11:8080"\n  weight = 1\n', ""
    )
    assert live.reload(without_first) == [
        "web: real server 10.0.2.11:8080 removed",
        "web: real server 10.0.2.13:8080 removed",
    ]
    assert dialogue.client("PA", b"more").reason is Reason.KNOWN_CONNECTION
    assert chosen(live.switch, 2, first=10) == ["12", "12"]
    live.reload(web())
    assert live.server(0) is old, "with connections it comes back as itself"
    assert old.active == 2
    assert live.rules.updates == [
        frozenset(RIPS),
        frozenset(RIPS[1:2]),
        frozenset(RIPS[:2]),
    ]


def test_what_the_operator_did_by_hand(live: Live) -> None:
    """The file decides about what it can say; it cannot say who is drained, nor who is healthy."""
    live.ask("set", virtual_server=VIP, real_server=RIPS[0], state="drain", weight=7)
    live.switch.change(SetHealth(live.server(1), False, "timeout"), 0.0)
    live.ask("add", virtual_server=VIP, real_server=RIPS[2])
    assert live.reload(web()) == [
        "web: real server 10.0.2.13:8080 removed",
        "web: real server 10.0.2.11:8080 weight 7 -> 1",
    ]
    assert live.server(0).admin_state is AdminState.DRAIN
    assert live.server(0).weight == 1
    assert not live.server(1).healthy


def test_virtual_servers_come_and_go(live: Live) -> None:
    dialogue = Dialogue(live.switch)
    dialogue.handshake()
    old, old_server = live.virtual_server(), live.server(0)
    live.reload(web() + DNS)
    assert list(live.switch.virtual_servers) == ["web", "dns"]
    live.reload(DNS)
    assert list(live.switch.virtual_servers) == ["dns"]
    assert dialogue.client("PA", b"more").reason is Reason.KNOWN_CONNECTION
    assert Dialogue(live.switch, ("10.0.1.12", 1)).client("S").reason is Reason.NO_VIRTUAL_SERVER
    live.reload(DNS + web())
    assert list(live.switch.virtual_servers) == ["dns", "web"], "in the file's order"
    assert live.virtual_server() is old, "with connections it comes back as itself"
    assert live.server(0) is old_server
    assert old_server.active == 1
    assert live.told == [["web", "dns"], ["dns"], ["dns", "web"]]


def test_a_virtual_server_without_connections_comes_back_fresh(live: Live) -> None:
    live.switch.change(SetHealth(live.server(0), False, "timeout"), 0.0)
    old = live.virtual_server()
    live.reload(DNS)
    live.reload(web())
    assert live.virtual_server() is not old
    assert live.server(0).healthy


def test_the_order_of_virtual_servers_is_the_files(live: Live) -> None:
    live.reload(web() + DNS)
    assert live.reload(DNS + web()) == ["order changed"]
    assert list(live.switch.virtual_servers) == ["dns", "web"]
    assert live.rules.updates == [frozenset(RIPS[:2]) | {"10.0.2.11:53"}]


def test_whoever_looks_at_the_virtual_servers_sees_them_in_a_new_order_too(live: Live) -> None:
    live.reload(web() + DNS)
    seen = live.switch.virtual_servers.values()
    live.reload(DNS + web())
    live.reload(web())
    assert list(seen) == [live.virtual_server()]


def test_names_may_be_swapped(live: Live) -> None:
    live.reload(web() + DNS)
    by_name = dict(live.switch.virtual_servers)
    swapped = (
        (web() + DNS).replace('"web"', '"x"').replace('"dns"', '"web"').replace('"x"', '"dns"')
    )
    assert live.reload(swapped) == ["web: name 'web' -> 'dns'", "dns: name 'dns' -> 'web'"]
    assert live.virtual_server("dns") is by_name["web"]
    assert live.virtual_server("web") is by_name["dns"]
    assert Dialogue(live.switch).client("S").reason is Reason.NEW_CONNECTION


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        (web(), web("wrr"), False),
        (web(more='hash_on = ["src_ip"]'), web(more='hash_on = ["src_port"]'), True),
        (web("mh"), web("mh", more='hash_on = ["src_port"]'), False),
        (web("mh"), '[switch]\nhash_key = "k"\n' + web("mh"), False),
        (web("wlc"), '[switch]\nhash_key = "k"\n' + web("wlc"), True),
        (web("mh"), web("mh", weight=3), True),
    ],
)
def test_when_the_scheduler_is_kept(tmp_path: Path, before: str, after: str, kept: bool) -> None:
    live = Live(tmp_path / "lb.toml", before)
    scheduler = live.virtual_server().scheduler
    assert live.reload(after) != []
    assert (live.virtual_server().scheduler is scheduler) is kept


@pytest.mark.parametrize(
    "other",
    [
        'forward = "full_nat"',
        'forward = "full_nat"\nsnat = "10.0.2.100"',
    ],
)
def test_another_way_to_translate_leaves_live_connections_theirs(live: Live, other: str) -> None:
    dialogue = Dialogue(live.switch)
    dialogue.handshake()
    before = dialogue.client("PA", b"a").packet
    live.reload(web(more=other))
    after = dialogue.client("PA", b"b").packet
    assert (before.src, before.dst) == (after.src, after.dst)
    assert dialogue.server("PA", b"c").reason is Reason.KNOWN_CONNECTION
    new = Dialogue(live.switch, ("10.0.1.12", 1))
    assert new.client("S").packet.src in {"10.0.1.100", "10.0.2.100"}
    assert len(live.rules.updates) == 1


def test_persistence_is_kept_unless_it_changes(live: Live) -> None:
    live.reload(web(more="persistence_timeout = 60"))
    persistence = live.virtual_server().persistence
    assert persistence is not None
    live.reload(web(more="persistence_timeout = 60", weight=2))
    assert live.virtual_server().persistence is persistence
    live.reload(web(more="persistence_timeout = 60\npersistence_prefix = 24"))
    assert live.virtual_server().persistence is not persistence
    live.reload(web())
    assert live.virtual_server().persistence is None


def test_settings_of_the_switch(live: Live) -> None:
    live.reload('[switch]\nunknown_tcp = "drop"\nmax_connections = 10\n' + web())
    assert live.switch.settings.unknown_tcp == "drop"
    assert live.switch.settings.max_connections == 10
    live.reload("[switch.answers_per_second]\nicmp_errors = 0\nresets = 5\n" + web())
    assert live.switch.settings.answers_per_second == (0, 5, 0)


# --- refusals -------------------------------------------------------------------------------------


def refused(live: Live, change: Callable[[], object]) -> RequestError:
    before = live.picture()
    told = list(live.told)
    with pytest.raises(RequestError) as caught:
        change()
    assert live.picture() == before
    assert live.told == told
    assert "\n" not in str(caught.value)
    assert chosen(live.switch, 4, first=5000) in (["11", "12"] * 2, ["12", "11"] * 2)
    return caught.value


def test_a_file_with_errors_changes_nothing_and_says_all_of_them(live: Live) -> None:
    text = web("rrr", weight=-1)
    error = refused(live, lambda: live.reload(text))
    assert str(error) == f"{live.path} cannot be used, nothing was changed:"
    assert list(error.details) == [
        "virtual_server[0].scheduler: 'rrr' is none of rr, wrr, lc, wlc, sh, mh",
        "virtual_server[0].real_server[0].weight: -1 must be at least 0",
    ]


@pytest.mark.parametrize("text", ["[switch", "\x00", 'control_socket = "/x"'])
def test_nonsense_is_no_configuration(live: Live, text: str) -> None:
    assert len(refused(live, lambda: live.reload(text)).details) == 1


def test_a_file_that_is_gone(live: Live) -> None:
    live.path.unlink()
    error = refused(live, lambda: live.ask("reload"))
    assert error.details == (f"{live.path}: no such file or directory",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('capture = "nfqueue"', "switch.capture: 'tun' cannot become 'nfqueue'"),
        ("queue = 7", "switch.queue: 0 cannot become 7"),
        ('control_socket = "/run/x"', "switch.control_socket: "),
    ],
)
def test_what_needs_a_restart(live: Live, line: str, said: str) -> None:
    text = f"[switch]\n{line}\n" + web(weight=4) + THIRD
    (detail,) = refused(live, lambda: live.reload(text)).details
    assert detail.startswith(said)
    assert detail.endswith("while the switch runs: restart it")


def test_every_key_of_switch_either_changes_or_needs_a_restart() -> None:
    from lb_switch.config.schema import SwitchTable

    assert set(SwitchTable.model_fields) >= difference.CHANGEABLE
    assert set(SwitchTable.model_fields) - difference.CHANGEABLE == {
        "capture",
        "control_socket",
        "queue",
        "take_own_addresses",
    }


def test_a_table_too_small_for_its_connections(live: Live) -> None:
    chosen(live.switch, 5)
    error = refused(live, lambda: live.reload("[switch]\nmax_connections = 4\n" + web(weight=3)))
    assert str(error) == (
        "max_connections cannot become 4: there are 5 connections: nothing was changed"
    )


def test_when_the_host_refuses_everything_is_as_before(live: Live) -> None:
    dialogue = Dialogue(live.switch)
    dialogue.handshake()
    text = (
        '[switch]\nunknown_tcp = "drop"\n'
        + web("wrr", "keep", 9).replace("10.0.2.12:8080", "192.0.2.1:8080")
        + DNS
    )
    error = refused(live, lambda: live.reload(text))
    assert str(error) == "there is no route to real server 192.0.2.1: nothing was changed"
    assert live.rules.updates[-1] == frozenset(RIPS[:2]), "the rules are told to be as before"
    assert dialogue.client("PA", b"more").reason is Reason.KNOWN_CONNECTION


def test_when_the_host_refuses_the_replacement_of_a_virtual_server(live: Live) -> None:
    dialogue = Dialogue(live.switch)
    dialogue.handshake()
    refused(live, lambda: live.reload(DNS.replace("10.0.2.11", "192.0.2.1")))
    assert live.server(0).active == 1 + 2
    assert dialogue.client("PA", b"more").reason is Reason.KNOWN_CONNECTION


def test_a_host_that_refuses_the_way_back_too_is_told_to_the_log(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    live.rules.unreachable = "10.0.2."
    refused(live, lambda: live.reload(DNS))
    assert (
        "the host's rules are not as they were before until the next change:"
        " there is no route to real server 10.0.2."
    ) in caplog.text


# --- set, add, remove -----------------------------------------------------------------------------


def test_drain_and_back(live: Live) -> None:
    dialogue = Dialogue(live.switch)
    dialogue.handshake()
    assert live.ask("set", virtual_server=VIP, real_server=RIPS[0], state="drain") == [
        "web: real server 10.0.2.11:8080 ready -> drain"
    ]
    assert chosen(live.switch, 3) == ["12"] * 3
    assert dialogue.client("PA", b"more").reason is Reason.KNOWN_CONNECTION
    assert live.ask("set", virtual_server=VIP, real_server=RIPS[0], state="drain") == []
    live.ask("set", virtual_server=VIP, real_server=RIPS[0], state="ready")
    assert "11" in chosen(live.switch, 2, first=10)


RR_NOTE = "web: note: rr does not look at weights (but for 0); wrr, wlc, sh, mh do"


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "lc", "wlc", "sh", "mh"])
def test_a_weight_that_a_scheduler_does_not_look_at(tmp_path: Path, scheduler: str) -> None:
    live = Live(tmp_path / "lb.toml", web(scheduler))
    fields = {"virtual_server": VIP, "real_server": RIPS[0]}
    note = [RR_NOTE.replace("rr does", f"{scheduler} does")] if scheduler in ("rr", "lc") else []
    changed = "web: real server 10.0.2.11:8080 weight {} -> {}"
    assert live.ask("set", **fields, weight=3) == [changed.format(1, 3), *note]
    # Nor is it said where nothing changes, or where the weight counts after all.
    assert live.ask("set", **fields, weight=3) == []
    assert live.ask("set", **fields, weight=0) == [changed.format(3, 0)]
    assert live.ask("set", **fields, weight=1) == [changed.format(0, 1)]
    added = {"virtual_server": VIP, "real_server": RIPS[2]}
    line = "web: real server 10.0.2.13:8080 added (weight 5)"
    assert live.ask("add", **added, weight=5) == [line, *note]


def test_another_scheduler_and_connections_stay(live: Live) -> None:
    dialogue = Dialogue(live.switch, ("10.0.1.11", 40000), ("10.0.1.100", 80))
    dialogue.handshake()
    (before,) = live.switch.connections
    assert live.ask("set", virtual_server="web", scheduler="wlc") == [
        "web: scheduler 'rr' -> 'wlc'"
    ]
    assert live.switch.virtual_servers["web"].scheduler.name == "wlc"
    assert list(live.switch.connections) == [before]
    assert live.ask("set", virtual_server="web", scheduler="wlc") == []
    for wrong in ("fastest", 7, None):
        with pytest.raises(RequestError, match="scheduler"):
            live.ask("set", virtual_server="web", scheduler=wrong)
    with pytest.raises(RequestError, match="real_server"):
        live.ask("set", virtual_server="web", real_server="s1", scheduler="rr")
    assert live.switch.virtual_servers["web"].scheduler.name == "wlc"


def test_weight_and_state_in_one_go(live: Live) -> None:
    fields = {"virtual_server": VIP, "real_server": RIPS[0]}
    assert live.ask("set", **fields, weight=3, state="maint") == [
        "web: real server 10.0.2.11:8080 weight 1 -> 3",
        RR_NOTE,
        "web: real server 10.0.2.11:8080 ready -> maint",
    ]
    assert (live.server(0).weight, live.server(0).admin_state) == (3, AdminState.MAINT)
    error = refused_set(live, weight=70000, state="ready")
    assert error == "weight: 70000 must be at most 65535"


def refused_set(live: Live, **fields: object) -> str:
    before = live.picture()
    with pytest.raises(RequestError) as caught:
        live.ask("set", virtual_server=VIP, real_server=RIPS[0], **fields)
    assert live.picture() == before
    return str(caught.value)


def test_add_and_remove_a_real_server(live: Live) -> None:
    assert live.ask("add", virtual_server=VIP, real_server=RIPS[2], weight=2) == [
        "web: real server 10.0.2.13:8080 added (weight 2)",
        RR_NOTE,
    ]
    assert chosen(live.switch, 3) == ["11", "12", "13"]
    assert live.ask("remove", virtual_server=VIP, real_server=RIPS[2]) == [
        "web: real server 10.0.2.13:8080 removed"
    ]
    assert chosen(live.switch, 3, first=10) == ["11", "12", "11"]
    assert [len(update) for update in live.rules.updates] == [3, 2]


def test_a_virtual_server_from_nothing(live: Live) -> None:
    live.ask("add", virtual_server="10.0.1.101:80", name="new", scheduler="wrr")
    live.ask("add", virtual_server="10.0.1.101:80", real_server=RIPS[2])
    dialogue = Dialogue(live.switch, vip=("10.0.1.101", 80))
    assert dialogue.client("S").packet.dst == "10.0.2.13"
    assert live.ask("remove", virtual_server="10.0.1.101:80") == [
        "new: virtual server tcp 10.0.1.101:80 removed"
    ]
    assert list(live.switch.virtual_servers) == ["web"]


def test_tcp_and_udp_at_one_vip_and_port(live: Live) -> None:
    live.reload(web() + DNS)
    error = refused(live, lambda: live.ask("remove", virtual_server=VIP))
    assert str(error) == "10.0.1.100:80 is served for tcp and udp: say which (protocol)"
    live.ask("remove", virtual_server=VIP, protocol="udp")
    assert list(live.switch.virtual_servers) == ["web"]


def test_rules_of_a_removed_server_go_after_its_last_connection(live: Live) -> None:
    dialogue = Dialogue(live.switch)
    dialogue.handshake()
    live.ask("remove", virtual_server=VIP, real_server=RIPS[0])
    live.operations.tidy(live.now)
    assert len(live.rules.updates) == 1, "it has a connection still"
    dialogue.client("R", seq=dialogue.client_sequence)
    dialogue.wait(100)
    live.operations.tidy(live.now)
    live.operations.tidy(live.now)
    assert len(live.rules.updates) == 2


def test_rules_that_cannot_be_removed_are_told_to_the_log_once(
    live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    dialogue = Dialogue(live.switch)
    dialogue.handshake()
    live.ask("remove", virtual_server=VIP, real_server=RIPS[0])
    dialogue.client("R", seq=dialogue.client_sequence)
    dialogue.wait(100)
    live.rules.unreachable = "10.0.2."
    for _ in range(3):
        live.operations.tidy(live.now)
    assert caplog.text.count("rules of connections that have ended stay") == 1


TWO_DNS = (
    DNS
    + """
  [[virtual_server.real_server]]
  address = "10.0.2.12:53"
"""
)
QUESTION = udp(("10.0.1.11", 40000), ("10.0.1.100", 80), b"a question")


def removed_at_once(live: Live, on_down: str) -> Dialogue:
    """A client has a connection to the first server, which is then removed."""
    live.reload(web(on_down=on_down))
    dialogue = Dialogue(live.switch)
    dialogue.handshake()
    assert dialogue.rip == ("10.0.2.11", 8080)
    assert live.ask("remove", virtual_server=VIP, real_server=RIPS[0], live="now") == [
        "web: real server 10.0.2.11:8080 removed",
        f"web: connections to 10.0.2.11:8080: 1, by on_down = {on_down!r}",
    ]
    return dialogue


@pytest.mark.parametrize("on_down", ["reset", "reschedule"])
def test_removed_now_its_connections_follow_on_down(live: Live, on_down: str) -> None:
    dialogue = removed_at_once(live, on_down)
    seen = dialogue.client("PA", b"more")
    assert seen.reason is Reason.REAL_SERVER_DOWN
    assert seen.told[0]["TCP"].flags.R
    dialogue.wait(12)
    assert len(live.switch.connections) == 0
    live.operations.tidy(dialogue.now)
    assert len(live.rules.updates) == 2, "nothing holds the host's rules any more"


def test_removed_now_where_on_down_keeps_they_go_on(live: Live) -> None:
    dialogue = removed_at_once(live, "keep")
    for _ in range(10):
        dialogue.wait(60)
        live.operations.tidy(dialogue.now)
        assert dialogue.client("PA", b"more").packet.dst == "10.0.2.11"


@pytest.mark.parametrize("how", ["remove", "drain", "reload"])
def test_a_drained_server_keeps_its_tcp_connections_to_their_end(live: Live, how: str) -> None:
    dialogue = Dialogue(live.switch)
    dialogue.handshake()
    if how == "reload":
        live.reload(web().replace("10.0.2.11", "10.0.2.13"))
    else:
        more = {} if how == "remove" else {"live": "drain"}
        live.ask("remove", virtual_server=VIP, real_server=RIPS[0], **more)
    for _ in range(20):
        dialogue.wait(60)
        live.operations.tidy(dialogue.now)
        assert dialogue.client("PA", b"more").packet.dst == "10.0.2.11"


@pytest.mark.parametrize("how", ["remove", "drain", "reload"])
@pytest.mark.parametrize("on_down", ["reset", "reschedule", "keep"])
def test_a_drained_server_keeps_its_udp_clients_for_one_timeout(
    live: Live, how: str, on_down: str
) -> None:
    text = web() + TWO_DNS.replace('protocol = "udp"', f'protocol = "udp"\non_down = "{on_down}"')
    live.reload(text)
    assert send(live.switch, QUESTION).packet.dst == "10.0.2.11"
    if how == "reload":
        live.reload(text.replace("10.0.2.11:53", "10.0.2.13:53"))
    else:
        more = {} if how == "remove" else {"live": "drain"}
        live.ask("remove", virtual_server=VIP, protocol="udp", real_server="10.0.2.11:53", **more)
    went_to = []
    for tick in range(0, 420, 30):
        live.operations.tidy(float(tick))
        went_to.append(send(live.switch, QUESTION, tick + 1.0).packet.dst)
    assert went_to[:10] == ["10.0.2.11"] * 10
    assert len(set(went_to[10:])) == 1
    assert went_to[10] != "10.0.2.11"
    assert live.switch.counters[Reason.RESCHEDULED] == 1


def test_removed_now_the_next_datagram_is_scheduled_anew(live: Live) -> None:
    live.reload(web() + TWO_DNS)
    assert send(live.switch, QUESTION).packet.dst == "10.0.2.11"
    live.ask("remove", virtual_server=VIP, protocol="udp", real_server="10.0.2.11:53", live="now")
    seen = send(live.switch, QUESTION, 1.0)
    assert (seen.reason, seen.packet.dst) == (Reason.RESCHEDULED, "10.0.2.12")


SIX = """
[[virtual_server]]
name = "web6"
address = "[2001:db8:1::100]:80"

  [[virtual_server.real_server]]
  address = "[2001:db8:2::11]:8080"

[[virtual_server]]
name = "dns6"
address = "[2001:db8:1::100]:80"
protocol = "udp"

  [[virtual_server.real_server]]
  address = "[2001:db8:2::11]:53"
"""
FAMILIES = {
    4: (("10.0.1.11", 40000), ("10.0.1.100", 80), "web", "dns"),
    6: (("2001:db8:1::11", 40000), ("2001:db8:1::100", 80), "web6", "dns6"),
}


@pytest.mark.parametrize("version", [4, 6])
def test_a_virtual_server_removed_now_ends_its_tcp_connections(live: Live, version: int) -> None:
    client, vip, web_name, _ = FAMILIES[version]
    live.reload(web() + SIX)
    dialogue = Dialogue(live.switch, client, vip)
    dialogue.handshake()
    lines = live.ask("remove", virtual_server=web_name, live="now")
    assert lines[1].endswith(": 1, by on_down = 'reset'")
    seen = dialogue.client("PA", b"more")
    assert seen.reason is Reason.REAL_SERVER_DOWN
    assert seen.told[0]["TCP"].flags.R
    assert dialogue.rip is not None
    assert seen.told[1].dst == dialogue.rip[0]
    dialogue.wait(12)
    assert len(live.switch.connections) == 0


@pytest.mark.parametrize("version", [4, 6])
def test_a_virtual_server_removed_now_lets_go_of_its_udp_clients(live: Live, version: int) -> None:
    client, vip, _, dns_name = FAMILIES[version]
    live.reload(web() + DNS + SIX)
    question = udp(client, vip, b"a question")
    assert send(live.switch, question).reason is Reason.NEW_CONNECTION
    assert live.ask("remove", virtual_server=dns_name, protocol="udp", live="now")[1:] != []
    assert send(live.switch, question, 1.0).reason is Reason.NO_VIRTUAL_SERVER
    assert len(live.switch.connections) == 0


@pytest.mark.parametrize("version", [4, 6])
def test_a_virtual_server_that_is_drained_keeps_them(live: Live, version: int) -> None:
    client, vip, web_name, dns_name = FAMILIES[version]
    live.reload(web() + DNS + SIX)
    dialogue = Dialogue(live.switch, client, vip)
    dialogue.handshake()
    question = udp(client, vip, b"a question")
    send(live.switch, question)
    for name, how in ((web_name, "drain"), (dns_name, None)):
        assert len(live.ask("remove", virtual_server=name, live=how)) == 1
    assert dialogue.client("PA", b"more").reason is Reason.KNOWN_CONNECTION
    assert send(live.switch, question, 1.0).reason is Reason.KNOWN_CONNECTION


def test_a_drain_can_be_cut_short(live: Live) -> None:
    live.reload(web() + TWO_DNS)
    send(live.switch, QUESTION)
    place = {"virtual_server": VIP, "protocol": "udp", "real_server": "10.0.2.11:53"}
    live.ask("remove", **place)
    assert send(live.switch, QUESTION, 1.0).packet.dst == "10.0.2.11"
    assert live.ask("remove", **place, live="now") == [
        "dns: connections to 10.0.2.11:53: 1, by on_down = 'reset'"
    ]
    assert send(live.switch, QUESTION, 2.0).packet.dst == "10.0.2.12"
    with pytest.raises(RequestError, match="has no real server"):
        live.ask("remove", **place, live="now")


def test_a_server_that_comes_back_in_time_keeps_its_udp_clients(live: Live) -> None:
    live.reload(web() + TWO_DNS)
    send(live.switch, QUESTION)
    place = {"virtual_server": VIP, "protocol": "udp", "real_server": "10.0.2.11:53"}
    live.ask("remove", **place)
    live.operations.tidy(0.0)
    live.ask("add", **place)
    for tick in range(0, 900, 30):
        live.operations.tidy(float(tick))
        assert send(live.switch, QUESTION, tick + 1.0).packet.dst == "10.0.2.11"


NONSENSE = [
    (
        {"verb": "remove", "virtual_server": VIP, "real_server": RIPS[0], "live": "later"},
        "remove: live: 'later' is none of drain, now",
    ),
    (
        {"verb": "remove", "virtual_server": VIP, "live": "later"},
        "remove: live: 'later' is none of drain, now",
    ),
    ({"verb": "set"}, "set: virtual_server is not a string ADDRESS:PORT"),
    ({"verb": "set", "virtual_server": 7}, "set: virtual_server is not a string ADDRESS:PORT"),
    (
        {"verb": "set", "virtual_server": "10.0.1.100:99999", "real_server": RIPS[0]},
        "set: virtual_server: '10.0.1.100:99999': port 99999 is not between 1 and 65535",
    ),
    (
        {"verb": "set", "virtual_server": "10.0.1.100:81", "real_server": RIPS[0]},
        "there is no virtual server 10.0.1.100:81",
    ),
    (
        {"verb": "set", "virtual_server": VIP, "protocol": "udp", "real_server": RIPS[0]},
        "there is no virtual server udp 10.0.1.100:80",
    ),
    (
        {"verb": "set", "virtual_server": VIP, "real_server": RIPS[2], "state": "drain"},
        "web has no real server 10.0.2.13:8080",
    ),
    (
        {"verb": "set", "virtual_server": VIP, "real_server": RIPS[0]},
        "set: neither state nor weight is given",
    ),
    (
        {"verb": "set", "virtual_server": VIP, "real_server": RIPS[0], "state": "off"},
        "set: state: 'off' is none of ready, drain, maint",
    ),
    (
        {"verb": "set", "virtual_server": VIP, "real_server": RIPS[0], "state": ["ready"]},
        "set: state: ['ready'] is none of ready, drain, maint",
    ),
    (
        {"verb": "set", "virtual_server": VIP, "real_server": RIPS[0], "weight": -1},
        "weight: -1 must be at least 0",
    ),
    (
        {"verb": "set", "virtual_server": VIP, "real_server": RIPS[0], "weight": "1"},
        "weight: '1' is not a whole number",
    ),
    (
        {"verb": "set", "virtual_server": VIP, "real_server": RIPS[0], "weight": True},
        "weight: true is not a whole number",
    ),
    (
        {"verb": "set", "virtual_server": VIP, "real_server": RIPS[0], "wieght": 1},
        "set: unknown field 'wieght'",
    ),
    (
        {"verb": "add", "virtual_server": VIP, "real_server": RIPS[0]},
        "web has the real server 10.0.2.11:8080 already",
    ),
    (
        {"verb": "add", "virtual_server": VIP, "real_server": "10.0.1.100:81"},
        "address: 10.0.1.100 is a VIP of this switch: packets would loop",
    ),
    (
        {"verb": "add", "virtual_server": VIP, "real_server": "[2001:db8::1]:80"},
        "address: [2001:db8::1]:80 is IPv6, but the VIP 10.0.1.100 is not",
    ),
    (
        {"verb": "add", "virtual_server": VIP, "real_server": "192.0.2.1:80"},
        "there is no route to real server 192.0.2.1: nothing was changed",
    ),
    ({"verb": "add", "virtual_server": "10.0.1.101:80"}, "add: a virtual server needs a name"),
    (
        {"verb": "add", "virtual_server": "10.0.1.101:80", "name": "web"},
        "name: 'web' is already the name of virtual_server[0]",
    ),
    (
        {"verb": "add", "virtual_server": VIP, "name": "again"},
        "address: tcp 10.0.1.100:80 is already served by virtual_server[0]",
    ),
    (
        {"verb": "add", "virtual_server": "10.0.1.101:80", "name": "two words"},
        "name: 'two words' is not a name: 1 to 64 printable characters without spaces",
    ),
    (
        {"verb": "add", "virtual_server": "10.0.1.101:80", "name": "n", "scheduler": "rrr"},
        "scheduler: 'rrr' is none of rr, wrr, lc, wlc, sh, mh",
    ),
    (
        {"verb": "add", "virtual_server": "10.0.1.101:80", "name": {}},
        "name: a table is not a string",
    ),
    (
        {"verb": "remove", "virtual_server": "10.0.1.101:80"},
        "there is no virtual server 10.0.1.101:80",
    ),
    (
        {"verb": "remove", "virtual_server": VIP, "real_server": RIPS[2]},
        "web has no real server 10.0.2.13:8080",
    ),
    (
        {"verb": "remove", "virtual_server": VIP, "weight": 1},
        "remove: unknown field 'weight'",
    ),
    ({"verb": "reload", "path": "/etc/passwd"}, "reload: unknown field 'path'"),
]


@pytest.mark.parametrize(("request_", "said"), NONSENSE)
def test_nonsense_is_one_clear_line_and_changes_nothing(
    live: Live, request_: dict[str, object], said: str
) -> None:
    assert str(refused(live, lambda: live.ask(**request_))) == said  # type: ignore[arg-type]
