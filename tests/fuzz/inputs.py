"""Inputs of the fuzzer written by hand: what `tests.fuzz.world` reads, as a small language.

The committed corpus is made from these (`python -m tests.fuzz.inputs` writes it anew) and from
inputs that reached something new in a long run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

# The low half of a step's byte (see World.run): which step.
TCP, UDP, FRAGMENT, ANSWER, ERROR, ECHO, RAW, BEND, SHAPE, TIME, CONTROL = 0, 5, *range(7, 16)
SYN, ACK, DATA, FIN, RST = 0, 1, 2, 3, 4
SYN_ACK, PLAIN, FIN_ACK, RST_ACK = range(4)
# Settings: a table of eight with "reset"; rr, "reset" on down.
PLAIN_SETTINGS = bytes([7, 0])
# And room for the fragments of two datagrams, 200 bytes together.
LITTLE_ROOM = bytes([7, 1])
MAX_RAW = 255


def step(kind: int, more: int = 0, *rest: int) -> bytes:
    """Return one step: its byte, and what it reads."""
    return bytes([more << 4 | kind, *rest])


def way(version: int, service: int, port: int = 0, choice: int = 0) -> int:
    """Return the byte that says where a packet goes; see World.ends."""
    return (version == 6) | service << 1 | port << 4 | choice << 6


def handshake(where: int) -> bytes:
    """SYN, SYN/ACK, ACK of a TCP connection."""
    return step(TCP, SYN, where) + step(ANSWER, SYN_ACK) + step(ANSWER, PLAIN)


def exchange(where: int) -> bytes:
    """A handshake, after which both sides go on: such a connection is proved."""
    on = step(TCP, DATA, where) + step(ANSWER, PLAIN)
    return handshake(where) + on + on


def conversation(where: int) -> bytes:
    """A whole TCP connection, closed by the client, and its port used again."""
    data = step(TCP, DATA, where) + step(ANSWER, PLAIN)
    close = step(TCP, FIN, where) + step(ANSWER, FIN_ACK) + step(ANSWER, PLAIN)
    return handshake(where) + data * 3 + close + step(TCP, SYN, where)


def raw_packets(packets: Iterable[bytes]) -> bytes:
    """Send packets as they are, or their first 255 bytes."""
    return PLAIN_SETTINGS + b"".join(
        step(RAW, 0, len(packet[:MAX_RAW])) + packet[:MAX_RAW] for packet in packets
    )


def written() -> dict[str, bytes]:
    """Return the inputs by name."""
    inputs = {}
    for version in (4, 6):
        for service, name in enumerate(("web", "web-full", "shared")):
            where = way(version, service)
            inputs[f"tcp-{name}-{version}"] = conversation(where) * 4
            inputs[f"reset-{name}-{version}"] = (
                handshake(where) + step(TCP, RST, where, 0) + step(TCP, SYN, where)
            ) * 8
            inputs[f"server-closes-{name}-{version}"] = (
                handshake(where)
                + step(TCP, DATA, where)
                + step(ANSWER, FIN_ACK)
                + step(ANSWER, FIN_ACK)
                + step(ANSWER, PLAIN)
            )
        for service, name in enumerate(("dns", "dns-ops", "dns-full")):
            where = way(version, service)
            asked = step(UDP, 0, where) + step(ANSWER) + step(UDP, 8, where)
            inputs[f"udp-{name}-{version}"] = asked * 12
        where = way(version, 0)
        inputs[f"errors-{version}"] = b"".join(
            step(TCP, SYN, where) + step(ERROR, kind, size) + step(ANSWER) + step(ERROR, kind, size)
            for kind in range(8)
            for size in (0, 10, 63)
        )
        fragments = [step(FRAGMENT, 0, where, how) for how in (0x20, 0x23, 0x2D, 0x90, 0x28)]
        inputs[f"fragments-{version}"] = b"".join(fragments + fragments[::-1]) * 4 + step(TIME, 4)
        inputs[f"down-{version}"] = b"".join(
            handshake(where)
            + step(CONTROL, more, 0)
            + step(TCP, DATA, where)
            + step(TCP, SYN, where)
            for more in range(16)
        )
        web = 0 if version == 4 else 6
        out = step(CONTROL, 4, web) + step(CONTROL, 8, web | 1 << 4)
        inputs[f"waits-{version}"] = b"".join(
            handshake(where) + out + step(TIME, 4) + more + step(TIME, 4) + step(TCP, SYN, where)
            for more in (b"", step(TCP, ACK, where), step(TCP, DATA, where))
        )
        inputs[f"shapes-{version}"] = b"".join(
            step(SHAPE, more, cut) + step(TCP, SYN, where)
            for more in range(16)
            for cut in (0, 9, 200)
        )
        dns, group = way(version, 0), 3 if version == 4 else 9
        inputs[f"rescheduled-{version}"] = b"".join(
            step(UDP, 0, dns) + step(CONTROL, 4 + up, group | member << 4)
            for _ in range(8)
            for member, up in ((0, 0), (0, 1), (1, 0), (1, 1))
        )
        inputs[f"refused-{version}"] = step(UDP, 0, way(version, 3)) * 60
        inputs[f"fragmented-echo-{version}"] = step(FRAGMENT, 4, where, 0x20) * 9
        held = [step(FRAGMENT, number, where, 0x30 | at) for number in (0, 1) for at in (1, 4, 7)]
        inputs[f"held-{version}"] = b"".join(held) * 3
        places = [way(version, 0, port, choice) for port in range(4) for choice in (0, 1)]
        full = b"".join(map(exchange, places)) + step(TCP, SYN, way(version, 2))
        inputs[f"full-{version}"] = full * 2
        arm = [way(version, 1, port) for port in range(3)]
        used_up = exchange(arm[0]) + exchange(arm[1]) + step(TCP, SYN, arm[2])
        inputs[f"used-up-{version}"] = used_up
    inputs["echo"] = b"".join(step(ECHO, more) for more in range(16)) * 3
    inputs["time"] = b"".join(
        step(TCP, SYN, way(4, 0, n & 3)) + step(TIME, n & 7) for n in range(40)
    )
    return {
        name: (LITTLE_ROOM if name.startswith("held") else PLAIN_SETTINGS) + data
        for name, data in inputs.items()
    }


def main() -> None:
    """Write them into the corpus."""
    directory = Path(__file__).parent / "corpus"
    directory.mkdir(exist_ok=True)
    for name, data in written().items():
        (directory / name).write_bytes(data)


if __name__ == "__main__":
    main()
