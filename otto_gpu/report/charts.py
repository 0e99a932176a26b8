"""Charts as inline SVG: drawn by matplotlib for a column as wide as a phone, coloured by the page.

Colours are CSS variables, so that both themes and print have their own; text stays text, in the page's font. No chart keeps a
legend inside: the page sets it as text below (`Legend`), where it may wrap.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import warnings
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from otto_gpu.errors import UserError

try:
    # at its first import it says on stderr that it looks through the fonts
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
except ImportError as error:
    raise UserError("the report needs matplotlib, which is not installed: pip install matplotlib") from error

WIDTH = 340  # of a chart, in units of which the page shows about one per pixel
TEXT = 11.5
SERIES = 8  # colours; more series begin again, with another dash
STEPS = (1, 2, 5, 10)  # between the marks of an axis, times a power of ten
DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)))
# what matplotlib is told, and what the page understands by it
COLOURS = {"ink": "#000101", "muted": "#000102", "grid": "#000103", "surface": "#000104", "accent": "#000105"} | {
    f"s{i}": f"#0002{i:02x}" for i in range(SERIES)
}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "otto_gpu",
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.labelsize": TEXT,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.8,
    "xtick.color": COLOURS["grid"],
    "ytick.color": COLOURS["grid"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "ytick.major.size": 0,
    "text.color": COLOURS["ink"],
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
}


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
    with _drawing(height) as (figure, axes):
        for line in series:
            shown = COLOURS[line.colour]
            axes.plot(
                line.x, line.y, color=shown, linestyle=DASHES[line.dash], linewidth=line.width, alpha=line.opacity,
                marker="o", markersize=6, markevery=list(line.marks), markeredgewidth=0, solid_joinstyle="round",
            )  # fmt: skip
        for x, low, high, name in upright:
            axes.plot([x, x], [low, high], color=COLOURS[name], linewidth=1.5, alpha=0.45)
        for axis, wanted, scale in ((axes.xaxis, log_x, axes.set_xscale), (axes.yaxis, log_y, axes.set_yscale)):
            if wanted:
                scale("log")
                axis.set_minor_locator(NullLocator())
        if x_ticks is not None:
            axes.xaxis.set_major_locator(FixedLocator(x_ticks))
            axes.xaxis.set_major_formatter(FixedFormatter([f"{x:g}" for x in x_ticks]))
            axes.xaxis.set_minor_locator(NullLocator())
        if from_zero and not log_y:
            axes.set_ylim(bottom=0)
            if axes.get_ylim()[1] <= 0:
                axes.set_ylim(0, 1)
        if percent:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _percent(y)))
            if log_x and log_y:
                axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _percent(x)))
        if not log_y:
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        if diagonal:
            low = min(axes.get_xlim()[0], axes.get_ylim()[0])
            high = max(axes.get_xlim()[1], axes.get_ylim()[1])
            axes.plot([low, high], [low, high], color=COLOURS["muted"], linewidth=1, linestyle=DASHES[2])
            axes.set_xlim(low, high)
            axes.set_ylim(low, high)
            if log_x and log_y and high < 100 * low:  # powers of ten alone would be too few marks
                for axis in (axes.xaxis, axes.yaxis):
                    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.set_xlabel(x_label)
        _above(axes, y_label)
        return _svg(figure)


def histogram(series: Iterable[tuple[np.ndarray, str]], edges: np.ndarray, x_label: str, y_label: str, height: float = 200):
    """series: (counts per bin, colour); the first is filled, the others are outlines."""
    with _drawing(height) as (figure, axes):
        for i, (counts, name) in enumerate(series):
            look = {"fill": True, "alpha": 0.55, "linewidth": 0} if i == 0 else {"linewidth": 1.5}
            axes.stairs(counts, edges, color=COLOURS[name], **look)
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _percent(y)))
        axes.set_xlabel(x_label)
        _above(axes, y_label)
        return _svg(figure)


def spans(rows: dict[str, list[Span]], x_label: str, zero: bool = False) -> Markup:
    """A row per name, with a dot and its interval for every series. zero: a line at 0, for differences."""
    most = max((len(row) for row in rows.values()), default=1)
    row_height = 22 + 13 * most
    with _drawing(44 + row_height * len(rows)) as (figure, axes):
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")
        for i, row in enumerate(rows.values()):
            for j, span in enumerate(row):
                if span.value is None:
                    continue
                y = i + ((j + 0.5) - len(row) / 2) * 13 / row_height
                shown = COLOURS[span.colour]
                if span.ends is not None:
                    axes.plot(span.ends, [y, y], color=shown, linewidth=2.5, alpha=0.5)
                axes.plot([span.value], [y], color=shown, marker="o", markersize=7, markeredgewidth=0)
        if zero:
            axes.axvline(0, color=COLOURS["muted"], linewidth=1)
        else:
            axes.set_xlim(left=max(axes.get_xlim()[0], 0))
        axes.set_yticks(range(len(rows)), list(rows))
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS, min_n_ticks=3))
        axes.set_xlabel(x_label)
        return _svg(figure)


def dots(places: np.ndarray, groups: Sequence[tuple[np.ndarray, str, float]]) -> Markup:
    """A plane without axes. places: [n, 2]; groups: (bool [n], colour, size of a dot), each drawn above those before it.

    Written out here: a path per group takes a tenth of what matplotlib writes, which names every dot's style.
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
    each = len(colours)
    line, thick = 17, 7
    height = sum(line + each * (thick + 2) + 7 for _ in rows) + 4
    values = [v for _, vs in rows for v in vs if v is not None]
    top = top or max(values, default=1) or 1
    with _style():
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(height, 0)
        y = 4
        for name, vs in rows:
            axes.text(0, y + line - 5, name, fontsize=TEXT, color=COLOURS["ink"])
            told = " · ".join(text(v) for v in vs if v is not None)
            axes.text(WIDTH, y + line - 5, told, fontsize=TEXT, color=COLOURS["muted"], ha="right")
            y += line
            for value, shown in zip(vs, colours, strict=True):
                axes.barh(y + thick / 2, WIDTH, thick, color=COLOURS["grid"], alpha=0.45, linewidth=0)
                if value:
                    axes.barh(y + thick / 2, max(value / top * WIDTH, 1), thick, color=COLOURS[shown], linewidth=0)
                y += thick + 2
            y += 7
        return _svg(figure)


def ticks(n: int) -> list[int]:
    """Marks of an axis from 1 to n."""
    step = next((s for s in (1, 2, 5, 10, 20, 50, 100, 200) if n / s <= 6), 250)
    return sorted({1, *range(step, n + 1, step)})


def _percent(value: float) -> str:
    return f"{100 * value:.6g} %"


def _above(axes, text: str) -> None:
    """The name of the upright axis, lying above it, where it takes no width."""
    axes.set_title(text, loc="left", fontsize=TEXT, color=COLOURS["muted"], pad=8, x=0)


@contextmanager
def _style():
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph ")  # the browser has the letters that matplotlib's font lacks
        yield


@contextmanager
def _drawing(height: float):
    with _style():
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        figure.get_layout_engine().set(w_pad=2 / 72, h_pad=3 / 72)
        yield figure, figure.add_subplot()


def _svg(figure: Figure) -> Markup:
    """Without what an SVG file needs and a page does not; a name inside it is nobody else's on the page."""
    file = io.StringIO()
    with _style():
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    view = re.search(r'viewBox="[^"]+"', text)[0]
    text = re.sub(r"<svg[^>]*>", f"<svg {view}>", text, count=1)
    own = hashlib.sha256(text.encode()).hexdigest()[:8]
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{own}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(xlink:href="#|url\(#)', lambda m: f"{m[1]}{own}-", text)
    text = re.sub(r"font: (?:(\w+) )?([\d.]+px) [^;\"]+", lambda m: f"font-size: {m[2]}", text)
    text = re.sub(r"font-family: [^;\"]+;? ?", "", text)
    for name, code in COLOURS.items():
        text = text.replace(code, f"var(--{name})")
    text = text.replace("xlink:href", "href")
    # a hundredth of a pixel is fine enough
    text = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d+\.\d{2})\d+", r"\1", tag[0]), text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    return Markup(text)  # matplotlib has escaped the text that it was given
