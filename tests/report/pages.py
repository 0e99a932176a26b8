"""A page read back: its tiles, tables, charts and texts, as a reader finds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "br", "img", "path", "use", "input", "hr"}


@dataclass
class Table:
    """title: the heading or summary before it; head: names of the columns; rows: {first cell: the others}."""

    title: str
    head: list[str] = field(default_factory=list)
    rows: dict[str, list[str]] = field(default_factory=dict)


class Page(HTMLParser):
    """text: all that is read, without the style; tags: the names of all elements; labels: what is said of each chart."""

    def __init__(self, path: Path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[str] = []
        self.tiles: dict[str, tuple[str, str]] = {}
        self.tables: list[Table] = []
        self.titles: list[str] = []
        self.sections: list[str] = []
        self.labels: list[str] = []
        self._open: list[str] = []
        self._cells: list[str] = []
        self._text: list[str] = []
        self._tile: list[str] = []
        self.feed(self.source)
        assert self._open == [], f"never closed: {self._open}"
        self.text = " ".join("".join(self._text).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        if tag == "section":
            self.sections.append(given["id"])
        if given.get("role") == "img":
            self.labels.append(given["aria-label"])
        if tag in VOID:
            return
        self._open.append(tag)
        if tag == "table":
            self.tables.append(Table(self.titles[-1] if self.titles else ""))
        elif tag in ("td", "th"):
            self._cells.append("")
        elif tag in ("h2", "h3", "h4", "summary"):
            self.titles.append("")
        elif tag in ("dt", "b", "span") and "dl" in self._open:
            self._tile.append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self._open and self._open[-1] == tag, f"</{tag}> closes {self._open[-1:]}"
        self._open.pop()
        if tag == "tr":
            first, *others = self._cells
            if self.tables[-1].head:
                self.tables[-1].rows[first] = others
            else:
                self.tables[-1].head = self._cells
            self._cells = []
        elif tag == "dd":
            label, value, note = self._tile
            self.tiles[label], self._tile = (value, note), []

    def handle_data(self, data):
        if "style" in self._open:
            return
        self._text.append(data)
        if not self._open:
            return
        if self._open[-1] in ("td", "th"):
            self._cells[-1] += data
        elif self._open[-1] in ("h2", "h3", "h4", "summary"):
            self.titles[-1] += data
        elif self._tile and self._open[-1] in ("dt", "b", "span"):
            self._tile[-1] += data

    def table(self, *columns: str, title: str | None = None) -> Table:
        """The first table with these columns, and under this heading if one is named."""
        for table in self.tables:
            if set(columns) <= set(table.head) and title in (None, table.title):
                return table
        raise AssertionError(f"no table {title} with {columns}: {[(t.title, t.head) for t in self.tables]}")
