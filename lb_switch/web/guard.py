"""Who may speak with the web process: the browser of whoever started it, and nobody else.

* Only names and addresses that it was told to listen on are answered (DNS rebinding).
* A token in the address, drawn at each start, becomes a cookie that scripts cannot read and other
  sites cannot send (SameSite=Strict); without it there is no page and no stream.
* What changes something must come from the page itself (Origin), as JSON, and be short.
* The page may load nothing but what is served here (Content-Security-Policy, level 3).

`/metrics` needs no token: Prometheus has none, and its numbers name addresses that are on the wire.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "lb_switch_token_{port}"
"""Cookies do not tell ports apart, and several switches may be looked at on one machine."""
LONGEST_BODY = 1 << 16
OPEN_PATHS = frozenset({"/metrics"})

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware around the application.  `hosts`: what a Host header may say."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], port: int, token: str) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._token = token
        self._cookie = COOKIE.format(port=port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or refuse it in one line."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if headers.get("host", "") not in self._hosts:
            return _refuse(421, "this address is not served here")
        if scope["path"] in OPEN_PATHS and scope["method"] == "GET":
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        given = [value for name, value in query if name == "token"]
        if given and scope["method"] == "GET" and self._is_token(given[0]):
            return self._enter(scope["path"], [pair for pair in query if pair[0] != "token"])
        if not self._is_token(_cookie(headers, self._cookie)):
            return _refuse(403, "open the address, with its token, that lb-switch web has printed")
        if scope["method"] in {"GET", "HEAD"}:
            return None
        if headers.get("origin") not in {f"http://{host}" for host in self._hosts}:
            return _refuse(403, "only the page itself may change something")
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _refuse(415, "only JSON is read")
        length = headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or int(length) > LONGEST_BODY:
            return _refuse(413, f"at most {LONGEST_BODY} bytes are read")
        return None

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())

    def _enter(self, path: str, query: list[tuple[str, str]]) -> Response:
        """Put the token into a cookie and take it out of the address."""
        rest = f"?{urlencode(query)}" if query else ""
        # A path that begins with // would be another host's.
        response = RedirectResponse(f"/{path.lstrip('/')}{rest}", 303)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
        return response


def _cookie(headers: Headers, name: str) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookie[name].value if name in cookie else ""


def _refuse(status: int, text: str) -> Response:
    return PlainTextResponse(f"lb-switch: {text}\n", status)
