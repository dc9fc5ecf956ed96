"""The command line's end of the control socket: it blocks, and every failure is one clear line."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lb_switch.control.messages import (
    MAX_RESPONSE_LINE,
    RequestError,
    decode_response,
    encode_request,
)


class ControlError(Exception):
    """The switch could not be asked, or said no; the text is one clear line.

    `details`: one line for each error of a configuration that the switch did not take.
    """

    def __init__(self, text: str, details: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.details = tuple(details)


_OF_ANSWERS = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What is raised where an answer has not the form that this program's own have."""


class ControlClient:
    """A conversation with the switch that owns the socket `path`.

    `timeout`: seconds without a byte from the switch until it is given up.  All methods raise
    ControlError.
    """

    def __init__(self, path: Path, timeout: float = 5.0) -> None:
        self._path = path
        self._timeout = timeout
        self._received = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise ControlError(self._why(error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if isinstance(kind, type) and issubclass(kind, _OF_ANSWERS):
            raise ControlError(self._foreign) from error

    def close(self) -> None:
        """End the conversation."""
        self._socket.close()

    def ask(self, verb: str, **fields: object) -> Any:
        """Return the result of a request whose response is one line."""
        (result,) = self._results(verb, fields)
        return result

    def rows(self, verb: str, **fields: object) -> Iterator[dict[str, Any]]:
        """Yield the rows of a request whose response is a list, as they come."""
        for rows in self._results(verb, fields):
            yield from rows

    def subscribe(
        self, *kinds: str, keep: int | None = None, most: int | None = None
    ) -> Iterator[bytes]:
        """Yield the lines of the switch's stream, as they come; without end.

        kinds: connections, servers, probes, packets; none: all.  keep: bytes of a packet that are
        told.  most: packets a second that are told.  The first line is a header
        (`lb_switch.stream.schema`).  Between two lines it may take any time.
        """
        fields: dict[str, Any] = {"kinds": list(kinds)} if kinds else {}
        fields |= {name: n for name, n in (("keep", keep), ("most", most)) if n is not None}
        try:
            self._socket.sendall(encode_request("subscribe", fields))
            first = self._read_line()
            if first.startswith(b'{"version"'):
                decode_response(first)
            yield first
            self._socket.settimeout(None)
            while True:
                yield self._read_line()
        except OSError as error:
            raise ControlError(self._why(error)) from None
        except RequestError as error:
            raise ControlError(str(error), error.details) from None
        except (ValueError, RecursionError):
            raise ControlError(self._foreign) from None

    def _results(self, verb: str, fields: dict[str, Any]) -> Iterator[Any]:
        more = True
        try:
            self._socket.sendall(encode_request(verb, fields))
            while more:
                result, more = decode_response(self._read_line())
                yield result
        except OSError as error:
            raise ControlError(self._why(error)) from None
        except RequestError as error:
            raise ControlError(str(error), error.details) from None
        except (ValueError, RecursionError):
            raise ControlError(self._foreign) from None

    def _read_line(self) -> bytes:
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched > MAX_RESPONSE_LINE:
                raise ValueError("endless line")
            data = self._socket.recv(1 << 18)
            if not data:
                raise ConnectionResetError
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    @property
    def _foreign(self) -> str:
        return f"what answers on {self._path} does not speak lb-switch's control protocol"

    def _why(self, error: OSError) -> str:
        match error:
            case FileNotFoundError() | NotADirectoryError():
                return f"lb-switch is not running: there is no control socket {self._path}"
            case ConnectionRefusedError():
                return f"lb-switch is not running: nobody listens on {self._path}"
            case PermissionError():
                return f"permission denied on {self._path}: another user's switch (try sudo)"
            case TimeoutError() | BlockingIOError():
                return f"lb-switch does not answer on {self._path} (waited {self._timeout:g} s)"
            case ConnectionResetError() | BrokenPipeError():
                return f"lb-switch ended the conversation on {self._path}"
            case _:
                return f"cannot reach lb-switch on {self._path}: {error.strerror or error}"
