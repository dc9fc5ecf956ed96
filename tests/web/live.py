"""A running switch without a capture, and a browser that has entered its page."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from lb_switch.control.changes import Changes
from lb_switch.control.client import ControlClient
from lb_switch.control.verbs import Verbs
from lb_switch.engine.switch import Switch
from lb_switch.health.checks import HealthChecks
from lb_switch.web.app import application
from lb_switch.web.feed import Feed
from lb_switch.web.lab import Lab
from tests.cli.conftest import served
from tests.control.live import Live, web
from tests.support.waiting import wait_until

TOKEN = "the token"
PORT = 8480
HOST = f"127.0.0.1:{PORT}"


class Page:
    """What the tests do with it."""

    def __init__(self, browser: TestClient, switch: Switch, path: Path) -> None:
        self.browser = browser
        self.switch = switch
        self.path = path

    def act(self, fields: dict[str, Any]) -> Any:
        """Let the page ask for a change."""
        return self.browser.post("/act", json=fields, headers={"origin": f"http://{HOST}"})

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds."""
        wait_until(condition)


@contextlib.contextmanager
def browser_of(
    folder: Path, *, read_only: bool = False, config: str | None = None, lab: Lab | None = None
) -> Iterator[Page]:
    """Serve a switch and its page, and enter that."""
    live = Live(folder / "lb.toml", config or web())
    no_loop: Any = None
    health = HealthChecks(live.switch, no_loop, say=print, complain=print)
    verbs = Verbs(live.switch, 0.0, health, Changes(live.operations))
    with served(folder / "control.sock", verbs) as path:

        def connect() -> ControlClient:
            return ControlClient(path)

        feed = Feed(connect)
        feed.start()
        app = application(feed, connect, {HOST}, PORT, TOKEN, read_only=read_only, lab=lab)
        try:
            with TestClient(app, base_url=f"http://{HOST}") as browser:
                assert browser.get(f"/?token={TOKEN}").status_code == 200
                wait_until(lambda: feed.scene is not None)
                yield Page(browser, live.switch, path)
        finally:
            feed.stop()
