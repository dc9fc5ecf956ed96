"""What of this host and of a configuration bears on who can do what: doctor's SECURITY lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lb_switch.cli import control_socket
from lb_switch.cli.finding import Finding
from lb_switch.daemon.advice import own_vips, public_hash_key, without_effect
from lb_switch.files.private_file import check_folder

if TYPE_CHECKING:
    from lb_switch.config.schema import Config
    from lb_switch.engine.servers import VirtualServer
    from lb_switch.host.view import HostView

_CONF = Path("/proc/sys/net/ipv4/conf")
_MODES = {0: "off", 1: "strict", 2: "loose"}


def facts(
    config: Config, capture: str, virtual_servers: Iterable[VirtualServer], host: HostView
) -> Iterator[Finding]:
    """Yield them; none of them keeps the switch from running."""
    groups = tuple(virtual_servers)
    yield from _forged_sources(host)
    yield from _shared_interfaces(groups, host)
    for line in public_hash_key(config):
        yield _fact("hash key", line, "lb-switch check proposes one")
    if config.switch.unknown_tcp == "schedule":
        detail = "a lone forged ACK makes an entry, which gives way first in a full table"
        yield _fact('unknown_tcp = "schedule"', detail, 'unknown_tcp = "reset"')
    if capture == "nfqueue":
        yield from _nfqueue(groups, host)
    yield from _socket_folder(config)
    learnt = ", ".join(host.learnt_by)
    if learnt and any(each.endpoint.ip.version == 6 for each in groups):
        detail = f"kept on {learnt} while this host is a router (accept_ra = 2)"
        yield _fact("routes from router advertisements", detail)
    yield _fact("own answers a second", _limits(config))


def _fact(what: str, detail: str, fix: str = "") -> Finding:
    return Finding(f"SECURITY {what}", not fix, detail, fix, needed=False)


def _forged_sources(host: HostView) -> Iterator[Finding]:
    modes = {each.name: _reverse_path(each.name) for each in host.interfaces if each.name != "lo"}
    if not modes:
        return
    shown = ", ".join(f"{name} {_MODES.get(mode, mode)}" for name, mode in modes.items())
    off = [name for name, mode in modes.items() if mode == 0]
    fix = f"sysctl net.ipv4.conf.{off[0]}.rp_filter=1" if off else ""
    detail = f"{shown}; where it is off, any source address may come in" if off else shown
    yield _fact("reverse path filter", detail, fix)


def _reverse_path(name: str) -> int:
    """Return the mode in effect: the larger one of the interface's own and that of all."""
    values = [0]
    for each in ("all", name):
        try:
            values.append(int((_CONF / each / "rp_filter").read_text()))
        except (OSError, ValueError):
            continue
    return max(values)


def _shared_interfaces(groups: Iterable[VirtualServer], host: HostView) -> Iterator[Finding]:
    for group in groups:
        behind: set[str] = set()
        for server in group.real_servers:
            route = host.route_to(server.endpoint.ip)
            behind.update(route.devices if route else ())
        common = sorted(behind & set(host.connected(group.endpoint.ip)))
        if common:
            yield _fact(
                "who speaks for a real server",
                f"{group.name}: clients and real servers share {', '.join(common)}: whoever is"
                " there can speak in a real server's name",
                "put the real servers behind an interface of their own",
            )


def _nfqueue(groups: Iterable[VirtualServer], host: HostView) -> Iterator[Finding]:
    from lb_switch.host.filters import about_vips

    groups = tuple(groups)
    for line in own_vips(groups, host):
        yield _fact("VIP", line, "a VIP of its own")
    for line in without_effect(about_vips(each.endpoint.ip for each in groups)):
        yield _fact("firewall", line, "see there")


def _socket_folder(config: Config) -> Iterator[Finding]:
    folder = control_socket.of(config).parent
    try:
        check_folder(folder)
    except FileNotFoundError:
        yield _fact("control socket", f"{folder} will be made for its owner only")
    except OSError as error:
        yield _fact("control socket", f"{folder}: {error.strerror}", "another folder")
    else:
        yield _fact("control socket", f"{folder} is only its owner's to write to")


def _limits(config: Config) -> str:
    limits = config.switch.answers_per_second
    rates = {
        "ICMP errors": limits.icmp_errors,
        "RSTs": limits.resets,
        "echo replies": limits.echo_replies,
    }
    return ", ".join(f"{what} {rate or 'without limit'}" for what, rate in rates.items())
