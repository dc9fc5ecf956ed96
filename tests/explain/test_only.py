"""`--only`: what is explained, narrowed to kinds of events, hosts and ports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lb_switch.explain.only import Only, UnknownWordError
from lb_switch.stream.recording import Recording
from lb_switch.stream.schema import (
    ConnectionRecord,
    PacketRecord,
    ProbeRecord,
    Record,
    SentRecord,
    ServerRecord,
)
from tests.cli.conftest import Run, run
from tests.explain import told

__all__ = ["run"]


def narrowed(*words: str) -> list[Record]:
    recording = Recording(told.lines(), "told")
    only = Only(words, recording.header.hosts)
    return [record for record in recording if only.wants(record)]


def kinds(records: list[Record]) -> set[type]:
    return {type(record) for record in records if not hasattr(record, "packets")}


def test_packets_alone() -> None:
    found = narrowed("packets")
    assert kinds(found) <= {PacketRecord, SentRecord}
    assert sum(isinstance(each, PacketRecord) for each in found) == 30


def test_servers_alone() -> None:
    assert kinds(narrowed("servers")) == {ServerRecord, ProbeRecord}


def test_connections_are_what_opens_changes_ends_or_refuses_one() -> None:
    found = narrowed("connections")
    assert kinds(found) == {PacketRecord, ConnectionRecord}
    packets = [each for each in found if isinstance(each, PacketRecord)]
    assert 0 < len(packets) < 30
    for each in packets:
        assert each.state != each.old_state or each.verdict in {"reply", "drop"}
    reasons = {each.reason for each in packets}
    assert {"new_connection", "real_server_down"} <= reasons


def test_kinds_add_up_and_hosts_and_ports_narrow() -> None:
    both = narrowed("servers", "packets")
    assert kinds(both) - {SentRecord} == {PacketRecord, ServerRecord, ProbeRecord}
    of_c1 = [each for each in narrowed("packets", "c1") if isinstance(each, PacketRecord)]
    assert 0 < len(of_c1) < 30
    of_one_address = [
        each for each in narrowed("packets", "10.0.1.11") if isinstance(each, PacketRecord)
    ]
    assert [each for each in of_c1 if each in of_one_address] == of_one_address
    assert len(of_one_address) < len(of_c1), "c1 has an IPv6 address too"
    port = [each for each in narrowed("81") if isinstance(each, PacketRecord)]
    assert [each.reason for each in port] == ["no_virtual_server"]
    assert narrowed("81", "c1", "servers")[:-1] == []


def test_a_word_that_means_nothing() -> None:
    header = Recording(told.lines(), "told").header
    with pytest.raises(UnknownWordError, match="none of connections, packets, servers, a port or"):
        Only(["c9"], header.hosts)


def test_the_commands(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rec.jsonl"
    file.write_bytes(b"".join(told.lines()))
    whole = run("explain", "story", "--from", file).stdout
    servers = run("explain", "story", "--from", file, "--only", "servers").stdout
    assert "real server s1" in servers
    assert "SYN" not in servers
    assert len(servers) < len(whole) / 3
    wrong = run("explain", "story", "--from", file, "--only", "c9")
    assert (wrong.exit_code, "--only c9: is none of" in wrong.stderr) == (2, True)
    replayed = run("replay", "--example", "--explain", "--only", "connections").stdout
    assert "new connection" in replayed
    assert len(replayed) < len(run("replay", "--example", "--explain").stdout)
    alone = run("replay", "--example", "--only", "connections")
    assert (alone.exit_code, "--only narrows --explain or --view" in alone.stderr) == (2, True)


def test_probes_that_find_nothing_new_are_not_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rec.jsonl"
    lines = told.lines()
    for became, passed, told_times in (("down", False, 1), (None, False, 0), (None, None, 1)):
        edited = [
            json.dumps(json.loads(line) | {"became": became, "passed": passed}).encode() + b"\n"
            if b'"event":"probe"' in line
            else line
            for line in lines
        ]
        file.write_bytes(b"".join(edited))
        shown = run("explain", "story", "--from", file).stdout
        assert shown.count(" probe of ") == told_times
