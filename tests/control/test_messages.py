"""The protocol's lines, and what is refused."""

from __future__ import annotations

import json

import pytest

from lb_switch.control.messages import (
    ROWS_PER_LINE,
    RequestError,
    decode_request,
    decode_response,
    encode_error,
    encode_request,
    encode_response,
)


def test_a_request_is_one_line_of_json() -> None:
    line = encode_request("show", {"what": "a\nb"})
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"version": 1, "verb": "show", "what": "a\nb"}
    assert decode_request(line) == json.loads(line)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"", "the request is not a line of JSON"),
        (b"GET / HTTP/1.1", "the request is not a line of JSON"),
        (b'{"version": 1, "verb"', "the request is not a line of JSON"),
        (b"\xff\xfe\x00", "the request is not a line of JSON"),
        (b"[" * 50_000, "the request is not a line of JSON"),
        (b"[]", "the request is not a JSON object"),
        (b"null", "the request is not a JSON object"),
        (b"{}", "protocol version None is not spoken here, only 1"),
        (b'{"version": 2}', "protocol version 2 is not spoken here, only 1"),
        (b'{"version": true}', "protocol version True is not spoken here, only 1"),
        (b'{"version": 1}', "the request has no verb"),
        (b'{"version": 1, "verb": 3}', "the request has no verb"),
    ],
)
def test_what_is_not_a_request(line: bytes, error: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_request(line)
    assert str(caught.value) == error


def test_a_single_result_is_one_line() -> None:
    (line,) = encode_response({"a": 1})
    assert json.loads(line) == {"version": 1, "ok": True, "result": {"a": 1}}
    assert decode_response(line) == ({"a": 1}, False)


@pytest.mark.parametrize("count", [0, 1, ROWS_PER_LINE - 1, ROWS_PER_LINE, 3 * ROWS_PER_LINE + 1])
def test_rows_come_in_lines_of_bounded_length(count: int) -> None:
    lines = [decode_response(line) for line in encode_response(iter(range(count)))]
    assert [row for rows, _ in lines for row in rows] == list(range(count))
    assert all(len(rows) <= ROWS_PER_LINE for rows, _ in lines)
    assert [more for _, more in lines] == [True] * (len(lines) - 1) + [False]


def test_rows_are_made_only_when_their_line_is_asked_for() -> None:
    made = []

    def rows() -> object:
        for n in range(1000):
            made.append(n)
            yield n

    lines = encode_response(rows())
    next(lines)
    assert len(made) == ROWS_PER_LINE


def test_an_error_is_one_line_whatever_its_text() -> None:
    line = encode_error("first\nsecond")
    assert json.loads(line) == {"version": 1, "ok": False, "error": "first second"}
    with pytest.raises(RequestError, match=r"^first second$"):
        decode_response(line)


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"version": 2, "ok": true}', b"\xff"])
def test_what_is_not_a_response(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        decode_response(line)
    assert not isinstance(caught.value, RequestError)
