"""The TCP states as a picture, with the way that a connection took through them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from lb_switch.drawing import document, rect, text
from lb_switch.engine.connections.tcp_state import State
from lb_switch.explain.states import transitions

_WIDTH, _HEIGHT = 760, 330
_BOX, _TALL = 128, 34
_PLACES = {
    State.SYN_RECV: (90, 60),
    State.ESTABLISHED: (300, 60),
    State.FIN_WAIT: (510, 60),
    State.TIME_WAIT: (670, 165),
    State.CLOSE_WAIT: (300, 165),
    State.LAST_ACK: (510, 165),
    State.CLOSE: (400, 285),
}
"""The middle of each state's box."""

_STYLE = """
.state { fill: #eef1f4; stroke: #8ba0b5; stroke-width: 1.3 } .taken { fill: #fdf0d5 }
.last { stroke-width: 4 } .taken, .last { stroke: #9a6c10 }
.way { stroke: #a9b7c4; stroke-width: 1.3; fill: none } .tip { fill: #a9b7c4 }
.way.gone { stroke: #9a4a00; stroke-width: 3 } .tip.gone { fill: #9a4a00 }
.trigger { font-size: 10.5px; fill: #57606a } .trigger.gone { fill: #9a4a00; font-weight: 600 }
"""
_STYLE_DARK = """
.state { fill: #26313b; stroke: #5d7388 } .taken { fill: #3b3018 }
.taken, .last { stroke: #d6a84a } .way { stroke: #55636f } .tip { fill: #55636f }
.way.gone { stroke: #f0b070 } .tip.gone { fill: #f0b070 }
.trigger { fill: #9ba5b0 } .trigger.gone { fill: #f0b070 }
"""


def svg(names: Sequence[str], title: str) -> str:
    """Return the picture.  `names`: the states that the connection was in, in order.

    What leads from one state to another stands at the arrow; RST, which leads from each to CLOSE,
    does not.  Names that are no states of TCP are left out.
    """
    known = {state.name: state for state in _PLACES}
    way = [known[name] for name in names if name in known]
    gone = set(pairwise(way))
    parts: list[str] = []
    for (old, new), triggers in transitions().items():
        # Arrows that were taken stand above the others.
        said = [each for each in triggers if each != "any RST"]
        drawn = list(_arrow(old, new, ", ".join(said), (old, new) in gone))
        parts = [*parts, *drawn] if (old, new) in gone else [*drawn, *parts]
    for pair in sorted(gone - transitions().keys()):
        parts += _arrow(*pair, "", True)
    for state, (x, y) in _PLACES.items():
        kind = (
            "state" + (" taken" if state in way else "") + (" last" if way[-1:] == [state] else "")
        )
        parts += [
            rect(x - _BOX / 2, y - _TALL / 2, _BOX, _TALL, kind, 8),
            text(x, y + 4, state.name, "head middle" if state in way else "middle"),
        ]
    parts.append(text(16, _HEIGHT - 12, "A RST leads from every state to CLOSE.", "small"))
    told = f"{title}: {', then '.join(state.name for state in way)}"
    return document(_WIDTH, _HEIGHT, told, parts, _STYLE, _STYLE_DARK)


def _arrow(old: State, new: State, said: str, gone: bool) -> Iterator[str]:
    """An arrow from edge to edge, with what leads along it."""
    mark = " gone" if gone else ""
    start, end = _edge(old, new), _edge(new, old)
    length = math.dist(start, end)
    step_x, step_y = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    stop = (end[0] - 7 * step_x, end[1] - 7 * step_y)
    yield (
        f'<line class="way{mark}" x1="{start[0]:.1f}" y1="{start[1]:.1f}"'
        f' x2="{stop[0]:.1f}" y2="{stop[1]:.1f}"/>'
    )
    corners = [
        end,
        (stop[0] - 3 * step_x - 4.5 * step_y, stop[1] - 3 * step_y + 4.5 * step_x),
        (stop[0] - 3 * step_x + 4.5 * step_y, stop[1] - 3 * step_y - 4.5 * step_x),
    ]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    yield f'<polygon class="tip{mark}" points="{points}"/>'
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    flat = abs(step_y) < 0.2
    x, y = (middle[0], middle[1] - 24) if flat else (middle[0] + 6, middle[1] + 4)
    for number, line in enumerate(said.split(", ") if said else ()):
        yield text(x, y + 12 * number, line, f"trigger{mark}" + (" middle" if flat else ""))


def _edge(state: State, towards: State) -> tuple[float, float]:
    """Where the line between the middles of two boxes leaves the first."""
    (x, y), (other_x, other_y) = _PLACES[state], _PLACES[towards]
    across, down = other_x - x, other_y - y
    reach = min(
        _BOX / 2 / abs(across) if across else math.inf,
        _TALL / 2 / abs(down) if down else math.inf,
    )
    return x + across * reach, y + down * reach
