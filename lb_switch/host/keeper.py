"""The keeper: `python -m lb_switch.host.keeper`, with a socket to the switch as stdin.

It looks after what the switch has changed on the host: hears of changes (`rtnetlink`), looks at
what nobody tells of now and then (chains, proxy neighbours, kernel parameters), and puts back what
is missing, outside of the packets' process.  When the host itself has changed so that the switch
would now do other things (an interface has come, has another name or address), it says so, and the
switch makes its rules anew.  Between `pause` and `keep` it touches nothing.

It never fights.  What goes along with an interface or an address is put back each time; what
another program takes away again and again is left to it, loudly, and a kernel parameter that
somebody has set a second time is meant to be so.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import pickle
import select
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from lb_switch.engine.packet.endpoint import IPAddress
from lb_switch.host import presence, view
from lb_switch.host.announcing import TIMES, announce
from lb_switch.host.error import HostError
from lb_switch.host.kept import Kept
from lb_switch.host.presence import Line, Lines
from lb_switch.host.rtnetlink import Changes
from lb_switch.host.steps import HostChange, Step, Sysctl, key_of

LOOK = 1.0
"""Seconds between two looks at what nobody tells of."""
SETTLE = 0.15
"""Seconds without news after which a change is looked at: an interface comes in several steps."""
LONGEST_SETTLE = 0.6
FIGHT = 30.0
"""Seconds within which MOST_LOSSES of one thing, without a reason, are a fight."""
MOST_LOSSES = 4
ANNOUNCE_AGAIN = 1.0
"""Seconds between two announcements of an address."""
_LENGTH = struct.Struct("!I")


class Keeper:
    """Looks after one host for one switch.  `tell` is given what the switch is to know."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        self._tell = tell
        self._kept: Kept | None = None
        self._wanted: Lines = frozenset()
        self._left: set[Line] = set()
        """What is somebody else's now."""
        self._losses: dict[Line, deque[float]] = {}
        self._still: Lines = frozenset()
        """What was missing after the last look, and could not be put back."""
        self._amiss: list[str] = []
        self._announced: dict[tuple[IPAddress, str], int] = {}
        self._next_announcement = 0.0

    def keep(self, kept: Kept) -> None:
        """Look after this from now on."""
        self._kept = kept
        self._left.clear()
        self._losses.clear()
        self._still = frozenset()
        self._ensure(kept)
        proxies = set(_proxies(kept.steps))
        self._announced = {
            place: times for place, times in self._announced.items() if place in proxies
        }
        self.announce(time.monotonic())

    def pause(self) -> None:
        """Touch nothing until there is something to keep again."""
        self._kept = None

    def look(self, now: float, *, news: bool, explained: bool) -> None:
        """See what is missing, and put it back.

        `news`: rtnetlink has told of changes; `explained`: one was of an interface or an address,
        along with which the kernel takes other things away.
        """
        kept = self._kept
        if kept is None:
            return
        try:
            if news and _has_other_plan(kept):
                # The switch makes its rules anew, and tells us what to keep then.
                self._tell({"changed": True})
                self._kept = None
                return
            if not presence.is_complete(self._wanted, kept.steps):
                # Somebody took it away while we looked, or it could not be made then.
                self._ensure(kept)
            missing = self._missing(kept, told=news or bool(self._still))
            if not explained:
                self._count(missing - self._still, now)
            missing -= self._left
            if missing:
                presence.put_back(kept.steps, missing)
            still = self._missing(kept, told=True) - self._left if missing else missing
        except HostError as error:
            self._say_amiss((str(error),))
            return
        self._still = still
        restored = missing - still
        if restored:
            self._tell({"restored": sorted(map(str, restored))})
            for place in _proxies(kept.steps):
                if any(str(place[0]) in line.text for line in restored):
                    self._announced.pop(place, None)
            self.announce(now)
        self._say_amiss(sorted(map(str, still)))

    def _ensure(self, kept: Kept) -> None:
        """See that all is there, and note how it looks."""
        with contextlib.suppress(HostError):
            self._wanted, restored = presence.ensure(kept.steps)
            if restored:
                self._tell({"restored": sorted(map(str, restored))})

    def announce(self, now: float) -> None:
        """Announce addresses that are new here, some times."""
        if self._kept is None or now < self._next_announcement:
            return
        for place in _proxies(self._kept.steps):
            times = self._announced.get(place, 0)
            if times < TIMES:
                ip, device = place
                announce(device, ip)
                self._announced[place] = times + 1
                self._next_announcement = now + ANNOUNCE_AGAIN

    def _missing(self, kept: Kept, *, told: bool) -> Lines:
        missing = self._wanted - presence.read(kept.steps, told=told)
        return (
            missing
            if told
            else frozenset(line for line in missing if line.source not in presence.TOLD)
        )

    def _count(self, lost: Lines, now: float) -> None:
        """Note losses that nothing explains; leave to others what they take again and again."""
        given_up = []
        for line in lost - self._left:
            losses = self._losses.setdefault(line, deque(maxlen=MOST_LOSSES))
            losses.append(now)
            most = 2 if line.source == "sysctl" else MOST_LOSSES
            if len(losses) >= most and (line.source == "sysctl" or now - losses[0] < FIGHT):
                self._left.add(line)
                given_up.append(str(line))
        if given_up:
            self._tell({"given_up": sorted(given_up)})

    def _say_amiss(self, amiss: Iterable[str]) -> None:
        lines = [*amiss, *sorted(str(line) for line in self._left if line not in self._there())]
        if lines != self._amiss:
            self._amiss = lines
            self._tell({"amiss": lines})

    def _there(self) -> Lines:
        if self._kept is None or not self._left:
            return frozenset()
        with contextlib.suppress(HostError):
            return presence.read(self._kept.steps)
        return frozenset()


def _has_other_plan(kept: Kept) -> bool:
    """Whether the switch would do something else on the host as it is now."""
    try:
        host = view.read()
        plan = kept.planner(host.without(kept.without) if kept.without else host)
    except HostError:
        return False  # as long as a way is missing, what was made for it stays
    return _compared(plan) != _compared(kept.steps)


def _compared(steps: Iterable[Step]) -> dict[str, Step]:
    """Return steps by their keys, without what is written down only for the end."""
    return {
        key_of(step): replace(step, overwrites=()) if isinstance(step, Sysctl) else step
        for step in steps
    }


def _proxies(steps: Iterable[Step]) -> list[tuple[IPAddress, str]]:
    """Return the addresses that the host answers for, each with the interface."""
    return [
        (ipaddress.ip_address(step.do[4]), step.do[6])
        for step in steps
        if isinstance(step, HostChange) and step.do[1:4] == ("neigh", "add", "proxy")
    ]


class _Conversation:
    """Orders of the switch, and what it is told.  Orders are pickled, by our own parent."""

    def __init__(self, to_switch: socket.socket) -> None:
        self._socket = to_switch
        self._received = b""

    def tell(self, news: dict[str, Any]) -> None:
        self._socket.sendall(json.dumps(news).encode() + b"\n")

    def orders(self) -> list[tuple[str, Any]] | None:
        """Return the orders that have come whole; None: the switch has hung up."""
        data = self._socket.recv(1 << 20)
        if not data:
            return None
        self._received += data
        found = []
        while len(self._received) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._received)
            end = _LENGTH.size + length
            if len(self._received) < end:
                break
            found.append(pickle.loads(self._received[_LENGTH.size : end]))  # noqa: S301 - our parent
            self._received = self._received[end:]
        return found


def order(name: str, value: object = None) -> bytes:
    """Return an order as the keeper reads it: `keep` with a Kept, or `pause`."""
    body = pickle.dumps((name, value))
    return _LENGTH.pack(len(body)) + body


def work(to_switch: socket.socket) -> None:
    """Keep the host until the switch hangs up."""
    conversation = _Conversation(to_switch)
    keeper = Keeper(conversation.tell)
    changes = Changes()
    poll = select.poll()
    poll.register(to_switch, select.POLLIN)
    poll.register(changes, select.POLLIN)
    clock = time.monotonic
    next_look = clock() + LOOK
    news_since: float | None = None
    by_interface = False
    conversation.tell({"ready": True})
    while True:
        due = next_look if news_since is None else min(next_look, clock() + SETTLE)
        ready = [fd for fd, _ in poll.poll(max(0.0, due - clock()) * 1000)]
        now = clock()
        if to_switch.fileno() in ready:
            orders = conversation.orders()
            if orders is None:
                return
            for name, value in orders:
                if name == "keep":
                    keeper.keep(value)
                    # What has changed while it rested was told to nobody.
                    news_since, by_interface = now, True
                else:
                    keeper.pause()
                    conversation.tell({"paused": True})
        if changes.fileno() in ready:
            by_interface = changes.read() or by_interface
            news_since = now if news_since is None else news_since
            if now - news_since < LONGEST_SETTLE:
                continue
        if news_since is not None or now >= next_look:
            keeper.look(now, news=news_since is not None, explained=by_interface)
            by_interface, news_since = False, None
            next_look = clock() + LOOK
        keeper.announce(clock())


def main() -> None:
    """Work on the socket that is file descriptor 0."""
    # Signals that are meant for the switch: it tells us by hanging up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=0) as to_switch, contextlib.suppress(ConnectionError):
        work(to_switch)


if __name__ == "__main__":
    main()
