"""What a TCP connection that is opening, or may be ending, still waits for.

A switch in the middle sees a FIN or a RST before its receiver does, and does not know what that
one will make of it.  Here is kept by which number it will show.
"""

from __future__ import annotations

from lb_switch.engine.connections.tcp_state import Direction, State


class Unsettled:
    """What the segments of a connection are watched for.  Numbers are TCP's, 32 bits.

    `fins`     by the direction of a FIN that has passed: the acknowledgement that takes it
    `resets`   by the direction of a RST that did not count at once: its sequence number
    `closed_by`, `closed_at`   direction and sequence number of the RST that counted
    `before`   the state that it ended
    `proved`   whether the client had proved to be there by then
    `syn`      the acknowledgement of a client's SYN inside the connection, which its real server
               has not answered yet
    """

    __slots__ = ("before", "closed_at", "closed_by", "fins", "proved", "resets", "syn")

    def __init__(self) -> None:
        self.fins: list[int | None] = [None, None]
        self.resets: list[int | None] = [None, None]
        self.closed_by: Direction | None = None
        self.closed_at = 0
        self.before = State.ESTABLISHED
        self.proved = False
        self.syn: int | None = None

    @property
    def nothing_left(self) -> bool:
        """Whether there is nothing to watch for."""
        return self.syn is None and self.fins == self.resets == [None, None]


HANDSHAKE = Unsettled()
"""In SYN_RECV: the client is to acknowledge the real server's SYN.  All share this one."""
EARLY_DATA = Unsettled()
"""The same, where the real server has sent data already: the client may acknowledge these too
(RFC 7413, section 3)."""
CUT = Unsettled()
"""In CLOSE: the switch has told the client that the connection is gone (`engine.severing`), and
answers whatever the real server sends with a RST."""
