"""The ground of all header views: a buffer and the place in it where a header starts.

A view copies nothing.  Reading a field reads the packet; setting a field writes the packet.  A
plain setter leaves checksums alone, as its name promises nothing else.
"""

from __future__ import annotations

import struct
from typing import Generic, TypeVar, overload

T = TypeVar("T", int, bytes)


class HeaderView:
    """A header at `buffer[start:]`.  The caller has checked that it is there."""

    __slots__ = ("buffer", "start")

    def __init__(self, buffer: bytearray, start: int = 0) -> None:
        self.buffer = buffer
        self.start = start


class Field(Generic[T]):
    """A fixed field of a header: its offset in bytes and its struct format."""

    def __init__(self, offset: int, layout: str) -> None:
        self.offset = offset
        self._struct = struct.Struct("!" + layout)

    @overload
    def __get__(self, view: None, owner: type[HeaderView]) -> Field[T]: ...
    @overload
    def __get__(self, view: HeaderView, owner: type[HeaderView]) -> T: ...
    def __get__(self, view: HeaderView | None, owner: type[HeaderView]) -> T | Field[T]:
        if view is None:
            return self
        value: T = self._struct.unpack_from(view.buffer, view.start + self.offset)[0]
        return value

    def __set__(self, view: HeaderView, value: T) -> None:
        self._struct.pack_into(view.buffer, view.start + self.offset, value)
