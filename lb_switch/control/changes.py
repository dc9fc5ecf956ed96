"""The requests that change a running switch.

======  ================================================  ========================================
verb    fields (those in brackets may be left out)        does
======  ================================================  ========================================
set     virtual_server, real_server, [protocol],          changes a real server's administrative
        [state], [weight]                                 state or weight
set     virtual_server, scheduler, [protocol]             lets another scheduler choose
add     virtual_server, real_server, [protocol],          puts a real server into a group
        [weight]
add     virtual_server, name, [protocol], [scheduler]     serves another VIP and port
remove  virtual_server, real_server, [protocol], [live]   takes a real server out of its group
remove  virtual_server, [protocol], [live]                takes no new connections for a VIP
reload                                                    reads the configuration file again
======  ================================================  ========================================

`virtual_server` is ADDRESS:PORT or a name; `real_server` is ADDRESS:PORT, or a host, by its name or
address, with `:PORT` where the group has several real servers there; `protocol` is tcp or udp, and
needed only where both are served at one VIP and port (a virtual server is added for tcp if it is
missing); `state` is ready, drain or maint; `weight` is a whole number from 0 to 65535; `scheduler`
is rr if missing; `live` says what becomes of live connections: drain (if missing: they go on, those
of a real server's by UDP for one more UDP timeout) or now (they follow `on_down`).

The result is a list of what changed, a line each; it is empty if everything was so already.  What
is refused changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lb_switch.control import places
from lb_switch.control.messages import RequestError
from lb_switch.control.operations import Operations
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import PROTOCOL_NAMES
from lb_switch.engine.servers import AdminState

Request = dict[str, Any]

_ALWAYS = frozenset({"version", "verb"})
_PROTOCOLS = tuple(PROTOCOL_NAMES.values())
_LIVE = ("drain", "now")
_STATES = tuple(state.value for state in AdminState)


class Changes:
    """Reads requests strictly, and has `operations` do them."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self.verbs: dict[str, Callable[[Request, float], list[str]]] = {
            "set": self._set,
            "add": self._add,
            "remove": self._remove,
            "reload": self._reload,
        }

    def _set(self, request: Request, now: float) -> list[str]:
        operations = self._operations
        if "scheduler" in request:
            _only(request, "virtual_server", "scheduler", "protocol")
            virtual_server = operations.virtual_server(*_place(request))
            return operations.set_scheduler(virtual_server, request["scheduler"], now)
        _only(request, "virtual_server", "real_server", "protocol", "state", "weight")
        virtual_server = operations.virtual_server(*_place(request))
        real_server = operations.real_server(virtual_server, _who(request, "real_server"))
        state = _one_of(request, "state", _STATES)
        weight = request.get("weight")
        if state is None and weight is None:
            raise RequestError("set: neither state nor weight is given")
        return operations.set_real_server(
            virtual_server,
            real_server,
            None if state is None else AdminState(state),
            weight,
            now,
        )

    def _add(self, request: Request, now: float) -> list[str]:
        operations = self._operations
        if "real_server" in request:
            _only(request, "virtual_server", "real_server", "protocol", "weight")
            virtual_server = operations.virtual_server(*_place(request))
            endpoint = operations.endpoint(virtual_server, _who(request, "real_server"))
            weight = request.get("weight", 1)
            return operations.add_real_server(virtual_server, endpoint, weight, now)
        _only(request, "virtual_server", "name", "protocol", "scheduler")
        endpoint = _endpoint(request, "virtual_server")
        protocol = _one_of(request, "protocol", _PROTOCOLS)
        if "name" not in request:
            raise RequestError("add: a virtual server needs a name")
        return operations.add_virtual_server(
            endpoint, protocol or "tcp", request["name"], request.get("scheduler", "rr"), now
        )

    def _remove(self, request: Request, now: float) -> list[str]:
        operations = self._operations
        _only(request, "virtual_server", "real_server", "protocol", "live")
        virtual_server = operations.virtual_server(*_place(request))
        at_once = _one_of(request, "live", _LIVE) == "now"
        if "real_server" not in request:
            return operations.remove_virtual_server(virtual_server, now, at_once=at_once)
        place = _who(request, "real_server")
        real_server = operations.real_server(virtual_server, place, or_lingering=at_once)
        return operations.remove_real_server(virtual_server, real_server, now, at_once=at_once)

    def _reload(self, request: Request, now: float) -> list[str]:
        _only(request)
        return self._operations.reload(now)


def _only(request: Request, *known: str) -> None:
    unknown = sorted(request.keys() - _ALWAYS - set(known))
    if unknown:
        raise RequestError(f"{request['verb']}: unknown field {unknown[0]!r}")


def _place(request: Request) -> tuple[Endpoint | str, str | None]:
    return _who(request, "virtual_server"), _one_of(request, "protocol", _PROTOCOLS)


def _who(request: Request, field: str) -> Endpoint | str:
    """Read an endpoint, or the name that stands in its place."""
    text = request.get(field)
    if isinstance(text, str) and places.may_be_name(text):
        return text
    return _endpoint(request, field)


def _endpoint(request: Request, field: str) -> Endpoint:
    text = request.get(field)
    if not isinstance(text, str):
        raise RequestError(f"{request['verb']}: {field} is not a string ADDRESS:PORT")
    try:
        return Endpoint.parse(text)
    except ValueError as error:
        raise RequestError(f"{request['verb']}: {field}: {error}") from None


def _one_of(request: Request, field: str, allowed: tuple[str, ...]) -> str | None:
    value = request.get(field)
    if value is None or value in allowed:
        return value
    raise RequestError(f"{request['verb']}: {field}: {value!r} is none of {', '.join(allowed)}")
