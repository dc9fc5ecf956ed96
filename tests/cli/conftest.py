"""Shared by the tests of the commands."""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lb_switch.cli.main import main
from lb_switch.control.server import ControlServer
from lb_switch.control.verbs import Verbs
from lb_switch.engine.switch import Switch
from tests.support.dialogue import make_switch

CONFIG = """
[[virtual_server]]
name = "web"
address = "10.0.1.100:80"

  [[virtual_server.real_server]]
  address = "10.0.2.11:8080"

  [[virtual_server.real_server]]
  address = "10.0.2.12:8080"
"""

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run a command line; its `stdout`, `stderr` and `exit_code` come back."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "lb.toml"
    file.write_text(CONFIG)
    return file


@pytest.fixture
def switch() -> Switch:
    return make_switch()


@contextlib.contextmanager
def served(path: Path, verbs: Verbs) -> Iterator[Path]:
    """Answer requests on a control socket, as a running switch would."""
    server = ControlServer(path, verbs)
    server.claim()
    server.open()
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            if select.select([server], [], [], 0.01)[0]:
                server.handle_ready(10.0)

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.path
    stopping.set()
    thread.join(10)
    server.close()


@pytest.fixture
def control_socket(tmp_path: Path, switch: Switch) -> Iterator[Path]:
    """Serve `switch` at time 10."""
    with served(tmp_path / "control.sock", Verbs(switch, 10.0)) as path:
        yield path
