"""The control protocol, version 1: JSON objects, one per line, over a Unix stream socket.

A request is one line::

    {"version": 1, "verb": "show", "what": "connections"}

`verb` says what to do; the other keys are the verb's own (see `verbs`).  A response is one line ::

    {"version": 1, "ok": true, "result": ...}
    {"version": 1, "ok": false, "error": "one clear line"}
    {"version": 1, "ok": false, "error": "one clear line", "details": ["a line", "a line"]}

(details: the errors of a configuration, each with its key path), or, for a list of rows, as many
as it takes; every line but the last says that more follow, and the list is what the results make
when put one after the other::

    {"version": 1, "ok": true, "more": true, "result": [row, row, ...]}
    {"version": 1, "ok": true, "result": [row]}

An error may also come after some rows; it ends the response.  Requests on one connection are
answered in order.  Lines end with a newline, are UTF-8, and a request is at most MAX_REQUEST
bytes; a longer one is answered with an error and ends the connection, because nobody can tell
where the next request begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from lb_switch.harmless import harmless_json

VERSION = 1

MAX_REQUEST = 64 * 1024
"""Bytes of a request, its newline included."""
MAX_RESPONSE_LINE = 16 * 1024 * 1024
"""Bytes of one response line that a client accepts."""
ROWS_PER_LINE = 128
"""Rows of a list in one line: about a millisecond of work for the switch."""


class RequestError(Exception):
    """A request that cannot be done; its text is the response's one clear line.

    `details`: one line for each error of a configuration that is not valid.
    """

    def __init__(self, text: str, details: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.details = tuple(details)


def encode_request(verb: str, fields: dict[str, Any]) -> bytes:
    """Return the line of a request."""
    return _line({"version": VERSION, "verb": verb, **fields})


def decode_request(line: bytes) -> dict[str, Any]:
    """Return the request of a line, with a string `verb`.  Raises RequestError."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise RequestError("the request is not a line of JSON") from None
    if not isinstance(request, dict):
        raise RequestError("the request is not a JSON object")
    version = request.get("version")
    if version != VERSION or isinstance(version, bool):
        raise RequestError(f"protocol version {version!r} is not spoken here, only {VERSION}")
    if not isinstance(request.get("verb"), str):
        raise RequestError("the request has no verb")
    return request


def encode_response(result: object) -> Iterator[bytes]:
    """Yield the lines of a response; an iterator of rows is consumed line by line."""
    if not isinstance(result, Iterator):
        yield _line({"version": VERSION, "ok": True, "result": result})
        return
    while len(rows := list(islice(result, ROWS_PER_LINE))) == ROWS_PER_LINE:
        yield _line({"version": VERSION, "ok": True, "more": True, "result": rows})
    yield _line({"version": VERSION, "ok": True, "result": rows})


def encode_error(text: str, details: Sequence[str] = ()) -> bytes:
    """Return the line of a response that says no."""
    response = {"version": VERSION, "ok": False, "error": " ".join(text.split())}
    return _line({**response, "details": list(details)} if details else response)


def decode_response(line: bytes) -> tuple[Any, bool]:
    """Return a line's result, and whether more follow.

    Raises RequestError with the switch's own words when it says no, ValueError when the line is
    not of this protocol.
    """
    response = harmless_json(json.loads(line))
    if not isinstance(response, dict) or response.get("version") != VERSION:
        raise ValueError("not a response of protocol version 1")
    if response.get("ok") is not True:
        details = response.get("details")
        raise RequestError(
            str(response.get("error", "refused without a word")),
            [str(line) for line in details] if isinstance(details, list) else (),
        )
    return response.get("result"), response.get("more") is True


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
