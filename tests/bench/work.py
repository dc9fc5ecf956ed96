"""How much work a piece of code does, counted instead of timed: the same on every machine."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

Body = Callable[[], object]


def opcodes(body: Body) -> int:
    """Bytecode instructions that one call executes, its own and those of whatever it calls."""
    return _monitored(body) if sys.version_info >= (3, 12) else _traced(body)


def _monitored(body: Body) -> int:
    """By sys.monitoring (PEP 669): tracing of instructions is not reliable in 3.12 and 3.13."""
    if sys.version_info < (3, 12):
        raise NotImplementedError
    count = 0

    def instruction(_code: CodeType, _offset: int) -> None:
        nonlocal count
        count += 1

    monitoring = sys.monitoring
    tool = next(each for each in range(6) if monitoring.get_tool(each) is None)
    monitoring.use_tool_id(tool, "short road guard")
    try:
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, instruction)
        monitoring.set_events(tool, monitoring.events.INSTRUCTION)
        count = 0
        body()
        monitoring.set_events(tool, 0)
    finally:
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, None)
        monitoring.free_tool_id(tool)
    return count


def _traced(body: Body) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        body()
    finally:
        sys.settrace(before)
    return count


def calls(body: Body, ignored: CodeType) -> list[str]:
    """The names of the functions that one call calls, in order: Python's and C's.

    ignored: the code of `body` itself, which is the counter's and not the counted one's.
    """
    names: list[str] = []

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is not ignored:
            names.append(frame.f_code.co_name)
        elif event == "c_call" and argument is not sys.setprofile:
            names.append(argument.__name__)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        body()
    finally:
        sys.setprofile(before)
    return names


def growth(body: Body, times: int) -> int:
    """Memory blocks that `times` calls leave behind, less what a call leaves on free lists.

    The least of several tries: what the interpreter itself sets aside comes once.
    """
    turns = range(times)

    def try_once() -> int:
        before = sys.getallocatedblocks()
        for _ in turns:
            body()
        return sys.getallocatedblocks() - before

    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        return min(try_once() for _ in range(5))
    finally:
        if enabled:
            gc.enable()


def containers(body: Body, times: int) -> int:
    """Objects that the collector would have to look at, left behind by `times` calls."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        before = gc.get_count()[0]
        for _ in range(times):
            body()
        return gc.get_count()[0] - before
    finally:
        if enabled:
            gc.enable()
