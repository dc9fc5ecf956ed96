r"""Text from outside made harmless: what would steer a terminal or a parser is shown instead.

A recording, the answers of a control socket, what a real server answered to a probe, an argument:
all may hold ESC, a newline, a character that turns the writing round (Unicode TR 36, section 2.1,
and CVE-2021-42574).  Whatever is not printable by the Unicode standard is written as Python would
escape it (`\x1b`, `\n`, `\u202e`); so a text stays on its line, and XML can hold it.

It is done where text comes in, once, so that every view of it is safe, those to come as well; and
again where errors go out, which quote what they could not read.
"""

from __future__ import annotations

from typing import Any


def harmless(text: str) -> str:
    """Return the text with whatever is not printable escaped."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def harmless_json(value: Any) -> Any:
    """Return a JSON value with every text in it, keys included, made harmless.

    Raises RecursionError where it is nested too deeply.
    """
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, list):
        return [harmless_json(each) for each in value]
    if isinstance(value, dict):
        return {harmless(key): harmless_json(each) for key, each in value.items()}
    return value


def shortened(text: str, most: int = 300) -> str:
    """Return a text of `most` characters at most, for a message of one line."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
