"""Labs come, stand side by side, and go without a trace: also after the worst crash."""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from netns_lab import lab as labs
from netns_lab.lab import Lab, LabError, UnknownNameError
from netns_lab.plan import inside, namespaces
from netns_lab.state import State, lab_directory
from netns_lab.topologies import TEXTBOOK, TOPOLOGIES
from tests.support.traces import NO_TRACE, existing, traces

pytestmark = pytest.mark.netns


@pytest.fixture
def prefix() -> Iterator[str]:
    """A prefix of this test's own; whatever stands there at the end is removed."""
    mine = f"lbt{secrets.token_hex(3)}-"
    yield mine
    labs.down(mine)


def test_up_makes_all_of_it_and_down_removes_all_of_it(prefix: str) -> None:
    with Lab(prefix=prefix, switch=False):
        there = traces(prefix)
        assert there["namespaces"] == set(namespaces(TEXTBOOK, prefix))
        assert there["directory"]
        assert len(there["processes"]) == 3  # type: ignore[arg-type]
    assert traces(prefix) == NO_TRACE


def test_an_exception_inside_removes_it_too(prefix: str) -> None:
    there: set[str] = set()

    def fail() -> None:
        with Lab(prefix=prefix, switch=False):
            there.update(existing(prefix))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert there == set(namespaces(TEXTBOOK, prefix))
    assert traces(prefix) == NO_TRACE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_program_ends_as_it_wants_to(prefix: str, number: signal.Signals) -> None:
    """Ctrl-C reaches whoever runs in the terminal; SIGTERM only the one who was started."""
    run_python(f"lab.up('textbook', {prefix!r}, switch=False)").check_returncode()
    trap = "trap 'sleep 0.5; echo clean; exit 7' INT TERM"
    script = f"{trap}; echo ready; while :; do sleep 0.1; done"
    command = ["lab", "exec", "--prefix", prefix, "c1", "--", "sh", "-c", script]
    with subprocess.Popen(
        [sys.executable, "-m", "lb_switch", *command],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)
        assert process.stdout.read() == "clean\n"
        assert process.wait(30) == 7


def test_other_processes_can_list_use_and_remove_it(
    prefix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """What `lab up`, `lab exec` and `lab down` do: each in a process of its own."""
    run_python(f"lab.up('textbook', {prefix!r}, switch=False)").check_returncode()
    (summary,) = [each for each in labs.list_labs() if each.prefix == prefix]
    assert (summary.topology, summary.complete, summary.switch_pid) == ("textbook", True, None)
    assert summary.hosts == ("switch", "c1", "c2", "s1", "s2", "s3")
    assert labs.exec_in(prefix, "c1", ["curl", "-s", "http://10.0.2.11/"]) == 0
    assert json.loads(capfd.readouterr().out)["server"] == "s1"
    assert labs.exec_in(prefix, "c1", ["sh", "-c", "exit 7"]) == 7
    assert labs.exec_in(prefix, "c1", ["--", "sh", "-c", "exit 7"]) == 7
    assert labs.exec_in(prefix, "c1", ["sh", "-c", "kill -9 $$"]) == 128 + signal.SIGKILL
    assert "10.0.2.13" in labs.show(prefix)
    assert labs.attach(prefix).client("c2", "requests", "http://10.0.2.11/")["errors"] == []
    run_python(f"assert lab.down({prefix!r})").check_returncode()
    assert traces(prefix) == NO_TRACE
    assert not labs.down(prefix)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_show_fits_a_terminal(make_lab: Callable[..., Lab], topology: str) -> None:
    lab = make_lab(topology=topology, switch=False)
    assert max(map(len, labs.show(lab.prefix).splitlines())) <= 80


def test_two_labs_at_the_same_time(make_lab: Callable[..., Lab]) -> None:
    first, second = make_lab(switch=False), make_lab(switch=False)
    for lab in (first, second):
        assert lab.client("c1", "requests", "http://10.0.2.11/", "-n", "1")["errors"] == []
    first.down()
    assert traces(first.prefix) == NO_TRACE
    assert second.client("c1", "requests", "http://10.0.2.11/", "-n", "1")["errors"] == []


def test_a_lab_that_is_up_cannot_be_built_again_and_does_not_suffer(prefix: str) -> None:
    with Lab(prefix=prefix, switch=False) as lab:
        with pytest.raises(LabError, match="is up already"):
            Lab(prefix=prefix, switch=False).up()
        assert lab.client("c1", "requests", "http://10.0.2.11/", "-n", "1")["errors"] == []


def test_a_namespace_of_somebody_else_is_neither_used_nor_removed(prefix: str) -> None:
    other = f"{prefix}s2"
    subprocess.run(["ip", "netns", "add", other], check=True)
    try:
        with pytest.raises(LabError, match=f"{other} exists already"):
            Lab(prefix=prefix, switch=False).up()
        assert existing(prefix) == {other}
        assert not lab_directory(prefix).exists()
        assert not labs.down(prefix)
        assert existing(prefix) == {other}
    finally:
        subprocess.run(["ip", "netns", "delete", other], check=True)


CRASHES = {
    "before anything was recorded": """
        lab.State.save = lambda *_: die()""",
    "between two commands": """
        commands = iter(range(20))
        run = lab._run
        lab._run = lambda command: run(command) if next(commands, None) is not None else die()""",
    "with the servers running": """
        lab.Lab._changing_was = lab.Lab._start_servers
        def start_and_die(self):
            self._changing_was()
            die()
        lab.Lab._start_servers = start_and_die""",
    "between a program's start and its record": """
        lab._record = lambda *_: die()""",
}


@pytest.mark.parametrize("how", CRASHES.values(), ids=CRASHES)
def test_down_removes_what_a_crash_has_left(prefix: str, how: str) -> None:
    die = "die = lambda: os.kill(os.getpid(), signal.SIGKILL)"
    preparation = "\n".join(line[8:] for line in how.splitlines())
    crashed = run_python(f"{die}{preparation}\nlab.up('textbook', {prefix!r}, switch=False)")
    assert crashed.returncode == -signal.SIGKILL
    assert lab_directory(prefix).exists()
    assert prefix in [each.prefix for each in labs.list_labs()]

    assert labs.down(prefix)

    assert traces(prefix) == NO_TRACE
    with Lab(prefix=prefix, switch=False):
        assert existing(prefix) == set(namespaces(TEXTBOOK, prefix))


def test_down_ends_programs_nobody_recorded(prefix: str) -> None:
    with Lab(prefix=prefix, switch=False):
        stray = subprocess.Popen(inside(f"{prefix}c1", "sleep", "1000"))
        bystander = subprocess.Popen(["sleep", "1000"])
        # The stray must have entered the namespace before the lab goes.
        lab_inode = os.stat(f"/run/netns/{prefix}c1").st_ino
        while os.stat(f"/proc/{stray.pid}/ns/net").st_ino != lab_inode:
            assert stray.poll() is None
    try:
        assert stray.wait(5) == -signal.SIGTERM
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_recorded_pid_that_was_given_to_somebody_else_is_spared(prefix: str) -> None:
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        with Lab(prefix=prefix, switch=False) as lab:
            state = State.load(lab.directory)
            assert state is not None
            (record, *_) = state.processes
            state.processes.append(
                type(record)(bystander.pid, record.start_time - 1, "c1", "long gone")
            )
            state.save(lab.directory)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_an_interrupt_while_it_builds_leaves_nothing(prefix: str) -> None:
    program = """
        commands = iter(range(25))
        run = lab._run
        def run_or_interrupt(command):
            if next(commands, None) is None:
                os.kill(os.getpid(), signal.SIGINT)
            run(command)
        lab._run = run_or_interrupt"""
    preparation = "\n".join(line[8:] for line in program.splitlines())
    result = run_python(f"{preparation}\nlab.up('textbook', {prefix!r}, switch=False)")
    assert "KeyboardInterrupt" in result.stderr
    assert traces(prefix) == NO_TRACE


@pytest.mark.parametrize(
    "use",
    [
        lambda: labs.attach("nothere-"),
        lambda: labs.show("nothere-"),
        lambda: labs.exec_in("nothere-", "c1", ["true"]),
        lambda: labs.up("no-such-topology", "nothere-"),
        lambda: labs.down("../etc-"),
        lambda: Lab(prefix="UPPER-"),
    ],
)
def test_unknown_names_are_bad_usage_in_one_line(use: Callable[[], object]) -> None:
    with pytest.raises(UnknownNameError) as error:
        use()
    assert str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_host_is_bad_usage(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(switch=False)
    with pytest.raises(UnknownNameError, match="no host 'c9' in this lab: switch, c1"):
        lab.exec("c9", ["true"])
    with pytest.raises(UnknownNameError, match="no host 'c9' in this lab: switch, c1"):
        labs.exec_in(lab.prefix, "c9", ["true"])


def test_exec_has_a_time_limit_and_can_check(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(switch=False)
    with pytest.raises(LabError, match=r"no end after 0\.1 seconds"):
        lab.exec("c1", ["sleep", "60"], timeout=0.1)
    with pytest.raises(LabError, match=r"c1: sh -c .*: oops"):
        lab.exec("c1", ["sh", "-c", "echo oops >&2; exit 3"], check=True)
    assert lab.exec("c1", ["cat"], input="said").stdout == "said"


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a process of their own, with netns_lab.lab as `lab`."""
    return subprocess.run(
        [sys.executable, "-c", f"import os, signal\nfrom netns_lab import lab\n{program}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
