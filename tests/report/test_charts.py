"""Charts are whole SVG in the page's colours; the colours can be read in both themes."""

import re
from importlib import resources
from itertools import product
from xml.etree import ElementTree

import numpy as np
import pytest

from otto_gpu.report import charts
from otto_gpu.report.charts import Line, Span


def drawn():
    x = np.arange(1, 21)
    yield charts.lines(
        [Line(x, x / 20, "s0", "a", marks=[3]), Line(x, x / 30, "s1", dash=1)], "x", "y", x_ticks=charts.ticks(20)
    )
    yield charts.lines([Line([0.01, 0.1], [0.02, 0.2], "s0")], "x", "y", log_x=True, log_y=True, percent=True, diagonal=True,
                       upright=[(0.01, 0.01, 0.03, "s0")])  # fmt: skip
    yield charts.lines([Line([0.02, 0.07], [0.03, 0.04], "s0")], "x", "y", log_x=True, log_y=True, percent=True, diagonal=True)
    yield charts.histogram([(np.array([0.1, 0.9]), "s0"), (np.array([0.5, 0.5]), "s1")], np.array([-0.5, 0.5, 1.5]), "x", "y")
    yield charts.spans({"a": [Span(0.3, (0.2, 0.4), "s0"), Span(None, None, "s1")]}, "x")
    yield charts.spans({"a": [Span(0.0, (0.0, 0.0), "s0")]}, "x", zero=True)
    yield charts.bars([("a", [0.3, None]), ("b", [0.0, 0.2])], ["s0", "s1"], str)
    yield charts.bars([("a", [0.0])], ["s0"], str)  # nothing at all
    yield charts.dots(np.array([[0, 0], [1, 3.0]]), [(np.array([True, False]), "s0", 2), (np.array([False, True]), "s1", 4)])


@pytest.mark.parametrize("i", range(9))
def test_a_chart_is_whole_and_has_no_colours_of_its_own(i):
    svg = str(list(drawn())[i])
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg" and root.attrib.keys() == {"viewBox"}
    width = float(root.get("viewBox").split()[2])
    assert width == charts.WIDTH
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?!-)", re.sub(r'(url\(#|href="#|id=")[^")]+', "", svg))
    assert "$" not in svg
    assert "var(--" in svg and "<style" not in svg and "font-family" not in svg and "xlink" not in svg and "http" not in svg
    assert {float(s) for s in re.findall(r"font-size: ([\d.]+)px", svg)} <= {charts.TEXT}
    ids = re.findall(r'\sid="([^"]+)"', svg)
    assert len(ids) == len(set(ids)) and set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)) == set(ids)


def test_numbers_on_the_axes_are_not_cut():
    svg = charts.spans({"a": [Span(0.003, (-0.004, 0.009), "s0")]}, "x", zero=True)
    told = [float(t.replace("−", "-")) for t in re.findall(r">([−\d.]+)<", svg)]
    assert len(told) == len(set(told)) >= 3 and any(0 < abs(n) < 0.01 for n in told)


def test_text_stays_text(recwarn):
    """Markup, what matplotlib would take for mathematics, and letters that its font does not have."""
    for name in ("<script>alert(1)</script>", "$a_b$ $", "\\frac{", "漢字", "a & 'b' \"c\""):
        for svg in (charts.bars([(name, [1.0])], ["s0"], str), charts.spans({name: [Span(1.0, None, "s0")]}, name)):
            texts = [t.text for t in ElementTree.fromstring(str(svg)).iter("text")]
            assert name in texts
    assert not recwarn.list


def test_the_same_numbers_give_the_same_bytes():
    assert [str(a) == str(b) for a, b in zip(drawn(), drawn(), strict=True)] == [True] * 9


def test_ticks():
    assert charts.ticks(20) == [1, 5, 10, 15, 20] and charts.ticks(5) == [1, 2, 3, 4, 5] and charts.ticks(1) == [1]
    assert len(charts.ticks(1000)) <= 7


# ------------------------------------------------------------------------------------------------------------ colours
def themes() -> dict[str, dict[str, str]]:
    css = resources.files("otto_gpu.report").joinpath("templates", "style.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return {name: dict(re.findall(r"--([\w-]+): (#\w{6})", text)) for name, text in (("light", light), ("dark", dark))}


def contrast(a: str, b: str) -> float:
    """Of WCAG 2, 1 to 21."""
    lights = []
    for code in (a, b):
        parts = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        lights.append(0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_lines_can_be_told_from_the_ground(theme):
    colours = themes()[theme]
    assert set(charts.COLOURS) <= colours.keys() and colours.keys() == themes()["light"].keys()
    for text, ground in product(("ink", "muted", "accent", "good", "bad"), ("surface", "raised")):
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["warn"], colours["warn-surface"]) >= 4.5 and contrast(colours["ink"], colours["warn-surface"]) >= 7
    for i in range(charts.SERIES):
        assert contrast(colours[f"s{i}"], colours["surface"]) >= 3, i


def test_dots_lie_within_and_keep_their_proportions():
    for places in ([[0, 0], [4, 2], [2, 1]], [[0, 0], [2, 4], [1, 2]], [[7, 7]] * 3):
        svg = ElementTree.fromstring(str(charts.dots(np.array(places, float), [(np.ones(3, bool), "s0", 10)])))
        at = np.array(
            [[float(n) for n in pair] for pair in re.findall(r"M([\d.]+) ([\d.]+)h0", next(svg.iter("path")).get("d"))]
        )
        *_, width, height = map(float, svg.get("viewBox").split())
        assert len(at) == 3 and (at >= 5).all() and (at[:, 0] <= width - 5).all() and (at[:, 1] <= height - 5 + 0.1).all()
        spread, real = np.ptp(at, axis=0), np.ptp(np.array(places), axis=0)
        assert spread[0] * real[1] == pytest.approx(spread[1] * real[0], rel=1e-2)
        assert spread.max() == pytest.approx(330 if real.any() else 0)
