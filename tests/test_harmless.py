"""What is written of any text: one line, no character that acts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb_switch.harmless import harmless, harmless_json, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s1 10.0.2.11:80 → café", "s1 10.0.2.11:80 → café"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r\tc\0\a", "a\\nb\\r\\tc\\x00\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egpj.exe\u2066", "\\u202egpj.exe\\u2066"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\ud800", "\\ud800"),
        ("\uffff\U0001fffe", "\\uffff\\U0001fffe"),
    ],
)
def test_examples(text: str, shown: str) -> None:
    assert harmless(text) == shown


@given(st.text(st.characters()))
def test_any_text(text: str) -> None:
    shown = harmless(text)
    assert not [each for each in shown if unicodedata.category(each)[0] in "CZ" and each != " "]
    assert shown.splitlines() in ([], [shown])
    assert harmless(shown) == shown
    shown.encode()


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_json_keeps_its_shape(value: object) -> None:
    shown = harmless_json({"\n": value})
    assert list(shown) == ["\\n"]
    if not isinstance(value, str | list):
        assert shown["\\n"] == value


def test_shortened() -> None:
    assert shortened("x" * 300) == "x" * 300
    assert shortened("x" * 301) == "x" * 299 + "…"
