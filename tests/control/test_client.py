"""The blocking client: results, rows, and one clear line for whatever goes wrong."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lb_switch.cli.main import main
from lb_switch.control.client import ControlClient, ControlError
from lb_switch.control.messages import encode_error, encode_response


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def answer_with(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Start a peer that reads one request and answers with the given bytes, then hangs up."""
    threads: list[threading.Thread] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def start(data: bytes) -> None:
        def converse() -> None:
            connected, _ = listener.accept()
            with connected:
                connected.recv(1000)
                connected.sendall(data)

        threads.append(threading.Thread(target=converse))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(10)
    listener.close()


def failure(path: Path, timeout: float = 5.0) -> str:
    with pytest.raises(ControlError) as caught, ControlClient(path, timeout) as client:
        client.ask("show")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_result(path: Path, answer_with: Callable[[bytes], None]) -> None:
    answer_with(b"".join(encode_response({"a": 1})))
    with ControlClient(path) as client:
        assert client.ask("show") == {"a": 1}


def test_rows_over_many_lines(path: Path, answer_with: Callable[[bytes], None]) -> None:
    answer_with(b"".join(encode_response({"n": n} for n in range(1000))))
    with ControlClient(path) as client:
        assert [row["n"] for row in client.rows("show")] == list(range(1000))


def test_the_switch_says_no(path: Path, answer_with: Callable[[bytes], None]) -> None:
    answer_with(encode_error("no such thing"))
    assert failure(path) == "no such thing"


def test_no_switch(path: Path) -> None:
    assert failure(path) == f"lb-switch is not running: there is no control socket {path}"


def test_a_dead_switch(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    assert failure(path) == f"lb-switch is not running: nobody listens on {path}"


def test_it_hangs_up_in_the_middle(path: Path, answer_with: Callable[[bytes], None]) -> None:
    answer_with(b'{"version": 1, "ok"')
    assert failure(path) == f"lb-switch ended the conversation on {path}"


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\n", b"[]\n", b"[" * 50_000 + b"\n"])
def test_it_is_something_else(
    path: Path, answer_with: Callable[[bytes], None], data: bytes
) -> None:
    answer_with(data)
    line = f"what answers on {path} does not speak lb-switch's control protocol"
    assert failure(path) == line


def test_it_does_not_answer(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        line = f"lb-switch does not answer on {path} (waited 0.05 s)"
        assert failure(path, timeout=0.05) == line


@pytest.mark.parametrize(
    "result",
    [
        5,
        "text",
        None,
        [1, 2],
        [{}],
        [{"protocol": 7}],
        {"time": "x"},
        [{"real_servers": 5, "protocol": "tcp", "address": "x", "scheduler": "rr"}],
    ],
    ids=repr,
)
@pytest.mark.parametrize("what", ["virtual_servers", "connections", "stats", "rate", "health"])
def test_answers_of_another_form_are_one_clear_line(
    tmp_path: Path, result: object, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has laid his own socket there gets no traceback, and draws nothing on the terminal."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    told = answered(tmp_path / "s", result, ["show", what])
    assert told.exit_code in {0, 1}
    assert "internal error" not in told.stderr
    assert told.stderr.count("\n") == told.exit_code


def test_answers_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;owned\a\x9b2J\u202e\nsecond line"
    told = answered(
        tmp_path / "s", [evil], ["set", "10.0.1.100:80", "10.0.2.11:80", "--weight", "1"]
    )
    assert told.exit_code == 0
    assert told.stdout == "\\x1b]0;owned\\x07\\x9b2J\\u202e\\nsecond line\n"


def answered(path: Path, result: object, arguments: list[str]) -> Result:
    """Run a command whose every request gets this answer."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client, client.makefile("rb") as requests:
                    for _ in requests:
                        response = {"version": 1, "ok": True, "result": result}
                        client.sendall(json.dumps(response).encode() + b"\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        told = CliRunner().invoke(main, [*arguments, "--socket", str(path)])
        listener.shutdown(socket.SHUT_RDWR)
    return told
