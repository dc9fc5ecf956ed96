"""The switch's end of the control socket: it never blocks and bounds what each client may cost.

All its sockets sit behind one epoll descriptor, which is itself readable as soon as one of them
can be served (epoll(7)): the packet loop watches a single `fileno()` and calls `handle_ready()`.

What a client costs is bounded: a request of MAX_REQUEST bytes, one line of response (plus what the
kernel buffers), one step of work per call.  The next line of a long response is made only once
the one before has been sent, so a reader that stops costs nothing but its place.  When all places
are taken, the client that has been silent for longest loses its own to the newcomer; while all of
them are in the middle of a conversation, newcomers wait in the kernel's queue.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lb_switch.control.messages import (
    MAX_REQUEST,
    RequestError,
    decode_request,
    encode_error,
    encode_response,
)
from lb_switch.control.socket_file import SocketFile
from lb_switch.control.subscription import Subscription

_log = logging.getLogger(__name__)

Handler = Callable[[dict[str, Any], float], object]
"""Does a request, at a time: returns its result, an iterator of rows, or a Subscription, with which
the conversation becomes a stream.  Raises RequestError."""

MAX_CLIENTS = 256
"""Connections at the same time."""


class ControlServer:
    """Answer requests on the Unix socket `path` with what `handler` returns.

    `claim` makes sure that no other switch has the path, `open` listens there (mode 0600), `close`
    removes it.  The first two raise SocketInUseError with one clear line.
    """

    def __init__(self, path: Path, handler: Handler) -> None:
        self.path = path
        self._handler = handler
        self._socket_file = SocketFile(path)
        self._listener: socket.socket | None = None
        self._epoll = select.epoll()
        self._clients: dict[int, _Client] = {}
        """By descriptor; the one that has been still for longest first."""
        self._is_full = False
        """Whether newcomers wait in the kernel's queue."""
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        """For the connection that comes when there is no descriptor left."""

    def claim(self) -> None:
        """Take the path over from a dead process, or refuse to take it from a live one.

        It comes before the capture is opened, `open` after: whoever can connect may rely on it
        that packets are captured.
        """
        self._socket_file.claim()

    def open(self) -> None:
        """Listen.  `claim` must have been called."""
        self._listener = self._socket_file.listen()
        self._epoll.register(self._listener, select.EPOLLIN)

    def fileno(self) -> int:
        """Return the descriptor that is readable when `handle_ready` has something to do."""
        return self._epoll.fileno()

    def handle_ready(self, now: float) -> None:
        """Do one step of work for whoever is ready.  Never blocks, never raises for a client."""
        assert self._listener is not None
        for descriptor, event in self._epoll.poll(0):
            if descriptor == self._listener.fileno():
                self._accept()
            elif (client := self._clients.get(descriptor)) is not None:
                if client.subscription is None:
                    self._serve(descriptor, client, now)
                else:
                    self._stream(descriptor, client, client.subscription, event, now)

    def close(self) -> None:
        """End all conversations and remove the socket file.  May be called twice."""
        for descriptor in list(self._clients):
            self._drop(descriptor)
        self._epoll.close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._socket_file.remove()

    def _accept(self) -> None:
        assert self._listener is not None
        if len(self._clients) >= MAX_CLIENTS:
            silent = next((fd for fd, each in self._clients.items() if each.is_silent), None)
            if silent is None:
                # Level-triggered, it would wake us for nothing until somebody has gone.
                self._epoll.unregister(self._listener)
                self._is_full = True
                return
            self._drop(silent)
        try:
            connected, _ = self._listener.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                self._turn_away()
            return  # else it is gone already
        connected.setblocking(False)
        self._clients[connected.fileno()] = _Client(connected, self._handler)
        self._epoll.register(connected, select.EPOLLIN)

    def _turn_away(self) -> None:
        """Take and close a connection with the spare descriptor: it would be ready for ever."""
        assert self._listener is not None
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        with contextlib.suppress(OSError):
            self._listener.accept()[0].close()
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _serve(self, descriptor: int, client: _Client, now: float) -> None:
        try:
            progress = client.step(now)
        except OSError:
            self._drop(descriptor)
            return
        if client.finished:
            self._drop(descriptor)
            return
        if client.subscription is not None:
            client.subscription.wake = lambda: self._watch(descriptor, writing=True)
            self._watch(descriptor, writing=True)
            return
        self._epoll.modify(descriptor, select.EPOLLOUT if client.answering else select.EPOLLIN)
        if progress:
            self._clients[descriptor] = self._clients.pop(descriptor)

    def _stream(
        self,
        descriptor: int,
        client: _Client,
        subscription: Subscription,
        event: int,
        now: float,
    ) -> None:
        """Send a subscriber what waits for it; it may say nothing but that it goes."""
        try:
            gone = event & ~select.EPOLLOUT and not client.socket.recv(MAX_REQUEST)
            sent = client.send_on(subscription, now) if event & select.EPOLLOUT else False
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            self._drop(descriptor)
            return
        self._watch(descriptor, writing=not client.is_idle)
        if sent:
            self._clients[descriptor] = self._clients.pop(descriptor)

    def _watch(self, descriptor: int, *, writing: bool) -> None:
        self._epoll.modify(descriptor, select.EPOLLIN | (select.EPOLLOUT if writing else 0))

    def _drop(self, descriptor: int) -> None:
        client = self._clients.pop(descriptor)
        if self._is_full and self._listener is not None:
            self._is_full = False
            self._epoll.register(self._listener, select.EPOLLIN)
        if client.subscription is not None:
            client.subscription.close()
        self._epoll.unregister(descriptor)
        client.socket.close()


class _Client:
    """One conversation: what was received, and what is left of the response."""

    def __init__(self, connected: socket.socket, handler: Handler) -> None:
        self.socket = connected
        self._handler = handler
        self._received = b""
        self._ended = False
        """The other side will send nothing more."""
        self.subscription: Subscription | None = None
        """What it reads once it has subscribed; then it asks nothing more."""
        self._response: Iterator[bytes] | None = None
        self._unsent = memoryview(b"")

    @property
    def answering(self) -> bool:
        """Whether a response is under way; requests that came after it wait."""
        return bool(self._unsent) or self._response is not None

    @property
    def is_silent(self) -> bool:
        """Whether it neither asks, nor is answered, nor told anything."""
        if self.answering or self.subscription is not None or self._received:
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError:  # nothing there
            return True

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self._ended and not self.answering

    def step(self, now: float) -> bool:
        """Read once, or make and send one line; return whether anything moved.

        Raises OSError when the other side is gone.
        """
        if not self.answering:
            if not self._receive():
                return False
            self._start_next(now)
            return True
        if not self._unsent:
            self._next_line()
        sent = self._send()
        if not self.answering:
            self._start_next(now)
        return sent

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(MAX_REQUEST)
        except BlockingIOError:
            return False
        self._ended = not data
        self._received += data
        return True

    def _start_next(self, now: float) -> None:
        """Begin the response to the next whole request, if there is one."""
        line, newline, rest = self._received.partition(b"\n")
        if len(line) >= MAX_REQUEST:
            self._received, self._ended = b"", True
            self._response = iter([encode_error(f"the request is over {MAX_REQUEST} bytes")])
        elif newline:
            self._received = rest
            self._response = self._answer(line, now)

    def _answer(self, line: bytes, now: float) -> Iterator[bytes]:
        """Yield the response's lines.  Whatever goes wrong becomes one of them."""
        try:
            result = self._handler(decode_request(line), now)
            if isinstance(result, Subscription):
                self.subscription = result
                return
            yield from encode_response(result)
        except RequestError as error:
            yield encode_error(str(error), error.details)
        except Exception as error:
            _log.exception("internal error in a request")
            yield encode_error(f"internal error: {type(error).__name__}: {error}")

    def _next_line(self) -> None:
        assert self._response is not None
        line = next(self._response, None)
        if line is None:
            self._response = None
        else:
            self._unsent = memoryview(line)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for a subscriber."""
        return not self._unsent and self.subscription is not None and self.subscription.is_idle

    def send_on(self, subscription: Subscription, now: float) -> bool:
        """Send a piece of what a subscriber is told; return whether anything moved."""
        if not self._unsent:
            self._unsent = memoryview(subscription.next_lines(now))
        return bool(self._unsent) and self._send()

    def _send(self) -> bool:
        if not self._unsent:
            return True
        try:
            sent = self.socket.send(self._unsent)
        except BlockingIOError:
            return False
        self._unsent = self._unsent[sent:]
        return True
