"""A finished run answers for new sessions: the lists that the pipeline would give them, from Python and as a command.

python -m otto_gpu.recommend RUN --sessions FILE --out FILE
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numba
import numpy as np
import orjson
import pyarrow as pa

from otto_gpu.candidates.fuse import Candidates, popular_items
from otto_gpu.candidates.fusion import FUSION, CandidateFeatures, fusion_scores, is_marked, load_models, mark_best
from otto_gpu.candidates.lookup import Histories
from otto_gpu.candidates.naming import Sources
from otto_gpu.command import Parser, run_command
from otto_gpu.config import Config, load_config
from otto_gpu.device import Device, choose_device
from otto_gpu.device.arrays import ranges
from otto_gpu.embeddings.settings import ENCODER
from otto_gpu.embeddings.vectors import load_vectors, load_weights
from otto_gpu.errors import UserError
from otto_gpu.events.incoming import NewSessions, Reader, shift_into_span
from otto_gpu.events.log import EventLog
from otto_gpu.events.official import write_submission
from otto_gpu.events.read import ReadResult, read_log
from otto_gpu.events.stage import load_ids, load_period
from otto_gpu.events.times import suspicious_unit
from otto_gpu.events.typed import CONTEXT, load_dictionaries
from otto_gpu.features.stage import feature_maker
from otto_gpu.outcome.scores import METRICS
from otto_gpu.ranking.models import Models
from otto_gpu.ranking.predict import score_block
from otto_gpu.ranking.scores import lists_of
from otto_gpu.ranking.settings import RECALL
from otto_gpu.run.directory import Run, replacing, write_table
from otto_gpu.run.progress import Reporter

SPLIT = "test"  # the period that knows the whole log
READ = ("events/", f"matrices/{SPLIT}/", f"embeddings/{SPLIT}/", "candidates/fusion/", "models/", "blend.json", METRICS)
MOST = 1000  # items of a list
FORMATS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl"}
OTHER_FORMATS = {
    *(".tsv", ".xlsx", ".xls", ".ods", ".feather", ".arrow", ".ipc", ".orc", ".avro", ".pkl", ".pickle", ".npy", ".npz", ".h5"),
    *(".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".db", ".sqlite", ".duckdb", ".html", ".yaml", ".yml", ".xml"),
}
FEW = 8  # sessions; fewer are done on one thread: several would wait for each other, above all on a busy machine


@dataclass(frozen=True)
class Recommendations:
    """sessions: the user's own ids, in the order in which they came; lists: {target: int32 [S, k], best first, padded with -1,
    places in `items`}; items: the user's own ids; cold: bool [S], sessions without any item that the run knows; unknown:
    int64 [S], events whose items it does not know, which were left out."""

    sessions: pa.Array
    lists: dict[str, np.ndarray]
    items: pa.Array
    cold: np.ndarray
    unknown: np.ndarray

    def __len__(self) -> int:
        return len(self.sessions)

    def to_dicts(self) -> list[dict]:
        """[{"session": own id, target: [own ids], ...}] in the order of the sessions."""
        own = {target: self._own(array) for target, array in self.lists.items()}
        sessions = self.sessions.to_pylist()
        return [{"session": s, **{t: rows[i] for t, rows in own.items()}} for i, s in enumerate(sessions)]

    def to_frame(self):
        """A pandas frame: session, type, rank (from 1), aid; own ids."""
        import pandas as pd

        parts = []
        for target, array in self.lists.items():
            session, place = np.nonzero(array >= 0)
            frame = pd.DataFrame({"session": self.sessions.take(pa.array(session)).to_pandas(), "type": target})
            frame["rank"] = place + 1
            frame["aid"] = self.items.take(pa.array(array[session, place])).to_pandas()
            parts.append(frame.assign(_row=session))
        joined = pd.concat(parts, ignore_index=True).sort_values("_row", kind="stable")
        return joined.drop(columns="_row").reset_index(drop=True)

    def write(self, path: Path) -> None:
        """In the format that the name says: .parquet, as to_frame; .json, as to_dicts, or .jsonl, a session a line; else a CSV
        in the official format, session_type,labels. Whole or not at all. UserError for the name of another format."""
        form = written_as(path)
        if form == "csv":
            write_submission(path, self.sessions, list(self.lists), self.lists, self.items)
            return
        with replacing(Path(path)) as whole:
            if form == "parquet":
                write_table(self._table(), whole)
            elif form == "json":
                whole.write_bytes(orjson.dumps(self.to_dicts(), option=orjson.OPT_APPEND_NEWLINE))
            else:
                whole.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in self.to_dicts()))

    def _table(self) -> pa.Table:
        """session, type, rank (from 1), aid, in the order of the sessions; own ids."""
        targets = list(self.lists)
        array = np.stack([self.lists[target] for target in targets], axis=1)  # [S, targets, k]
        session, target, place = np.nonzero(array >= 0)
        return pa.table(
            {
                "session": self.sessions.take(pa.array(session)),
                "type": pa.array(targets, pa.string()).take(pa.array(target)),
                "rank": pa.array(place + 1, pa.int32()),
                "aid": self.items.take(pa.array(array[session, target, place])),
            }
        )

    def _own(self, array: np.ndarray) -> list[list]:
        words = self.items.take(pa.array(np.maximum(array, 0).ravel())).to_pylist() if array.size else []
        counts, k = (array >= 0).sum(axis=1), array.shape[1]
        return [words[i * k : i * k + n] for i, n in enumerate(counts.tolist())]


@dataclass(frozen=True)
class Scored:
    """Candidates of some sessions; their features, float32 [m, n], on the device (None where the run has no models); and what
    each group says of them: {target: float32 [m, groups]}."""

    candidates: Candidates
    features: np.ndarray | None
    scores: dict[str, np.ndarray]


class Recommender:
    """recommend(events) for new sessions. Several threads may share one: it does one call after the other.

    What a list is made of is what the run knew of its test period: matrices, popularity, models. Items that it does not know
    are left out and counted; a session without any other gets the items with most events of the target's type in the last
    days of the log (candidates.popular_days), the same for all. Sessions after the end of the log are read as if they ended in
    its last week, at the same hour and weekday (events.incoming.within); so are those from before it.
    """

    def __init__(self, run_dir: Path, config: Config, device: Device, threads: int | None = None):
        """As load does, whose checks come first."""
        self.run_dir, self.config, self.device = run_dir, config, device
        self._lock, self._threads = Lock(), threads
        c, period = config, load_period(run_dir, SPLIT)
        self.items = load_ids(run_dir, "items")
        self.reader = Reader(self.items, c.events, c.targets, load_dictionaries(run_dir / "events" / CONTEXT))
        known = period.known
        self._span = int(known.ts.min()), int(known.ts.max())
        self.popular = {t: _popular_of_type(known, c.targets.code(t), c.candidates.popular_days) for t in c.targets.names}
        with self._on_threads() as n:
            self.models = Models.load(run_dir, c.ranking, c.targets, device, n)
            self._inputs = self._fusion = None
            if c.candidates.fusion:
                self._inputs = CandidateFeatures(known, period.history, device)
                self._fusion = load_models(run_dir / "candidates" / FUSION, c.candidates.fusion, device)
            self.maker = feature_maker(
                run_dir, SPLIT, c.features, c.candidates, c.targets, tuple(c.matrices.rules), c.embeddings.names, period,
                c.candidates.matrices, device,
            )  # fmt: skip
        self.sources = Sources.load(run_dir, SPLIT, known, c.candidates, device, self.maker.period_state.stack)
        self._encoder = self._load_encoder()
        blend = json.loads((run_dir / "blend.json").read_text())
        self.weights = {t: dict(zip(b["groups"], b["weights"], strict=True)) for t, b in blend.items()}

    @classmethod
    def load(cls, run_dir: str | Path, device: str = "auto", threads: int | None = None) -> Recommender:
        """Of a finished run. threads: of its kernels, None: all cores. UserError where the run is not whole."""
        if threads is not None and threads < 1:
            raise UserError(f"threads must be 1 or more, got {threads}")
        run = Run(Path(run_dir), Reporter(quiet=True))
        run.finished("submission", READ)
        # that of the finished submission: config.yaml may be edited, or belong to a later call that stopped early
        config = load_config(json.loads((run.directory / METRICS).read_text())["config"])
        return cls(run.directory, config, choose_device(device), threads)

    @property
    def targets(self) -> list[str]:
        return self.config.targets.names

    def recommend(self, events, k: int | None = None, sessions=None) -> Recommendations:
        """The k items (default: targets.k) of every target for each session.

        events: a data frame (pandas, polars, cuDF, whatever speaks Arrow's C interface, such as DuckDB's relations), an Arrow
        table or reader, or a list of dicts, with the columns of the run's log (or session, aid, ts, type), in any order; those
        of events.context may be missing, as a whole or in some events. Without a column of sessions they are one. sessions:
        own ids of further sessions, of which there may be no events. A list is shorter than k where there are fewer candidates.
        UserError for what is no event.
        """
        with self.exclusive():
            return self.lists(self.reader.read(events, sessions), k)

    def recommend_log(self, log: EventLog, k: int | None = None, dictionaries=None) -> Recommendations:
        """As recommend, for a log that is read already, with its own ids; dictionaries: the values of its own codes, by column
        of its context (None: they are the run's)."""
        with self.exclusive():
            return self.lists(self.reader.of_log(log, dictionaries), k)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One call at a time, on its threads; around what follows."""
        with self._lock, self._on_threads():
            yield

    def lists(self, incoming: NewSessions, k: int | None = None, scored: Iterable[Scored] | None = None) -> Recommendations:
        """scored: what self.scored gives of the sessions, where that is there already."""
        k = self._length(k)
        lists = {t: np.full((len(incoming), k), -1, np.int32) for t in self.targets}
        with self._on_threads(1 if len(incoming) < FEW else None):
            for some in self.scored(incoming) if scored is None else scored:
                for target, scores in some.scores.items():
                    lists[target][some.candidates.sessions] = self._lists(target, some.candidates, scores, k)
        cold = np.diff(incoming.log.starts) == 0
        for target, array in lists.items():
            popular = self.popular[target][:k]
            array[cold, : len(popular)] = popular
        order = incoming.first_seen
        own = incoming.sessions.take(pa.array(order))
        return Recommendations(
            own, {t: array[order] for t, array in lists.items()}, self.items, cold[order], incoming.unknown[order]
        )

    def scored(self, incoming: NewSessions) -> Iterator[Scored]:
        """The candidates of all sessions that have events, some sessions at a time."""
        c = self.config
        log = self.in_time(incoming.log)
        histories = Histories.of(log, c.candidates)
        queries = self.queries(histories)
        maker = self.maker.about(histories, queries)
        sessions = np.flatnonzero(np.diff(log.starts)).astype(np.int32)
        for first in range(0, len(sessions), c.candidates.chunk_sessions):
            chunk = sessions[first : first + c.candidates.chunk_sessions]
            mine = {} if queries is None else {ENCODER: queries[chunk]}
            candidates = self.sources.name(chunk, histories.chunk(chunk), mine)
            if c.candidates.fusion:
                candidates = self._chosen(candidates, log)
            for a, b in ranges(candidates.pointer, maker.at_once(c.features.chunk_rows)):
                block = candidates.rows(a, b)
                features = maker.make(block) if self.models.ensembles else None
                yield Scored(block, features, score_block(block, features, self.models, c.candidates, self.targets))

    def groups(self, target: str) -> list[str]:
        """Whose scores there are of a target, in the order of the columns."""
        return [*self.models.groups(target), RECALL]

    def in_time(self, log: EventLog) -> EventLog:
        """The log with its sessions in the time that the run knows."""
        return shift_into_span(log, *self._span)

    def queries(self, histories: Histories) -> np.ndarray | None:
        """float32 [S, dim]: where the sessions go by the encoder; None where the run has none."""
        return None if self._encoder is None else self._encoder.sessions(histories, np.arange(len(histories)))

    def own(self, aids) -> list:
        """The user's own ids."""
        return self.items.take(pa.array(aids, pa.int32())).to_pylist()

    def _lists(self, target: str, candidates: Candidates, scores: np.ndarray, k: int) -> np.ndarray:
        damping, weights = self.config.blend.damping, self.weights[target]
        return lists_of(candidates.pointer, candidates.aid, scores, self.groups(target), weights, k, damping)

    def _chosen(self, candidates: Candidates, log: EventLog) -> Candidates:
        score = fusion_scores(candidates, self._fusion, self._inputs.for_sessions(log))
        ranked = mark_best(candidates, score, self.config.candidates.fusion.keep)
        return ranked.where(is_marked(ranked))

    def _load_encoder(self):
        c = self.config
        if ENCODER not in c.vectors:
            return None
        from otto_gpu.embeddings.encoder import Reader as Encoder

        items, weights = load_vectors(self.run_dir, SPLIT, ENCODER), load_weights(self.run_dir, SPLIT, ENCODER)
        return Encoder.of(items, weights, c.embeddings.encoder, len(c.targets.types), self.device)

    def _length(self, k: int | None) -> int:
        k = self.config.targets.k if k is None else k
        whole = isinstance(k, (int, np.integer, float, np.floating)) and not isinstance(k, bool) and k == k and k % 1 == 0
        if not whole or not 1 <= k <= MOST:
            raise UserError(f"k must be between 1 and {MOST}, a whole number, got {k!r}")
        return int(k)

    @contextmanager
    def _on_threads(self, threads: int | None = None) -> Iterator[int]:
        """So many, None: the recommender's own; the caller's number comes back afterwards."""
        before = numba.get_num_threads()
        numba.set_num_threads(min(threads or self._threads or before, numba.config.NUMBA_NUM_THREADS))
        try:
            yield numba.get_num_threads()
        finally:
            numba.set_num_threads(before)


def written_as(path: Path) -> str:
    """csv, parquet, json or jsonl, by a file's name. UserError for the name of what cannot be written."""
    ending = Path(path).suffix.lower()
    if ending in OTHER_FORMATS:
        known = ", ".join(dict.fromkeys(FORMATS))
        raise UserError(f"--out {path}: {ending} is not a format that lists are written in; choose one of {known}")
    return FORMATS.get(ending, "csv")


def _popular_of_type(known: EventLog, code: int, days: float) -> np.ndarray:
    """int32: the items by events of a type in the log's last days; those without any behind, by events of all types."""
    recent = (known.ts >= known.ts.max() - days * 86_400_000) & (known.type == code)
    counts, overall = np.bincount(known.aid[recent], minlength=known.n_items), popular_items(known, days)
    return overall[np.argsort(-counts[overall], kind="stable")][:MOST]


def read_sessions(path: Path, config: Config) -> ReadResult:
    """The events of new sessions, written as the run's log was: a file, a folder or a glob."""
    form = "auto" if config.events.generated else config.events.format
    changes = {"format": form, "train_file": None, "test_file": None, "sample_sessions": 1.0, "extra": []}
    changes |= {"before": None, "after": None, "visit_minutes": None}
    return read_log(path, config.events.model_copy(update=changes), config.targets, bare=True)


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    return run_command(lambda: _run(given), given.debug)


def _run(given: argparse.Namespace) -> int:
    if (given.out.exists() and not given.out.is_file()) or not given.out.absolute().parent.is_dir():
        raise UserError(f"--out {given.out}: must be a file in a folder that is there")
    written_as(given.out)
    if given.out.exists() and given.sessions.exists() and given.out.samefile(given.sessions):
        raise UserError(f"--out {given.out}: is the file of --sessions, which would be lost")
    reporter = Reporter()
    recommender = Recommender.load(given.run, given.device, given.threads)
    read = read_sessions(given.sessions, recommender.config)
    if doubt := suspicious_unit(read.log.ts, recommender.config.events.ts_unit):
        reporter.say(f"warning: {doubt}, as in the run's log")
    made = recommender.recommend_log(read.log, given.k, read.context)
    made.write(given.out)
    if read.counts["rejected"]:
        reporter.say(f"{read.counts['rejected']:,} bad rows left out")
    if left := sum(read.counts["left_out"].values()) + sum(read.counts["missing"].values()):
        reporter.say(f"{left:,} rows left out as in the run's log (events.types, events.missing)")
    if made.unknown.any():
        reporter.say(f"{int(made.unknown.sum()):,} events of items that the run does not know left out")
    if made.cold.any():
        reporter.say(f"{int(made.cold.sum()):,} sessions without any known item: popular items")
    reporter.say(f"{given.out}: {len(made):,} session{'' if len(made) == 1 else 's'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m otto_gpu.recommend",
        description="The lists of a finished run for new sessions, as a CSV in the official format, Parquet or JSON.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's directory, such as runs/demo")
    parser.add_argument(
        "--sessions", type=Path, required=True, metavar="FILE",
        help="their events, written as the run's log was: JSONL, CSV or Parquet; a file, a folder or a glob",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE",
        help="by its name: .csv (session_type,labels), .parquet (session, type, rank, aid), .json or .jsonl (a session a line)",
    )  # fmt: skip
    parser.add_argument("--k", type=int, help="items of a list (default: the run's)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all cores")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
