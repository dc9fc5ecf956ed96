"""The header diff and the walk through the checksums: what a person reads."""

from __future__ import annotations

from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6

from lb_switch.explain.style import ASCII, Style
from lb_switch.explain.views import make
from lb_switch.stream.encode import Encoder
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import PacketRecord
from tests.explain import told
from tests.support.dialogue import make_switch, send
from tests.support.packets import dissect, tcp


def rows(number: int) -> list[str]:
    return [" ".join(line.split()) for line in told.of_packet("diff", number)]


def marked(number: int) -> list[str]:
    return [row for row in rows(number) if "≠" in row]


def test_the_changed_fields_of_a_syn_are_marked_and_no_others() -> None:
    assert marked(1) == [
        "header checksum 0x2461 ≠ 0x23ba",
        "destination 10.0.1.100 ≠ 10.0.2.11",
        "destination port 80 ≠ 8080",
        "checksum 0xd8fb ≠ 0xb914",
    ]
    assert "source 10.0.1.11 10.0.1.11" in rows(1)
    assert "sequence 1000 1000" in rows(1)


def test_a_packet_is_titled_by_its_direction() -> None:
    titles = {number: told.of_packet("diff", number)[0] for number in range(1, 31)}
    assert titles[1] == "packet 1 at 0.500000: client → server, SYN (new connection)"
    assert titles[2] == "packet 2 at 0.500000: server → client, SYN ACK (known connection)"
    assert titles[10] == "packet 10 at 0.503000: client → switch, answered (no virtual server)"
    assert titles[13] == "packet 13 at 0.503000: ? → switch, dropped (truncated)"
    assert titles[14].startswith("packet 14 at 0.503000: 10.0.1.11:40000 → 10.0.2.13:22, passed on")
    assert titles[16].startswith("packet 16 at 0.503000: server → client, host unreachable")
    assert titles[17] == "packet 17 at 0.503000: client → switch, held back (fragment held)"
    assert titles[23] == "packet 23 at 2.000000: server → client, SYN ACK (known connection)"
    assert titles[25] == "packet 25 at 2.500000: server → client, SYN ACK (known connection)"
    ascii_title = told.shown("diff", style=Style(ASCII))[2]
    assert ascii_title == "packet 1 at 0.500000: client -> server, SYN (new connection)"


def test_only_what_changed_fits_a_screen() -> None:
    view = make("diff", Recording(told.lines(), "told").header, Style(), changed=True)
    begin = list(view.begin())
    for number in range(1, 31):
        lines = [*begin, *view.show(told.packet(number))]
        assert len(lines) <= 23, "24 lines with the prompt"
        assert [row for row in map(str.split, lines[2:]) if "≠" in row] == [
            row.split() for row in marked(number)
        ]
    assert list(view.show(told.packet(1))) == [
        "packet 1 at 0.500000: client → server, SYN (new connection)",
        "                       as it came                    as it went on",
        "  IPv4",
        "    header checksum    0x2461                      ≠ 0x23ba",
        "    destination        10.0.1.100                  ≠ 10.0.2.11",
        "  TCP",
        "    destination port   80                          ≠ 8080",
        "    checksum           0xd8fb                      ≠ 0xb914",
        "  changed: 8 of 40 bytes; 17 fields stayed as they were",
        "",
    ]


def test_the_longest_error_fits_a_screen_too() -> None:
    vip, rip = (
        ("2001:db8:1111:2222:3333:4444:5555:1000", 65535),
        (
            "2001:db8:2222:3333:4444:5555:6666:1111",
            65535,
        ),
    )
    client = ("2001:db8:1111:2222:3333:4444:5555:1111", 65535)
    switch = make_switch(vip, (rip,))
    teller = told.Teller(switch)
    teller.encoder = Encoder(switch.listeners.number_of, lambda: False)
    there = send(switch, tcp(client, vip, "S"))
    error = IPv6(src=rip[0], dst=client[0]) / ICMPv6DestUnreach(code=4) / dissect(there.data)
    send(switch, bytes(error))
    recording = Recording(teller.finish(1.0), "long")
    view = make("diff", recording.header, Style(), changed=True)
    (last,) = [
        each for each in recording if isinstance(each, PacketRecord) and each.reason == "icmp_error"
    ]
    lines = [*view.begin(), *view.show(last)]
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert (
        "    hop limit          64                          ≠ 63 (the switch is one hop)" in lines
    )


def test_the_footer_counts_the_changed_bytes() -> None:
    text = " ".join(rows(1))
    assert (
        "changed: 8 of 40 bytes (IPv4 header checksum 2, IPv4 destination 2, TCP destination port"
        " 2, TCP checksum 2)" in text
    )
    record = told.packet(1)
    differ = sum(a != b for a, b in zip(record.bytes_before, record.bytes_after, strict=True))
    assert differ == 8


def test_an_error_is_changed_outside_and_inside() -> None:
    assert marked(16) == [
        "header checksum 0x23ac ≠ 0x2449",
        "source 10.0.2.1 ≠ 10.0.1.100",
        "checksum 0x143b ≠ 0x1394",
        "header checksum 0x23ae ≠ 0x2455",
        "destination 10.0.2.11 ≠ 10.0.1.100",
        "destination port 8080 ≠ 80",
        "checksum 0xa2a2 ≠ 0xc289",
    ]
    titles = [row for row in rows(16) if row in {"IPv4", "ICMP", "quoted IPv4", "quoted UDP"}]
    assert titles == ["IPv4", "ICMP", "quoted IPv4", "quoted UDP"]


def test_ipv6_has_no_header_checksum() -> None:
    assert marked(22) == [
        "destination 2001:db8:1::100 ≠ 2001:db8:2::11",
        "destination port 80 ≠ 8080",
        "checksum 0x92e5 ≠ 0x7493",
    ]


def test_what_is_not_forwarded_has_no_diff() -> None:
    assert rows(13) == [
        "packet 13 at 0.503000: ? → switch, dropped (truncated)",
        "not rewritten: shorter than its own headers claim",
        "",
    ]


def test_a_long_packet_says_how_much_of_it_is_there() -> None:
    assert "the recording keeps the first 192 bytes of it" in rows(5)


def test_long_addresses_get_a_line_each() -> None:
    from lb_switch.explain.header_diff import HeaderDiff
    from lb_switch.stream.recording import Recording
    from tests.support.dialogue import make_switch, send
    from tests.support.packets import tcp

    vip = ("2001:db8:1111:2222:3333:4444:5555:100", 80)
    rip = ("2001:db8:2222:3333:4444:5555:6666:11", 80)
    switch = make_switch(vip, (rip,))
    teller = told.Teller(switch)
    send(switch, tcp(("2001:db8:1111:2222:3333:4444:5555:11", 40000), vip, "S"))
    recording = Recording(teller.finish(1.0), "x")
    view = HeaderDiff(recording.header, Style())
    lines = [line for record in recording for line in view.show(record)]
    at = next(i for i, line in enumerate(lines) if "destination " in line)
    assert lines[at].endswith(vip[0])
    assert lines[at + 1].endswith(f"≠ {rip[0]}")
    assert max(map(len, lines)) <= 80


def test_changes_are_coloured_as_well() -> None:
    coloured = told.shown("diff", style=Style(colour=True))
    changed = [line for line in coloured if "≠" in line and "marked" not in line]
    assert changed
    assert all(line.startswith("\x1b[1;33m") for line in changed)
    assert any("! 10.0.2.11" in line for line in told.shown("diff", style=Style(ASCII)))


def test_the_walk_through_a_tcp_checksum() -> None:
    lines = told.of_packet("diff", 1, checksum=True)
    at = lines.index("  TCP checksum: d8fb → b914")
    assert lines[at:-1] == [
        "  TCP checksum: d8fb → b914",
        "    HC' = ~(~HC + ~m + m')  for each word m that becomes m'  (RFC 1624, eq. 3)",
        "    word                                m   m'",
        "    destination, word 2               0164 → 020b",
        "    destination port                  0050 → 1f90",
        "    ~HC = ~d8fb                                  2704",
        "    + ~0164 = fe9b   1259f, carry 1 goes round:  25a0",
        "    + 020b                                       27ab",
        "    + ~0050 = ffaf   1275a, carry 1 goes round:  275b",
        "    + 1f90                                       46eb",
        "    HC' = ~46eb                                  b914",
        "    check: computed anew over all of it: b914 ✓",
    ]


def test_the_walk_through_a_partial_checksum() -> None:
    text = "\n".join(told.of_packet("diff", 20, checksum=True))
    assert "a partial checksum S: only the sum of the pseudo-header" in text
    assert "S'                                           1730\n" in text
    assert "check: computed anew over all of it: 1730 ✓" in text


def test_the_walk_where_nothing_can_or_need_be_checked() -> None:
    assert "not all of what it covers is in the recording" in " ".join(
        told.of_packet("diff", 5, checksum=True)
    )
    assert "0000 says that there is no checksum" in " ".join(
        told.of_packet("diff", 18, checksum=True)
    )


def test_the_walk_of_a_damaged_packet() -> None:
    text = " ".join(" ".join(told.of_packet("diff", 19, checksum=True)).split())
    assert "But the packet came damaged (fa40 instead of 0a41)" in text


def test_missing_events_are_told() -> None:
    lines = told.lines()
    lines[5:8] = [b'{"event":"dropped","count":3}\n']
    lines[-1] = b'{"event":"end","time":500.0,"packets":30,"dropped":3}\n'
    shown = told.shown("diff", lines)
    assert "... 3 events are missing here" in shown
    assert shown[-1] == "in all 3 events were dropped"
