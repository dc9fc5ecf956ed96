"""The schedulers there are, by the name that the configuration uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lb_switch.engine.scheduling.lc import LeastConnections
from lb_switch.engine.scheduling.mh import Maglev
from lb_switch.engine.scheduling.rr import RoundRobin
from lb_switch.engine.scheduling.sh import SourceHash
from lb_switch.engine.scheduling.wlc import WeightedLeastConnections
from lb_switch.engine.scheduling.wrr import WeightedRoundRobin
from lb_switch.engine.servers import Scheduler

Factory = Callable[[Sequence[str], str], Scheduler]
"""Takes `hash_on` and `hash_key`, which only the hashing schedulers heed."""

CATALOGUE: Mapping[str, Factory] = {
    "rr": lambda _hash_on, _hash_key: RoundRobin(),
    "wrr": lambda _hash_on, _hash_key: WeightedRoundRobin(),
    "lc": lambda _hash_on, _hash_key: LeastConnections(),
    "wlc": lambda _hash_on, _hash_key: WeightedLeastConnections(),
    "sh": SourceHash,
    "mh": Maglev,
}


def make(name: str, *, hash_on: Sequence[str] = ("src_ip",), hash_key: str = "") -> Scheduler:
    """Make a scheduler for one virtual server (it may hold a cursor: never share it).

    Raises ValueError with one clear line for an unknown name or an unknown part in `hash_on`.
    """
    factory = CATALOGUE.get(name)
    if factory is None:
        raise ValueError(f"{name!r} is none of {', '.join(CATALOGUE)}")
    return factory(hash_on, hash_key)
