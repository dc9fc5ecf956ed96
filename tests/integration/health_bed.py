"""The capture tests' namespaces with the real program between them: `lb-switch run` and a file."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.integration.health_view import View
from tests.support.rig import Rig

_REPOSITORY = Path(__file__).parents[2]


@contextlib.contextmanager
def running(rig: Rig, config: str, capture: str, ends_with: int = 0) -> Iterator[View]:
    """Run the switch with this configuration; a `control_socket` is put in front of it.

    `ends_with`: the exit code that it must have in the end.
    """
    rig.write_config(config)
    switch = rig.launch(capture, errors="run.stderr")
    try:
        switch.await_serving()
        yield View(rig.control_socket)
    finally:
        switch.popen.terminate()
        switch.popen.wait(20.0)
    assert switch.popen.returncode == ends_with, switch.stderr


@contextlib.contextmanager
def accepting(*listeners: socket.socket) -> Iterator[None]:
    """Accept whoever comes, and answer HTTP requests with 200, until the block ends."""
    stopped, stop = socket.socketpair()

    def serve() -> None:
        with contextlib.ExitStack() as stack:
            poll = stack.enter_context(select.epoll())
            open_ones: dict[int, socket.socket] = {}
            by_fd = {each.fileno(): each for each in listeners}
            for fd in (*by_fd, stopped.fileno()):
                poll.register(fd, select.EPOLLIN)
            while True:
                for fd, _ in poll.poll():
                    if fd == stopped.fileno():
                        for each in open_ones.values():
                            each.close()
                        return
                    if fd in by_fd:
                        served, _ = by_fd[fd].accept()
                        open_ones[served.fileno()] = served
                        poll.register(served, select.EPOLLIN)
                        continue
                    served = open_ones.pop(fd)
                    with contextlib.suppress(OSError):
                        if served.recv(4096):
                            served.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    poll.unregister(fd)
                    served.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.send(b"x")
        thread.join(20.0)
        stop.close()
        stopped.close()
        assert not thread.is_alive()
