"""The garbage collector as the live loop has it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def as_in_the_loop() -> Iterator[None]:
    """Freeze what there is and switch the collector off, as `Loop.run` does."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
