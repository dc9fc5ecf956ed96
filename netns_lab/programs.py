"""The programs a lab starts, and the environment they get."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from netns_lab.topology import Host

CONTROL_SOCKET = "control.sock"
SERVER = "netns_lab.server"

_ROOT = Path(__file__).resolve().parent.parent


def module(name: str, *arguments: str) -> list[str]:
    """The command line of a module, run by our own Python.

    `-P`: what lies in the current directory, which may be anybody's, is not imported by root.
    Nothing else in this package starts a Python.
    """
    return [sys.executable, "-P", "-m", name, *arguments]


def lb_switch() -> list[str]:
    """The beginning of every `lb-switch` command line."""
    return module("lb_switch")


def environment(directory: Path) -> Mapping[str, str]:
    """Ours, such that this lab's switch, our modules and the programs beside Python are found."""
    environment = dict(os.environ, LB_SWITCH_SOCKET=str(directory / CONTROL_SOCKET))
    here = os.path.dirname(sys.executable)
    environment["PATH"] = _folders(here, environment.get("PATH", os.defpath))
    environment["PYTHONPATH"] = _folders(str(_ROOT), environment.get("PYTHONPATH", ""))
    return environment


def prompting(environment: Mapping[str, str], host: str) -> Mapping[str, str]:
    """The environment with which a shell says on which host it is."""
    prompt = f"{host}:\\w# "
    # bash takes its prompt from its own files, but for what it is told to do before each.
    return {**environment, "PS1": f"{host}# ", "PROMPT_COMMAND": f"PS1='{prompt}'"}


def _folders(first: str, others: str) -> str:
    """Put a folder in front; leave out those that the current directory decides."""
    return ":".join([first, *(each for each in others.split(":") if each.startswith("/"))])


def server(host: Host, certificate: Path, ready_fd: int) -> list[str]:
    """The command line of a host's server; it announces on `ready_fd` that it serves."""
    argv = module(SERVER, "--name", host.name)
    for address in host.addresses:
        argv += ["--listen", address]
    for service in host.services:
        argv += ["--service", f"{service.kind}:{service.port}"]
    return [*argv, "--certificate", str(certificate), "--ready-fd", str(ready_fd)]


def is_server(command: str) -> bool:
    """Whether a recorded command line is that of a host's server."""
    return f" -m {SERVER} " in command


def client(arguments: tuple[str, ...]) -> list[str]:
    """The command line of `netns_lab.client`."""
    return module("netns_lab.client", *arguments)
