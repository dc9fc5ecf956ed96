"""What labs and their switches left behind: swept where it is dead for sure, and only there."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest

from netns_lab import teardown
from netns_lab.lab import Lab
from netns_lab.processes import ProcessRecord, start_time
from netns_lab.state import State
from netns_lab.teardown import forget_switches, sweep


@pytest.fixture
def namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "netns"
    folder.mkdir()
    monkeypatch.setattr(teardown, "netns_path", lambda name: folder / name)
    return folder


def lab(folder: Path, name: str, *, process: int = 0, complete: bool = True) -> None:
    directory = folder / f"lab-{name}"
    directory.mkdir(parents=True)
    began = start_time(process) or 0
    state = State(f"{name}-", "textbook", [f"{name}-switch", f"{name}-c1"], complete=complete)
    state.processes.append(ProcessRecord(process or 2**22 + 1, began, "c1", "sleep"))
    state.save(directory)


def test_labs_that_are_gone_are_swept(tmp_path: Path, namespaces: Path) -> None:
    run = tmp_path / "run"
    lab(run, "gone")
    lab(run, "starting", complete=False)
    lab(run, "half")
    (namespaces / "half-c1").touch()
    lab(run, "busy", process=os.getpid())
    (run / "lab-new").mkdir()
    (run / "lab-odd").mkdir()
    (run / "lab-odd" / "state.json").write_text("[")
    (run / "other").mkdir()
    assert sweep(run) == ["lab-gone"]
    left = {path.name for path in run.iterdir()}
    assert left == {"lab-starting", "lab-half", "lab-busy", "lab-new", "lab-odd", "other"}


def test_what_a_killed_switch_left_goes_with_its_namespace(
    tmp_path: Path, namespaces: Path
) -> None:
    namespace = namespaces / "x-switch"
    namespace.touch()
    number = namespace.stat().st_ino
    ours = [tmp_path / f"{number}.{kind}" for kind in ("lock", "state")]
    others = [tmp_path / f"{number + 1}.{kind}" for kind in ("lock", "state")]
    for path in (*ours, *others):
        path.write_text("{}\n")
    with ours[0].open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        forget_switches(namespace, tmp_path)
        assert all(path.exists() for path in ours), "a switch that runs has them still"
    forget_switches(namespace, tmp_path)
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in others)
    forget_switches(namespaces / "never-was", tmp_path)


@pytest.mark.netns
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("capture", ["tun", "nfqueue"])
def test_a_lab_whose_switch_was_killed_leaves_no_file(capture: str) -> None:
    made = Lab(capture=capture)
    made.up()
    try:
        state = State.load(made.directory)
        assert state is not None
        assert state.switch is not None
        inode = Path(f"/run/netns/{made.prefix}switch").stat().st_ino
        files = [Path(f"/run/lb-switch/{inode}.{kind}") for kind in ("lock", "state")]
        os.kill(state.switch.pid, signal.SIGKILL)
        assert all(path.exists() for path in files)
    finally:
        made.down()
    assert not any(path.exists() for path in files)
