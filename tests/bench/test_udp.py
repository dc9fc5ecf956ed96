"""The UDP client and server, over loopback."""

import socket
import threading

from netns_lab.bench import udp


def test_a_closed_loop_counts_what_comes_back() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.05)
        over = threading.Event()

        def echo() -> None:
            while not over.is_set():
                try:
                    data, sender = server.recvfrom(100)
                except TimeoutError:
                    continue
                server.sendto(data, sender)

        thread = threading.Thread(target=echo)
        thread.start()
        try:
            result = udp.call(server.getsockname(), seconds=0.2, window=8, payload=64)
        finally:
            over.set()
            thread.join()
    assert result["answered"] > 8
    assert result["seconds"] >= 0.2


def test_what_is_not_answered_is_lost() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        result = udp.call(silent.getsockname(), seconds=0.25, window=8, payload=64)
    assert result["answered"] == 0
    assert result["lost"] >= 16
