"""The state file: complete or absent, and one writer at a time."""

import json
import threading
from pathlib import Path

import pytest

from netns_lab.processes import ProcessRecord
from netns_lab.state import State, changing, is_prefix, lab_directory


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    process = ProcessRecord(4711, 12345, "s1", "python -m netns_lab.server")
    state = State("x-", "textbook", ["x-switch", "x-c1"], [process], process, "tun", "rr", True)
    state.save(tmp_path)
    assert State.load(tmp_path) == state


def test_a_lab_that_made_nothing_has_no_state(tmp_path: Path) -> None:
    assert State.load(tmp_path) is None
    with pytest.raises(FileNotFoundError), changing(tmp_path):
        pass


def test_saving_leaves_no_half_file_behind(tmp_path: Path) -> None:
    State("x-", "textbook").save(tmp_path)
    State("x-", "echo").save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
    assert json.loads((tmp_path / "state.json").read_text())["topology"] == "echo"


def test_a_failed_change_is_not_written(tmp_path: Path) -> None:
    State("x-", "textbook").save(tmp_path)
    change = changing(tmp_path)
    change.__enter__().complete = True
    assert not change.__exit__(RuntimeError, RuntimeError(), None)
    assert State.load(tmp_path) == State("x-", "textbook")


def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    State("x-", "textbook").save(tmp_path)

    def add(number: int) -> None:
        for count in range(10):
            with changing(tmp_path) as state:
                state.namespaces.append(f"{number}-{count}")

    writers = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    state = State.load(tmp_path)
    assert state is not None
    assert len(set(state.namespaces)) == 40


@pytest.mark.parametrize("prefix", ["lb-", "lbt0a1b2c-", "x-"])
def test_prefixes(prefix: str) -> None:
    assert is_prefix(prefix)


@pytest.mark.parametrize("text", ["", "-", "lb", "LB-", "../x-", "a/b-", "1-", "a-b-", "lb-\n"])
def test_what_is_no_prefix(text: str) -> None:
    assert not is_prefix(text)


def test_different_prefixes_have_different_directories() -> None:
    assert lab_directory("lb-") == Path("/run/lb-switch/lab-lb")
    assert lab_directory("lbt-") != lab_directory("lb-")
