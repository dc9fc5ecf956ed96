"""A whole tournament, as small as can be, with real programs in real namespaces."""

import json
import shutil
from pathlib import Path

import pytest

from netns_lab.bench import report, tournament
from netns_lab.bench.arena import Arena
from netns_lab.bench.contestants import CONTESTANTS, Contestant
from netns_lab.bench.measures import needed_programs
from netns_lab.lab import Lab

TODO = tournament.plan(["haproxy", "nginx-stream", "tun"], ["latency", "udp"], 1, 1)
NEEDED = needed_programs(TODO.measures).union(*(each.needs for each in CONTESTANTS.values()))
LACKING = [name for name in sorted(NEEDED) if shutil.which(name) is None]

pytestmark = [
    pytest.mark.netns,
    # scripts/bench installs them; scripts/test has no other use for them.
    pytest.mark.skipif(bool(LACKING), reason=f"programs of scripts/bench: {LACKING}"),
]


def test_everybody_is_measured_side_by_side_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labs: list[Lab] = []

    class Watched(Arena):
        def __init__(self, contestant: Contestant) -> None:
            super().__init__(contestant)
            labs.append(self.lab)

    monkeypatch.setattr(tournament, "Arena", Watched)
    lines: list[str] = []
    runs = report.run(TODO, tmp_path, lines.append)
    assert [each.error for each in runs] == [""] * 5
    document = json.loads((tmp_path / report.JSON).read_text())
    medians = document["medians"]
    assert list(medians) == ["haproxy", "nginx-stream", "tun"]
    for contestant, figures in medians.items():
        assert 1 < figures["latency"] <= figures["latency99"]
        assert ("udp" in figures) == (contestant != "haproxy")
    assert document["ratios"]["haproxy"]["latency"] == 1.0
    assert (tmp_path / report.SVG).read_text().startswith("<svg")
    assert (tmp_path / report.TABLE).read_text() == report.text(runs)
    assert sum(line.startswith("[") for line in lines) == 5

    assert len({lab.prefix for lab in labs}) == 3
    for lab in labs:
        assert not lab.directory.exists()
        assert not list(Path("/run/netns").glob(f"{lab.prefix}*"))
