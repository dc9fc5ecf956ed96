"""The ladder: as text, as a Mermaid diagram, as a picture; and the diagram of the states."""

from __future__ import annotations

import re
from itertools import groupby
from xml.etree import ElementTree

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLDone,
    ICMPv6MLQuery,
    ICMPv6MLReport,
    ICMPv6MLReport2,
    IPv6,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)

from lb_switch.engine.changes import SetAdminState, SetHealth
from lb_switch.engine.connections.tcp_state import TABLE, Direction, Segment, State
from lb_switch.engine.servers import AdminState
from lb_switch.explain import states
from lb_switch.explain.ladder_mermaid import mermaid
from lb_switch.explain.ladder_svg import svg
from lb_switch.explain.rungs import Rung, Rungs
from lb_switch.explain.selection import Selection
from lb_switch.explain.style import ASCII, Style
from lb_switch.explain.views import make
from lb_switch.stream.recording import Recording
from tests.explain import told
from tests.support.dialogue import (
    CLIENT,
    CLIENT6,
    RIPS,
    RIPS6,
    VIP,
    VIP6,
    Dialogue,
    make_switch,
    send,
)
from tests.support.packets import ip, tcp


def rungs(lines: list[bytes] | None = None) -> list[Rung]:
    recording = Recording(lines or told.lines(), "told")
    maker = Rungs(recording.header)
    return [rung for record in recording for rung in maker.of(record)]


def test_both_legs_of_a_connection() -> None:
    assert told.shown("ladder")[:11] == [
        "connection 1, tcp, virtual server web",
        "         c1                             lb-switch                            s1",
        "10.0.1.11:40000                       10.0.1.100:80              10.0.2.11:8080",
        "#1        │ SYN                             │ SYN                             │",
        "0.500000  ├─────── to 10.0.1.100:80 ───────►│────── to 10.0.2.11:8080 ───────►│",
        "          │                             [SYN_RECV]                            │",
        "#2        │ SYN ACK                         │ SYN ACK                         │",
        "0.500000  │◄────── from 10.0.1.100:80 ──────│◄───── from 10.0.2.11:8080 ──────┤",
        "#3        │ ACK                             │ ACK                             │",
        "0.500000  ├─────── to 10.0.1.100:80 ───────►│────── to 10.0.2.11:8080 ───────►│",
        "          │                           [ESTABLISHED]                           │",
    ]


def test_what_the_switch_refuses_ends_there() -> None:
    lines = told.shown("ladder")
    at = lines.index("#10       │ SYN                             │ [no virtual server]")
    assert lines[at + 1 : at + 4] == [
        "0.503000  ├─────── to 10.0.1.100:81 ───────►✗",
        "#10       │ RST ACK                         │ [the switch's own answer]",
        "0.503000  │◄────── from 10.0.1.100:81 ──────│",
    ]


def chosen(connection: str, lines: list[bytes] | None = None) -> list[Rung]:
    """Return the rungs of one connection's own view."""
    recording = Recording(lines or told.lines(), "told")
    maker = Rungs(recording.header)
    records = Selection(connection=connection).of(recording)
    return [rung for record in records for rung in maker.of(record)]


def test_a_connection_ends_in_its_own_view_with_the_cause() -> None:
    recording = Recording(told.lines(), "told")
    ladder = make("ladder", recording.header, Style())
    records = Selection(connection="7").of(recording)
    assert [line for record in records for line in ladder.show(record)][-10:] == [
        "          │                           [ESTABLISHED]                           │",
        "3.100000  │                 [s1 is down: timeout after 1.0 s]                 │",
        '#29       │ "are you there?"                │ [real server down]              │',
        "3.150000  ├─────── to 10.0.1.100:80 ───────►✗                                 │",
        "          │              [CLOSE: s1 is down: timeout after 1.0 s]             │",
        "#29       │ RST                             │ [the switch's own answer]       │",
        "3.150000  │◄────── from 10.0.1.100:80 ──────│                                 │",
        "#29       │ [the switch's own]              │ ACK                             │",
        "3.150000  │                                 │───── from 10.0.1.11:44000 ─────►│",
        "13.500000 │                    [removed: timeout in CLOSE]                    │",
    ]


def test_the_pictures_show_how_it_ended_too() -> None:
    cause = "CLOSE: s1 is down: timeout after 1.0 s"
    drawn = chosen("7")
    assert list(mermaid(drawn))[-10:] == [
        "    Note right of lb: ESTABLISHED",
        "    Note over lb: s1 is down: timeout after 1.0 s",
        "    m0-xlb: #34;are you there?#34; to 10.0.1.100:80",
        "    Note right of lb: real server down",
        f"    Note right of lb: {cause}",
        "    lb->>m0: RST from 10.0.1.100:80",
        "    Note right of lb: the switch's own answer",
        "    lb->>m1: ACK from 10.0.1.11:44000",
        "    Note right of lb: the switch's own",
        "    Note over lb: removed: timeout in CLOSE",
    ]
    texts = {
        element.text: float(element.get("y", "0"))
        for element in ElementTree.fromstring(svg(drawn, "x")).iter(f"{SVG}text")
    }
    order = [
        "s1 is down: timeout after 1.0 s",
        '"are you there?"',
        "real server down",
        cause,
        "RST",
    ]
    assert sorted(order, key=lambda text: texts[text]) == order


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["v4", "v6"])
@pytest.mark.parametrize("drained", [False, True], ids=["down", "maint"])
def test_a_removal_says_what_became_of_the_real_server(vip: tuple[str, int], drained: bool) -> None:
    switch = make_switch(vip, RIPS if vip is VIP else RIPS6)
    teller = told.Teller(switch)
    talk = Dialogue(switch, CLIENT if vip is VIP else CLIENT6, vip)
    talk.handshake()
    (server,) = (each for each in switch.virtual_servers["web"].real_servers if each.active)
    if drained:
        switch.change(SetAdminState(server, AdminState.MAINT), 1.0)
    else:
        switch.change(SetHealth(server, False, "connect refused"), 1.0)
    talk.now = 2.0
    talk.client("PA", b"hello")
    rungs_ = chosen("1", teller.finish(3.0))
    news = "s1 is set to maint" if drained else "s1 is down: connect refused"
    assert [rung.after for rung in rungs_ if rung.after][-2:] == [news, f"CLOSE: {news}"]
    answers = [rung for rung in rungs_ if rung.note == "the switch's own answer"]
    assert [rung.left.what for rung in answers if rung.left is not None] == ["RST"]


def test_a_removal_without_a_packet_is_told_where_it_happens() -> None:
    *_, last = chosen("3")
    assert (last.number, last.time, last.after) == (None, 61.0, "removed: timeout in SYN_RECV")
    assert "61.000000 │           [connection 3 is removed: timeout in SYN_RECV]" in told.shown(
        "ladder"
    )


def test_a_reset_closes_below_its_arrow() -> None:
    after = [(rung.left.what, rung.after) for rung in chosen("4") if rung.left is not None]
    assert after == [("SYN", "SYN_RECV"), ("RST", "CLOSE")]


def test_a_state_that_no_packet_changed_is_told_between_them() -> None:
    lines = [line for line in told.lines() if b'"number":21,"verdict"' not in line]
    told_then = [(rung.number, rung.after) for rung in chosen("4", lines)]
    assert told_then == [
        (20, "SYN_RECV"),
        (None, "CLOSE"),
        (None, "s1 is down: timeout after 1.0 s"),
        (None, "removed: timeout in CLOSE"),
    ]
    others = [line for line in lines if b'"number":20,"verdict"' not in line]
    assert sum("[connection 4 is now CLOSE]" in line for line in told.shown("ladder", others)) == 1


@pytest.mark.parametrize("vip", [VIP, VIP6], ids=["v4", "v6"])
def test_an_answered_ping_has_no_cross(vip: tuple[str, int]) -> None:
    switch = make_switch(vip, RIPS if vip is VIP else RIPS6)
    teller = told.Teller(switch)
    echo = ICMP() if vip is VIP else ICMPv6EchoRequest()
    send(switch, bytes(ip((CLIENT if vip is VIP else CLIENT6)[0], vip[0]) / echo), 0.0)
    lines = teller.finish(1.0)
    assert "✗" not in "".join(told.shown("ladder", lines))
    drawn = rungs(lines)
    assert [rung.note for rung in drawn] == ["echo to vip", "the switch's own answer"]
    assert 'class="cross"' not in svg(drawn, "x")
    assert not any("-x" in line for line in mermaid(drawn))


def test_a_fragment_that_waits_has_no_cross() -> None:
    (held,) = [rung for rung in rungs() if rung.number == 17]
    assert held.left is not None
    assert not held.left.ends


def test_what_kernels_tell_of_groups_is_no_story() -> None:
    switch = make_switch(VIP6, RIPS6)
    teller = told.Teller(switch)
    alert = IPv6ExtHdrHopByHop(options=RouterAlert())
    for message in (ICMPv6MLQuery(), ICMPv6MLReport(), ICMPv6MLDone(), ICMPv6MLReport2()):
        packet = IPv6(src="fe80::1", dst="ff02::16", hlim=1) / alert / message
        send(switch, bytes(packet), 1.0)
    send(switch, bytes(IP(src="10.0.1.1", dst="224.0.0.22", ttl=1, proto=2) / (b"\x22" * 8)), 1.0)
    lines = teller.finish(2.0)
    assert len(lines) == 7
    assert told.shown("ladder", lines) == []
    assert [line for line in told.shown("story", lines) if line.startswith("#")] == []
    assert "2.000000  the end: 5 packets" in told.shown("story", lines)[-1]
    assert sum(line.startswith("packet ") for line in told.shown("diff", lines)) == 5


def test_full_nat_names_the_other_end_too() -> None:
    lines = told.shown("ladder")
    at = next(i for i, line in enumerate(lines) if line.startswith("#24"))
    assert lines[at + 1] == (
        "          │ from 10.0.1.11:40000            │ from 10.0.2.100:27550           │"
    )


def test_a_packet_of_no_connection_crosses_unchanged() -> None:
    (rung,) = [rung for rung in rungs() if rung.number == 14]
    assert rung.left is not None
    assert rung.right is not None
    assert rung.left.address == rung.right.address == "to 10.0.2.13:22"


def test_every_packet_is_drawn_in_order() -> None:
    numbers = [rung.number for rung in rungs() if rung.number is not None]
    assert sorted(set(numbers)) == list(range(1, 31))
    assert numbers == sorted(numbers)


def test_all_lines_stand_in_columns() -> None:
    for style in (Style(), Style(ASCII)):
        bar = style.glyphs.bar
        for line in told.shown("ladder", style=style):
            if line.startswith("#") and line.count(bar) >= 2:
                assert line[10] == bar
                assert line[44] == bar


def test_long_addresses_keep_the_columns() -> None:
    lines = told.shown("ladder", _long_lines())
    assert max(map(len, lines)) <= 80
    assert "2001:db8:1111:…5555:1111" in "".join(lines)


def test_missing_events_are_told() -> None:
    lines = told.lines()
    lines[5:8] = [b'{"event":"dropped","count":3}\n']
    lines[-1] = b'{"event":"end","time":500.0,"packets":30,"dropped":3}\n'
    shown = told.shown("ladder", lines)
    assert "... 3 events are missing here" in shown
    assert shown[-1] == "in all 3 events were dropped"


def test_mermaid() -> None:
    lines = list(mermaid(rungs()))
    assert lines[0] == "sequenceDiagram"
    names = dict(re.findall(r"participant (\w+) as (.*)", "\n".join(lines)))
    assert names["lb"] == "lb-switch"
    ids = {text: name for name, text in names.items()}
    c1, s1 = ids["c1 10.0.1.11"], ids["s1 10.0.2.11"]
    at = lines.index(
        f"    Note over {c1},{s1}: connection 1, tcp, virtual server web, 10.0.1.11:40000"
    )
    assert lines[at + 1 : at + 6] == [
        f"    {c1}->>lb: SYN to 10.0.1.100:80",
        f"    lb->>{s1}: SYN to 10.0.2.11:8080",
        "    Note right of lb: SYN_RECV",
        f"    {s1}->>lb: SYN ACK from 10.0.2.11:8080",
        f"    lb->>{c1}: SYN ACK from 10.0.1.100:80",
    ]
    assert f"    {c1}-xlb: SYN to 10.0.1.100:81" in lines
    for line in lines[1:]:
        ends = re.match(r"    (\w+)-(?:>>|x)(\w+): ", line)
        if ends:
            assert set(ends.groups()) <= set(names)


def test_mermaid_keeps_its_own_signs_out() -> None:
    (first, *_rest) = rungs()
    assert first.left is not None
    odd = first._replace(left=first.left._replace(what="a;b#c"))
    assert any("a#59;b#35;c" in line for line in mermaid([odd]))


SVG = "{http://www.w3.org/2000/svg}"


def test_svg_holds_every_leg_with_its_address() -> None:
    picture = ElementTree.fromstring(svg(rungs(), "a & b"))
    texts = [element.text for element in picture.iter(f"{SVG}text")]
    legs = [leg for rung in rungs() for leg in (rung.left, rung.right) if leg is not None]
    arrows = [e for e in picture.iter(f"{SVG}line") if e.get("class") == "arrow"]
    assert len(arrows) == len(legs)
    for leg in legs:
        assert leg.address in texts
    blocks = [lanes for lanes, _ in groupby(rungs(), key=lambda rung: rung.lanes)]
    assert texts.count("lb-switch") == len(blocks) > 5
    crosses = [e for e in picture.iter(f"{SVG}path") if e.get("class") == "cross"]
    assert len(crosses) == sum(leg.ends for leg in legs)


def _long_lines() -> list[bytes]:
    """Return a recording with the longest addresses there are."""
    vip = ("2001:db8:1111:2222:3333:4444:5555:1000", 65535)
    switch = make_switch(vip, (("2001:db8:2222:3333:4444:5555:6666:1111", 65535),))
    teller = told.Teller(switch)
    send(switch, tcp(("2001:db8:1111:2222:3333:4444:5555:1111", 65535), vip, "S", b"x" * 40))
    return teller.finish(1.0)


@pytest.mark.parametrize(
    "drawn", [rungs(), rungs(_long_lines())], ids=["the run", "long addresses"]
)
def test_svg_texts_neither_overlap_nor_leave_the_page(drawn: list[Rung]) -> None:
    picture = ElementTree.fromstring(svg(drawn, "x"))
    width, height = (float(picture.get(key, "0")) for key in ("width", "height"))
    boxes = []
    for element in picture.iter(f"{SVG}text"):
        x, y, text = float(element.get("x", "0")), float(element.get("y", "0")), element.text or ""
        wide = 7.3 * len(text)
        left = x - wide / 2 if "middle" in element.get("class", "").split() else x
        boxes.append((left, y - 11, left + wide, y + 3, text))
    for left, top, right, bottom, text in boxes:
        assert left >= 0, text
        assert right <= width, text
        assert top >= 0, text
        assert bottom <= height, text
    boxes.sort(key=lambda box: box[1])
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            if other[1] >= one[3]:
                break
            assert one[2] <= other[0] or other[2] <= one[0], (one[4], other[4])


def test_svg_suits_light_and_dark_pages() -> None:
    text = svg(rungs(), "x")
    light, dark = text.split("prefers-color-scheme: dark")
    for kind in ("ground", "arrow", "lane", "box", "switch", "pill", "small", "new"):
        assert f".{kind} {{" in light
        assert f".{kind} {{" in dark


def test_the_states_are_those_of_the_table() -> None:
    moves = states.transitions()
    for (side, segment), row in TABLE.items():
        for old, new in zip(State, row, strict=False):
            if old is new:
                continue
            who = "client" if side is Direction.ORIGINAL else "real server"
            assert {f"{who} {segment.name}", f"any {segment.name}"} & set(moves[old, new])
    assert (State.SYN_RECV, State.ESTABLISHED) in moves
    assert moves[State.LAST_ACK, State.CLOSE] == ["client ACK", f"any {Segment.RST.name}"]


def test_the_diagram_of_the_states() -> None:
    lines = list(states.mermaid())
    assert lines[0] == "stateDiagram-v2"
    assert "    ESTABLISHED --> FIN_WAIT: real server FIN" in lines
    assert "    TIME_WAIT --> [*]: 120 s" in lines
    text = "\n".join(states.text(Style()))
    assert "  ESTABLISHED  client FIN → CLOSE_WAIT\n" in text
    assert all(state.name in text for state in State if state is not State.UDP)
