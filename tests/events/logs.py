"""Logs are written and read back with the plain json and csv modules, row by row: that is what read_log is compared to."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.events.read import read_log
from otto_gpu.events.settings import EventsConfig, TargetsConfig

TYPES = ["clicks", "carts", "orders"]
T0 = 1_659_304_800_000
HEADER = ["session", "aid", "ts", "type"]
GOOD = '{"session":1,"events":[{"aid":1,"ts":1,"type":"clicks"}]}'  # a line of JSON
TARGETS = TargetsConfig()


def read(path, targets=TARGETS, **config):
    return read_log(path, EventsConfig(**({"max_rejected": 1} | config)), targets)


def rows(result) -> list[tuple]:
    log = result.log
    sessions, items = log.sessions.to_pylist(), log.items.to_pylist()
    return [
        (sessions[s], items[a], t, log.types[k])
        for s, a, t, k in zip(log.session.tolist(), log.aid.tolist(), log.ts.tolist(), log.type.tolist(), strict=True)
    ]


def in_order(events) -> list[tuple]:
    """Sorted by session (text by its UTF-8 bytes), ts and input order; what stands twice only once."""
    return sorted(dict.fromkeys(events), key=lambda e: (e[0].encode() if isinstance(e[0], str) else e[0], e[2]))


def rejected(result) -> list[tuple]:
    return list(zip(*(result.rejected[c].to_pylist() for c in ("row", "reason")), strict=True))


def write_jsonl(path, events, **how):
    """Neighbouring events of one session share a line."""
    lines, last = [], None
    for session, aid, ts, kind in events:
        if not lines or last != session:
            lines.append({"session": session, "events": []})
        last = session
        lines[-1]["events"].append({"aid": aid, "ts": ts, "type": kind})
    path.write_text("".join(json.dumps(line, **how) + "\n" for line in lines))
    return path


def write_csv(path, events, header=HEADER, **how):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, **how)
        writer.writerow(header)
        writer.writerows(events)
    return path


def write_parquet(path, events, header=HEADER, **columns):
    table = pa.table(dict(zip(header, map(list, zip(*events, strict=True)), strict=True)) | columns)
    pq.write_table(table, path)
    return path


WRITE = {"jsonl": write_jsonl, "csv": write_csv, "parquet": write_parquet}


def random_events(n, seed=0, ids=lambda i: i) -> list[tuple]:
    draw = np.random.default_rng(seed)
    session, aid, ts, kind = draw.integers(-9, 9, n), draw.integers(0, 30, n), draw.integers(0, 60, n), draw.integers(0, 3, n)
    return [(ids(int(s)), ids(int(a)), T0 + int(t), TYPES[k]) for s, a, t, k in zip(session, aid, ts, kind, strict=True)]
