"""What every story has at hand: a voice, a lab, and the switch's command line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from netns_lab import acts
from netns_lab.lab import Lab
from netns_lab.scenarios.narration import Narrator
from netns_lab.topologies import VirtualServer, endpoint


class SurpriseError(Exception):
    """Something is not as the story says."""


@dataclass(frozen=True)
class Stage:
    """A narrator and a lab that is up."""

    narrator: Narrator
    lab: Lab

    def operate(self, *arguments: str) -> None:
        """Run `lb-switch ARGUMENTS` before everybody's eyes.  Raises SurpriseError."""
        self.narrator.command(f"lb-switch {' '.join(arguments)}")
        self.narrator.block(ask_switch(self.lab, *arguments).splitlines(), output=True)

    def rows(self, what: str) -> Any:
        """Return what `lb-switch show WHAT --json` says.  Raises SurpriseError."""
        return json.loads(ask_switch(self.lab, "show", what, "--json"))

    def real_server(self, virtual_server: VirtualServer, host: str) -> str:
        """Return a host's RIP:PORT in the group of a virtual server."""
        ip = self.lab.topology.host(host).ip_of_family(virtual_server.ip.version)
        return endpoint(ip, virtual_server.real_port or virtual_server.port)

    def tell_server(self, host: str, order: str) -> None:
        """Send a real server's program an order (PUT), from its own host.  Raises LabError."""
        acts.tell(self.lab, host, order)


def ask_switch(lab: Lab, *arguments: str) -> str:
    """Return what `lb-switch ARGUMENTS` says.  Raises SurpriseError with its complaint."""
    result = lab.cli(*arguments)
    if result.returncode != 0:
        raise SurpriseError(f"lb-switch {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout.rstrip()
