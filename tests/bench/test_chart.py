"""The picture: well-formed, to scale, and readable in words."""

from xml.etree import ElementTree as ET

import pytest

from netns_lab.bench import chart

SVG = "{http://www.w3.org/2000/svg}"
TABLE = {
    "direct": {"bulk1": 20.0, "latency": 80.0},
    "haproxy": {"bulk1": 8.0, "latency": 100.0, "cpu_gb": 0.5},
    "tun": {"bulk1": 10.0, "latency": 110.0, "cpu_gb": 0.4},
}


@pytest.fixture
def picture() -> ET.Element:
    return ET.fromstring(chart.svg(TABLE, 'a <machine> & "more"'))


def texts(picture: ET.Element) -> list[str]:
    return [each.text or "" for each in picture.iter(f"{SVG}text")]


def bars(picture: ET.Element) -> list[ET.Element]:
    return [each for each in picture.iter(f"{SVG}rect") if each.get("class") != "ground"]


def test_each_figure_that_somebody_has_is_a_panel(picture: ET.Element) -> None:
    assert "bulk TCP, 1 stream" in texts(picture)
    assert "latency, median" in texts(picture)
    assert "balancer's CPU per GB" in texts(picture)
    assert "UDP echo, 64 bytes" not in texts(picture)


def test_bars_are_to_scale_and_ours_stand_out(picture: ET.Element) -> None:
    bulk = bars(picture)[:3]
    widths = [float(each.get("width", "")) for each in bulk]
    assert widths[1] / widths[0] == pytest.approx(8 / 20, rel=0.01)
    assert widths[2] / widths[0] == pytest.approx(10 / 20, rel=0.01)
    assert [each.get("class") for each in bulk] == ["bar", "reference", "ours"]


def test_numbers_ratios_and_what_is_better_are_said_in_words(picture: ET.Element) -> None:
    assert "20.00 (2.50)" in texts(picture)
    assert "10.00 (1.25)" in texts(picture)
    assert "8.00" in texts(picture)
    assert "Gb/s, more is better" in texts(picture)
    assert "µs, less is better" in texts(picture)


def test_who_has_no_figure_gets_words_and_no_bar(picture: ET.Element) -> None:
    assert texts(picture).count("n/a") == 1
    assert len(bars(picture)) == 3 + 3 + 2


def test_everything_lies_within_the_picture(picture: ET.Element) -> None:
    width, height = float(picture.get("width", "")), float(picture.get("height", ""))
    for each in picture.iter():
        assert float(each.get("x", 0)) + float(each.get("width", 0)) <= width
        assert float(each.get("y", 0)) <= height


def test_it_follows_the_readers_scheme_and_escapes_what_it_is_given(picture: ET.Element) -> None:
    (style,) = picture.iter(f"{SVG}style")
    assert "prefers-color-scheme: dark" in (style.text or "")
    assert 'a <machine> & "more"' in texts(picture)
