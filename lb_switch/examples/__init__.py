"""A configuration, a capture and a recording to try everything offline with, at once.

The capture is what a switch with this configuration receives, and `python -m lb_switch.examples
FILE` makes it.  The recording is what the switch tells about it, as `lb-switch replay --example
--record FILE` writes it.  The tests prove that both are what this version makes.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
CONFIG = FOLDER / "example.toml"
CAPTURE = FOLDER / "example.pcap"
RECORDING = FOLDER / "example.jsonl"
