"""Following a running switch: what is, what happens, and when it is started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lb_switch.control.client import ControlClient
from lb_switch.control.verbs import Verbs
from lb_switch.engine.changes import SetHealth
from lb_switch.engine.switch import Switch
from lb_switch.stream.schema import ConnectionRecord, PacketRecord
from lb_switch.web import feed as feeds
from lb_switch.web.feed import Feed
from tests.cli.conftest import served
from tests.support.dialogue import Dialogue, make_switch

Message = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


@pytest.fixture
def feed(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    monkeypatch.setattr(feeds, "PAUSE", 0.05)
    monkeypatch.setattr(feeds, "LOOK", 0.05)
    made = Feed(lambda: ControlClient(path))
    yield made
    made.stop()


def gather(feed: Feed, until: Callable[[list[Message]], bool]) -> list[Message]:
    """Return all messages up to the batch with which `until` holds."""

    async def read() -> list[Message]:
        seen: list[Message] = []
        batches = feed.watch()
        async for batch in batches:
            seen += batch
            if until(seen):
                break
        await batches.aclose()
        return seen

    return asyncio.run(asyncio.wait_for(read(), 20))


def is_connected(messages: list[Message]) -> bool:
    """Whether the last that was said of the switch is that it is there."""
    return bool([each for each in messages if each["kind"] == "status"][-1]["connected"])


def kinds(messages: list[Message]) -> list[str]:
    return [each["kind"] for each in messages]


def test_first_what_is_then_what_happens(feed: Feed, path: Path) -> None:
    switch = make_switch()
    with served(path, Verbs(switch, 10.0)):
        feed.start()
        gather(feed, lambda seen: "scene" in kinds(seen) and is_connected(seen))
        talk = Dialogue(switch)
        talk.handshake()
        (s1, *_) = switch.virtual_servers["web"].real_servers
        switch.change(SetHealth(s1, False, "connect refused"), talk.now)

        def all_told(seen: list[Message]) -> bool:
            # The first look at the traffic may have come before the packets.
            looked = any(each.get("packets") for each in seen if each["kind"] == "numbers")
            return looked and {"packet", "news"} <= set(kinds(seen))

        seen = gather(feed, all_told)
    packets = [each for each in seen if each["kind"] == "packet"]
    assert [each["number"] for each in packets] == [1, 2, 3]
    first = packets[0]["steps"][0]
    assert first["left"]["address"] == "to 10.0.1.100:80"
    assert first["right"]["address"] == "to 10.0.2.11:8080"
    scenes = [each for each in seen if each["kind"] == "scene"]
    server = scenes[-1]["groups"][0]["real_servers"][0]
    assert (server["healthy"], server["active"], server["connections"]) == (False, 1, 1)
    assert any("connect refused" in each["text"] for each in seen if each["kind"] == "news")
    numbers = [each for each in seen if each["kind"] == "numbers"][-1]
    assert numbers["packets"] == {"new_connection": 1, "known_connection": 2}


def test_what_was_told_can_still_be_clicked(feed: Feed, path: Path) -> None:
    switch = make_switch()
    with served(path, Verbs(switch, 10.0)):
        feed.start()
        gather(feed, is_connected)
        Dialogue(switch).handshake()
        gather(feed, lambda seen: kinds(seen).count("packet") == 3)
    numbers = feed.look(
        lambda _scene, records: [each.number for each in records if isinstance(each, PacketRecord)]
    )
    assert numbers == [1, 2, 3]


def test_whoever_comes_later_gets_what_was_before(feed: Feed, path: Path) -> None:
    switch = make_switch()
    with served(path, Verbs(switch, 10.0)):
        feed.start()
        gather(feed, is_connected)
        Dialogue(switch).handshake()
        first = gather(feed, lambda seen: kinds(seen).count("packet") == 3)
        later = gather(feed, lambda seen: True)
    assert [each for each in later if each["kind"] == "packet"] == [
        each for each in first if each["kind"] == "packet"
    ]


def test_it_waits_for_a_switch_says_so_and_goes_on(feed: Feed, path: Path) -> None:
    feed.start()
    waiting = gather(feed, lambda seen: "waiting for it" in seen[-1].get("text", ""))
    assert not waiting[-1]["connected"]
    assert "there is no control socket" in waiting[-1]["text"]
    with served(path, Verbs(make_switch(), 10.0)):
        seen = gather(feed, lambda seen: "scene" in kinds(seen) and is_connected(seen))
    gone = gather(feed, lambda seen: not is_connected(seen))
    assert "waiting for it" in [each for each in gone if each["kind"] == "status"][-1]["text"]
    another = Switch()
    with served(path, Verbs(another, 0.0)):
        seen = gather(feed, lambda seen: "the switch was started again" in str(seen))
        scene = gather(feed, lambda seen: "scene" in kinds(seen))
    assert [each for each in scene if each["kind"] == "scene"][-1]["groups"] == []
    assert "the switch was started again" in str(seen)


def test_a_browser_that_does_not_read_is_told_what_it_missed(
    feed: Feed, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "QUEUE", 5)
    switch = make_switch()
    with served(path, Verbs(switch, 10.0)):
        feed.start()
        gather(feed, is_connected)

        async def sleep_over_it() -> list[Message]:
            batches = feed.watch()
            await anext(batches)
            for port in range(40000, 40020):
                await asyncio.to_thread(Dialogue(switch, ("10.0.1.11", port)).handshake)
            while sum(isinstance(each, ConnectionRecord) for each in feed.records) < 2 * 20:
                await asyncio.sleep(0.05)  # until all are told of as opened, and established
            await asyncio.sleep(2 * feeds.TICK)
            late = await anext(batches)
            await batches.aclose()
            return late

        late = asyncio.run(asyncio.wait_for(sleep_over_it(), 20))
    assert len(late) == 6
    assert late[-1]["kind"] == "behind"
    assert late[-1]["count"] > 50
