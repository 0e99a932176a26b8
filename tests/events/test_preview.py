"""What is told of the data: by a dry run, and of what was read and left out."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from otto_gpu.errors import UserError
from otto_gpu.events import preview as module
from otto_gpu.events.preview import preview
from otto_gpu.events.read import TooManyRejected, read_log
from otto_gpu.events.settings import EventsConfig, ItemsConfig, SplitConfig, TargetsConfig
from otto_gpu.events.span import DAY_MS
from otto_gpu.events.told import tell_counts
from otto_gpu.run.progress import Reporter

T0 = 1_767_225_600_000  # 2026-01-01
OTTO = TargetsConfig()
KINDS = ["clicks", "carts", "orders"]


def frame(days: int = 20) -> pd.DataFrame:
    rows = [(s, (s + i) % 7, T0 + s * DAY_MS // 24 + i * 1000, KINDS[i % 3]) for s in range(24 * days) for i in range(3)]
    return pd.DataFrame(rows, columns=["session", "aid", "ts", "type"])


def shown(data, split=None, events=None, items=None) -> str:
    out = io.StringIO()
    reporter = Reporter(console=Console(file=out, width=200))
    files = sorted(data.iterdir()) if data.is_dir() else [data]
    preview(data, files, EventsConfig(**events or {}), SplitConfig(**split or {"auto": True}), OTTO, reporter, items)
    return out.getvalue()


def test_a_small_log_is_read_whole(tmp_path):
    frame().to_csv(tmp_path / "log.csv", index=False)
    told = shown(tmp_path / "log.csv", {"test_days": 2, "validation_days": 3})
    assert "1,440 events (480 clicks, 480 carts, 480 orders), 480 sessions, 7 items, 2026-01-01 to 2026-01-20" in told
    assert "such as session 0, item 0, 2026-01-01T00:00:00Z, clicks\n" in told
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in told.splitlines() if line.startswith("│")]
    assert [row[:2] for row in rows] == [["validation", "2026-01-15T23:00:02Z"], ["test", "2026-01-18T23:00:02Z"]]
    assert [row[3] for row in rows] == ["72", "48"] and rows[0][2] == "1,079 events"
    assert "split: auto chose" in shown(tmp_path / "log.csv")
    assert list(tmp_path.iterdir()) == [tmp_path / "log.csv"]


def test_what_would_end_the_run_ends_the_preview(tmp_path):
    log = tmp_path / "log.csv"
    frame().to_csv(log, index=False)
    items = ItemsConfig(file="items.csv")
    (tmp_path / "items.csv").write_text("id\n1\n")
    for message, more in {
        "missing column 'sku'.*events.columns.aid": {"events": {"columns": {"aid": "sku"}}},
        "rows are bad.*events.max_rejected": {"events": {"ts_unit": "iso"}},
        "split: auto would take": {"split": {"test_days": 30}},
        "items": {"items": items},
    }.items():
        with pytest.raises(UserError, match=message):
            shown(log, **more)


def test_of_a_large_log_the_first_rows_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(module, "PIECE_BYTES", 1 << 12)
    monkeypatch.setattr(module, "ROWS", 50)
    parts = np.array_split(np.arange(1440), 20)
    for i, rows in enumerate(parts):
        frame().iloc[rows].to_csv(tmp_path / f"{i:02}.csv", index=False)
    told = shown(tmp_path)
    assert "the first rows of 20 files, a sample: 1,440 events" in told
    assert "split: auto would take split: {cut: random, by: time" in told and "of these rows alone: validation: " in told
    whole = tmp_path / "whole.csv"
    frame(60).to_csv(whole, index=False)
    told = shown(whole, {"test_days": 7, "validation_days": 7})
    assert "these rows alone do not show it" in told and "the first rows of 1 file, a sample: 1" in told
    # some bad rows of a sample are told, most of them end it
    lines = whole.read_text().splitlines()
    lines[5] = "1,2,3,bought"
    lines[6] = "1,,1767225600000,clicks"
    whole.write_text("\n".join(lines))
    told = shown(whole)
    assert "unknown type" in told and "missing aid" in told and "of these rows are bad" in told
    with pytest.raises(TooManyRejected):
        shown(whole, events={"ts_unit": "iso"})
    with pytest.raises(UserError, match="missing column"):
        shown(whole, events={"columns": {"session": "user"}})
    # the header of every file is looked at
    (tmp_path / "10.csv").write_text("session,item,ts,type\n1,2,3,clicks\n")
    with pytest.raises(UserError, match=r"10.csv: missing column 'aid'"):
        shown(tmp_path)


def test_of_very_many_files_some_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("otto_gpu.events.read.MANY_FILES", 3)
    for i in range(9):
        frame(1).assign(session=lambda f, i=i: f.session + 100 * i).to_csv(tmp_path / f"{i}.csv", index=False)
    result = read_log(tmp_path, EventsConfig(), OTTO, rows=10)
    assert result.counts["files"] == 3 and sorted(set(result.log.sessions.to_numpy() // 100)) == [0, 4, 8]
    assert read_log(tmp_path, EventsConfig(), OTTO).counts["files"] == 9


@pytest.mark.parametrize(
    ("counts", "lines"),
    [
        ({}, []),
        (
            {"rejected": 1, "reasons": {"missing aid": 1}, "duplicates": 1, "unsorted": 1, "later": 1},
            [
                "rejected: 1 of 200 rows (0.5 %): missing aid",
                "duplicates: 1 of 200 rows (0.5 %) stood there before (the same session, item, time and type): taken once",
                "unsorted: 1 of 200 rows (0.5 %) was not in the order of time within the session: put there",
                "later: 1 of 200 rows (0.5 %) is at or after events.before: left out",
            ],
        ),
        (
            {"duplicates": 120, "earlier": 20, "unsampled": 2},
            [
                "duplicates: 120 of 200 rows (60 %) stood there before (the same session, item, time and type): taken once; "
                "if they are real, as with times in whole seconds or days, set events.duplicates: keep",
                "earlier: 20 of 200 rows (10 %) are before events.after: left out",
                "unsampled: 2 of 200 rows (1 %) are of sessions outside events.sample_sessions: left out",
            ],
        ),
    ],
)
def test_shares_are_of_what_was_read(counts, lines):
    out = io.StringIO()
    tell_counts({"events": 60, "read": 200} | counts, Reporter(console=Console(file=out, width=200)))
    assert out.getvalue().splitlines() == [f"  {line}" for line in lines]


def test_several_reasons_are_a_table():
    out = io.StringIO()
    reasons = {"missing aid": 60, "unknown type": 137} | {f"reason {i:02}": 1 for i in range(20)}
    counts = {"events": 800, "read": 1017, "rejected": 217, "reasons": reasons}
    tell_counts(counts, Reporter(console=Console(file=out, width=200)))
    told = out.getvalue()
    assert told.startswith("  rejected: 217 of 1,017 rows (21.3 %)\n") and told.index("unknown type") < told.index(
        "missing aid"
    )
    assert "│ other reasons │   10 │" in told and "│   60 │" in told
