"""A recording and the page in one HTML file: it opens by double click, without server or network.

The page's modules become one script, its style sheet one style element; a policy in the file lets
run these two, by their hashes, and nothing else.  What stands in the recording is data, never
markup: JSON in which no `<` stands as such.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from lb_switch.stream.schema import Header, PacketRecord, Record
from lb_switch.web import details
from lb_switch.web.scene import Message, Scene

PAGE = files("lb_switch.web") / "page"
MOST_PACKETS = 5_000
"""More make a file that a phone does not open."""

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([a-z_]+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=function|const|async)", re.MULTILINE)


class TooLongError(Exception):
    """The recording has more packets than one page can hold."""


def build(header: Header, records: Iterable[Record], title: str) -> str:
    """Return the file.  Raises TooLongError."""
    data = _as_json(recorded(header, list(records)))
    script = _script("main")
    style = (PAGE / "page.css").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    page = page.replace(
        '    <link rel="stylesheet" href="/page/page.css">\n'
        '    <script type="module" src="/page/main.js"></script>\n',
        f"    <style>{style}</style>\n",
    )
    page = page.replace(
        '<meta charset="utf-8">',
        '<meta charset="utf-8">\n'
        f'    <meta http-equiv="Content-Security-Policy" content="{policy}">',
    )
    page = page.replace("<title>lb-switch</title>", f"<title>lb-switch: {_text(title)}</title>")
    return page.replace(
        "  </body>",
        f'    <script type="application/json" id="recording">{data}</script>\n'
        f'    <script type="module">{script}</script>\n  </body>',
    )


def recorded(header: Header, records: list[Record]) -> dict[str, Any]:
    """Return what the page asks of a recording: its messages, and all that can be clicked."""
    packets = [each for each in records if isinstance(each, PacketRecord)]
    if len(packets) > MOST_PACKETS:
        raise TooLongError(
            f"{len(packets):,} packets are too many for one page, which holds {MOST_PACKETS:,}:"
            " choose a connection"
        )
    concerning = details.by_connection(records)
    found = {
        number: details.of_connection(header, own, number)
        for number, own in sorted(concerning.items())
    }
    return {
        "messages": _messages(header, records),
        "packets": {each.number: details.of_packet(header, each) for each in packets},
        "connections": {number: each for number, each in found.items() if each is not None},
        "ladders": {
            number: details.ladder(header, own, number) for number, own in concerning.items()
        },
    }


def _messages(header: Header, records: Iterable[Record]) -> list[Message]:
    scene = Scene(header)
    messages: list[Message] = [{"kind": "begin", "at": header.time}, scene.scene()]
    for record in records:
        messages += scene.of(record)
        if scene.stale:
            messages.append(scene.scene())
    return messages


def _script(name: str) -> str:
    """Return a module and all that it imports as one script, each module once, the first first."""
    taken: set[str] = set()
    parts: list[str] = []

    def take(name: str) -> None:
        if name in taken:
            return
        taken.add(name)
        source = (PAGE / f"{name}.js").read_text(encoding="utf-8")
        for other in _IMPORT.findall(source):
            take(other)
        body = _EXPORT.sub("", _IMPORT.sub("", source))
        exported = re.findall(r"^export (?:async )?(?:function|const) (\w+)", source, re.MULTILINE)
        if exported:
            names = ", ".join(exported)
            parts.append(f"const {{ {names} }} = (() => {{\n{body}\nreturn {{ {names} }};\n}})();")
        else:
            parts.append(body)

    take(name)
    return "\n".join(parts)


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _as_json(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
