"""What the switch sends of its own accord: in the recording, in every view and on both sides."""

from __future__ import annotations

from pathlib import Path

from lb_switch.engine.changes import SetHealth
from lb_switch.engine.switch import Switch
from lb_switch.explain.ladder_svg import svg
from lb_switch.explain.rungs import Rungs
from lb_switch.explain.selection import Selection
from lb_switch.explain.story import Story
from lb_switch.explain.style import Style
from lb_switch.explain.views import make
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import ConnectionRecord, PacketRecord, SentRecord
from tests.explain.told import Teller
from tests.support.both_sides import BothSidesFile
from tests.support.dialogue import CLIENT, RIPS, VIP, Dialogue, make_switch
from tests.support.packets import dissect


def waits(switch: Switch) -> None:
    """A client waits for an answer while s1 goes down."""
    talk = Dialogue(switch)
    talk.handshake()
    talk.client("PA", b"GET /slow HTTP/1.1\r\n\r\n")
    talk.server("A")
    talk.wait(1)
    (s1, *_) = switch.virtual_servers["web"].real_servers
    switch.change(SetHealth(s1, False, "timeout after 1.0 s"), talk.now)
    talk.wait(0.25)
    talk.client("A")


def recorded() -> Recording:
    switch = make_switch()
    teller = Teller(switch)
    waits(switch)
    return Recording(teller.finish(2.0), "told")


def test_the_recording_has_it() -> None:
    recording = recorded()
    (sent,) = (each for each in recording if isinstance(each, SentRecord))
    assert (sent.time, sent.virtual_server, sent.direction) == (1.0, "web", "reply")
    assert (sent.connection.client, sent.length) == ("10.0.1.11:40000", 40)
    assert dissect(sent.bytes_sent).dst == CLIENT[0]


def test_it_is_part_of_its_connection() -> None:
    kinds = [type(each) for each in Selection(connection="1").of(recorded())]
    assert SentRecord in kinds
    assert kinds[-3:-1] == [ConnectionRecord, PacketRecord]


def test_the_story_says_what_it_is_for() -> None:
    recording = recorded()
    story = Story(recording.header, Style())
    text = " ".join(" ".join(line for each in recording for line in story.show(each)).split())
    assert (
        "the switch's own (connection 1): TCP ACK from VIP 10.0.1.100:80 to c1 10.0.1.11:40000:"
        " its old number must be answered, and the answer tells the right number for a RST"
    ) in text.replace("\u00a0", " ")
    assert "answered: TCP RST from c1 10.0.1.11:40000 to s1 10.0.2.11:8080" in text.replace(
        "\u00a0", " "
    )


def test_the_ladder_draws_it_in_the_connections_own_lanes() -> None:
    recording = recorded()
    drawer = Rungs(recording.header)
    records = list(recording)
    rungs = [rung for each in records for rung in drawer.of(each)]
    assert {rung.lanes.title for rung in rungs} == {"connection 1, tcp, virtual server web"}
    challenge, answer, reset, told = rungs[-4:]
    assert challenge.number is None
    assert challenge.left is not None
    assert (challenge.left.what, challenge.left.rightwards, challenge.right) == ("ACK", False, None)
    assert answer.left is not None
    assert (answer.left.what, answer.left.ends) == ("ACK", True)
    assert reset.left is not None
    assert (reset.left.what, reset.left.rightwards, reset.right) == ("RST", False, None)
    assert told.right is not None
    assert (told.right.what, told.right.rightwards, told.left) == ("RST", True, None)
    ladder = make("ladder", recording.header, Style())
    lines = [line for each in records for line in ladder.show(each)]
    assert max(map(len, lines)) <= 80
    assert any("[the switch's own]" in line for line in lines)
    assert "#None" not in svg(rungs, "title") + "".join(lines)


def test_both_sides_have_it(tmp_path: Path) -> None:
    switch = make_switch()
    file = BothSidesFile(tmp_path / "both.pcapng", switch)
    waits(switch)
    rows = file.rows("frame.interface_name", "ip.src", "ip.dst", "tcp.flags.reset")
    assert rows[-4:] == [
        ("client-side", VIP[0], CLIENT[0], "0"),
        ("client-side", CLIENT[0], VIP[0], "0"),
        ("client-side", VIP[0], CLIENT[0], "1"),
        ("server-side", CLIENT[0], RIPS[0][0], "1"),
    ]
    (comment,) = file.rows("frame.comment")[-4]
    assert comment == (
        "sent by the switch: 10.0.1.11:40000 with 10.0.2.11:8080, which is out of service"
        " [made by the switch]"
    )
