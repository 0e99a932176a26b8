"""Sessions with more events than are looked at, such as a crawler's. Their newest events count; what does not is counted and
told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from otto_gpu.columns import SESSION
from otto_gpu.events.stage import load_ids
from otto_gpu.run.progress import Reporter

WHERE = {"matrices": "what is known in the {} period", "candidates": "the histories of the {} period"}


def known_lengths(run_dir: Path, split: str) -> np.ndarray:
    """int64 [sessions]: how many events of each are known in a period (Period.known). Nothing else of them is read."""
    place = run_dir / "events" / split
    prefixes = json.loads((run_dir / "events/summary.json").read_text())["periods"][split].get("prefixes", False)
    files = [place / f"{part}.parquet" for part in (("train",) if prefixes else ("train", "history"))]
    found = [np.bincount(pq.read_table(f, columns=[SESSION])[SESSION].to_numpy()) for f in files]
    lengths = np.zeros(max(map(len, found)), np.int64)
    for counts in found:
        lengths[: len(counts)] += counts
    return lengths


def tell(lengths: np.ndarray, most: int | None, run_dir: Path, stage: str, split: str, reporter: Reporter) -> dict:
    """{"sessions" with more than `most` events, "events" of all, "left_out" of them, "longest": its own id, "its_events"};
    {} where there are none, and nothing is said. lengths: int64 [sessions]; stage: whose setting `most_events` is."""
    if most is None or lengths.max(initial=0) <= most:
        return {}
    longest = int(lengths.argmax())
    found = {
        "sessions": int((lengths > most).sum()),
        "events": int(lengths.sum()),
        "left_out": int(np.maximum(lengths - most, 0).sum()),
        "longest": load_ids(run_dir, "sessions")[longest].as_py(),
        "its_events": int(lengths[longest]),
    }
    reporter.say(f"  warning: {sentence(found, most, stage, split)}")
    return found


def sentence(found: dict, most: int, stage: str, split: str) -> str:
    """What `tell` found, for people."""
    n = found["sessions"]
    have = "1 session has" if n == 1 else f"{n:,} sessions have"
    return (
        f"{have} more than {most:,} events in {WHERE[stage].format(split)}, {found['longest']!r} the most: "
        f"{found['its_events']:,}. Of each the newest {most:,} count ({stage}.most_events), {found['left_out']:,} of "
        f"{found['events']:,} events do not"
    )


def facts(found: dict[str, dict]) -> dict:
    """Of a stage's manifest, from what `tell` found in each period: {} where that is nothing."""
    found = {split: told for split, told in found.items() if told}
    n = sum(told["left_out"] for told in found.values())
    return {"left_out": n, "long_sessions": found} if found else {}
