"""Charts as inline SVG, for a column as wide as a phone, coloured by the page.

Colours are CSS variables, so that both themes and print have their own; text stays text, in the page's font. No chart keeps a
legend inside: the page sets it as text below (`Legend`), where it may wrap. They are written out here: lines, dots and text are
all they have, in a thousandth of the time and a third of the bytes that a plotting library takes for them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup, escape

WIDTH = 340  # of a chart, in units of which the page shows about one per pixel
TEXT = 11.5
LETTER = 0.6 * TEXT  # about what a letter takes: the page's font is the reader's
SERIES = 8  # colours; more series begin again, with another dash
STEPS = (1, 2, 5, 10)  # between the marks of an axis, times a power of ten
DASHES = ((), (5, 2), (1.5, 1.5))  # times the width of the line
MARGIN = 0.05  # of an axis, before the first and after the last value
COLOURS = ("ink", "muted", "grid", "surface", "accent", *(f"s{i}" for i in range(SERIES)))


def colour(i: int) -> str:
    return f"s{i % SERIES}"


@dataclass(frozen=True)
class Legend:
    """A line of the legend. colour: of COLOURS; kind: line, dashed, dotted, dot or fill."""

    label: str
    colour: str
    kind: str = "line"


@dataclass(frozen=True)
class Line:
    """A series of points. label: its entry in the legend, none without; marks: places of points that stand out."""

    x: Sequence[float]
    y: Sequence[float]
    colour: str
    label: str = ""
    dash: int = 0
    width: float = 2
    opacity: float = 1
    marks: Sequence[int] = ()

    def legend(self) -> Legend:
        return Legend(self.label, self.colour, ("line", "dashed", "dotted")[self.dash])


@dataclass(frozen=True)
class Span:
    """A value and the ends of its interval, of a series."""

    value: float | None
    ends: tuple[float, float] | None
    colour: str


@dataclass(frozen=True)
class Table:
    """The numbers behind a chart. The first column names the row."""

    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Chart:
    """title; svg: safe markup; alt: what a person hears who does not see it; caption: what to conclude; legend; table."""

    title: str
    svg: Markup
    alt: str
    caption: str = ""
    legend: tuple[Legend, ...] = ()
    table: Table | None = None


def lines(
    series: Iterable[Line], x_label: str, y_label: str, log_x: bool = False, log_y: bool = False, height: float = 220,
    x_ticks: Sequence[float] | None = None, percent: bool = False, from_zero: bool = True, diagonal: bool = False,
    upright: Sequence[tuple[float, float, float, str]] = (),
) -> Markup:  # fmt: skip
    """diagonal: a thin line where y is x; upright: (x, low, high, colour), thin intervals."""
    series = list(series)
    x_values = [np.asarray(line.x, float) for line in series] + [np.array([x for x, *_ in upright])]
    y_values = [np.asarray(line.y, float) for line in series] + [np.array([y for _, *ends, _ in upright for y in ends])]
    x_ends, y_ends = _limits(x_values, log_x), _limits(y_values, log_y)
    if from_zero and not log_y:
        y_ends = (0, y_ends[1] if y_ends[1] > 0 else 1)
    if diagonal:
        x_ends = y_ends = (min(x_ends[0], y_ends[0]), max(x_ends[1], y_ends[1]))
    share = _percent if percent else None
    whole = all((x == np.round(x)).all() for x in x_values)
    x_marks = list(x_ticks) if x_ticks is not None else _marks(*x_ends, 6, log_x, whole=whole)
    x_texts = [f"{x:g}" for x in x_ticks] if x_ticks is not None else _texts(x_marks, share if log_x and log_y else None)
    y_marks = _marks(*y_ends, 5, log_y)
    plane = _Plane(height, x_label, y_label, (x_marks, x_texts), (y_marks, _texts(y_marks, share)))
    x_at, y_at = plane.scales(x_ends, y_ends, log_x, log_y)
    plane.grid(x_at, y_at)
    for line, x, y in zip(series, x_values, y_values, strict=False):
        at = np.column_stack([x_at(x), y_at(y)])
        plane.line(at, line.colour, line.width, DASHES[line.dash], line.opacity)
        plane.dots(at[list(line.marks)], line.colour, 6, line.opacity)
    for x, low, high, name in upright:
        plane.line(np.column_stack([x_at(np.array([x, x])), y_at(np.array([low, high]))]), name, 1.5, opacity=0.45)
    if diagonal:
        plane.line(np.column_stack([x_at(np.array(x_ends)), y_at(np.array(y_ends))]), "muted", 1, DASHES[2])
    return plane.svg()


def histogram(series: Iterable[tuple[np.ndarray, str]], edges: np.ndarray, x_label: str, y_label: str, height: float = 200):
    """series: (counts per bin, colour); the first is filled, the others are outlines."""
    series = [(np.asarray(counts, float), name) for counts, name in series]
    x_ends = _limits([np.asarray(edges, float)], False)
    y_ends = (0, _limits([counts for counts, _ in series], False)[1])
    x_marks, y_marks = _marks(*x_ends, 6, whole=True), _marks(*y_ends, 4)
    plane = _Plane(height, x_label, y_label, (x_marks, _texts(x_marks)), (y_marks, _texts(y_marks, _percent)))
    x_at, y_at = plane.scales(x_ends, y_ends)
    plane.grid(x_at, y_at)
    for i, (counts, name) in enumerate(series):
        steps = np.concatenate([[0], np.repeat(counts, 2), [0]])
        at = np.column_stack([x_at(np.repeat(np.asarray(edges, float), 2)), y_at(steps)])
        if i == 0:
            plane.add(f'<path d="{_path(at)}z" fill="var(--{name})" fill-opacity="0.55"/>')
        else:
            plane.line(at, name, 1.5)
    return plane.svg()


def spans(rows: dict[str, list[Span]], x_label: str, zero: bool = False) -> Markup:
    """A row per name, with a dot and its interval for every series. zero: a line at 0, for differences."""
    most = max((len(row) for row in rows.values()), default=1)
    row_height = 22 + 13 * most
    shown = [(i, j, len(row), span) for i, row in enumerate(rows.values()) for j, span in enumerate(row)]
    shown = [told for told in shown if told[3].value is not None]
    values = [[span.value, *(span.ends or ())] for *_, span in shown] + [[0]] * zero
    low, high = _limits([np.array([v for row in values for v in row], float)], False)
    x_ends = (low if zero else max(low, 0), high)
    marks = _marks(*x_ends, 5)
    plane = _Plane(44 + row_height * len(rows), x_label, "", (marks, _texts(marks)), (range(len(rows)), list(rows)), "ink")
    x_at, y_at = plane.scales(x_ends, (len(rows) - 0.5, -0.5))
    plane.grid(x_at, y_at, upright=True)
    if zero:
        plane.line(np.array([[x_at(0), plane.top], [x_at(0), plane.bottom]]), "muted", 1)
    for i, j, n, span in shown:
        y = y_at(i) + ((j + 0.5) - n / 2) * 13
        if span.ends is not None:
            plane.line(np.column_stack([x_at(np.array(span.ends)), [y, y]]), span.colour, 2.5, opacity=0.5)
        plane.dots(np.array([[x_at(span.value), y]]), span.colour, 7)
    return plane.svg()


def dots(places: np.ndarray, groups: Sequence[tuple[np.ndarray, str, float]]) -> Markup:
    """A plane without axes. places: [n, 2]; groups: (bool [n], colour, size of a dot), each drawn above those before it.

    A path per group takes a tenth of what an element per dot takes.
    """
    edge = max(size for *_, size in groups) / 2
    low, spread = places.min(axis=0), np.ptp(places, axis=0)
    scale = (WIDTH - 2 * edge) / (spread.max() or 1)
    at = edge + (places - low) * scale + (spread.max() - spread) * scale / 2 * (1, 0)
    paths = []
    for mask, name, size in groups:
        line = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in at[mask])
        paths.append(f'<path d="{line}" stroke="var(--{name})" stroke-width="{size:g}"/>')
    view = f"0 0 {WIDTH} {spread[1] * scale + 2 * edge:.1f}"
    style = 'fill="none" stroke-linecap="round" stroke-opacity="0.75"'
    return Markup(f'<svg viewBox="{view}"><g {style}>{"".join(paths)}</g></svg>')


def bars(rows: Sequence[tuple[str, Sequence[float | None]]], colours: Sequence[str], text, top: float | None = None) -> Markup:
    """Lying bars with their names above them, so that long names need no room beside: (name, a value per series), as
    text(value) at the right. top: the length of a whole bar, the largest value without."""
    line, thick, y, drawn = 17, 7, 4, []
    top = top or max((v for _, values in rows for v in values if v is not None), default=1) or 1
    for name, values in rows:
        told = " · ".join(text(v) for v in values if v is not None)
        drawn += [_text(name, 0, y + line - 5, "ink"), _text(told, WIDTH, y + line - 5, "muted", "end")]
        y += line
        for value, shown in zip(values, colours, strict=True):
            drawn.append(_rect(y, WIDTH, thick, 'fill="var(--grid)" fill-opacity="0.45"'))
            if value:
                drawn.append(_rect(y, max(value / top * WIDTH, 1), thick, f'fill="var(--{shown})"'))
            y += thick + 2
        y += 7
    return _svg(y, drawn)


def ticks(n: int) -> list[int]:
    """Marks of an axis from 1 to n."""
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200) if n / s <= 6), 250)
    return sorted({1, *range(step, n + 1, step)})


def _percent(value: float) -> str:
    return f"{100 * value:.6g} %"


# ---------------------------------------------------------------------------------------------------------------- axes
def _limits(values: Iterable[np.ndarray], log: bool) -> tuple[float, float]:
    """The ends of an axis on which all of them have a place, with a margin. log: what is not positive has none."""
    found = np.concatenate([v[np.isfinite(v) & ((v > 0) | (not log))] for v in values])
    if not len(found):
        return (0.1, 1) if log else (0, 1)
    ends = np.array([found.min(), found.max()])
    ends = np.log10(ends) if log else ends
    spread = np.ptp(ends)
    ends += (spread * MARGIN if spread > 1e-12 * abs(ends).max() else abs(ends[0]) * MARGIN or MARGIN) * np.array([-1, 1])
    low, high = (10**ends if log else ends).tolist()
    return low, high


def _marks(low: float, high: float, most: int, log: bool = False, whole: bool = False) -> list[float]:
    """Round numbers within, with about so many steps between them at most. whole: no fractions."""
    if log:
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        for marks in (decades, np.outer(decades, (1, 2, 5)).ravel()):
            within = marks[(marks >= low) & (marks <= high)].tolist()
            if len(within) >= (2 if high >= 100 * low else 3):
                return within
    power = 10.0 ** np.floor(np.log10((high - low) / most))
    steps = [max(s * power, 1) if whole else s * power for s in STEPS]
    ends = [(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)) for step in steps]
    i = next(i for i, (first, last) in enumerate(ends) if last - first <= most)
    i -= i > 0 and ends[i][1] - ends[i][0] < 2  # two marks alone are too few
    return [round(n * steps[i], 12) + 0.0 for n in np.arange(ends[i][0], ends[i][1] + 1).tolist()]  # + 0.0: no -0


def _texts(marks: Sequence[float], text: Callable[[float], str] | None = None) -> list[str]:
    """With as many places behind the point as tell them apart."""
    if text is not None:
        return [text(mark) for mark in marks]
    places = next((n for n in range(7) if all(abs(round(m, n) - m) <= 1e-9 * max(abs(m), 1e-3) for m in marks)), None)
    return [(f"{m:g}" if places is None else f"{m:,.{places}f}").replace("-", "−") for m in marks]


def _scale(ends: tuple[float, float], places: tuple[float, float], log: bool) -> Callable:
    """Places of values; NaN for what has none."""

    def at(values):
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high, value = (np.log10(v) if log else v for v in (*ends, values))
        return places[0] + (value - low) / (high - low) * (places[1] - places[0])

    return at


@dataclass
class _Plane:
    """What two axes stand around. x, y: their marks, as (values, texts)."""

    height: float
    x_label: str
    y_label: str
    x: tuple[Sequence[float], Sequence[str]]
    y: tuple[Sequence[float], Sequence[str]]
    y_colour: str = "muted"
    drawn: list[str] = field(default_factory=list)

    def __post_init__(self):
        self.top = TEXT + 12 if self.y_label else 4  # the upright axis's name lies above it, where it takes no width
        self.bottom = self.height - 2 * TEXT - 15
        self.left = min(max(map(_width, self.y[1]), default=0), 0.55 * WIDTH) + 7
        self.right = WIDTH - 4 - (_width(self.x[1][-1]) / 2 if self.x[1] else 0)

    def scales(self, x_ends, y_ends, log_x=False, log_y=False) -> tuple[Callable, Callable]:
        return _scale(x_ends, (self.left, self.right), log_x), _scale(y_ends, (self.bottom, self.top), log_y)

    def add(self, markup: str) -> None:
        self.drawn.append(markup)

    def grid(self, x_at: Callable, y_at: Callable, upright: bool = False) -> None:
        """Marks, names and the lines across."""
        across = "".join(
            f"M{_n(x_at(v))} {_n(self.bottom)}V{_n(self.top)}"
            if upright
            else f"M{_n(self.left)} {_n(y_at(v))}H{_n(self.right)}"
            for v in (self.x if upright else self.y)[0]
        )
        below = f"M{_n(self.left)} {_n(self.bottom)}H{_n(self.right)}"
        below += "".join(f"M{_n(x_at(v))} {_n(self.bottom)}v3.5" for v in self.x[0])
        for path, width in ((across, 0.8), (below, 1)):
            self.add(f'<path d="{path}" stroke="var(--grid)" stroke-width="{width}"/>')
        for value, text in zip(*self.x, strict=True):
            self.add(_text(text, x_at(value), self.bottom + TEXT + 6, "muted", "middle"))
        for value, text in zip(*self.y, strict=True):
            self.add(_text(text, self.left - 5, y_at(value) + 0.35 * TEXT, self.y_colour, "end", self.left - 7))
        self.add(_text(self.x_label, (self.left + self.right) / 2, self.height - 4, "muted", "middle"))
        if self.y_label:
            self.add(_text(self.y_label, self.left, TEXT, "muted"))

    def line(self, at: np.ndarray, colour: str, width: float, dash: Sequence[float] = (), opacity: float = 1) -> None:
        dashed = f' stroke-dasharray="{" ".join(_n(d * width) for d in dash)}"' if dash else ' stroke-linecap="round"'
        self.add(f'<path d="{_path(at)}" stroke="var(--{colour})" stroke-width="{_n(width)}"{dashed}{_opacity(opacity)}/>')

    def dots(self, at: np.ndarray, colour: str, size: float, opacity: float = 1) -> None:
        path = "".join(f"M{_n(x)} {_n(y)}h0" for x, y in at if np.isfinite(x + y))
        if path:
            look = f'stroke-width="{_n(size)}" stroke-linecap="round"{_opacity(opacity)}'
            self.add(f'<path d="{path}" stroke="var(--{colour})" {look}/>')

    def svg(self) -> Markup:
        return _svg(self.height, self.drawn)


# --------------------------------------------------------------------------------------------------------------- markup
def _svg(height: float, drawn: Iterable[str]) -> Markup:
    inside = "\n".join(drawn)
    return Markup(f'<svg viewBox="0 0 {WIDTH} {_n(height)}"><g fill="none" style="font-size: {TEXT}px">{inside}</g></svg>')


def _text(text: str, x: float, y: float, colour: str, anchor: str = "start", most: float = WIDTH) -> str:
    """most: the width into which it is pressed."""
    at = f'x="{_n(x)}" y="{_n(y)}" fill="var(--{colour})"' + (f' text-anchor="{anchor}"' if anchor != "start" else "")
    pressed = f' textLength="{_n(most)}" lengthAdjust="spacingAndGlyphs"' if _width(text) > most + 1 else ""
    return f"<text {at}{pressed}>{escape(text)}</text>"


def _rect(y: float, width: float, height: float, look: str) -> str:
    return f'<rect y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" {look}/>'


def _path(at: np.ndarray) -> str:
    """Through the places in turn; what has none interrupts it."""
    there, pieces = np.isfinite(at).all(axis=1), []
    for i in np.flatnonzero(there):
        pieces.append(f"{'L' if i and there[i - 1] else 'M'}{_n(at[i, 0])} {_n(at[i, 1])}")
    return "".join(pieces)


def _opacity(value: float) -> str:
    return f' stroke-opacity="{value:g}"' if value != 1 else ""


def _width(text: str) -> float:
    return LETTER * sum(1.7 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _n(value: float) -> str:
    """A hundredth of a pixel is fine enough."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
