"""One run of the coverage-guided fuzzer, with a time budget and a report.

    python -m tests.fuzz.campaign [SECONDS] [--seeds DIR]... [--keep DIR]

The committed corpus is read, never written: what libFuzzer finds interesting goes to a temporary
directory, or to the one of `--keep`.  `--seeds` takes capture files or inputs of one's own: the
packets of a capture become inputs that send them as they are.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.handle_packet import COUNTS
from tests.fuzz.inputs import raw_packets

CORPUS = Path(__file__).parent / "corpus"
FINDINGS = Path("fuzz-findings")
MAX_INPUT = 600
"""Bytes of one input: about 130 packets."""
CAPTURES = {".pcap", ".pcapng", ".cap"}


def seeds(directory: Path) -> Iterator[bytes]:
    """Yield inputs made from the files of a directory; a capture that cannot be read has none."""
    from scapy.error import Scapy_Exception
    from scapy.layers.inet import IP
    from scapy.layers.inet6 import IPv6
    from scapy.utils import rdpcap

    for path in sorted(directory.iterdir()):
        if path.suffix not in CAPTURES:
            yield path.read_bytes()
            continue
        try:
            with path.open("rb") as file:
                packets = rdpcap(file, count=20)
        except (Scapy_Exception, OSError, EOFError, ValueError, IndexError):
            continue
        for packet in packets:
            for layer in (IP, IPv6):
                if layer in packet:
                    yield raw_packets([bytes(packet[layer].original)])


def target(count_file: Path, seconds: int, directories: list[Path]) -> list[str]:
    """Return the command that runs the fuzz target."""
    return [
        sys.executable,
        "-m",
        "tests.fuzz.handle_packet",
        str(count_file),
        f"-max_total_time={seconds}",
        f"-max_len={MAX_INPUT}",
        "-len_control=0",
        "-timeout=30",
        f"-artifact_prefix={FINDINGS}/",
        *map(str, directories),
    ]


def campaign(seconds: int, seed_directories: list[Path], keep: Path | None) -> int:
    """Fuzz; print the report; return the exit code."""
    FINDINGS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        found = keep or scratch / "found"
        found.mkdir(exist_ok=True)
        made = scratch / "seeds"
        made.mkdir()
        for directory in seed_directories:
            for number, data in enumerate(seeds(directory)):
                (made / f"{directory.name}-{number}").write_bytes(data)
        command = target(scratch / "counts", seconds, [found, CORPUS, made])
        begin = time.monotonic()
        log = scratch / "log"
        with log.open("wb") as output:
            ended = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
        took = time.monotonic() - begin
        inputs, packets = COUNTS.unpack((scratch / "counts").read_bytes())
        result = "no finding" if ended.returncode == 0 else "A FINDING"
        print(f"fuzz: {packets:,} packets in {inputs:,} inputs, {took:.0f} s: {result}")
        if ended.returncode == 0:
            if not any(FINDINGS.iterdir()):
                FINDINGS.rmdir()
            return 0
        sys.stderr.write(log.read_text(errors="replace")[-6000:])
        print(f"fuzz: the input is in {FINDINGS}/; python -m tests.fuzz.replay FILE", flush=True)
        return 1


def main() -> None:
    """Read the arguments and fuzz."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("seconds", nargs="?", type=int, default=60)
    parser.add_argument("--seeds", action="append", type=Path, default=[], metavar="DIR")
    parser.add_argument("--keep", type=Path, metavar="DIR")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.exit("fuzz: atheris is not installed: start scripts/fuzz, which does that")
    os.nice(10)
    sys.exit(campaign(options.seconds, options.seeds, options.keep))


if __name__ == "__main__":
    main()
