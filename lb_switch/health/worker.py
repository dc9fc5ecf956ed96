"""The probe process: `python -m lb_switch.health.worker`, with a socket to the switch as stdin.

It ends when the switch does, in whatever way: the socket's other end is closed then.  Signals that
are meant for the switch (Ctrl-C in their terminal, systemd to the whole group) are ignored, or it
would look as if it had died.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket

from lb_switch.health import messages
from lb_switch.health.probes import probe
from lb_switch.health.probes.lateness import LATENESS
from lb_switch.health.rounds import Rounds
from lb_switch.health.tracker import ProbeResult

_LONGEST_LINE = 64 * 1024
_MAX_UNREAD = 256 * 1024
"""Bytes of results that wait for a switch that does not read; what comes then would be old news."""


async def work(to_switch: socket.socket) -> None:
    """Do what the switch says until it hangs up."""
    reader, writer = await asyncio.open_connection(sock=to_switch, limit=_LONGEST_LINE)

    def report(number: int, result: ProbeResult) -> None:
        if writer.transport.get_write_buffer_size() < _MAX_UNREAD:
            writer.write(messages.found(number, result))

    rounds = Rounds(probe, report)
    watching = asyncio.create_task(LATENESS.watch())
    writer.write(messages.ready())
    try:
        while line := await reader.readline():
            match messages.read_order(line):
                case messages.Start(number, target):
                    rounds.start(number, target)
                case messages.Stop(number):
                    rounds.stop(number)
    finally:
        watching.cancel()
        writer.transport.abort()


def main() -> None:
    """Work on the socket that is file descriptor 0."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # A socket for each probe under way: the usual soft limit of 1,024 is soon reached.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with socket.socket(fileno=0) as to_switch, contextlib.suppress(ConnectionError):
        asyncio.run(work(to_switch))


if __name__ == "__main__":
    main()
