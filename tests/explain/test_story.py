"""The packet story: what a person reads."""

from __future__ import annotations

import pytest

from lb_switch.engine.scheduling.persistence import Persistence
from lb_switch.engine.verdict import Reason
from lb_switch.explain.story import Story
from lb_switch.explain.style import Style
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import PacketRecord
from lb_switch.words.english import SENTENCES, sentence
from tests.explain import told
from tests.support.dialogue import CLIENT, VIP, make_switch, send
from tests.support.packets import tcp


def story(number: int) -> str:
    """Return the story of a packet, without its line breaks."""
    return " ".join(" ".join(told.of_packet("story", number)).split())


def test_a_new_connection_line_by_line() -> None:
    assert told.of_packet("story", 1) == [
        "#1 0.500000  c1 10.0.1.11:40000 → VIP 10.0.1.100:80  TCP SYN",
        "    not in the connection table: new connection 1 of virtual server web",
        "    rr chooses s1: first in rotation (1 of 1 usable); skipped s2 (down),",
        "      s3 (drained)",
        "    rewritten: destination VIP 10.0.1.100:80 → s1 10.0.2.11:8080",
        "    state (none) → SYN_RECV, forgotten after 60 s of silence",
        "",
    ]


def test_an_answer_line_by_line() -> None:
    assert told.of_packet("story", 2) == [
        "#2 0.500000  s1 10.0.2.11:8080 → c1 10.0.1.11:40000  TCP SYN ACK",
        "    in the connection table: connection 1 of virtual server web",
        "    rewritten: source s1 10.0.2.11:8080 → VIP 10.0.1.100:80",
        "    state stays SYN_RECV, forgotten after 60 s of silence",
        "",
    ]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (3, "state SYN_RECV → ESTABLISHED, forgotten after 900 s of silence"),
        (4, 'TCP PSH ACK, 30 bytes of data: "GET / HTTP/1.1"'),
        (10, "no virtual server has this port of the VIP: refused answered: TCP RST ACK from VIP"),
        (11, "it does not open a connection (no SYN): refused (virtual server web)"),
        (12, "the switch answers itself answered: ICMP echo reply from VIP 10.0.1.100 to c1"),
        (13, "shorter than its own headers claim dropped"),
        (14, "c1 10.0.1.11:40000 → s3 10.0.2.13:22 TCP SYN neither to a virtual server nor"),
        (15, "first in rotation (1 of 3 usable); not s2 or s3"),
        (16, "it is now about a packet 10.0.1.11:40000 to 10.0.1.100:80"),
        (17, "held back"),
        (18, "released: fragment from byte 32, the last from c1 10.0.1.11 to s1 10.0.2.11"),
        (20, "(checksum still partial)"),
        (21, "state SYN_RECV → CLOSE, forgotten after 10 s of silence"),
        (22, "(active: s1 0, s2 0); not s2"),
        (24, "source c1 10.0.1.11:40000 → VIP 10.0.2.100:27550; destination VIP 10.0.2.100:80 →"),
        (29, "its real server is out of service: the client is told"),
        (30, "rr has nobody to choose from; skipped s1 (down), s2 (down), s3 (drained)"),
    ],
)
def test_what_each_packet_tells(number: int, words: str) -> None:
    assert words in story(number)


def test_what_is_told_between_packets() -> None:
    text = " ".join(" ".join(told.shown("story")).split())
    assert (
        "http probe of s2 10.0.2.12:8080 for web failed after 0.000 s: connect refused;"
        " it is now down" in text
    )
    assert "real server s3 10.0.2.13:8080 of web: set to drain (now up, drain, weight 1)" in text
    assert (
        "connection 1 (c1 10.0.1.11:40000 → s1 10.0.2.11:8080) leaves the table: timeout;"
        " 5 packets there, 4 back" in text
    )
    assert text.endswith("the end: 30 packets")


def test_the_introduction() -> None:
    text = "\n".join(told.shown("story")[:14])
    assert "destination\nNAT" in text
    assert "  web: tcp 10.0.1.100:80, rr → s1 10.0.2.11:8080, s2 10.0.2.12:8080," in text


def test_a_packet_takes_few_lines() -> None:
    for record in told.records():
        if isinstance(record, PacketRecord):
            lines = told.of_packet("story", record.number)[:-1]
            plain = record.number < 10
            assert 2 <= len(lines) <= (6 if plain else 7 + record.sent_count), lines


def _first_choice(scheduler: str) -> str:
    switch = make_switch(scheduler=scheduler)
    teller = told.Teller(switch)
    send(switch, tcp(CLIENT, VIP, "S"))
    send(switch, tcp((CLIENT[0], 40001), VIP, "S"))
    return " ".join(" ".join(told.shown("story", teller.finish(1.0))).split())


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        ("rr", "rr chooses s2: next after s1 (2 of 3 usable); not s1 or s3"),
        ("wrr", "(current weights: s1 -1, s2 2, s3 2); not s1 or s3"),
        ("lc", "fewest active connections: 0, its turn among 2 equals (active: s1 1, s2 0, s3 0)"),
        ("wlc", "fewest active connections per weight: 0 at weight 1"),
        ("sh", "sh chooses"),
        ("mh", "of 16381 →"),
    ],
)
def test_why_this_server(scheduler: str, words: str) -> None:
    assert words in _first_choice(scheduler)


@pytest.mark.parametrize("scheduler", ["sh", "mh"])
def test_hash_slot_server(scheduler: str) -> None:
    switch = make_switch(scheduler=scheduler)
    teller = told.Teller(switch)
    send(switch, tcp(CLIENT, VIP, "S"))
    lines = teller.finish(1.0)
    (record,) = [each for each in told.records(lines) if isinstance(each, PacketRecord)]
    assert record.choice is not None
    facts, server = record.choice.facts, record.choice.real_server
    assert server is not None
    name = told.HOSTS[server.partition(":")[0]]
    text = " ".join(" ".join(told.shown("story", lines)).split())
    assert (
        f"hash of src_ip {facts['hash']} → slot {facts['slot']} of {facts['slots']} → {name};"
        in text
    )


def test_persistence_is_told() -> None:
    switch = make_switch()
    switch.virtual_servers["web"].persistence = Persistence(300)
    teller = told.Teller(switch)
    for port in (40000, 40001):
        send(switch, tcp((CLIENT[0], port), VIP, "S"))
    text = " ".join(" ".join(told.shown("story", teller.finish(1.0))).split())
    assert "s1: this client's server so far (persistence); not s2 or s3" in text


def test_missing_events_are_told_where_they_miss_and_at_the_end() -> None:
    lines = told.lines()
    lines[5:8] = [b'{"event":"dropped","count":1234}\n']
    lines[-1] = b'{"event":"end","time":500.0,"packets":30,"dropped":1234}\n'
    shown = told.shown("story", lines)
    assert "    ... 1,234 events missing here: the reader is too slow" in shown
    assert shown[-1] == "-- 1,234 events dropped: the reader was too slow"


def test_many_real_servers_are_not_all_named() -> None:
    rips = tuple((f"10.0.3.{number}", 80) for number in range(1, 101))
    switch = make_switch(rips=rips, scheduler="lc")
    teller = told.Teller(switch)
    send(switch, tcp(CLIENT, VIP, "S"))
    text = " ".join(" ".join(told.shown("story", teller.finish(1.0))).split())
    assert "(active: 10.0.3.1:80 0, 10.0.3.2:80 0," in text
    assert "10.0.3.6:80 0 and 94 more); not 10.0.3.2:80 or" in text
    assert "or 10.0.3.7:80 or 93 more" in text
    assert "10.0.3.8:80" not in text.partition("#1")[2]


def test_every_reason_has_a_sentence() -> None:
    assert set(SENTENCES) == set(Reason)
    assert sentence("something_new") == "something new"


def test_a_comment_is_one_plain_line() -> None:
    view = Story(Recording(told.lines(), "told").header, Style(colour=True))
    comment = Story(Recording(told.lines(), "told").header, Style()).comment(told.packet(2))
    assert comment == (
        "in the connection table: connection 1 of virtual server web rewritten: source s1"
        " 10.0.2.11:8080 → VIP 10.0.1.100:80 state stays SYN_RECV, forgotten after 60 s of silence"
    )
    assert "\x1b[1m" in next(iter(view.show(told.packet(2))))
