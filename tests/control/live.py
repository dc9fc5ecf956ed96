"""A switch that operators change, with a capture that only remembers what it was told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lb_switch.capture.memory import MemoryCapture
from lb_switch.config.build import build
from lb_switch.config.load import load
from lb_switch.control.changes import Changes
from lb_switch.control.operations import Operations
from lb_switch.control.verbs import Verbs
from lb_switch.engine.invariants import check_invariants
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.host.error import HostError

Picture = list[tuple[Any, ...]]

WEB = """
[[virtual_server]]
name = "web"
address = "10.0.1.100:80"
scheduler = "{scheduler}"
on_down = "{on_down}"
{more}

  [[virtual_server.real_server]]
  address = "10.0.2.11:8080"
  weight = {weight}

  [[virtual_server.real_server]]
  address = "10.0.2.12:8080"
"""

THIRD = """
  [[virtual_server.real_server]]
  address = "10.0.2.13:8080"
"""

DNS = """
[[virtual_server]]
name = "dns"
address = "10.0.1.100:80"
protocol = "udp"

  [[virtual_server.real_server]]
  address = "10.0.2.11:53"
"""


def web(scheduler: str = "rr", on_down: str = "reset", weight: int = 1, more: str = "") -> str:
    return WEB.format(scheduler=scheduler, on_down=on_down, weight=weight, more=more)


class Rules(MemoryCapture):
    """Counts updates; refuses a real server at `unreachable`, as a host without a route would."""

    routed = False

    def __init__(self) -> None:
        super().__init__()
        self.updates: list[frozenset[str]] = []
        self.unreachable = "192.0.2.1"

    def update(self, virtual_servers: Iterable[VirtualServer]) -> None:
        servers = [str(rs.endpoint) for vs in virtual_servers for rs in vs.real_servers]
        self.updates.append(frozenset(servers))
        if any(server.startswith(self.unreachable) for server in servers):
            raise HostError(f"there is no route to real server {self.unreachable}")


class Live:
    """A running switch, as far as its operator sees."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        path.write_text(text)
        config = load(path)
        self.switch = build(config)
        self.rules = Rules()
        self.told: list[list[str]] = []
        self.now = 0.0
        self.operations = Operations(
            self.switch, config, self.rules, path=path, followers=[self._follow]
        )
        changes = Changes(self.operations)
        self.verbs = Verbs(
            self.switch,
            self.now,
            changes=changes,
            hosts=lambda: self.operations.config.hosts,
        )

    def _follow(self, virtual_servers: Iterable[VirtualServer], _now: float) -> None:
        self.told.append([virtual_server.name for virtual_server in virtual_servers])

    def ask(self, verb: str, **fields: object) -> list[str]:
        result = self.verbs({"version": 1, "verb": verb, **fields}, self.now)
        assert isinstance(result, list)
        check_invariants(self.switch)
        return result

    def reload(self, text: str) -> list[str]:
        self.path.write_text(text)
        return self.ask("reload")

    def virtual_server(self, name: str = "web") -> VirtualServer:
        return self.switch.virtual_servers[name]

    def server(self, number: int, name: str = "web") -> RealServer:
        return self.virtual_server(name).real_servers[number]

    def picture(self) -> Picture:
        """Everything a refused change must leave alone, objects by their identity."""
        everything: Picture = [
            (
                virtual_server,
                virtual_server.name,
                virtual_server.scheduler,
                virtual_server.on_down,
                virtual_server.persistence,
                [
                    (rs, rs.weight, rs.admin_state, rs.healthy, rs.active, rs.connections_total)
                    for rs in virtual_server.real_servers
                ],
            )
            for virtual_server in self.switch.virtual_servers.values()
        ]
        return [
            *everything,
            (self.switch.settings, self.operations.config, len(self.switch.connections)),
        ]
