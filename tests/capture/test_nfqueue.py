"""The nfqueue capture against a kernel of our own at the other end of its socket."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Iterable, Iterator
from functools import partial

import pytest

from lb_switch.capture.interface import DEFAULT_QUEUE, CaptureError
from lb_switch.capture.nfqueue import NfqueueCapture
from lb_switch.capture.nfqueue_messages import copy_range, merged_too
from lb_switch.capture.nfqueue_socket import QueueSocket
from lb_switch.engine.packet.checksum import pseudo_header_sum
from lb_switch.engine.packet.endpoint import Endpoint
from lb_switch.engine.packet.protocol import TCP, UDP
from lb_switch.engine.scheduling.rr import RoundRobin
from lb_switch.engine.servers import RealServer, VirtualServer
from lb_switch.engine.switch import Switch
from lb_switch.engine.verdict import Action, Reason, Verdict
from tests.capture.queue_messages import (
    CAP_LEN,
    POSTROUTING,
    PREROUTING,
    SKB_INFO,
    Answer,
    acknowledgement,
    answers,
    attribute,
    packet_message,
)
from tests.support.packets import dissect, tcp, udp

SYN = tcp(("10.0.1.2", 40000), ("10.0.1.100", 80), "S")
CLOSED = tcp(("10.0.1.2", 40000), ("10.0.1.100", 81), "S")
STRANGER = tcp(("10.0.1.2", 40000), ("10.0.9.9", 80), "S")
ACCEPT, DROP = 1, 0


class Kernel:
    """The far end of a capture's netlink socket."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.socket, self.theirs = ours, theirs
        ours.setblocking(False)
        self._next_id = 0

    def queue(self, packet: bytes, hook: int = PREROUTING, others: bytes = b"") -> int:
        self._next_id += 1
        self.socket.send(packet_message(packet, self._next_id, hook, others))
        return self._next_id

    def datagrams(self) -> Iterator[bytes]:
        while True:
            try:
                yield self.socket.recv(1 << 18)
            except BlockingIOError:
                return

    def answers(self) -> list[Answer]:
        return [answer for datagram in self.datagrams() for answer in answers(datagram)]


class Opened(NfqueueCapture):
    """The capture as `open` leaves it, on a socket of ours."""

    def __init__(self, kernel: Kernel, netlink: socket.socket | None = None) -> None:
        super().__init__(())
        self._socket = QueueSocket(netlink or kernel.theirs, self.queue)
        self.kernel = kernel
        self.sent: list[bytes] = []
        self.answered_before: list[list[Answer]] = []
        """The verdicts that came before each call of `send`, since the last."""

    def send(self, packets: Iterable[bytes]) -> None:
        self.answered_before.append(self.kernel.answers())
        self.sent.extend(packets)


@pytest.fixture
def switch() -> Switch:
    return serving(TCP)


def serving(protocol: int) -> Switch:
    made = Switch()
    real_servers = [RealServer(Endpoint.parse("10.0.2.11:8080"))]
    vip = Endpoint.parse("10.0.1.100:80")
    made.add_virtual_server(VirtualServer("web", vip, protocol, RoundRobin(), real_servers))
    return made


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    with made.socket, made.theirs:
        yield made


def test_every_packet_gets_its_verdict_in_order_in_one_datagram(
    switch: Switch, kernel: Kernel
) -> None:
    capture = Opened(kernel)
    capture._alone = False
    for packet in (SYN, STRANGER, CLOSED, b"\x45", b""):
        kernel.queue(packet)
    assert capture.handle_batch(switch, 1.0, 64) == 5
    [datagram] = kernel.datagrams()
    forwarded, passed, reset, *short = answers(datagram)
    assert (forwarded.queue, forwarded.packet_id, forwarded.verdict) == (DEFAULT_QUEUE, 1, ACCEPT)
    assert forwarded.packet is not None
    assert dissect(forwarded.packet).dst == "10.0.2.11"
    assert passed == Answer(DEFAULT_QUEUE, 2, ACCEPT, None)
    assert reset == Answer(DEFAULT_QUEUE, 3, DROP, None)
    assert short == [Answer(DEFAULT_QUEUE, 4, DROP, None), Answer(DEFAULT_QUEUE, 5, DROP, None)]
    assert [dissect(packet)["TCP"].flags for packet in capture.sent] == ["RA"]
    assert capture.handle_batch(switch, 1.0, 64) == 0


def test_a_batch_is_bounded(switch: Switch, kernel: Kernel) -> None:
    capture = Opened(kernel)
    for _ in range(5):
        kernel.queue(SYN)
    assert [capture.handle_batch(switch, 1.0, 2) for _ in range(4)] == [2, 2, 1, 0]
    assert [answer.packet_id for answer in kernel.answers()] == [1, 2, 3, 4, 5]


def test_large_packets_do_not_run_out_of_the_buffer(switch: Switch, kernel: Kernel) -> None:
    capture = Opened(kernel)
    large = tcp(("10.0.1.2", 40000), ("10.0.1.100", 80), "S", payload=bytes(range(256)) * 250)
    handled = 0
    for _ in range(4):
        for _ in range(3):
            kernel.queue(large)
        handled += capture.handle_batch(switch, 1.0, 64)
        for answer in kernel.answers():
            assert answer.verdict == ACCEPT
            assert answer.packet is not None
            assert answer.packet[-64_000:] == large[-64_000:]
    assert handled == 12


def test_what_is_not_about_a_packet_is_passed_over(switch: Switch, kernel: Kernel) -> None:
    capture = Opened(kernel)
    kernel.queue(STRANGER)
    kernel.socket.send(acknowledgement(errno.ENOENT))
    kernel.queue(STRANGER)
    assert capture.handle_batch(switch, 1.0, 64) == 3
    assert kernel.answers() == [
        Answer(DEFAULT_QUEUE, 1, ACCEPT, None),
        Answer(DEFAULT_QUEUE, 2, ACCEPT, None),
    ]


def test_a_cut_packet_is_dropped_and_counted(switch: Switch, kernel: Kernel) -> None:
    capture = Opened(kernel)
    kernel.queue(STRANGER[:30], others=attribute(CAP_LEN, b"\0\0\0\x28"))
    kernel.socket.send(packet_message(STRANGER, 2)[:50])
    capture.handle_batch(switch, 1.0, 64)
    assert kernel.answers() == [
        Answer(DEFAULT_QUEUE, 1, DROP, None),
        Answer(DEFAULT_QUEUE, 2, DROP, None),
    ]
    assert switch.counters[Reason.CUT_BY_CAPTURE] == 2


def test_an_exception_in_the_engine_costs_its_packet_alone(
    switch: Switch,
    kernel: Kernel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    handle = switch.handle_packet

    def broken(
        buffer: bytearray, start: int, length: int, now: float, partial: bool = False
    ) -> Verdict:
        if bytes(buffer[start : start + length]) == SYN:
            raise RuntimeError("a bug")
        return handle(buffer, start, length, now, partial)

    monkeypatch.setattr(switch, "handle_packet", broken)
    capture = Opened(kernel)
    for packet in (STRANGER, SYN, STRANGER):
        kernel.queue(packet)
    with caplog.at_level(logging.ERROR):
        capture.handle_batch(switch, 1.0, 64)
    assert [answer.verdict for answer in kernel.answers()] == [ACCEPT, DROP, ACCEPT]
    assert switch.counters[Reason.INTERNAL_ERROR] == 1


def test_a_packet_that_would_come_back_is_not_let_go(switch: Switch, kernel: Kernel) -> None:
    capture = Opened(kernel)
    capture._captured = frozenset({bytes([10, 0, 9, 9])})
    kernel.queue(STRANGER)
    kernel.queue(tcp(("10.0.1.2", 40000), ("10.0.9.8", 80), "S"))
    capture.handle_batch(switch, 1.0, 64)
    assert [answer.verdict for answer in kernel.answers()] == [DROP, ACCEPT]
    assert capture.circling == 1


@pytest.mark.parametrize(("hook", "expected"), [(PREROUTING, [63]), (POSTROUTING, [64, 1])])
def test_released_fragments_follow_their_first_one_and_take_as_many_hops(
    switch: Switch,
    kernel: Kernel,
    monkeypatch: pytest.MonkeyPatch,
    hook: int,
    expected: list[int],
) -> None:
    """At PREROUTING the first one is still to be routed: the host takes a hop from it."""
    released = tuple(with_ttl(ttl) for ttl in (64, 1))
    verdict = Verdict(Action.FORWARD, Reason.FRAGMENT, released)
    monkeypatch.setattr(switch, "handle_packet", lambda *_: verdict)
    capture = Opened(kernel)
    kernel.queue(SYN, hook)
    capture.handle_batch(switch, 1.0, 64)
    assert [packet[8] for packet in capture.sent] == expected
    [[first]] = capture.answered_before
    assert first.packet == SYN


@pytest.mark.parametrize(("hook", "routed"), [(PREROUTING, False), (POSTROUTING, True)])
def test_whoever_listens_can_ask_whether_the_host_took_its_hop(
    switch: Switch, kernel: Kernel, hook: int, routed: bool
) -> None:
    capture = Opened(kernel)
    said: list[bool] = []
    switch.listen(lambda _event: said.append(capture.routed))
    kernel.queue(SYN, POSTROUTING if hook == PREROUTING else PREROUTING)
    kernel.queue(SYN, hook)
    capture.handle_batch(switch, 1.0, 64)
    assert said[-1] is routed
    assert said[0] is not routed


def with_ttl(ttl: int) -> bytes:
    packet = bytearray(udp(("10.0.1.2", 1), ("10.0.2.2", 2), b""))
    packet[8] = ttl
    return bytes(packet)


# --- what the host leaves to a network card ------------------------------------------------------


PARTIAL, MERGED = 1, 2


@pytest.mark.parametrize("protocol", [TCP, UDP])
@pytest.mark.parametrize(
    ("hook", "info", "completed"),
    [
        (PREROUTING, 0, {TCP, UDP}),
        (PREROUTING, PARTIAL, {TCP, UDP}),
        (POSTROUTING, PARTIAL, {TCP, UDP}),
        (PREROUTING, PARTIAL | MERGED, {TCP}),
        (POSTROUTING, PARTIAL | MERGED, set()),
    ],
)
def test_a_partial_checksum_is_completed_where_the_kernel_would_not(
    kernel: Kernel, protocol: int, hook: int, info: int, completed: set[int]
) -> None:
    switch = serving(protocol)
    make = udp if protocol == UDP else partial(tcp, flags="S")
    packet = make(("10.0.1.2", 40000), ("10.0.1.100", 80), payload=b"odd")
    expected = make(("10.0.1.2", 40000), ("10.0.2.11", 8080), payload=b"odd")
    if info:
        packet = with_pseudo_header_sum(packet)
    if protocol not in completed:
        expected = with_pseudo_header_sum(expected)
    capture = Opened(kernel)
    kernel.queue(packet, hook, attribute(SKB_INFO, bytes([0, 0, 0, info])))
    capture.handle_batch(switch, 1.0, 64)
    [answer] = kernel.answers()
    assert answer.packet == expected


def with_pseudo_header_sum(packet: bytes) -> bytes:
    field = 36 if packet[9] == TCP else 26
    total = pseudo_header_sum(packet[12:16], packet[16:20], packet[9], len(packet) - 20)
    return packet[:field] + total.to_bytes(2, "big") + packet[field + 2 :]


# --- when verdicts are sent ----------------------------------------------------------------------


class Watched:
    """A socket that notes the order in which its methods are called."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> object:
        if name in {"recv_into", "sendmsg"}:
            self.calls.append(name)
        return getattr(self._real, name)


def test_a_packet_after_one_that_came_alone_does_not_wait_for_others(
    switch: Switch, kernel: Kernel
) -> None:
    watched = Watched(kernel.theirs)
    capture = Opened(kernel, watched)  # type: ignore[arg-type]
    orders = []
    for packets in (1, 3, 2, 1, 1):
        for _ in range(packets):
            kernel.queue(STRANGER)
        capture.handle_batch(switch, 1.0, 64)
        orders.append("".join(call[0] for call in watched.calls))
        watched.calls.clear()
    assert orders == ["rsr", "rsrrrs", "rrrs", "rrs", "rsr"]
    assert [answer.packet_id for answer in kernel.answers()] == list(range(1, 9))


# --- a socket that fails -------------------------------------------------------------------------


class Failing:
    """A socket whose methods fail with these error numbers, in turn (0: they do not)."""

    def __init__(self, real: socket.socket, errors: dict[str, list[int]]) -> None:
        self._real = real
        self._errors = errors

    def __getattr__(self, name: str) -> object:
        errors = self._errors.get(name)
        number = errors.pop(0) if errors else 0
        if not number:
            return getattr(self._real, name)

        def fail(*_: object) -> None:
            raise OSError(number, "as told")

        return fail


def opened(kernel: Kernel, **errors: list[int]) -> Opened:
    return Opened(kernel, Failing(kernel.theirs, errors))  # type: ignore[arg-type]


def test_overruns_are_counted_and_survived(switch: Switch, kernel: Kernel) -> None:
    capture = opened(kernel, recv_into=[errno.ENOBUFS, errno.ENOBUFS])
    kernel.queue(STRANGER)
    assert capture.handle_batch(switch, 1.0, 64) == 1
    assert capture.overruns == 2


def test_a_socket_that_fails_ends_the_capture_after_the_verdicts_at_hand(
    switch: Switch, kernel: Kernel
) -> None:
    capture = opened(kernel, recv_into=[0, errno.EBADF])
    kernel.queue(STRANGER)
    with pytest.raises(CaptureError, match=f"NFQUEUE {DEFAULT_QUEUE}: as told"):
        capture.handle_batch(switch, 1.0, 64)
    assert kernel.answers() == [Answer(DEFAULT_QUEUE, 1, ACCEPT, None)]


def test_what_cannot_be_sent_together_is_sent_one_by_one_and_dropped_at_worst(
    switch: Switch, kernel: Kernel
) -> None:
    capture = opened(kernel, sendmsg=[errno.ENOBUFS], send=[0, errno.ENOBUFS])
    capture._alone = False
    for _ in range(3):
        kernel.queue(SYN)
    capture.handle_batch(switch, 1.0, 64)
    assert [answer.verdict for answer in kernel.answers()] == [ACCEPT, DROP, ACCEPT]
    assert capture.refused == 1


def test_a_packet_that_cannot_even_be_dropped_ends_the_capture(
    switch: Switch, kernel: Kernel
) -> None:
    capture = opened(kernel, sendmsg=[errno.EBADF], send=[errno.EBADF] * 2)
    kernel.queue(SYN)
    with pytest.raises(CaptureError, match=f"NFQUEUE {DEFAULT_QUEUE}: as told"):
        capture.handle_batch(switch, 1.0, 64)


# --- whole packets -------------------------------------------------------------------------------


def test_whole_packets_are_asked_for_and_early_ones_dropped(kernel: Kernel) -> None:
    kernel.queue(STRANGER)
    kernel.socket.send(acknowledgement())
    QueueSocket(kernel.theirs, 100).copy_whole_packets()
    request, answer = kernel.datagrams()
    assert request == copy_range((100).to_bytes(2, "big"), 65535)
    assert list(answers(answer)) == [Answer(100, 1, DROP, None)]
    assert not kernel.theirs.getblocking()


def test_a_kernel_that_refuses_whole_packets_is_quoted(kernel: Kernel) -> None:
    kernel.socket.send(acknowledgement(errno.EPERM))
    with pytest.raises(CaptureError, match="NFQUEUE 100 refuses whole packets: Operation not"):
        QueueSocket(kernel.theirs, 100).copy_whole_packets()


@pytest.mark.parametrize(("error", "can"), [(0, True), (errno.EOPNOTSUPP, False)])
def test_merged_packets_are_asked_for(kernel: Kernel, error: int, can: bool) -> None:
    kernel.socket.send(acknowledgement(error))
    assert QueueSocket(kernel.theirs, 100).take_merged_packets() is can
    assert list(kernel.datagrams()) == [merged_too((100).to_bytes(2, "big"))]


def test_the_queue_has_one_default() -> None:
    from lb_switch.config.schema import SwitchTable

    assert SwitchTable().queue == NfqueueCapture([]).queue == DEFAULT_QUEUE == 0
