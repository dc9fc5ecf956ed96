"""Explaining while packets flow: the listener of a live switch, and the processes that read it.

The datapath makes each event a line and puts it into pipes; that is all it does.  At the other end
of one is `lb-switch explain` itself, which renders (`--explain`), of another `relay`, which writes
the recording (`--record`), of a third `export`, which writes both sides for Wireshark
(`--write-pcap`).
"""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lb_switch import interpreter
from lb_switch.engine.listeners import EVERYTHING, PACKETS, Interest
from lb_switch.files.private_file import open_to_write
from lb_switch.stream import encode
from lb_switch.stream.hub import Hub
from lb_switch.stream.pipe_outlet import PipeOutlet
from lb_switch.stream.schema import SNAP

_log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a reader gets at the end to take and show what waits in its pipe."""


RECORDED = EVERYTHING._replace(keep=SNAP)
"""What a recording, and a view of one, is made of."""
WRITTEN = PACKETS._replace(servers=True)
"""What a capture file is made of: whole packets, and whose addresses they have."""


class Broadcast:
    """Outlets of a hub, each with a process at its other end; a line for each event into every one.

    An outlet whose reader is gone reads no more; the engine tells nothing that nobody wants.
    """

    def __init__(
        self,
        hub: Hub,
        outlets: Sequence[PipeOutlet],
        now: float,
        interest: Interest = RECORDED,
    ) -> None:
        self.outlets = tuple(outlets)
        self._hub = hub
        self._readers = [_Outlet(hub, outlet) for outlet in self.outlets]
        header = hub.header(interest.keep, now)
        for reader in self._readers:
            reader.put(header)
            hub.add(reader, interest)

    def finish(self, now: float, patience: float) -> None:
        """Read no more, write the last line into every outlet, and close them."""
        for reader in self._readers:
            self._hub.remove(reader)
            outlet = reader.outlet
            if not outlet.dead:
                outlet.finish(encode.end(now, reader.packets, outlet.dropped), patience)
            outlet.close()


class _Outlet:
    """What the hub sees of an outlet: it counts packets, and goes when its reader does."""

    def __init__(self, hub: Hub, outlet: PipeOutlet) -> None:
        self.outlet = outlet
        self.packets = 0
        self._hub = hub

    def put(self, line: bytes) -> None:
        self.packets += line.startswith(_PACKET)
        self.outlet.put(line)
        if self.outlet.dead:
            self._hub.remove(self)
            if not len(self._hub):
                _log.warning("nobody reads any more what the packets tell")

    def drop(self) -> None:
        self.outlet.drop()

    def flush(self) -> None:
        self.outlet.flush()


_PACKET = b'{"event":"packet"'


class ReaderProcess:
    """A process at the other end of an outlet."""

    def __init__(self, name: str, arguments: Sequence[str], stdout: int | None = None) -> None:
        readable, writable = os.pipe2(os.O_CLOEXEC)
        try:
            # A session of its own: Ctrl-C ends the switch, and the reader when all is told.
            self._process = subprocess.Popen(
                interpreter.module(*arguments),
                stdin=readable,
                stdout=stdout,
                start_new_session=True,
            )
        except OSError:
            os.close(writable)
            raise
        finally:
            os.close(readable)
        self.outlet = PipeOutlet(writable, name)

    def wait(self, patience: float) -> bool:
        """Let it come to its end, and after `patience` seconds end it; return whether all is well.

        A view whose own reader had enough (`| head`) ends well.
        """
        try:
            return self._process.wait(patience) == 0
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False


class Live:
    """What `lb-switch run` holds while its packets explain themselves.

    view: the arguments of `lb-switch explain` that show them on stdout; None: nothing is shown.
    record, pcap: the recording and the capture file that are written; None: none.
    patience: seconds that each reader gets at the end.
    Raises OSError, which names the file, if one cannot be opened.
    """

    def __init__(
        self,
        hub: Hub,
        now: float,
        *,
        view: Sequence[str] | None,
        record: Path | None,
        pcap: Path | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._patience = patience
        self._readers: list[ReaderProcess] = []
        self._broadcasts: list[Broadcast] = []
        if record is not None:
            self._readers.append(_writer(record, "lb_switch.stream.relay"))
        if view is not None:
            arguments = ["lb_switch", "explain", *view, "--from", "-"]
            self._readers.append(ReaderProcess("the view", arguments))
        if self._readers:
            outlets = [reader.outlet for reader in self._readers]
            self._broadcasts.append(Broadcast(hub, outlets, now))
        if pcap is not None:
            epoch_ns = time.time_ns() - time.monotonic_ns()
            writer = _writer(pcap, "lb_switch.export", str(pcap), str(epoch_ns))
            self._readers.append(writer)
            self._broadcasts.append(Broadcast(hub, [writer.outlet], now, WRITTEN))

    def close(self, now: float) -> list[str]:
        """Tell the end, wait for the readers, return a line for each that missed something."""
        for broadcast in self._broadcasts:
            broadcast.finish(now, self._patience)
        lines = []
        for reader in self._readers:
            well, outlet = reader.wait(self._patience), reader.outlet
            if outlet.dropped:
                why = "its reader is too slow, or gone"
                lines.append(f"{outlet.name}: {outlet.dropped:,} events were dropped: {why}")
            elif not well:
                lines.append(f"{outlet.name}: not complete: its reader did not take everything")
        return lines


def _writer(path: Path, *module: str) -> ReaderProcess:
    """Start a module that writes a file: its stdout, or a FIFO, which it opens itself."""
    try:
        if path.exists() and stat.S_ISFIFO(path.stat().st_mode):
            return ReaderProcess(str(path), [*module, str(path)])
        with open(open_to_write(path), "wb") as file:
            return ReaderProcess(str(path), module, stdout=file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
