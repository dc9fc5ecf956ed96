"""`lb-switch web`: where it listens, and what it says if it cannot."""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("x", "'x' is no port"),
        ("127.0.0.1:70000", "'70000' is no port"),
        ("nowhere:80", "'nowhere' does not appear to be an IPv4 or IPv6 address"),
        ("192.0.2.1:80", "others can reach 192.0.2.1: say --beyond-this-machine"),
        ("[::]:80", "others can reach ::"),
    ],
)
def test_where_it_does_not_listen(run: Run, listen: str, said: str) -> None:
    result = run("web", "--listen", listen)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_port_that_is_taken_is_one_clear_line(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        result = run("web", "--listen", place)
    assert (result.exit_code, result.stderr) == (
        1,
        f"lb-switch: {place}: Address already in use (--listen 0 takes a port that is free)\n",
    )


def test_it_prints_its_address_serves_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    """Also without a switch: it waits for one."""
    argv = [sys.executable, "-m", "lb_switch", "web", "--listen", "0"]
    with subprocess.Popen(
        [*argv, "--socket", str(tmp_path / "none.sock")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert select.select([process.stdout], [], [], 20)[0]
            line = process.stdout.readline()
            assert line.startswith("lb-switch: the page is at http://127.0.0.1:")
            address = line.split()[-1]
            opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            with opener.open(address, timeout=10) as answer:
                assert b'src="/page/main.js"' in answer.read()
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(address.partition("?")[0], timeout=10)
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
