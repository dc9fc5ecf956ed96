"""Small datagrams: an echo server, and a client that keeps a number of them under way.

A closed loop measures what a balancer can carry; an open flood would measure how kernels drop.
Each datagram has a number.  What has not come back after PATIENCE seconds without any answer
counts as lost, and the loop is filled again.

    python -m netns_lab.bench.udp server ADDRESS:PORT
    python -m netns_lab.bench.udp client ADDRESS:PORT --seconds 5 --window 64 --payload 64
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time

PATIENCE = 0.1
"""Seconds without any answer until everything under way counts as lost."""
_BUFFER = 4 * 1024 * 1024
_NUMBER = 8
"""Bytes of a datagram's number."""


def serve(address: tuple[str, int]) -> None:
    """Send every datagram back, for ever."""
    with _socket() as server:
        server.bind(address)
        buffer = bytearray(65536)
        view = memoryview(buffer)
        while True:
            size, sender = server.recvfrom_into(buffer)
            server.sendto(view[:size], sender)


def call(address: tuple[str, int], seconds: float, window: int, payload: int) -> dict[str, float]:
    """Keep `window` datagrams of `payload` bytes under way; return what came of it.

    `answered` counts datagrams that came back, `lost` those that did not, within `seconds`.
    """
    padding = bytes(payload - _NUMBER)
    with _socket() as client:
        client.connect(address)
        client.settimeout(PATIENCE)
        sent = answered = lost = epoch_start = 0
        buffer = bytearray(65536)
        send, receive, clock = client.send, client.recv_into, time.perf_counter
        start = clock()
        end = start + seconds
        for _ in range(window):
            send(sent.to_bytes(_NUMBER, "big") + padding)
            sent += 1
        while clock() < end:
            try:
                receive(buffer)
            except TimeoutError:
                lost += window
                epoch_start = sent
                fresh = window
            except ConnectionRefusedError:
                # An ICMP error: the server (or a balancer) is not there.
                lost += 1
                fresh = 1
            else:
                if int.from_bytes(buffer[:_NUMBER], "big") < epoch_start:
                    continue  # given up already
                answered += 1
                fresh = 1
            for _ in range(fresh):
                send(sent.to_bytes(_NUMBER, "big") + padding)
                sent += 1
        return {"answered": answered, "lost": lost, "seconds": clock() - start}


def _socket() -> socket.socket:
    created = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    created.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    created.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return created


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> int:
    """Run as one of the two programs."""
    parser = argparse.ArgumentParser(prog="netns_lab.bench.udp")
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("address", type=_address, metavar="ADDRESS:PORT")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--window", type=int, default=64)
    parser.add_argument("--payload", type=int, default=64, help="bytes, 8 or more")
    options = parser.parse_args()
    if options.payload < _NUMBER:
        parser.error(f"--payload is at least {_NUMBER}")
    if options.role == "server":
        serve(options.address)
    else:
        result = call(options.address, options.seconds, options.window, options.payload)
        sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
