"""What a connection has proved so far, as far as it matters when room is short.

half-open     TCP in SYN_RECV: nobody has proved to be at that address
closed        TCP in TIME_WAIT or CLOSE: kept only for late packets
mid-stream    TCP whose handshake the switch has not seen (`unknown_tcp = "schedule"`)
unanswered    UDP of which the real server has not answered a single datagram
one-packet    UDP whose datagrams are scheduled one by one
answered      UDP: a question and an answer.  Any open service answers a forged question
conversing    UDP: at least two datagrams each way
lasting       UDP: at least eight each way; a forger has to pay for each
greeted       TCP whose client has acknowledged the real server's random number, and no more
proved        TCP in which both sides went on after that, or to which, in mid-stream, the real
server sends data: these never give way
"""

from __future__ import annotations

import enum


class QueueKind(enum.IntEnum):
    """See above."""

    HALF_OPEN = 0
    CLOSED = 1
    MID_STREAM = 2
    UNANSWERED = 3
    ONE_PACKET = 4
    ANSWERED = 5
    CONVERSING = 6
    LASTING = 7
    GREETED = 8
    PROVED = 9
