"""The stage `events`: log in, periods, labels and official files out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.columns import ID
from otto_gpu.events.attributes import CODES, by_item
from otto_gpu.events.items import ATTRIBUTES
from otto_gpu.events.labels import Labels
from otto_gpu.events.load import load
from otto_gpu.events.log import EventLog
from otto_gpu.events.official import write_labels, write_sessions
from otto_gpu.events.read import TooManyRejected
from otto_gpu.events.settings import SPLITS as SPLITS
from otto_gpu.events.settings import EventsConfig, ItemsConfig, SplitConfig, TargetsConfig
from otto_gpu.events.split import Period
from otto_gpu.events.typed import CONTEXT, save_dictionaries
from otto_gpu.run.directory import write_atomically, write_table
from otto_gpu.run.progress import Reporter


def run(
    folder: Path,
    data: Path | None,
    events: EventsConfig,
    split: SplitConfig,
    targets: TargetsConfig,
    reporter: Reporter,
    run_dir: Path,
    items: ItemsConfig | None = None,
    others: tuple[str, ...] = (),
):
    """others: names of files in the data folder that are no part of the log, besides the items file."""
    try:
        loaded = load(data, events, split, targets, reporter, items, others)
    except TooManyRejected as error:
        rejected = error.rejected
        write_atomically(run_dir / "rejected.parquet", lambda p: write_table(rejected, p))
        raise error.told(f"; all of them: {run_dir / 'rejected.parquet'}") from None
    result, log, table, periods = loaded.result, loaded.log, loaded.table, loaded.periods
    for sub in ("events", "labels", "official"):
        (folder / sub).mkdir(exist_ok=True)
    _save_ids(folder / "events/sessions.parquet", log.sessions, log.n_sessions)
    _save_ids(folder / "events/items.parquet", log.items, log.n_items)
    if table is not None:
        by_item(table, log).save(folder / "events" / ATTRIBUTES)
        save_dictionaries(folder / "events" / CODES, table.dictionaries)
    if log.context:
        save_dictionaries(folder / "events" / CONTEXT, result.context)
    summary = {"counts": result.counts, "absent": loaded.absent, "periods": loaded.facts}
    if loaded.chosen is not None:
        summary["split"] = loaded.chosen.settings | {"because": loaded.chosen.why}
    for name, period in periods.items():
        place = folder / "events" / name
        place.mkdir(exist_ok=True)
        period.train.save(place / "train.parquet")
        period.history.save(place / "history.parquet")
        if period.labels is not None:
            period.labels.save(folder / "labels" / f"{name}.parquet")
    test = periods["test"]
    history = replace(test.history, items=log.items, sessions=log.sessions)
    write_sessions(folder / "official/test_sessions.jsonl", history)
    if test.labels is not None:
        write_labels(
            folder / "official/test_labels.jsonl", test.sessions, test.labels, history, targets.names, targets.next_only
        )
    write_table(result.rejected, folder / "rejected.parquet")
    (folder / "events/summary.json").write_text(json.dumps(summary, indent=1))
    return {
        "events": len(log), "sessions": result.log.n_sessions, "items": log.n_items,
        "rejected": int(result.counts.get("rejected", 0)),
        "periods": "; ".join(f"{n} {p['sessions']:,} sessions after {_before(p)}" for n, p in loaded.facts.items()),
    }  # fmt: skip


def _before(facts: dict) -> str:
    return f"{facts['train_events']:,} events" if facts["train_events"] else f"their own {facts['history_events']:,} events"


def _save_ids(path: Path, ids: pa.Array | None, n: int) -> None:
    """The dictionary: row i holds the user's own id of dense id i."""
    ids = pa.array(np.arange(n, dtype=np.int32)) if ids is None else ids
    write_table(pa.table({ID: ids}), path)


def load_ids(run_dir: Path, name: str) -> pa.Array:
    """The user's own ids by dense id; name: sessions or items."""
    return pq.read_table(run_dir / "events" / f"{name}.parquet")[ID].combine_chunks()


def load_period(run_dir: Path, split: str) -> Period:
    """A period as the stage left it; labels are None where there are none."""
    place = run_dir / "events" / split
    labels = run_dir / "labels" / f"{split}.parquet"
    summary = run_dir / "events/summary.json"
    facts = json.loads(summary.read_text())["periods"].get(split, {}) if summary.is_file() else {}
    return Period(
        EventLog.load(place / "train.parquet"),
        EventLog.load(place / "history.parquet"),
        Labels.load(labels) if labels.is_file() else None,
        facts.get("prefixes", False),
    )
