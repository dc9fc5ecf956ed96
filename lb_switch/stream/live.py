"""Explaining while packets flow: the listener of a live switch, and the processes that read it.

The datapath makes each event a line and puts it into pipes; that is all it does.  At the other end
of one is `lb-switch explain` itself, which renders (`--explain`), of another `relay`, which writes
the recording (`--record`).
"""

from __future__ import annotations

import logging
import os
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lb_switch import interpreter
from lb_switch.engine.events import Event
from lb_switch.engine.listeners import EVERYTHING
from lb_switch.engine.switch import Switch
from lb_switch.files.private_file import open_to_write
from lb_switch.stream import encode
from lb_switch.stream.encode import Encoder
from lb_switch.stream.pipe_outlet import PipeOutlet
from lb_switch.stream.schema import SNAP
from lb_switch.stream.wires import Routed

_log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a reader gets at the end to take and show what waits in its pipe."""


class Broadcast:
    """The listener: one line for each event, into every outlet.

    Once the last outlet is dead it detaches itself, and the engine builds no events any more.
    """

    def __init__(
        self,
        switch: Switch,
        outlets: Sequence[PipeOutlet],
        hosts: Mapping[str, str],
        now: float,
        routed: Routed | None = None,
    ) -> None:
        self.outlets = tuple(outlets)
        self._switch = switch
        self._encoder = Encoder(switch.listeners.number_of, routed)
        header = self._encoder.header(switch, hosts, now)
        for outlet in self.outlets:
            outlet.put(header)
        switch.listen(self, EVERYTHING._replace(keep=SNAP))

    def __call__(self, event: Event) -> None:
        """Take an event.  Whatever goes wrong here costs the event, never the packet."""
        try:
            line = self._encoder.encode(event)
        except Exception:
            _log.exception("an event could not be told")
            for outlet in self.outlets:
                outlet.drop()
            return
        alive = False
        for outlet in self.outlets:
            outlet.put(line)
            alive |= not outlet.dead
        if not alive:
            _log.warning("nobody reads any more what the packets tell")
            self._switch.stop_listening(self)

    def finish(self, now: float, patience: float) -> None:
        """Detach, write the last line into every outlet, and close them."""
        self._switch.stop_listening(self)
        for outlet in self.outlets:
            if not outlet.dead:
                outlet.finish(encode.end(now, self._encoder.packets, outlet.dropped), patience)
            outlet.close()


class Reader:
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
    record: the file that is written; None: none.  hosts: names of machines by address.
    patience: seconds that each reader gets at the end.
    routed: says of the packet at hand whether it was captured behind the host's forwarding.
    Raises OSError if the file cannot be opened.
    """

    def __init__(
        self,
        switch: Switch,
        now: float,
        *,
        view: Sequence[str] | None,
        record: Path | None,
        hosts: Mapping[str, str],
        patience: float = PATIENCE,
        routed: Routed | None = None,
    ) -> None:
        self._patience = patience
        self._readers: list[Reader] = []
        if record is not None:
            self._readers.append(_recorder(record))
        if view is not None:
            arguments = ["lb_switch", "explain", *view, "--from", "-"]
            self._readers.append(Reader("the view", arguments))
        outlets = [reader.outlet for reader in self._readers]
        self._broadcast = Broadcast(switch, outlets, hosts, now, routed)

    def close(self, now: float) -> list[str]:
        """Tell the end, wait for the readers, return a line for each that missed something."""
        self._broadcast.finish(now, self._patience)
        lines = []
        for reader in self._readers:
            well, outlet = reader.wait(self._patience), reader.outlet
            if outlet.dropped:
                why = "its reader is too slow, or gone"
                lines.append(f"{outlet.name}: {outlet.dropped:,} events were dropped: {why}")
            elif not well:
                lines.append(f"{outlet.name}: not complete: its reader did not take everything")
        return lines


def _recorder(path: Path) -> Reader:
    module = "lb_switch.stream.relay"
    if path.exists() and stat.S_ISFIFO(path.stat().st_mode):
        return Reader(str(path), [module, str(path)])
    with open(open_to_write(path), "wb") as file:
        return Reader(str(path), [module], stdout=file.fileno())
