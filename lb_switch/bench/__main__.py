"""One benchmark of the engine in this process: `python -m lb_switch.bench NAME [--quick]`.

Prints its result as one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from lb_switch.bench.report import BENCHMARKS


def main() -> int:
    """Run the benchmark of that name."""
    parser = argparse.ArgumentParser(prog="python -m lb_switch.bench")
    parser.add_argument("name", choices=list(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="a tenth of the connections")
    options = parser.parse_args()
    module, function = BENCHMARKS[options.name].rsplit(".", 1)
    run = getattr(importlib.import_module(f"lb_switch.bench.{module}"), function)
    sys.stdout.write(json.dumps(run(options.quick)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
