"""What `show --watch` draws by the stream: what is told needs no asking."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from lb_switch.cli import render
from lb_switch.cli.followed import FollowedStream
from lb_switch.cli.watch import Look
from lb_switch.cli.watched_connections import WatchedConnections
from lb_switch.control import places
from lb_switch.control.client import ControlClient, ControlError
from lb_switch.control.messages import RequestError
from lb_switch.engine.packet.endpoint import Endpoint, IPAddress
from lb_switch.stream.picture import Picture
from lb_switch.stream.schema import ConnectionEntry, Header


def connections(
    connect: Callable[[], ControlClient], recent: float, words: Mapping[str, str]
) -> Look:
    """Watch connections, perhaps only those of a `client` or a `server`."""

    def begin(header: Header) -> WatchedConnections:
        return WatchedConnections(header.hosts, recent, _only(words, header.hosts))

    followed = FollowedStream(connect, begin, "connections")
    return lambda _switch: followed.look(lambda watched: list(watched.lines()))


def virtual_servers(connect: Callable[[], ControlClient]) -> Look:
    """Watch the table of virtual servers."""
    followed = FollowedStream(connect, Picture, "connections", "servers")

    def draw(picture: Picture) -> list[str]:
        return list(render.virtual_servers(map(_as_shown, picture.rows())))

    return lambda _switch: followed.look(draw)


def _as_shown(row: dict[str, Any]) -> dict[str, Any]:
    servers = [{**each, "forward": row["forward"]} for each in row["real_servers"]]
    return {**row, "real_servers": servers}


def _only(words: Mapping[str, str], names: Mapping[str, str]) -> Callable[[ConnectionEntry], bool]:
    hosts: dict[str, tuple[IPAddress, ...]] = {}
    for address, name in names.items():
        hosts[name] = (*hosts.get(name, ()), ipaddress.ip_address(address))
    try:
        wanted = {field: places.host(word, hosts) for field, word in words.items()}
    except RequestError as error:
        raise ControlError(str(error)) from None

    def only(entry: ConnectionEntry) -> bool:
        ends = {"client": entry.client, "server": entry.real}
        return all(Endpoint.parse(ends[field]).ip in ips for field, ips in wanted.items())

    return only
