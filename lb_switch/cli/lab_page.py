"""A lab behind its page: what `lb_switch.web` asks for, done by `netns_lab.acts`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lb_switch.harmless import harmless
from lb_switch.web.lab import RefusedError
from netns_lab import acts, names
from netns_lab.errors import LabError
from netns_lab.lab import Lab


class _Act(BaseModel):
    model_config = ConfigDict(extra="forbid")

    host: str


class _Simple(_Act):
    act: Literal["kill", "start", "unplug", "plug", "end_load"]


class _Fault(_Act):
    act: Literal["fault"]
    status: int = Field(200, ge=200, lt=600)
    seconds: float = Field(0.0, ge=0, le=acts.LONGEST_DELAY)
    silent: bool = False


class _Request(_Act):
    act: Literal["request"]
    virtual_server: str
    count: int = Field(1, ge=1, le=1000)


class _Load(_Act):
    act: Literal["load"]
    virtual_server: str
    rate: float = Field(gt=0, le=500)
    seconds: float = Field(gt=0, le=600)


_ANY: TypeAdapter[_Simple | _Fault | _Request | _Load] = TypeAdapter(
    _Simple | _Fault | _Request | _Load
)
_SIMPLE: Mapping[str, Callable[[Lab, str], str]] = {
    "kill": acts.kill,
    "start": acts.start,
    "unplug": acts.unplug,
    "plug": acts.plug,
    "end_load": acts.end_load,
}


class LabPage:
    """A lab that is up."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def state(self) -> dict[str, Any]:
        """Return its machines and virtual servers, as JSON can hold it.  Raises RefusedError."""
        with _refusals():
            machines = acts.machines(self._lab)
        return {
            "machines": [
                {
                    "name": each.name,
                    "addresses": list(each.addresses),
                    "is_server": each.runs is not None,
                    "said": each.text,
                }
                for each in machines
            ],
            "virtual_servers": [each.name for each in self._lab.topology.virtual_servers],
        }

    def act(self, wanted: Mapping[str, Any]) -> list[str]:
        """Do what is wanted, and say what was done.  Raises RefusedError."""
        try:
            act = _ANY.validate_python(dict(wanted))
        except ValidationError:
            raise RefusedError("the lab knows no such act") from None
        with _refusals():
            return self._done(act)

    def _done(self, act: _Simple | _Fault | _Request | _Load) -> list[str]:
        lab = self._lab
        if isinstance(act, _Simple):
            return [_SIMPLE[act.act](lab, act.host)]
        if isinstance(act, _Fault):
            return [acts.misbehave(lab, act.host, acts.Fault(act.status, act.seconds, act.silent))]
        url = names.url(lab.topology, names.virtual_server(lab.topology, act.virtual_server))
        if isinstance(act, _Load):
            return [acts.begin_load(lab, act.host, url, act.rate, act.seconds)]
        # One after the other, they would wait long for servers that answer nothing.
        answers = acts.request_some(lab, act.host, url, act.count, parallel=min(act.count, 10))
        return [harmless(each) for each in answers.lines]


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except LabError as error:
        raise RefusedError(harmless(str(error))) from None
