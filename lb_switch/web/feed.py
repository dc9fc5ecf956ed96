"""Follows a running switch for all browsers, and keeps the last minutes for those that come later.

Two conversations on the control socket, each in a thread: the stream of events, and a look at the
traffic every second, which no event tells.  When the switch ends or is started again, both begin
anew; whoever watches is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any

from lb_switch.control.client import ControlClient, ControlError
from lb_switch.stream.recording import Recording, RecordingError
from lb_switch.stream.schema import Record, decode
from lb_switch.web.details import ABOUT
from lb_switch.web.scene import Message, Scene

KEPT_MESSAGES = 20_000
KEPT_RECORDS = 5_000
"""Packets and connections that can still be clicked."""
KEPT_SECONDS = 600.0
"""Of the numbers over time."""
MOST_PACKETS = 300
"""Packets a second that the switch is asked to tell of: more than anybody can see."""
TICK = 0.1
"""Seconds between two messages to the browsers."""
PAUSE = 0.5
"""Seconds before a switch that is not there is asked again."""
LOOK = 1.0
"""Seconds between two looks at the traffic."""
QUEUE = 2_000
"""Messages that wait for one browser; one that is slower misses some, and is told."""

Connect = Callable[[], ControlClient]


class Feed:
    """One for all browsers; `start` it, then `watch`."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._kept: deque[Message] = deque(maxlen=KEPT_MESSAGES)
        self._numbers: deque[Message] = deque(maxlen=int(KEPT_SECONDS / LOOK))
        self._watchers: set[_Watcher] = set()
        self._scene: Scene | None = None
        self._status: Message = {"kind": "status", "connected": False, "text": "not yet connected"}
        self.records: deque[Record] = deque(maxlen=KEPT_RECORDS)
        self._waiting: list[Message] = []
        self._tick_began = 0.0
        self._threads = [
            threading.Thread(target=self._follow_stream, name="stream", daemon=True),
            threading.Thread(target=self._follow_traffic, name="traffic", daemon=True),
        ]

    def start(self) -> None:
        """Begin to follow."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the threads end with what they are doing."""
        self._ending.set()

    @property
    def scene(self) -> Scene | None:
        """What is known of the switch; None before it was reached."""
        return self._scene

    async def watch(self) -> AsyncGenerator[list[Message], None]:
        """Yield what is, then what happens, some messages at a time."""
        watcher = _Watcher(asyncio.get_running_loop())
        with self._lock:
            self._flush(time.monotonic())
            opening = [self._status]
            if self._scene is not None:
                opening += [*self._kept, *self._numbers, self._scene.scene()]
            self._watchers.add(watcher)
        try:
            yield opening
            while True:
                yield await watcher.next()
        finally:
            with self._lock:
                self._watchers.discard(watcher)

    def look(self, use: Callable[[Scene, list[Record]], Any]) -> Any:
        """Return what `use` makes of the records that are kept; None without a switch."""
        with self._lock:
            scene, records = self._scene, list(self.records)
        return None if scene is None else use(scene, records)

    # -- the stream ------------------------------------------------------------------------

    def _follow_stream(self) -> None:
        while not self._ending.is_set():
            try:
                with self._connect() as client:
                    self._read(client)
            except (ControlError, RecordingError, ValueError) as error:
                self._tell_status(False, f"{error} (waiting for it)")
            self._ending.wait(PAUSE)

    def _read(self, client: ControlClient) -> None:
        kinds = ("connections", "servers", "probes", "packets")
        lines = client.subscribe(*kinds, most=MOST_PACKETS)
        header = Recording([next(lines) + b"\n"], "the switch").header
        again = self._scene is not None
        with self._lock:
            self._scene = Scene(header)
            self._kept.clear()
            self._numbers.clear()
            self.records.clear()
            self._waiting = [{"kind": "begin", "at": header.time}, self._scene.scene()]
        self._tell_status(True, "the switch was started again" if again else "connected")
        for line in lines:
            if self._ending.is_set():
                return
            self._learn(decode(line))

    def _learn(self, record: Record) -> None:
        with self._lock:
            scene = self._scene
            assert scene is not None
            if isinstance(record, ABOUT):
                self.records.append(record)
            self._waiting += scene.of(record)
            now = time.monotonic()
            if now - self._tick_began >= TICK or len(self._waiting) > QUEUE:
                self._flush(now)

    def _flush(self, now: float) -> None:
        """Send what waits to everybody.  With the lock held."""
        self._tick_began = now
        if self._scene is not None and self._scene.stale:
            self._waiting.append(self._scene.scene())
        if not self._waiting:
            return
        sent, self._waiting = self._waiting, []
        self._kept.extend(sent)
        for watcher in self._watchers:
            watcher.put(sent)

    def _tell_status(self, connected: bool, text: str) -> None:
        with self._lock:
            if (self._status["connected"], self._status["text"]) == (connected, text):
                return
            self._status = {"kind": "status", "connected": connected, "text": text}
            for watcher in self._watchers:
                watcher.put([self._status])

    # -- the traffic -----------------------------------------------------------------------

    def _follow_traffic(self) -> None:
        looked = 0.0
        while not self._ending.wait(TICK):
            now = time.monotonic()
            with self._lock:
                self._flush(now)  # where no further event comes to push the last ones
            if now - looked < LOOK:
                continue
            looked = now
            with contextlib.suppress(ControlError), self._connect() as client:
                stats = client.ask("show", what="stats")
                groups = list(client.rows("show", what="virtual_servers"))
                self._note_traffic(stats, groups)

    def _note_traffic(self, stats: dict[str, Any], groups: list[dict[str, Any]]) -> None:
        servers = {
            f"{group['name']} {server['address']}": {
                "connections": server["connections"],
                "active": server["active"],
                "packets": server["to_server"]["packets"] + server["to_client"]["packets"],
                "bytes": server["to_server"]["bytes"] + server["to_client"]["bytes"],
            }
            for group in groups
            for server in group["real_servers"]
        }
        with self._lock:
            message = {
                "kind": "numbers",
                "at": stats["time"],
                "connections": stats["connections"],
                "packets": {reason: count for reason, count in stats["packets"].items() if count},
                "servers": servers,
            }
            self._numbers.append(message)
            self._flush(time.monotonic())
            for watcher in self._watchers:
                watcher.put([message])


class _Watcher:
    """One browser: what waits for it, bounded."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._news = asyncio.Event()
        self._waiting: list[Message] = []
        self._missed = 0

    def put(self, messages: list[Message]) -> None:
        """Let messages wait; called by any thread, with the feed's lock held."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._take_in, messages)

    def _take_in(self, messages: list[Message]) -> None:
        room = QUEUE - len(self._waiting)
        self._waiting += messages[:room]
        self._missed += len(messages[room:])
        self._news.set()

    async def next(self) -> list[Message]:
        """Return what waits, once there is something."""
        await self._news.wait()
        self._news.clear()
        waiting, self._waiting = self._waiting, []
        if self._missed:
            waiting.append({"kind": "behind", "count": self._missed})
            self._missed = 0
        return waiting
