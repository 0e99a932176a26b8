"""Some histories of the run's test period, as a request would say them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import EventsConfig
from otto_gpu.events.stage import load_ids
from otto_gpu.events.typed import CONTEXT, load_dictionaries
from otto_gpu.events.zones import zone_of
from otto_gpu.recommend import SPLIT
from otto_gpu.serve.messages import PER_SECOND

SHORTEST, LONGEST = 3, 20  # events of a history that shows something and can be read at a glance


def load_examples(run_dir: Path, events: EventsConfig, n: int) -> list[dict]:
    """n histories (fewer where there are fewer) spread over the period, if there are any of 3 to 20 events, of those."""
    return load_histories(run_dir, events, n, SHORTEST, LONGEST) or load_histories(run_dir, events, n)


def load_histories(run_dir: Path, events: EventsConfig, n: int, shortest: int = 1, longest: int | None = None) -> list[dict]:
    """n histories (fewer where there are fewer) spread over the period: [{"session": own id, "events": [{aid, ts, type}]}], ts
    in the log's unit, with what is known of events.context. shortest, longest: events that they may have."""
    history = EventLog.load(run_dir / "events" / SPLIT / "history.parquet")
    lengths = np.diff(history.starts)
    some = np.flatnonzero((lengths >= shortest) & (lengths <= (longest or lengths.max())))
    chosen = some[np.unique(np.linspace(0, len(some) - 1, min(n, len(some))).astype(int))]
    own = load_ids(run_dir, "sessions").take(pa.array(chosen)).to_pylist()
    items = load_ids(run_dir, "items")
    logs = [history.of_sessions(session, session + 1) for session in chosen]
    words = load_dictionaries(run_dir / "events" / CONTEXT)
    return [{"session": s, "events": _events(log, items, events, words)} for s, log in zip(own, logs, strict=True)]


def _events(log: EventLog, items: pa.Array, events: EventsConfig, words: dict[str, pa.Array]) -> list[dict]:
    aids = items.take(pa.array(log.aid)).to_pylist()
    rows = zip(aids, log.ts.tolist(), log.type.tolist(), strict=True)
    found = [{"aid": aid, "ts": own_time(ts, events), "type": log.types[code]} for aid, ts, code in rows]
    for name, values in log.context.items():
        for event, value in zip(found, values.tolist(), strict=True):
            if value >= 0 if name in words else value == value:  # neither missing nor nan
                event[name] = words[name][value].as_py() if name in words else value
    return found


def own_time(ts: int, events: EventsConfig) -> int | float | str:
    """ts (ms) as the log says it."""
    unit = events.ts_unit
    if events.ts_format is not None:
        return datetime.fromtimestamp(ts / 1000, UTC).astimezone(zone_of(events.timezone)).strftime(events.ts_format)
    if unit == "iso":
        return datetime.fromtimestamp(ts / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if unit == "s":
        return ts // 1000 if ts % 1000 == 0 else ts / 1000
    return ts * PER_SECOND[unit] // 1000
