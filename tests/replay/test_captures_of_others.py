"""Unusual and hostile captures by others: each gives verdicts, or one clear error.

They are not part of the project.  LB_SWITCH_CAPTURES names their folder; without it, `captures` in
a folder `shared` beside the repository is tried.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.flow_key import destination_endpoint
from lb_switch.engine.packet.parse import ParseError, parse
from lb_switch.engine.scheduling.catalogue import make
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Action, Reason
from lb_switch.files.link import LINK_TYPES
from lb_switch.files.pcap import create_capture, open_capture
from lb_switch.files.record import CapturedPacket, CaptureFileError
from lb_switch.replay import Replay
from tests.support.dialogue import make_switch

_BESIDE = Path(__file__).parents[3] / "shared" / "captures"
FOLDER = Path(os.environ.get("LB_SWITCH_CAPTURES") or _BESIDE)
FILES = sorted(path for path in FOLDER.glob("*.pcap*") if path.is_file())

pytestmark = pytest.mark.skipif(not FILES, reason=f"no captures in {FOLDER}")


@pytest.fixture(params=FILES, ids=lambda path: str(path.name))
def capture(request: pytest.FixtureRequest) -> Path:
    path = request.param
    assert isinstance(path, Path)
    return path


def read(path: Path) -> tuple[list[CapturedPacket], str]:
    """Return the records, and the one error that ended them ("" at a proper end)."""
    records: list[CapturedPacket] = []
    try:
        with open_capture(path) as reader:
            for record in reader:
                records.append(record)
    except CaptureFileError as error:
        return records, str(error)
    return records, ""


def serving_everybody(records: list[CapturedPacket]) -> Switch:
    """Return a switch with a virtual server at every TCP or UDP destination in the records."""
    switch = Switch()
    served: dict[tuple[int, Endpoint], None] = {}
    for record in records:
        link = LINK_TYPES.get(record.interface.link_type)
        start = link.find_ip(record.data) if link else None
        if start is None:
            continue
        try:
            packet = parse(bytearray(record.data), start, len(record.data) - start, False)
        except ParseError:
            continue
        if packet.key:
            served[packet.protocol, destination_endpoint(packet.key)] = None
    for protocol, endpoint in served:
        rips = ("10.0.2.11:8080", "10.0.2.12:8080")
        if endpoint.ip.version == 6:
            rips = ("[fd00::11]:8080", "[fd00::12]:8080")
        servers = [RealServer(Endpoint.parse(rip)) for rip in rips]
        switch.add_virtual_server(
            VirtualServer(f"{protocol} {endpoint}", endpoint, protocol, make("rr"), servers)
        )
    return switch


@pytest.mark.parametrize("served", [False, True], ids=["as others' traffic", "as ours"])
def test_every_packet_gets_a_verdict_or_the_file_one_error(
    capture: Path, served: bool, tmp_path: Path
) -> None:
    records, error = read(capture)
    unknown = [record for record in records if record.interface.link_type not in LINK_TYPES]
    switch = serving_everybody(records) if served else make_switch()
    replay = Replay(switch, records)
    count = 0
    with create_capture(tmp_path / "out.pcapng") as out:
        try:
            for result in replay:
                count += 1
                assert result.as_dict()["n"] == count
                if result.verdict.action is Action.FORWARD:
                    assert len(result.sent[0].data) == len(result.record.data)
                for record in result.sent:
                    out.write(record)
        except CaptureFileError as failure:
            error = str(failure)
    assert not unknown or "has link type" in error
    assert "\n" not in error
    assert count == (records.index(unknown[0]) if unknown else len(records))
    summary = replay.summary()
    assert sum(summary.values()) == count
    assert summary[Reason.INTERNAL_ERROR.value] == 0


def test_some_of_them_are_forwarded() -> None:
    """The canary of the test above: serving everybody does bring packets onto the engine's road."""
    records = [record for path in FILES for record in read(path)[0]]
    records = [record for record in records if record.interface.link_type in LINK_TYPES]
    replay = Replay(serving_everybody(records), sorted(records, key=lambda record: record.time_ns))
    forwarded = sum(1 for result in replay if result.verdict.action is Action.FORWARD)
    assert forwarded > 100
