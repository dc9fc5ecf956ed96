"""Run single inputs, a finding for example, without atheris: python -m tests.fuzz.replay FILE..."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fuzz.world import run

for name in sys.argv[1:]:
    world = run(Path(name).read_bytes())
    reasons = ", ".join(f"{reason.value} {n}" for reason, n in world.reasons.most_common())
    print(f"{name}: {world.packets} packets: {reasons}")
