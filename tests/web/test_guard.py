"""Who is refused: strangers, other sites, other names, other methods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from lb_switch.web.guard import LONGEST_BODY, Guard

TOKEN = "the token"
HOST = "127.0.0.1:8480"
ORIGIN = f"http://{HOST}"
JSON = "application/json"


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.method} {len(await request.body())}")


def app() -> Guard:
    routes = [
        Route(path, answer, methods=["GET", "POST"]) for path in ("/", "/act", "/metrics", "/x")
    ]
    return Guard(Starlette(routes=routes), {HOST, "localhost:8480"}, 8480, TOKEN)


@pytest.fixture
def stranger() -> Iterator[TestClient]:
    with TestClient(app(), base_url=ORIGIN, follow_redirects=False) as client:
        yield client


@pytest.fixture
def browser(stranger: TestClient) -> TestClient:
    assert stranger.get(f"/?token={TOKEN}").status_code == 303
    return stranger


def test_the_token_becomes_a_cookie_and_leaves_the_address(stranger: TestClient) -> None:
    entered = stranger.get(f"/?token={TOKEN}&more=1")
    assert (entered.status_code, entered.headers["location"]) == (303, "/?more=1")
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith('lb_switch_token_8480="the token";')
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert stranger.get("/").text == "GET 0"


def test_an_address_cannot_lead_elsewhere(stranger: TestClient) -> None:
    entered = stranger.get(f"{ORIGIN}//evil.example/x?token={TOKEN}")
    assert entered.headers["location"] == "/evil.example/x"


@pytest.mark.parametrize("address", ["/", "/?token=wrong", "/x", "/?token="])
def test_without_the_token_there_is_nothing(stranger: TestClient, address: str) -> None:
    refused = stranger.get(address)
    assert refused.status_code == 403
    assert refused.text.endswith("that lb-switch web has printed\n")


def test_prometheus_needs_none(stranger: TestClient) -> None:
    assert stranger.get("/metrics").text == "GET 0"
    assert stranger.post("/metrics").status_code == 403


@pytest.mark.parametrize("host", ["evil.example:8480", "127.0.0.1", "127.0.0.1:1", ""])
@pytest.mark.parametrize("path", ["/", "/metrics"])
def test_another_name_is_not_served(browser: TestClient, host: str, path: str) -> None:
    assert browser.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": ORIGIN, "content-type": JSON}, 200),
        ({"origin": "http://localhost:8480", "content-type": f"{JSON}; charset=utf-8"}, 200),
        ({"content-type": JSON}, 403),
        ({"origin": "http://evil.example", "content-type": JSON}, 403),
        ({"origin": "null", "content-type": JSON}, 403),
        ({"origin": "https://127.0.0.1:8480", "content-type": JSON}, 403),
        ({"origin": ORIGIN, "content-type": "text/plain"}, 415),
        ({"origin": ORIGIN}, 415),
    ],
)
def test_only_the_page_itself_may_change_something(
    browser: TestClient, headers: dict[str, str], status: int
) -> None:
    assert browser.post("/act", content=b"{}", headers=headers).status_code == status


def test_a_body_is_bounded(browser: TestClient) -> None:
    headers = {"origin": ORIGIN, "content-type": JSON}
    assert browser.post("/act", content=bytes(LONGEST_BODY), headers=headers).status_code == 200
    assert browser.post("/act", content=bytes(LONGEST_BODY + 1), headers=headers).status_code == 413

    def endless() -> Iterator[bytes]:
        yield b"{}"

    assert browser.post("/act", content=endless(), headers=headers).status_code == 413


def test_a_stranger_changes_nothing_even_from_the_right_origin(stranger: TestClient) -> None:
    headers = {"origin": ORIGIN, "content-type": JSON}
    assert stranger.post("/act", content=b"{}", headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/", "/nothing", "/metrics"])
def test_every_answer_has_its_policy(browser: TestClient, path: str) -> None:
    headers = browser.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in policy
