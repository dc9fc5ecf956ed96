"""The coverage-guided fuzz target: atheris (libFuzzer) drives `tests.fuzz.world`.

    python -m tests.fuzz.handle_packet COUNT_FILE [libFuzzer's options] CORPUS...

`scripts/fuzz` starts it, with a time budget.  COUNT_FILE is kept up to date with the numbers of
inputs and packets, since libFuzzer ends the process without a last word.
"""

from __future__ import annotations

import mmap
import struct
import sys
from collections.abc import Callable
from pathlib import Path

COUNTS = struct.Struct("!QQ")


def counting(path: Path) -> Callable[[bytes], None]:
    """Return the target: run one input, then add to the counts in the file at `path`."""
    path.write_bytes(bytes(COUNTS.size))
    with path.open("r+b") as file:
        counts = mmap.mmap(file.fileno(), COUNTS.size)
    from tests.fuzz.world import World

    def one_input(data: bytes) -> None:
        world = World(data)
        try:
            world.run()
        finally:
            inputs, packets = COUNTS.unpack_from(counts)
            COUNTS.pack_into(counts, 0, inputs + 1, packets + world.packets)

    return one_input


def main() -> None:
    """Fuzz until libFuzzer's options say it is enough."""
    import atheris

    with atheris.instrument_imports(include=["lb_switch"], exclude=["lb_switch.engine.invariants"]):
        target = counting(Path(sys.argv[1]))
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
