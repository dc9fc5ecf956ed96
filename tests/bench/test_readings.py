"""The outputs of wrk, iperf3 and the UDP client, as they were recorded."""

import json
from pathlib import Path

import pytest

from netns_lab.bench.measures import MEASURES
from netns_lab.bench.readings import ReadingError, read

SAMPLES = Path(__file__).parent / "samples"


def sample(name: str) -> str:
    return (SAMPLES / name).read_text(encoding="utf-8")


def test_requests_are_in_thousands_a_second() -> None:
    reading = read(MEASURES["requests"], sample("wrk-requests.txt"), None)
    assert reading.figures == {"requests": pytest.approx(27.6539)}
    assert reading.amount == 27787
    assert reading.troubles == []


def test_cpu_time_is_shared_out_over_a_thousand_requests_in_milliseconds() -> None:
    reading = read(MEASURES["requests"], sample("wrk-requests.txt"), 0.5)
    assert reading.figures["cpu_requests"] == pytest.approx(0.5 / 27.787 * 1000)


def test_latency_is_in_microseconds_whatever_unit_wrk_chose() -> None:
    reading = read(MEASURES["latency"], sample("wrk-latency.txt"), 0.5)
    assert reading.figures == {"latency": pytest.approx(22), "latency99": pytest.approx(4420)}


def test_each_request_of_a_closing_client_is_a_connection() -> None:
    reading = read(MEASURES["connections"], sample("wrk-connections.txt"), None)
    assert reading.figures == {"connections": pytest.approx(6.74668)}


def test_socket_errors_and_bad_answers_cast_doubt() -> None:
    text = sample("wrk-requests.txt").replace(
        "Requests/sec",
        "  Socket errors: connect 0, read 3, write 0, timeout 1\n"
        "  Non-2xx or 3xx responses: 12\nRequests/sec",
    )
    assert read(MEASURES["requests"], text, None).troubles == [
        "Socket errors: connect 0, read 3, write 0, timeout 1",
        "Non-2xx or 3xx responses: 12",
    ]


@pytest.mark.parametrize(
    ("name", "received_bytes"), [("bulk1", 1208483840), ("bulk4", None)], ids=["one", "four"]
)
def test_bulk_is_what_the_server_received(name: str, received_bytes: int | None) -> None:
    text = sample(f"iperf3-{name}.json")
    received = json.loads(text)["end"]["sum_received"]
    reading = read(MEASURES[name], text, None)
    assert reading.figures == {name: pytest.approx(received["bits_per_second"] / 1e9)}
    assert reading.amount == (received_bytes or received["bytes"])


def test_cpu_time_is_shared_out_over_gigabytes() -> None:
    reading = read(MEASURES["bulk1"], sample("iperf3-bulk1.json"), 0.6)
    assert reading.figures["cpu_gb"] == pytest.approx(0.6 / 1.20848384)


def test_udp_counts_what_came_back_and_says_what_did_not() -> None:
    reading = read(MEASURES["udp"], '{"answered": 30000, "lost": 64, "seconds": 1.5}', None)
    assert reading.figures == {"udp": pytest.approx(20.0)}
    assert reading.troubles == ["64 of 30064 datagrams were lost"]


@pytest.mark.parametrize(
    ("measure", "output", "words"),
    [
        ("requests", "", "it said nothing"),
        ("requests", "unable to connect to 10.0.2.11:81 Connection refused\n", "refused"),
        ("requests", sample("wrk-nobody.txt"), "not one request"),
        ("latency", sample("wrk-latency.txt").replace("99%", "98%"), "no latency"),
        ("bulk1", sample("iperf3-refused.json"), "unable to connect to server"),
        ("bulk1", "iperf3: not found", "not found"),
        ("udp", '{"answered": 0, "lost": 640, "seconds": 1.0}', "not one datagram"),
        ("udp", "Traceback\nOSError: no route", "no route"),
    ],
)
def test_what_is_no_result_is_an_error_that_says_why(measure: str, output: str, words: str) -> None:
    with pytest.raises(ReadingError, match=words):
        read(MEASURES[measure], output, 0.1)
