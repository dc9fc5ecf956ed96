"""Run a switch in this network namespace, as the integration tests' subprocess.

    python -m tests.capture.run_switch tun|nfqueue STATE_DIRECTORY CONFIG.json

CONFIG.json: a list of [VIP:PORT, protocol number, [RIP:PORT, …], snat, …].  SIGHUP reads it again
and changes the host's rules with it.  Prints `ready`, then `updated` per SIGHUP, then the counters.
TIMEOUT (environment): seconds that connections live without a packet.
"""

from __future__ import annotations

import ipaddress
import json
import os
import sys
from pathlib import Path

from lb_switch.capture.interface import LiveCapture
from lb_switch.capture.nfqueue import NfqueueCapture
from lb_switch.capture.tun import TunCapture
from lb_switch.daemon.loop import Loop
from lb_switch.engine.changes import RemoveVirtualServer
from lb_switch.engine.connections.tcp_state import State
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.scheduling.rr import RoundRobin
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.switch import Settings, Switch
from lb_switch.host.error import HostError


def read_config(path: Path) -> list[VirtualServer]:
    return [_virtual_server(*record) for record in json.loads(path.read_text())]


def _virtual_server(vip: str, protocol: int, reals: list[str], *snats: str) -> VirtualServer:
    return VirtualServer(
        f"{vip}/{protocol}",
        Endpoint.parse(vip),
        protocol,
        RoundRobin(),
        [RealServer(Endpoint.parse(real)) for real in reals],
        forward="full_nat" if snats else "nat",
        snat=[ipaddress.ip_address(each) for each in snats],
    )


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    name, state_directory, config = sys.argv[1:]
    virtual_servers = read_config(Path(config))
    seconds = os.environ.get("TIMEOUT")
    settings = (
        Settings() if seconds is None else Settings(timeouts=dict.fromkeys(State, float(seconds)))
    )
    switch = Switch(settings)
    for virtual_server in virtual_servers:
        switch.add_virtual_server(virtual_server)
    capture: LiveCapture
    if name == "tun":
        capture = TunCapture(virtual_servers, state_directory=state_directory)
    else:
        queue = int(os.environ.get("QUEUE", "100"))
        capture = NfqueueCapture(
            virtual_servers,
            state_directory=state_directory,
            queue=queue,
            own_addresses=bool(os.environ.get("OWN_ADDRESSES")),
        )

    def reload(_now: float) -> None:
        for virtual_server in tuple(switch.virtual_servers.values()):
            switch.change(RemoveVirtualServer(virtual_server), 0.0)
        for virtual_server in read_config(Path(config)):
            switch.add_virtual_server(virtual_server)
        try:
            capture.update(switch.virtual_servers.values())
        except HostError as error:
            say(f"refused: {error}")
        else:
            say("updated")

    if os.environ.get("FAULTY"):
        break_on_echo(switch)
    loop = Loop(switch, capture, on_ready=lambda _now: say("ready"), on_hangup=reload)
    try:
        loop.run()
    except HostError as error:
        print(error, file=sys.stderr)
        return 1
    say(json.dumps({reason.value: n for reason, n in switch.counters.items() if n}))
    return 0


def break_on_echo(switch: Switch) -> None:
    """Let the engine raise on every ICMP packet, as a bug of its would."""
    handle = switch.handle_packet

    def raising(
        buffer: bytearray, start: int, length: int, now: float, partial: bool = False
    ) -> object:
        if buffer[start] >> 4 == 4 and buffer[start + 9] == 1:
            raise RuntimeError("a bug")
        return handle(buffer, start, length, now, partial)

    switch.handle_packet = raising  # type: ignore[method-assign,assignment]


if __name__ == "__main__":
    sys.exit(main())
