"""A real browser (chromium, driven by Playwright), and pages in it that must not complain."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

SIZES = {"projector": (1280, 720), "desk": (1920, 1080), "phone": (390, 844)}

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; a machine without it skips, under CI it fails.

    For a module: as long as it lives, Playwright's event loop runs, and others cannot.
    """
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
            pytest.fail("CI must be able to run this: chromium is missing", pytrace=False)
        pytest.skip("chromium is missing (scripts/setup test)")
    with sync_playwright() as playwright:
        # Root needs --no-sandbox; the pages are our own.
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open an address: `open_page(address, size="phone", color_scheme="dark", ...)`.

    In the end no page may have said an error, or shown a dialog.
    """
    complaints: list[str] = []
    with contextlib.ExitStack() as contexts:

        def open_it(address: str, *, size: str = "projector", **options: Any) -> Page:
            width, height = SIZES[size]
            viewport: Any = {"width": width, "height": height}
            context = contexts.enter_context(
                contextlib.closing(browser.new_context(viewport=viewport, **options))
            )
            page = context.new_page()
            page.set_default_timeout(15_000)
            page.on("console", lambda message: _note(complaints, message))
            page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
            page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
            page.goto(address)
            return page

        yield open_it
    assert complaints == []


def _note(complaints: list[str], message: ConsoleMessage) -> None:
    # A stream that breaks off is what the tests of reconnecting make happen, and a request that is
    # refused is written to the console by the browser itself.
    usual = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "status of 4")
    if message.type in {"error", "warning"} and not any(each in message.text for each in usual):
        complaints.append(f"{message.type}: {message.text}")


def accessibility_faults(page: Page) -> list[str]:
    """Return what axe finds serious or critical (https://www.deque.com/axe/)."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {node['target']} {node.get('failureSummary', '')}"
        for each in found
        if each["impact"] in {"serious", "critical"}
        for node in each["nodes"]
    ]


def moment(page: Page, share: float) -> None:
    """Show another moment of what can be shown: `share` of the whole."""
    slider = page.get_by_label("moment that is shown")
    slider.evaluate(
        "(range, value) => { range.value = value; range.dispatchEvent(new Event('input')); }",
        round(1000 * share),
    )
