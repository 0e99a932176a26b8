"""What a page is made of; how it looks is the template's."""

from __future__ import annotations

from dataclasses import dataclass, field

from otto_gpu.report.charts import Chart, Table


@dataclass(frozen=True)
class Tile:
    """A headline figure. tone: good, bad or nothing; main: the one figure that stands for all."""

    label: str
    value: str
    note: str
    tone: str = ""
    main: bool = False


@dataclass(frozen=True)
class Group:
    """Charts side by side, below a heading of their own where there is one."""

    title: str
    charts: list[Chart]


@dataclass(frozen=True)
class TableBlock:
    """A table that is always seen. numbers: whether all columns but the first are numbers."""

    title: str
    table: Table
    numbers: bool = True


@dataclass(frozen=True)
class Hidden:
    """Something long that opens on demand: text as it is, or a table."""

    title: str
    text: str = ""
    table: Table | None = None


@dataclass(frozen=True)
class Section:
    """name: of its anchor; its parts stand in this order."""

    name: str
    title: str
    texts: list[str] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    tables: list[TableBlock] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
