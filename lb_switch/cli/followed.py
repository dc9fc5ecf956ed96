"""The stream of the running switch, followed in a thread of its own while a command draws."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, Self, TypeVar

from lb_switch.control.client import ControlClient, ControlError
from lb_switch.stream.recording import Recording, RecordingError
from lb_switch.stream.schema import CompleteRecord, DroppedRecord, Header, Record, decode

PATIENCE = 10.0
"""Seconds for the snapshot."""


class StreamReader(Protocol):
    """What is made of a stream."""

    def learn(self, record: Record) -> None:
        """Learn what a record says."""


R = TypeVar("R", bound=StreamReader)
Drawn = TypeVar("Drawn")


class FollowedStream(Generic[R]):
    """A reader that is always up to date.

    `connect` begins a conversation with the switch, `begin` makes the reader from the stream's
    header.  A stream that ends, or that has lost something as this program was too slow, is begun
    anew at the next look.
    """

    def __init__(
        self,
        connect: Callable[[], ControlClient],
        begin: Callable[[Header], R],
        *kinds: str,
    ) -> None:
        self._connect = connect
        self._begin = begin
        self._kinds = kinds
        self._stream: _Stream[R] | None = None

    def look(self, use: Callable[[R], Drawn]) -> Drawn:
        """Return what `use` makes of the reader as it is now.  Raises ControlError."""
        if self._stream is None or self._stream.is_over:
            self._stream = _Stream(self._connect(), self._begin, self._kinds).started()
        return self._stream.look(use)


class _Stream(Generic[R]):
    def __init__(
        self, client: ControlClient, begin: Callable[[Header], R], kinds: tuple[str, ...]
    ) -> None:
        self._client = client
        self._begin = begin
        self._kinds = kinds
        self._news = threading.Condition()
        self._reader: R | None = None
        self._complete = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def started(self) -> Self:
        self._thread.start()
        return self

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def look(self, use: Callable[[R], Drawn]) -> Drawn:
        with self._news:
            self._news.wait_for(lambda: self._complete or self.is_over, PATIENCE)
            if self._reader is None or not self._complete:
                raise self._error or ControlError("the switch tells nothing")
            return use(self._reader)

    def _follow(self) -> None:
        try:
            with self._client as client:
                lines = client.subscribe(*self._kinds)
                header = Recording([next(lines) + b"\n"], "the switch").header
                reader = self._begin(header)
                with self._news:
                    self._reader = reader
                for line in lines:
                    record = decode(line)
                    if isinstance(record, DroppedRecord):
                        return
                    with self._news:
                        reader.learn(record)
                        if isinstance(record, CompleteRecord):
                            self._complete = True
                            self._news.notify_all()
        except (ControlError, RecordingError, ValueError) as error:
            self._error = error if isinstance(error, ControlError) else ControlError(str(error))
        finally:
            with self._news:
                self._news.notify_all()
