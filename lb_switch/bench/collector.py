"""The garbage collector as the live loop has it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from lb_switch import runtime


@contextlib.contextmanager
def as_in_the_loop() -> Iterator[None]:
    """Freeze what there is and switch the collector off, as `lb_switch.runtime.Loop.run` does."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def after_a_batch() -> None:
    """Do what the loop does for the collector after each batch of packets."""
    if gc.get_count()[0] > runtime._YOUNG_OBJECTS:
        runtime._sweep()
