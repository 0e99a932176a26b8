"""Bad input, a row per kind: what is written, which command meets it, and what is said of it.

A case is a function of a Place that prepares the input and returns (module, arguments). MISTAKES end in one line and exit code
2, FINE runs to its end, and of COUNTED so many rows are rejected.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.runs import frame, of_file
from tests.trust.machine import Done

SETTINGS = of_file(events={"max_rejected": 0.5}, split={"by": "session", "test_fraction": 0.3, "validation_fraction": 0.3})
HEADER = b"session,aid,ts,type\n"
T0 = 1_659_304_800_000


@dataclass
class Place:
    """folder: the test's own; finished: (config file, data, run directory) of a run that is whole, to be copied only; labels:
    an official file of labels."""

    folder: Path
    finished: tuple[Path, Path, Path]

    def config(self, **changes) -> Path:
        return self.write("config.yaml", yaml.safe_dump(SETTINGS | changes).encode())

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def pipeline(self, data, *more, **changes):
        return "pipeline", [
            "--config",
            self.config(**changes),
            "--data",
            data,
            "--run-dir",
            self.folder / "run",
            *(more or EVENTS),
        ]

    def log(self, file: str, content: bytes, *more, **changes):
        return self.pipeline(self.write(file, content), *more, **changes)

    def copy(self) -> Path:
        shutil.copytree(self.finished[2], self.folder / "run")
        return self.folder / "run"

    def again(self, *more):
        """The pipeline on the copy."""
        return "pipeline", ["--config", self.finished[0], "--data", self.finished[1], "--run-dir", self.folder / "run", *more]

    def recommend(self, *more, run=None, sessions=None):
        sessions = sessions or self.write("new.csv", HEADER + b"1,%d,%d,clicks\n" % (AID, T0))
        return "recommend", [run or self.folder / "run", "--sessions", sessions, "--out", self.folder / "lists.csv", *more]

    def explain(self, *more):
        sessions = self.write("new.csv", HEADER + b"1,%d,%d,clicks\n" % (AID, T0))
        return "explain", [self.finished[2], "--sessions", sessions, "--device", "cpu", *more]

    def evaluate(self, labels: bytes, predictions: bytes, *more):
        labels, predictions = self.write("labels.jsonl", labels), self.write("predictions.csv", predictions)
        return "evaluate", ["--test-labels", labels, "--predictions", predictions, *more]


EVENTS = ("--to", "events")
AID = int(frame(60)["aid"].iloc[0])


def rows(sessions: int = 60) -> pd.DataFrame:
    return frame(sessions)[["session", "aid", "ts", "type"]]


def csv(log: pd.DataFrame | None = None) -> bytes:
    return (rows() if log is None else log).to_csv(index=False).encode()


def jsonl(log: pd.DataFrame | None = None) -> bytes:
    log = rows() if log is None else log
    lines = [
        json.dumps({"session": int(s), "events": own[["aid", "ts", "type"]].to_dict("records")})
        for s, own in log.groupby("session")
    ]
    return ("\n".join(lines) + "\n").encode()


def with_rows(*lines: bytes) -> bytes:
    return csv() + b"\n".join(lines) + b"\n"


def parquet(place: Place, **columns) -> Path:
    log = rows()
    table = pa.table({n: pa.array(log[n]) for n in log} | {n: make(log) for n, make in columns.items()})
    pq.write_table(table, place.folder / "log.parquet")
    return place.folder / "log.parquet"


def edited(path: Path, change) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def scratched(path: Path) -> None:
    """The same size, other bytes in the middle."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 16] = bytes(255 - b for b in content[middle : middle + 16])
    path.write_bytes(content)


def first(folder: Path, pattern: str) -> Path:
    return sorted(folder.rglob(pattern))[0]


def doing(*steps):
    """The last step's value, after those before it."""
    return steps[-1]


LABELS = b'{"session":1,"labels":{"clicks":2,"carts":[3],"orders":[4]}}\n'
LISTS = b"session_type,labels\n1_clicks,2\n1_carts,3\n1_orders,5\n"

# name: (what is done, what the line says)
MISTAKES = {
    # ------------------------------------------------------------------------------------------------------ the log
    "no such file": (lambda p: p.pipeline(p.folder / "none.csv"), "no such file or folder"),
    "no such folder": (lambda p: p.pipeline(p.folder / "none"), "no such file or folder"),
    "glob that fits nothing": (lambda p: p.pipeline(p.folder / "*.csv"), "no file fits"),
    "dangling link": (lambda p: doing((p.folder / "a.csv").symlink_to("gone"), p.pipeline(p.folder / "a.csv")), "no such file"),
    "link to itself": (lambda p: doing((p.folder / "a.csv").symlink_to("a.csv"), p.pipeline(p.folder / "a.csv")), "a.csv"),
    "empty folder": (lambda p: doing((p.folder / "logs").mkdir(), p.pipeline(p.folder / "logs")), "the folder holds no"),
    "folder called like a file": (
        lambda p: doing((p.folder / "log.csv").mkdir(), p.pipeline(p.folder / "log.csv")),
        "the folder holds no",
    ),
    "device file": (lambda p: p.pipeline("/dev/zero", events={"format": "csv"}), "no such file"),
    "pipe": (lambda p: doing(os.mkfifo(p.folder / "a.csv"), p.pipeline(p.folder / "a.csv")), "no such file"),
    "name with NUL": (lambda p: p.pipeline("a\0b.csv"), "a b.csv"),
    "very long name": (lambda p: p.pipeline("a" * 5000), "aaa"),
    "unknown ending": (lambda p: p.log("log.xls", b"Dear all\n"), "the format shows neither in the name nor"),
    "formats mixed": (
        lambda p: doing(
            (p.folder / "logs").mkdir(),
            p.write("logs/a.csv", csv()),
            p.log("logs/b.jsonl", jsonl()),
            p.pipeline(p.folder / "logs"),
        ),
        "more than one format",
    ),
    "empty CSV": (lambda p: p.log("log.csv", b""), "the file is empty"),
    "empty JSONL": (lambda p: p.log("log.jsonl", b""), "no events to work with"),
    "empty Parquet": (lambda p: p.log("log.parquet", b""), "the file is empty"),
    "only a header": (lambda p: p.log("log.csv", HEADER), "no events to work with"),
    "only blank lines": (lambda p: p.log("log.csv", b"\n\n\r\n"), "log.csv"),
    "wrong columns": (lambda p: p.log("log.csv", csv().replace(b"aid", b"sku", 1)), "missing column 'aid'"),
    "a column twice": (lambda p: p.log("log.csv", csv().replace(b"ts", b"aid", 1)), "more than one column 'aid'"),
    "another delimiter": (
        lambda p: p.log("log.csv", csv().replace(b",", b";"), events={"delimiter": ","}),
        "set events.delimiter to ';'",
    ),
    "another encoding": (
        lambda p: p.log("log.csv", with_rows("ä,1,5,clicks".encode("cp1252")), events={"encoding": "ascii"}),
        "set events.encoding",
    ),
    "no header": (lambda p: p.log("log.csv", csv().split(b"\n", 1)[1]), "no header"),
    "an archive": (lambda p: p.log("log.csv", b"Rar!" + csv()), "unpack it"),
    "JSON list and no lines": (lambda p: p.log("log.jsonl", json.dumps([1, 2, 3]).encode()), "not an object"),
    "broken JSON": (lambda p: p.log("log.jsonl", jsonl()[:200].replace(b'"', b"'")), "broken JSON"),
    "truncated gzip": (lambda p: p.log("log.csv.gz", gzip.compress(csv())[:-50]), "cannot be read as csv"),
    "gzip, bytes changed": (
        lambda p: doing(scratched(p.write("log.jsonl.gz", gzip.compress(jsonl()))), p.pipeline(p.folder / "log.jsonl.gz")),
        "cannot be read as jsonl",
    ),
    "truncated Parquet": (
        lambda p: doing(shortened(parquet(p)), p.pipeline(p.folder / "log.parquet")),
        "cannot be read as parquet",
    ),
    "Parquet, bytes changed": (
        lambda p: doing([scratched(parquet(p)) for _ in range(1)], p.pipeline(p.folder / "log.parquet")),
        "log.parquet",
    ),
    "fractions for ids": (
        lambda p: p.pipeline(parquet(p, aid=lambda f: pa.array(f["aid"] + 0.5))),
        "aid: id is no whole number",
    ),
    "records for ids": (
        lambda p: p.pipeline(parquet(p, aid=lambda f: pa.array([[{"id": 1}]] * len(f)))),
        "holds records .id.; ids must be integers or strings",
    ),
    "boolean times": (lambda p: p.pipeline(parquet(p, ts=lambda f: pa.array([True] * len(f)))), "ts is not a time"),
    "unknown types": (lambda p: p.log("log.csv", csv().replace(b"clicks", b"zoom")), "unknown type"),
    "types of the log unknown": (lambda p: p.log("log.csv", csv(), events={"types": {"clicks": "looks"}}), "looks"),
    "all times in ns": (lambda p: p.log("log.csv", csv(rows().assign(ts=lambda f: f["ts"] * 10**6))), "events.ts_unit"),
    "all times in s": (
        lambda p: p.log("log.csv", csv(rows().assign(ts=lambda f: f["ts"] // 1000)), split={}),
        "events.ts_unit to 's'",
    ),
    "far future": (lambda p: p.log("log.csv", csv(rows().assign(ts=9 * 10**12))), "year 2200"),
    "one session": (lambda p: p.log("log.csv", csv(rows().assign(session=1))), "no session with 2 events"),
    "one event": (lambda p: p.log("log.csv", csv(rows()[:1])), "no session with 2 events"),
    "one session, auto": (
        lambda p: p.log("log.csv", csv(rows().assign(session=1)), split="auto"),
        "has 1 session with 2 events",
    ),
    "auto and days": (lambda p: p.log("log.csv", csv(), split={"auto": True, "test_days": 2}), "auto chooses test_days"),
    "users over all days": (
        lambda p: p.log("log.csv", csv(rows().assign(session=lambda f: f["session"] % 9)), split={"test_days": 1}),
        "began before it, .*split.by: session, or events.visit_minutes.*split: auto would take",
    ),
    "after before before": (
        lambda p: p.log("log.csv", csv(), events={"after": "2022-01-02", "before": "2022-01-01"}),
        "after must lie",
    ),
    "nothing after": (lambda p: p.log("log.csv", csv(), events={"after": "2199-01-01"}), "lie before events.after"),
    "a dry run without the column": (
        lambda p: p.log("log.csv", csv(), "--dry-run", events={"columns": {"aid": "sku"}}),
        "missing column 'sku'",
    ),
    "a dry run of other times": (lambda p: p.log("log.csv", csv(), "--dry-run", events={"ts_unit": "iso"}), "rows are bad"),
    "all the same event": (lambda p: p.log("log.csv", csv(pd.concat([rows()[:1]] * 500))), "no session with 2 events"),
    "sessions of one event": (lambda p: p.log("log.csv", csv(rows().drop_duplicates("session"))), "no session with 2 events"),
    "a file that is all test": (
        lambda p: doing(
            (p.folder / "logs").mkdir(),
            p.write("logs/train.csv", HEADER),
            p.write("logs/test.csv", csv()),
            p.pipeline(p.folder / "logs", events={"test_file": "test.csv"}),
        ),
        "test.csv|no session",
    ),
    "all before the first event": (lambda p: p.log("log.csv", csv(), events={"before": "2000-01-01"}), "events.before"),
    # --------------------------------------------------------------------------------------------------- the config
    "config that is not there": (lambda p: ("pipeline", ["--config", p.folder / "none.yaml"]), "no such file"),
    "config is a folder": (lambda p: ("pipeline", ["--config", p.folder]), "no such file"),
    "config with a way up": (lambda p: ("pipeline", ["--config", "../configs/none"]), "no such file"),
    "name with a way up": (
        lambda p: ("pipeline", ["--config", p.config(name="../../elsewhere"), "--data", p.write("a.csv", csv())]),
        "name: ",
    ),
    "name that is a way up": (
        lambda p: ("pipeline", ["--config", p.config(name=".."), "--data", p.write("a.csv", csv()), "--dry-run"]),
        "name: ",
    ),
    "broken YAML": (lambda p: ("pipeline", ["--config", p.write("c.yaml", b"a: [1\nb")]), r"c.yaml:\d+: not valid YAML"),
    "YAML with a Python tag": (
        lambda p: ("pipeline", ["--config", p.write("c.yaml", b"name: !!python/object/apply:os.system ['true']\n")]),
        "could not determine a constructor",
    ),
    "YAML that grows": (
        lambda p: ("pipeline", ["--config", p.write("c.yaml", _billion())]),
        "c.yaml",
    ),
    "YAML that holds itself": (
        lambda p: ("pipeline", ["--config", p.write("c.yaml", b"events: &e\n  columns: *e\n")]),
        "c.yaml",
    ),
    "YAML of depth": (lambda p: ("pipeline", ["--config", p.write("c.yaml", b"a: " + b"[" * 5000 + b"]" * 5000)]), "c.yaml"),
    "YAML of NUL": (lambda p: ("pipeline", ["--config", p.write("c.yaml", b"name: a\0b\n")]), "c.yaml"),
    "YAML, latin-1": (lambda p: ("pipeline", ["--config", p.write("c.yaml", "name: ä\n".encode("latin-1"))]), "c.yaml"),
    "config is a list": (lambda p: ("pipeline", ["--config", p.write("c.yaml", b"- 1\n")]), "expected a mapping"),
    "keys that are no words": (lambda p: ("pipeline", ["--config", p.write("c.yaml", b"1: 2\n? [a, b]\n: 3\n")]), "c.yaml"),
    "unknown key": (lambda p: p.log("log.csv", csv(), rankin={}), "did you mean 'ranking'"),
    "wrong kind": (lambda p: p.log("log.csv", csv(), ranking={"folds": "many"}), "ranking.folds"),
    "section is a number": (lambda p: p.log("log.csv", csv(), ranking=5), "ranking"),
    "depth 0": (lambda p: p.log("log.csv", csv(), ranking={"groups": {"binary": {"depth": 0}}}), "depth"),
    "0 folds": (lambda p: p.log("log.csv", csv(), ranking={"folds": 0}), "ranking.folds"),
    "NaN in the config": (lambda p: p.log("log.csv", csv(), memory_limit=float("nan")), "memory_limit"),
    "infinite days": (lambda p: p.log("log.csv", csv(), split={"test_days": float("inf")}), "split.test_days"),
    "days beyond all times": (lambda p: p.log("log.csv", csv(), split={"test_days": 1e300}), "split"),
    "rule of an unknown type": (
        lambda p: p.log("log.csv", csv(), matrices={"rules": {"mine": {"right": ["views"], "keep": 20}}}),
        "views",
    ),
    "rule of no type": (lambda p: p.log("log.csv", csv(), matrices={"rules": {"mine": {"right": [], "keep": 20}}}), "mine"),
    "rule that cannot match": (
        lambda p: p.log("log.csv", csv(), matrices={"rules": {"mine": {"gap_seconds": {"lo": 5, "hi": 1}, "keep": 20}}}),
        "mine",
    ),
    "rule called by a way up": (lambda p: p.log("log.csv", csv(), matrices={"rules": {"../mine": {"keep": 20}}}), "a name is"),
    "group called by a way up": (lambda p: p.log("log.csv", csv(), ranking={"groups": {"..": {}}}), "a name is"),
    "recipe that XGBoost cannot call a column by": (
        lambda p: p.log("log.csv", csv(), candidates={"recipes": {"a<b": {"lines": [{"keys": "all"}]}}}),
        "a name is",
    ),
    "type that XGBoost cannot call a column by": (
        lambda p: p.log("log.csv", csv(), targets={"types": ["a[1]"], "weights": {"a[1]": 1}, "next_only": []}),
        "a name is",
    ),
    "type that is a path": (
        lambda p: p.log("log.csv", csv(), targets={"types": ["/tmp"], "weights": {"/tmp": 1}, "next_only": []}),
        "a name is",
    ),
    "recipe of no matrix": (
        lambda p: p.log("log.csv", csv(), candidates={"recipes": {"a": {"matrices": ["none"], "size": 3}}}),
        "candidates",
    ),
    "unknown family": (lambda p: p.log("log.csv", csv(), features={"families": ["magic"]}), "magic"),
    "unknown ranker": (lambda p: p.log("log.csv", csv(), "--to", "rankers", ranking={"ranker": "oracle"}), "oracle"),
    "unknown parameter of XGBoost": (
        lambda p: p.log(
            "log.csv",
            csv(rows(200)),
            "--to",
            "rankers",
            ranking={"groups": {"binary": {"params": {"tree_method": "gpu_magic"}}}},
        ),
        "XGBoost says: .*gpu_magic",
    ),
    "unknown parameter of LightGBM": (
        lambda p: p.log(
            "log.csv",
            csv(rows(200)),
            "--to",
            "rankers",
            ranking={"groups": {"binary": {"ranker": "lightgbm", "params": {"tree_lerner": "serial"}}}},
        ),
        "did you mean 'tree_learner'",
    ),
    "setting of another kind of ranker": (
        lambda p: p.log("log.csv", csv(), ranking={"groups": {"a": {"ranker": "lightgbm", "depth": 3}}}),
        "has no setting 'depth'",
    ),
    "weights below 0": (lambda p: p.log("log.csv", csv(), targets={"weights": {"clicks": -1}}), "weights"),
    "no data": (lambda p: ("pipeline", ["--config", p.config()]), "needs --data"),
    # -------------------------------------------------------------------------------------------- options, pipeline
    "unknown option": (lambda p: ("pipeline", ["--confg", "otto"]), "--confg"),
    "option without a value": (lambda p: ("pipeline", ["--config"]), "--config"),
    "unknown device": (lambda p: ("pipeline", ["--device", "abacus"]), "abacus"),
    "unknown stage": (lambda p: ("pipeline", ["--run-dir", p.folder / "r", "--from", "magic"]), "unknown stage"),
    "set without a value": (lambda p: ("pipeline", ["--set", "ranking.folds"]), "--set"),
    "set of broken YAML": (lambda p: ("pipeline", ["--set", "ranking.folds=[1"]), "--set"),
    "set of a NUL": (lambda p: ("pipeline", ["--set", "name=a\0"]), "--set"),
    "set below a number": (lambda p: ("pipeline", ["--set", "threads.a.b=1"]), "threads"),
    "set of dots": (lambda p: ("pipeline", ["--set", "...=1"]), "unknown key|--set"),
    "set of a Python tag": (lambda p: ("pipeline", ["--set", "name=!!python/name:os.system"]), "--set"),
    "unknown cluster": (lambda p: ("pipeline", ["--run-dir", p.folder / "r", "--cluster", "moon:5"]), "cluster"),
    "cluster of no workers": (lambda p: ("pipeline", ["--run-dir", p.folder / "r", "--cluster", "local:0"]), "cluster"),
    # ------------------------------------------------------------------------------------------------ run directory
    "run directory is a file": (
        lambda p: p.pipeline(p.write("log.csv", csv()), "--run-dir", p.write("file", b"")),
        "--run-dir",
    ),
    "run directory below a file": (
        lambda p: p.pipeline(p.write("log.csv", csv()), "--run-dir", p.write("file", b"") / "run"),
        "--run-dir",
    ),
    "run directory where none can be": (lambda p: p.pipeline(p.write("log.csv", csv()), "--run-dir", "/proc/run"), "--run-dir"),
    "run directory is a dangling link": (
        lambda p: doing(
            (p.folder / "l").symlink_to("/proc/gone/run"), p.pipeline(p.write("log.csv", csv()), "--run-dir", p.folder / "l")
        ),
        "--run-dir",
    ),
    "run directory of somebody else": (
        lambda p: doing((p.folder / "run/models").mkdir(parents=True), p.log("log.csv", csv())),
        "holds models, which no run wrote",
    ),
    "run directory with a config of its own": (
        lambda p: doing((p.folder / "run").mkdir(), p.write("run/config.yaml", b"name: mine\n"), p.log("log.csv", csv())),
        "holds config.yaml, which no run wrote",
    ),
    "log in a folder that the run replaces": (
        lambda p: doing((p.folder / "run/events").mkdir(parents=True), p.log("run/events/log.csv", csv())),
        "holds events, which no run wrote",
    ),
    "log that the run replaces": (
        lambda p: doing(p.copy(), p.pipeline(p.folder / "run/submission.csv")),
        "the log lies among what a run writes",
    ),
    "run directory is the folder of the log": (
        lambda p: doing((p.folder / "run").mkdir(), p.write("run/log.csv", csv()), p.pipeline(p.folder / "run")),
        "the log lies among what a run writes",
    ),
    "lock is a folder": (lambda p: doing((p.folder / "run/.lock").mkdir(parents=True), p.log("log.csv", csv())), "--run-dir"),
    "log of the run is a folder": (
        lambda p: doing((p.folder / "run/run.log").mkdir(parents=True), p.log("log.csv", csv())),
        "run.log",
    ),
    "manifests is a file": (
        lambda p: doing((p.folder / "run").mkdir(), p.write("run/manifests", b""), p.log("log.csv", csv())),
        "manifests",
    ),
    # ------------------------------------------------------------------------------------------------- finished runs
    "recommend from no run": (lambda p: p.recommend(run=p.folder / "none"), "no such run directory"),
    "recommend from an empty folder": (lambda p: p.recommend(run=p.folder), "not finished"),
    "recommend from a file": (lambda p: p.recommend(run=p.write("a", b"")), "no such run directory"),
    "model cut short": (lambda p: doing(shortened(first(p.copy(), "*.ubj")), p.recommend()), "not finished"),
    "model, bytes changed": (lambda p: doing(scratched(first(p.copy(), "*.ubj")), p.recommend()), "ubj"),
    "matrix cut short": (lambda p: doing(shortened(first(p.copy(), "matrices/test/*.parquet")), p.recommend()), "not finished"),
    "matrix, bytes changed": (lambda p: doing(scratched(first(p.copy(), "matrices/test/*.parquet")), p.recommend()), "parquet"),
    "manifest that names files elsewhere": (
        lambda p: doing(
            edited(p.copy() / "manifests/submission.json", lambda m: m | {"files": {"../lists.csv": 1}}), p.recommend()
        ),
        "not finished",
    ),
    "manifest is a list": (
        lambda p: doing((p.copy() / "manifests/rankers.json").write_text("[]"), p.recommend()),
        "not finished",
    ),
    "manifest without a key": (
        lambda p: doing(
            edited(p.copy() / "manifests/submission.json", lambda m: {k: v for k, v in m.items() if k != "versions"}),
            p.recommend(),
        ),
        "not finished",
    ),
    "manifest is no text": (
        lambda p: doing((p.copy() / "manifests/rankers.json").write_bytes(b"\xff\xfe\0"), p.recommend()),
        "not finished",
    ),
    "manifest with other sizes": (
        lambda p: doing(
            edited(p.copy() / "manifests/submission.json", lambda m: m | {"files": {"submission.csv": "much"}}), p.recommend()
        ),
        "not finished",
    ),
    "metrics.json with another configuration": (
        lambda p: doing(
            edited(p.copy() / "metrics.json", lambda m: m | {"config": m["config"] | {"name": "other"}}), p.recommend()
        ),
        "not finished|metrics.json",
    ),
    "metrics.json gone": (lambda p: doing((p.copy() / "metrics.json").unlink(), p.recommend()), "not finished"),
    "blend.json edited": (
        lambda p: doing(edited(p.copy() / "blend.json", lambda b: {}), p.recommend()),
        "not finished|blend.json",
    ),
    "recommend, k 0": (lambda p: p.recommend("--k", 0, run=p.finished[2]), "k must be"),
    "recommend, k huge": (lambda p: p.recommend("--k", 10**9, run=p.finished[2]), "k must be"),
    "recommend, k a word": (lambda p: p.recommend("--k", "ten", run=p.finished[2]), "--k"),
    "recommend, 0 threads": (lambda p: p.recommend("--threads", 0, run=p.finished[2]), "threads"),
    "recommend, -3 threads": (lambda p: p.recommend("--threads", -3, run=p.finished[2]), "threads"),
    "recommend, out is a folder": (
        lambda p: ("recommend", [p.finished[2], "--sessions", p.write("a.csv", csv()), "--out", p.folder]),
        "--out",
    ),
    "recommend, out is a device": (
        lambda p: ("recommend", [p.finished[2], "--sessions", p.write("a.csv", csv()), "--out", "/dev/full"]),
        "--out",
    ),
    "recommend, out is the sessions": (
        lambda p: ("recommend", [p.finished[2], "--sessions", p.write("a.csv", csv()), "--out", p.folder / "a.csv"]),
        "is the file of --sessions",
    ),
    "recommend, out in a file": (
        lambda p: ("recommend", [p.finished[2], "--sessions", p.write("a.csv", csv()), "--out", p.folder / "a.csv" / "x"]),
        "--out",
    ),
    "recommend, no rows": (lambda p: p.recommend(run=p.finished[2], sessions=p.write("a.csv", HEADER)), "no events"),
    "explain, unknown item": (lambda p: p.explain("--aid", "nothing"), "does not know the item"),
    "explain, item beyond 64 bits": (lambda p: p.explain("--aid", "9" * 40), "does not know the item"),
    "explain, unknown target": (lambda p: p.explain("--aid", AID, "--target", "looks"), "is no target"),
    "explain, unknown session": (lambda p: p.explain("--aid", AID, "--session", "7"), "--session"),
    "explain, top below 0": (lambda p: p.explain("--aid", AID, "--top", -1), "--top"),
    # ----------------------------------------------------------------------------------------------- official files
    "evaluate, no labels": (
        lambda p: ("evaluate", ["--test-labels", p.folder / "none", "--predictions", p.folder / "none"]),
        "cannot be read",
    ),
    "evaluate, folders": (lambda p: ("evaluate", ["--test-labels", p.folder, "--predictions", p.folder]), "cannot be read"),
    "evaluate, empty labels": (lambda p: p.evaluate(b"", LISTS), "labels"),
    "evaluate, labels broken": (lambda p: p.evaluate(LABELS[:-5], LISTS), "labels.jsonl:1"),
    "evaluate, labels NaN": (lambda p: p.evaluate(LABELS.replace(b"[3]", b"[NaN]"), LISTS), "labels.jsonl:1"),
    "evaluate, labels of two kinds": (lambda p: p.evaluate(LABELS.replace(b"[3]", b'["3"]'), LISTS), "labels.jsonl:1"),
    "evaluate, labels of lists": (lambda p: p.evaluate(LABELS.replace(b"[3]", b"[[3]]"), LISTS), "labels.jsonl:1"),
    "evaluate, ids of 70 bits": (lambda p: p.evaluate(LABELS.replace(b"[3]", b"[1%s]" % (b"0" * 20)), LISTS), "labels.jsonl"),
    "evaluate, empty predictions": (lambda p: p.evaluate(LABELS, b""), "predictions.csv:1"),
    "evaluate, no header": (lambda p: p.evaluate(LABELS, LISTS[21:]), "predictions.csv:1"),
    "evaluate, three columns": (lambda p: p.evaluate(LABELS, LISTS + b"1_clicks,3,4\n"), "predictions.csv:5"),
    "evaluate, words for aids": (lambda p: p.evaluate(LABELS, LISTS + b"1_clicks,tea\n"), "predictions.csv:5"),
    "evaluate, latin-1": (lambda p: p.evaluate(LABELS, LISTS + b"1_clicks,\xe4\n"), "predictions.csv"),
    "evaluate, latin-1 in a column too many": (
        lambda p: p.evaluate(LABELS, LISTS + b"1_clicks,2,\xe4\n"),
        "predictions.csv:5",
    ),
    "evaluate, NUL": (lambda p: p.evaluate(LABELS, LISTS + b"1_clicks,\0\n"), "predictions.csv"),
    "evaluate, open quote": (lambda p: p.evaluate(LABELS, LISTS + b'1_clicks,"3\n'), "predictions.csv"),
    "evaluate, k 0": (lambda p: p.evaluate(LABELS, LISTS, "--k", 0), "--k"),
    "evaluate, weights of words": (lambda p: p.evaluate(LABELS, LISTS, "--weights", "clicks=much"), "--weights"),
    "evaluate, weights NaN": (lambda p: p.evaluate(LABELS, LISTS, "--weights", "clicks=nan"), "--weights"),
    "evaluate, draws below 0": (lambda p: p.evaluate(LABELS, LISTS, "--bootstrap", -1), "--bootstrap"),
    "evaluate, seed below 0": (lambda p: p.evaluate(LABELS, LISTS, "--seed", -1), "--seed"),
    # -------------------------------------------------------------------------------------------------- other tools
    "synthetic, 0 sessions": (lambda p: ("events.synthetic", ["--sessions", 0, "--out", p.folder / "a.csv"]), "sessions"),
    "synthetic, too many": (lambda p: ("events.synthetic", ["--sessions", 2**31, "--out", p.folder / "a.csv"]), "sessions"),
    "synthetic, seed below 0": (
        lambda p: ("events.synthetic", ["--sessions", 10, "--seed", -1, "--out", p.folder / "a.csv"]),
        "seed",
    ),
    "synthetic, 0 days": (lambda p: ("events.synthetic", ["--sessions", 10, "--days", 0, "--out", p.folder / "a.csv"]), "days"),
    "synthetic, out is a folder": (lambda p: ("events.synthetic", ["--sessions", 10, "--out", p.folder]), "cannot be written"),
    "synthetic, unknown format": (
        lambda p: ("events.synthetic", ["--sessions", 10, "--format", "xls", "--out", p.folder / "a"]),
        "--format",
    ),
    "device, an option": (lambda p: ("device.__main__", ["--all"]), "--all"),
}

# name: (what is done, rows rejected, duplicates dropped)
COUNTED = {
    "as it should be": (lambda p: p.log("log.csv", csv()), 0),
    "latin-1": (lambda p: p.log("log.csv", with_rows("ä,1,5,clicks".encode("latin-1"))), 0),
    "latin-1 in UTF-8": (lambda p: p.log("log.csv", with_rows("ü,1,5,clicks".encode(), "ä,1,5,clicks".encode("latin-1"))), 1),
    "UTF-16": (lambda p: p.log("log.csv", csv().decode().encode("utf-16")), 0),
    "CSV called Parquet": (lambda p: p.log("log.parquet", csv()), 0),
    "no gzip": (lambda p: p.log("log.csv.gz", csv()), 0),
    "CR": (lambda p: p.log("log.csv", csv().replace(b"\n", b"\r")), 0),
    "NaN ids": (
        lambda p: p.pipeline(parquet(p, aid=lambda f: pa.array(np.where(f["aid"] > f["aid"].median(), np.nan, 1.0)))),
        465,
    ),
    "tabs": (lambda p: p.log("log.txt", csv().replace(b",", b"\t")), 0),
    "NUL bytes": (lambda p: p.log("log.csv", with_rows(b"1,2\0,5,clicks", b"\0\0\0")), 1),
    "BOM": (lambda p: p.log("log.csv", b"\xef\xbb\xbf" + csv()), 0),
    "BOM, JSONL": (lambda p: p.log("log.jsonl", b"\xef\xbb\xbf" + jsonl()), 0),
    "CRLF": (lambda p: p.log("log.csv", csv().replace(b"\n", b"\r\n")), 0),
    "CRLF, JSONL": (lambda p: p.log("log.jsonl", jsonl().replace(b"\n", b"\r\n")), 0),
    "no line end": (lambda p: p.log("log.csv", csv().rstrip()), 0),
    "ids too large": (lambda p: p.log("log.jsonl", jsonl() + b'{"session":%d,"events":[]}\n' % 2**64), 1),
    "id kinds mixed between files": (
        lambda p: doing(
            (p.folder / "logs").mkdir(),
            pq.write_table(pa.table(rows().to_dict("list")), p.folder / "logs/a.parquet"),
            pq.write_table(pa.table(rows().astype({"aid": str}).to_dict("list")), p.folder / "logs/b.parquet"),
            p.pipeline(p.folder / "logs"),
        ),
        0,
    ),
    "float ids": (lambda p: p.pipeline(parquet(p, aid=lambda f: pa.array(f["aid"].astype(float)))), 0),
    "decimal ids": (lambda p: p.pipeline(parquet(p, aid=lambda f: pa.array(f["aid"]).cast(pa.decimal128(38, 0)))), 0),
    "ids of uint64": (
        lambda p: p.pipeline(parquet(p, aid=lambda f: pa.array(f["aid"].to_numpy(np.uint64) + np.uint64(2**63)))),
        0,
    ),
    "bytes for ids": (lambda p: p.pipeline(parquet(p, aid=lambda f: pa.array([b"\xff%d" % a for a in f["aid"]]))), 0),
    "list ids": (lambda p: p.pipeline(parquet(p, aid=lambda f: pa.array([[a, a + 1] for a in f["aid"]]))), 0),
    "everything twice, kept": (
        lambda p: p.log("log.csv", csv(pd.concat([rows(), rows()])), events={"duplicates": "keep"}),
        0,
    ),
    "users cut into visits": (lambda p: p.log("log.csv", csv(), events={"visit_minutes": 5}), 0),
    "ids below 0": (lambda p: p.log("log.csv", csv(rows().assign(aid=lambda f: -f["aid"]))), 0),
    "a time below 0": (lambda p: p.log("log.csv", with_rows(b"1,2,-5,clicks")), 1),
    "a time in 2262": (
        lambda p: p.log("log.csv", with_rows(b"1,2,9223372036854,clicks", b"1,2,9223372036854775807,clicks")),
        2,
    ),
    "an open quote": (lambda p: p.log("log.csv", with_rows(b'1,"2,5,clicks')), 1),
    "quotes across lines": (lambda p: p.log("log.csv", with_rows(b'"1\n1",2,5,clicks')), 0),
    "a huge line": (lambda p: p.log("log.csv", with_rows(b"1," + b"9" * 3_000_000 + b",5,clicks,1")), 1),
    "a huge line, JSONL": (lambda p: p.log("log.jsonl", jsonl() + b'{"session":"' + b"x" * 3_000_000 + b'"}\n'), 1),
    "JSON of depth": (lambda p: p.log("log.jsonl", jsonl() + b"[" * 100_000 + b"]" * 100_000 + b"\n"), 1),
    "missing ids": (lambda p: p.pipeline(parquet(p, aid=lambda f: pa.array([None, *f["aid"][1:]], pa.int64()))), 1),
    "all the same item": (lambda p: p.log("log.csv", csv(rows().assign(aid=7))), 0),
    "unsorted": (lambda p: p.log("log.csv", csv(rows().sample(frac=1, random_state=1))), 0),
    "everything twice": (lambda p: p.log("log.csv", csv(pd.concat([rows(), rows()]))), 0),
    "one clock at 2038": (lambda p: p.log("log.csv", with_rows(b"1,7,2145916800000,clicks"), split="auto"), 0),
    "one clock at 1970": (lambda p: p.log("log.csv", with_rows(b"1,7,0,clicks"), split="auto"), 0),
    "all at one time": (lambda p: p.log("log.csv", csv(rows().assign(ts=T0)), split="auto"), 0),
    "times at 0": (lambda p: p.log("log.csv", csv(rows().assign(ts=lambda f: f["ts"] - f["ts"].min()))), 0),
    "times in s, split by session": (lambda p: p.log("log.csv", csv(rows().assign(ts=lambda f: f["ts"] // 1000))), 0),
}


# name: (what is done, what is said besides): the run is put right and ends well
MENDED = {
    "matrix, bytes changed": (
        lambda p: doing(scratched(p.copy() / "matrices/test/time_decay.parquet"), p.again("--from", "candidates")),
        "matrices: .*time_decay.parquet is not what was written: made again",
    ),
    "events, bytes changed": (
        lambda p: doing(scratched(p.copy() / "events/test/train.parquet"), p.again("--from", "matrices", "--to", "matrices")),
        "events: .*train.parquet is not what was written: made again",
    ),
    "a model cut short": (lambda p: doing(shortened(first(p.copy(), "*.ubj")), p.again()), "rankers: started"),
    "a manifest edited": (
        lambda p: doing((p.copy() / "manifests/features.json").write_text("{}"), p.again()),
        "features: started",
    ),
    "a manifest that names files elsewhere": (
        lambda p: doing(
            p.write("precious.txt", b"precious"),
            edited(p.copy() / "manifests/features.json", lambda m: m | {"files": {"../precious.txt": 1}}),
            p.again(),
        ),
        "features: started",
    ),
    "the config of the run edited": (
        lambda p: doing(_config(p.copy(), lambda c: c.update(name="x")), p.again()),
        "blend: unchanged",
    ),
}


def _billion() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    return "\n".join(lines).encode()


def _config(run_dir: Path, change) -> None:
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    change(config)
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))


def rejected_of(done: Done, run_dir: Path) -> int:
    return json.loads((run_dir / "events/summary.json").read_text())["counts"]["rejected"]
