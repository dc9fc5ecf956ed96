"""What scenarios ask of a real server: limited capacity, and faults on demand."""

import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns_lab import client
from netns_lab.payload import payload
from tests.lab.test_server_and_client import Running, fetch, running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as it:
        yield it


def put(url: str) -> None:
    fetch(url, method="PUT", data=b"")


def test_work_takes_no_time_until_it_is_told_to(server: Running) -> None:
    assert client.requests(f"{server.http}/work", 5)["answers"] == {"s1": 5}


def test_a_limited_server_does_so_much_at_a_time_and_no_more(server: Running) -> None:
    put(f"{server.http}/capacity?workers=2&seconds=0.1")
    started = time.monotonic()
    result = client.requests(f"{server.http}/work", 8, parallel=8)
    took = time.monotonic() - started
    assert result["answers"] == {"s1": 8}
    assert 0.4 <= took < 0.75  # eight pieces of work for two workers; one would need 0.8 s


def test_bytes_come_at_the_rate_that_was_asked_for(server: Running) -> None:
    started = time.monotonic()
    assert fetch(f"{server.http}/bytes/200000?rate=1000000") == payload(200_000)
    assert 0.2 <= time.monotonic() - started < 0.6


def test_other_answers_do_not_wait_for_work(server: Running) -> None:
    put(f"{server.http}/capacity?workers=1&seconds=5")
    working = client.connect(f"{server.http}/work", 10)
    working.request("GET", "/work")
    assert client.requests(f"{server.http}/", 3, timeout=2)["errors"] == []
    working.close()


def test_a_fault_is_answered_to_every_get_until_it_is_taken_back(server: Running) -> None:
    put(f"{server.http}/fault?status=500")
    for path in ("/", "/health", "/bytes/10", "/work"):
        result = client.requests(f"{server.http}{path}", 1)
        assert result["errors"] == ["HTTPException: status 500"]
    put(f"{server.http}/fault?status=200")
    assert client.requests(f"{server.http}/", 1)["answers"] == {"s1": 1}


@pytest.mark.parametrize(
    "path", ["/capacity?workers=0&seconds=1", "/capacity?workers=no", "/fault?status=99", "/fault"]
)
def test_nonsense_is_refused_and_changes_nothing(server: Running, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        put(f"{server.http}{path}")
    refused.value.close()
    assert refused.value.code == 404
    assert client.requests(f"{server.http}/work", 1)["answers"] == {"s1": 1}
