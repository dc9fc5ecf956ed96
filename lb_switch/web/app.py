"""The pages and what they ask for, over HTTP.

======================= ========================================================================
address                 what
======================= ========================================================================
/                       the page; its scripts and styles under /page/
/events                 the messages of `scene`, as server-sent events
/packet/N               what there is to know of a packet
/connection/N           likewise of a connection; /connection/N/ladder.svg: its ladder
/act                    POST: one request of the control protocol that changes something
/lab                    the lab that the switch is in; POST: an act upon it
/metrics                for Prometheus
======================= ========================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from lb_switch.control.client import ControlError
from lb_switch.stream.schema import PacketRecord
from lb_switch.web import details, metrics
from lb_switch.web.feed import Connect, Feed
from lb_switch.web.guard import Guard
from lb_switch.web.lab import Lab, RefusedError

PAGE = files("lb_switch.web") / "page"
ONLY_LOOKS = "this page may only look (--read-only)"
ACTS = frozenset({"set", "add", "remove"})
KEEP_ALIVE = 15.0
"""Seconds after which a silent stream says that it is still there."""


def application(
    feed: Feed,
    connect: Connect,
    hosts: Iterable[str],
    port: int,
    token: str,
    *,
    read_only: bool,
    lab: Lab | None = None,
) -> ASGIApp:
    """Return the application, guarded."""

    async def index(_request: Request) -> Response:
        return FileResponse(str(PAGE / "index.html"))

    async def settings(_request: Request) -> Response:
        return JSONResponse({"readOnly": read_only, "lab": lab is not None})

    async def events(request: Request) -> Response:
        return StreamingResponse(_events(feed, request), media_type="text/event-stream")

    async def packet(request: Request) -> Response:
        number = request.path_params["number"]

        def find() -> object:
            return feed.look(
                lambda scene, records: next(
                    (
                        details.of_packet(scene.header, each)
                        for each in reversed(records)
                        if isinstance(each, PacketRecord) and each.number == number
                    ),
                    None,
                )
            )

        return _found(await asyncio.to_thread(find), "this packet is not kept any more")

    async def connection(request: Request) -> Response:
        number = request.path_params["number"]
        found = await asyncio.to_thread(
            feed.look,
            lambda scene, records: details.of_connection(scene.header, records, number),
        )
        return _found(found, "nothing of this connection is kept any more")

    async def ladder(request: Request) -> Response:
        number = request.path_params["number"]
        drawn = await asyncio.to_thread(
            feed.look, lambda scene, records: details.ladder(scene.header, records, number)
        )
        return Response(drawn or "", media_type="image/svg+xml")

    async def act(request: Request) -> Response:
        if read_only:
            return _refused(ONLY_LOOKS, 403)
        wanted = await _body(request)
        verb = None if wanted is None else wanted.pop("verb", None)
        if wanted is None or verb is None:
            return _refused("this is no request", 400)
        if verb not in ACTS or {"version"} & wanted.keys():
            return _refused(f"{verb!r} is none of {', '.join(sorted(ACTS))}", 400)
        return await asyncio.to_thread(_act, connect, verb, wanted)

    async def of_lab(request: Request) -> Response:
        if lab is None:
            return _refused("the switch is in no lab that this page knows", 404)
        if request.method != "POST":
            return await _in_lab(lab.state)
        if read_only:
            return _refused(ONLY_LOOKS, 403)
        wanted = await _body(request)
        if wanted is None:
            return _refused("this is no request", 400)
        return await _in_lab(lambda: {"done": lab.act(wanted)})

    async def numbers(_request: Request) -> Response:
        try:
            text = await asyncio.to_thread(metrics.text, connect)
        except ControlError as error:
            return PlainTextResponse(f"{error}\n", 503)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/settings", settings),
            Route("/events", events),
            Route("/packet/{number:int}", packet),
            Route("/connection/{number:int}", connection),
            Route("/connection/{number:int}/ladder.svg", ladder),
            Route("/act", act, methods=["POST"]),
            Route("/lab", of_lab, methods=["GET", "POST"]),
            Route("/metrics", numbers),
            Mount("/page", StaticFiles(directory=str(PAGE))),
        ]
    )
    return Guard(app, hosts, port, token)


async def _events(feed: Feed, request: Request) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(feed.watch()) as batches:
        waiting = asyncio.ensure_future(anext(batches))
        try:
            while not await request.is_disconnected():
                done, _ = await asyncio.wait({waiting}, timeout=KEEP_ALIVE)
                if not done:
                    yield b": still here\n\n"
                    continue
                messages = waiting.result()
                waiting = asyncio.ensure_future(anext(batches))
                yield b"data: " + json.dumps(messages, separators=(",", ":")).encode() + b"\n\n"
        finally:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting


def _act(connect: Connect, verb: str, fields: Mapping[str, object]) -> Response:
    try:
        with connect() as client:
            return JSONResponse({"done": client.ask(verb, **fields)})
    except ControlError as error:
        return JSONResponse({"refused": str(error), "details": list(error.details)}, 409)


async def _in_lab(use: Callable[[], object]) -> Response:
    try:
        return JSONResponse(await asyncio.to_thread(use))
    except RefusedError as error:
        return _refused(str(error), 409)


async def _body(request: Request) -> dict[str, Any] | None:
    """Return the object in the body; None if there is none."""
    try:
        value = json.loads(await request.body())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refused(why: str, status: int) -> Response:
    return JSONResponse({"refused": why}, status)


def _found(value: object, otherwise: str) -> Response:
    return JSONResponse({"missing": otherwise}, 404) if value is None else JSONResponse(value)
