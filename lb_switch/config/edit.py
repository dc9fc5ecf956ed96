"""One configuration from another: what `set`, `add` and `remove` do to the running one.

An edit is made on plain data and validated as a file would be, so that an operator is told the
same, whichever way a mistake comes in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lb_switch.config.load import ConfigError, validate
from lb_switch.config.schema import Config, Table, VirtualServerTable
from lb_switch.engine.packet.endpoint import Endpoint

Data = dict[str, Any]

_WHERE = re.compile(r"^virtual_server\[\d+\]\.(real_server\[\d+\]\.)?")


class EditError(Exception):
    """The edited configuration would not be valid; the text is one clear line."""


def add_virtual_server(config: Config, table: Data) -> Config:
    """Return the configuration with one more virtual server.  Raises EditError."""
    return _edited(config, lambda data: data["virtual_server"].append(table))


def remove_virtual_server(config: Config, index: int) -> Config:
    """Return the configuration without a virtual server."""
    return _edited(config, lambda data: data["virtual_server"].pop(index))


def add_real_server(config: Config, index: int, table: Data) -> Config:
    """Return the configuration with one more real server in a group.  Raises EditError."""
    return _edited(config, lambda data: _group(data, index).append(table))


def remove_real_server(config: Config, index: int, endpoint: Endpoint) -> Config:
    """Return the configuration without a real server, which is in the group."""
    number = _place(config, index, endpoint)
    return _edited(config, lambda data: _group(data, index).pop(number))


def set_weight(config: Config, index: int, endpoint: Endpoint, weight: object) -> Config:
    """Return the configuration with another weight of a real server.  Raises EditError."""
    number = _place(config, index, endpoint)
    return _edited(config, lambda data: _group(data, index)[number].update(weight=weight))


def set_scheduler(config: Config, index: int, scheduler: object) -> Config:
    """Return the configuration with another scheduler of a virtual server.  Raises EditError."""
    return _edited(config, lambda data: data["virtual_server"][index].update(scheduler=scheduler))


def place_of(config: Config, endpoint: Endpoint, protocol: str) -> int:
    """Return the index of the virtual server with this VIP, port and protocol.

    Raises LookupError.
    """
    for index, table in enumerate(config.virtual_server):
        if (table.address, table.protocol) == (endpoint, protocol):
            return index
    raise LookupError(f"{protocol} {endpoint}")


def as_data(config: Config) -> Data:
    """Return what a TOML file with this configuration holds: `validate` gives it back."""
    data: Data = _plain(config)
    return data


def _plain(value: object) -> Any:
    match value:
        case Table():
            return {key: _plain(getattr(value, key)) for key in type(value).model_fields}
        case Endpoint():
            return str(value)
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case tuple():
            return [_plain(each) for each in value]
        case str() | int() | float():
            return value
        case None:
            return ""
        case _:
            return str(value)


def _edited(config: Config, edit: Callable[[Data], object]) -> Config:
    data = as_data(config)
    edit(data)
    try:
        return validate(data)
    except ConfigError as error:
        raise EditError("; ".join(_WHERE.sub("", line) for line in error.lines)) from None


def _group(data: Data, index: int) -> list[Data]:
    group: list[Data] = data["virtual_server"][index]["real_server"]
    return group


def _place(config: Config, index: int, endpoint: Endpoint) -> int:
    table: VirtualServerTable = config.virtual_server[index]
    return [each.address for each in table.real_server].index(endpoint)
