"""What comes after the cuts is never used: it is changed, and nothing that is known at the cuts moves."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otto_gpu.candidates.stage import load_part, parts
from otto_gpu.columns import AID, AID_X, AID_Y, SESSION, TS, TYPE, WEIGHT
from otto_gpu.config import load_config
from otto_gpu.events import split
from otto_gpu.events.labels import Labels
from otto_gpu.events.stage import SPLITS, load_ids
from otto_gpu.features.stage import feature_maker
from otto_gpu.pipeline import run_pipeline
from tests.runs import EMBEDDED, GROUP, frame, needs_embeddings, of_file, write_parquet

TYPES = np.array(["clicks", "carts", "orders"])
HOUR = 3_600_000
VALIDATION_START, TEST_START = "2022-08-14T22:00:00Z", "2022-08-21T22:00:00Z"  # the log covers 28 days from 2022-07-31T22:00Z
TEST_MS = int(pd.Timestamp(TEST_START).timestamp() * 1000)


def settings(by: str) -> dict:
    by_what = {
        "time": {"by": "time", "validation_start": VALIDATION_START, "test_start": TEST_START},
        "session": {"by": "session", "validation_fraction": 0.25, "test_fraction": 0.25},
    }
    return of_file(
        split=by_what[by],
        # every family and few negatives: a draw that depends on what comes later shows in the models
        features={
            "families": ["matrix", "popularity", "session", "recall", "attributes", "context", "rank"],
            "negatives": {"clicks": 3, "carts": 3},
        },
        events={"context": {"device": "code", "scroll": "number"}},
        items={"file": "items.csv", "columns": {"shelf": "code", "price": "number", "made": "time"}},
        ranking={"groups": {"binary": GROUP, "pairwise": GROUP | {"objective": "rank:pairwise"}}},
    )


def with_context(log: pd.DataFrame) -> pd.DataFrame:
    """The log with a code and a number of every event, some missing; events that are put in later have neither."""
    device = np.array(["phone", "desk", None], object)[log[TS] // 1000 % 3]
    return log.assign(device=device, scroll=np.where(log[TS] % 5 > 0, log[TS] % 7 / 4, np.nan))


def write_items(folder: Path, log: pd.DataFrame) -> None:
    """What is known of two thirds of the log's items; the others' dense ids move with what the log has."""
    aid = np.unique(log[AID])[np.arange(log[AID].nunique()) % 3 > 0]
    made = TEST_MS - aid.astype(np.int64) % 97 * 6 * HOUR
    pd.DataFrame({AID: aid, "shelf": aid % 11, "price": aid % 13 / 4, "made": made}).to_csv(folder / "items.csv", index=False)


class World:
    """A finished run, in the user's own ids."""

    def __init__(self, run_dir: Path, config: dict):
        self.run_dir, self.config = run_dir, load_config(config)
        self.items = load_ids(run_dir, "items").to_numpy()
        self.sessions = load_ids(run_dir, "sessions").to_numpy()

    def _own(self, table: pa.Table) -> pd.DataFrame:
        own = table.to_pandas()
        for name in (AID, AID_X, AID_Y):
            if name in own:
                own[name] = self.items[own[name]]
        return own.assign(**{SESSION: self.sessions[own[SESSION]]} if SESSION in own else {})

    def history(self, name: str) -> pd.DataFrame:
        return self._own(pq.read_table(self.run_dir / "events" / name / "history.parquet"))

    def train(self, name: str) -> pd.DataFrame:
        return self._own(pq.read_table(self.run_dir / "events" / name / "train.parquet"))

    def labels(self, name: str) -> set:
        labels = Labels.load(self.run_dir / "labels" / f"{name}.parquet")
        return set(zip(self.sessions[labels.session], labels.type, self.items[labels.aid], strict=True))

    def tables(self, folder: str) -> dict[str, pd.DataFrame]:
        """Every Parquet file below, by its name."""
        files = sorted((self.run_dir / folder).rglob("*.parquet"))
        return {str(f.relative_to(self.run_dir)): self._own(pq.read_table(f)) for f in files}

    def candidates(self, name: str) -> dict[str, pd.DataFrame]:
        """Without the labels, which may change."""
        tables = self.tables(f"candidates/{name}")
        return {n: t.drop(columns=[c for c in t if c.startswith("label_")]) for n, t in tables.items()}

    def features(self, name: str) -> list[np.ndarray]:
        """Of all candidates, part by part."""
        c = self.config
        maker = feature_maker(self.run_dir, name, c.features, c.candidates, c.targets, c.matrices.rules, c.embeddings.names)
        loaded = [load_part(path, c.candidates.sources, ())[0] for path in parts(self.run_dir, name)]
        assert sum(map(len, loaded)) > 1000 and len(maker.catalogue) > 100
        return [maker.make(candidates) for candidates in loaded]


def same_tables(a: dict[str, pd.DataFrame], b: dict[str, pd.DataFrame]) -> None:
    assert a.keys() == b.keys() and a
    for name in a:
        pd.testing.assert_frame_equal(a[name], b[name], check_exact=True, obj=name)


def same_before_the_cuts(a: World, b: World, name: str) -> None:
    """Histories, matrices, candidates and features of a period."""
    pd.testing.assert_frame_equal(a.history(name), b.history(name))
    pd.testing.assert_frame_equal(a.train(name), b.train(name))
    same_tables(a.tables(f"matrices/{name}"), b.tables(f"matrices/{name}"))
    assert sum(len(t) for t in a.tables(f"matrices/{name}").values()) > 10_000
    same_tables(a.candidates(name), b.candidates(name))
    for x, y in zip(a.features(name), b.features(name), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture
def cuts(monkeypatch):
    """Draws of the cuts by their seeds: recorded, and played back once there are any."""
    drawn, draw = {}, split.random_cuts

    def once(lengths, seed):
        if seed in drawn:
            assert len(drawn[seed]) == len(lengths) and np.all(drawn[seed] < lengths)
        return drawn.setdefault(seed, draw(lengths, seed))

    monkeypatch.setattr(split, "random_cuts", once)
    return drawn


def changed_after_the_cuts(log: pd.DataFrame, world: World, name: str, latest: int | None, seed: int = 3) -> pd.DataFrame:
    """The log with other events after the cuts of a period's sessions: 1 to 8 each, of other items (known and new ones, which
    shift the dense ids of the others), types and times, all of them earlier than `latest`."""
    rng = np.random.default_rng(seed)
    known = np.unique(world.train(name)[AID])
    history = world.history(name)
    keep, later = [log[~log[SESSION].isin(history[SESSION])]], []
    whole = dict(tuple(log[log[SESSION].isin(history[SESSION])].sort_values(TS, kind="stable").groupby(SESSION)))
    for session, seen in history.groupby(SESSION):
        events = whole[session]
        of_known = np.flatnonzero(events[AID].isin(known))
        last = of_known[len(seen) - 1]
        keep.append(events.iloc[: last + 1])
        after = int(events[TS].iloc[last])
        n = rng.integers(1, 9)
        until = after + 6 * HOUR if latest is None else min(latest, after + 6 * HOUR)
        assert until > after + 1
        items = np.where(rng.random(n) < 0.7, rng.choice(known, n), rng.choice(known, n) + rng.integers(1, 5, n))
        items[0] = rng.choice(known)
        times = rng.integers(after + 1, until, n)
        later.append(pd.DataFrame({SESSION: session, AID: items, TS: times, TYPE: rng.choice(TYPES, n)}))
    return pd.concat(keep + later, ignore_index=True)


@pytest.mark.parametrize("by", ["time", "session"])
def test_what_follows_the_cuts_of_the_test_sessions_changes_nothing_but_their_labels(tmp_path, cuts, by):
    log, config = with_context(frame(400)), settings(by)
    write_items(tmp_path, log)
    run_pipeline(config, data=write_parquet(tmp_path / "a.parquet", log), run_dir=tmp_path / "a")
    a = World(tmp_path / "a", config)
    changed = changed_after_the_cuts(log, a, "test", None)
    run_pipeline(config, data=write_parquet(tmp_path / "b.parquet", changed), run_dir=tmp_path / "b")
    b = World(tmp_path / "b", config)

    # the change is one: other labels, and dense ids that moved
    assert len(a.labels("test") & b.labels("test")) < 0.1 * len(a.labels("test"))
    assert len(set(a.items) - set(b.items)) + len(set(b.items) - set(a.items)) > 10
    assert not np.array_equal(a.items[:50], b.items[:50])
    for name in SPLITS:
        same_before_the_cuts(a, b, name)
    assert a.labels("validation") == b.labels("validation")
    same_tables(a.tables("features"), b.tables("features"))
    same_tables(a.tables("predictions"), b.tables("predictions"))
    for name in ("blend.json", "submission.csv", "official/test_sessions.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert (tmp_path / "a/official/test_labels.jsonl").read_bytes() != (tmp_path / "b/official/test_labels.jsonl").read_bytes()


def test_what_follows_the_cuts_of_the_validation_sessions_changes_nothing_known_before(tmp_path, cuts):
    log, config = with_context(frame(400)), settings("time")
    # a session that ends on the eve of the test period leaves no room for other events
    log = log[~log[SESSION].isin(log[SESSION][log[TS].between(TEST_MS - 2, TEST_MS - 1)])]
    write_items(tmp_path, log)
    run = {"to_stage": "candidates"}
    run_pipeline(config, data=write_parquet(tmp_path / "a.parquet", log), run_dir=tmp_path / "a", **run)
    a = World(tmp_path / "a", config)
    changed = changed_after_the_cuts(log, a, "validation", TEST_MS)
    run_pipeline(config, data=write_parquet(tmp_path / "b.parquet", changed), run_dir=tmp_path / "b", **run)
    b = World(tmp_path / "b", config)

    assert len(a.labels("validation") & b.labels("validation")) < 0.1 * len(a.labels("validation"))
    same_before_the_cuts(a, b, "validation")
    # for the test period they are known: there the change shows, so it could have shown above
    with pytest.raises(AssertionError):
        same_tables(a.tables("matrices/test"), b.tables("matrices/test"))


PLANTED = 999_999


def planted(log: pd.DataFrame, sessions, ts) -> pd.DataFrame:
    """The log with the planted item bought in each of the sessions, three times in a row."""
    more = [pd.DataFrame({SESSION: sessions, AID: PLANTED, TS: np.asarray(ts) + i, TYPE: t}) for i, t in enumerate(TYPES)]
    return pd.concat([log, *more], ignore_index=True)


def recommended(run_dir: Path) -> dict[str, set]:
    """Where the planted item shows."""
    config = load_config(settings("time"))
    found = {name: set(World(run_dir, settings("time")).items[_candidates(run_dir, name, config)]) for name in SPLITS}
    if (run_dir / "submission.csv").is_file():
        lines = (run_dir / "submission.csv").read_text().splitlines()[1:]
        found["submission"] = {int(aid) for line in lines for aid in line.split(",")[1].split()}
    return {name: PLANTED in items for name, items in found.items()}


def _candidates(run_dir: Path, name: str, config) -> np.ndarray:
    return np.concatenate([load_part(path, config.candidates.sources, ())[0].aid for path in parts(run_dir, name)])


def test_an_item_that_only_occurs_after_the_cuts_is_never_recommended(tmp_path):
    log, config = frame(400), of_file(split=settings("time")["split"])
    began = log.groupby(SESSION)[TS].min()
    ended = log.groupby(SESSION)[TS].max()
    test = began.index[began >= TEST_MS]
    # as the last events of every test session, and after the period's start in every session that began before it
    everywhere = planted(log, ended.index, np.maximum(ended, TEST_MS) + 1)
    run_pipeline(config, data=write_parquet(tmp_path / "a.parquet", everywhere), run_dir=tmp_path / "a")
    assert recommended(tmp_path / "a") == {"validation": False, "test": False, "submission": False}
    assert not any(
        (t[[AID_X, AID_Y]] == PLANTED).any(axis=None) for t in World(tmp_path / "a", config).tables("matrices").values()
    )
    facts = json.loads((tmp_path / "a/events/summary.json").read_text())
    assert facts["periods"]["test"]["sessions"] > 0.8 * len(test)


def test_an_item_of_the_validation_labels_is_known_to_the_test_period_only(tmp_path):
    log, config = frame(400), of_file(split=settings("time")["split"])
    start = int(pd.Timestamp(VALIDATION_START).timestamp() * 1000)
    spans = log.groupby(SESSION)[TS].agg(["min", "max"])
    inside = spans[(spans["min"] >= start) & (spans["max"] < TEST_MS - 10)]
    data = write_parquet(tmp_path / "a.parquet", planted(log, inside.index, inside["max"] + 1))
    run_pipeline(config, data=data, run_dir=tmp_path / "a", to_stage="candidates")
    assert recommended(tmp_path / "a") == {"validation": False, "test": True}
    weights = World(tmp_path / "a", config).tables("matrices/test")["matrices/test/time_decay.parquet"]
    assert (weights[AID_Y] == PLANTED).any() and weights[WEIGHT].min() > 0


# ------------------------------------------------------------------------------------------------------------- vectors
def dealt_out_anew(log: pd.DataFrame, world: World, name: str, until: int | None = None, seed: int = 5) -> pd.DataFrame:
    """The log with the items and types of all that follows the cuts of a period permuted among these events.

    The items of the log stay, and with them the dense ids that vectors begin from; so do all times and lengths. until: the
    period's sessions were cut out of what lies before.
    """
    log = log.sort_values([SESSION, TS], kind="stable", ignore_index=True)
    history = world.history(name)
    # what the period counts: events of items that were known before it
    counted = log[SESSION].isin(history[SESSION]) & log[AID].isin(world.train(name)[AID])
    if until is not None:
        counted &= log[TS] < until
    counted = log[counted]
    cut = history.groupby(SESSION).size().reindex(counted[SESSION]).to_numpy()
    place = counted.groupby(SESSION).cumcount().to_numpy()
    seen, after = counted[place < cut], counted.index[place >= cut]
    np.testing.assert_array_equal(seen[AID], history.sort_values([SESSION, TS], kind="stable")[AID])
    changed = log.copy()
    order = np.random.default_rng(seed).permutation(after)
    for column in (AID, TYPE):
        changed.loc[after, column] = log[column].to_numpy()[order]
    assert (changed.loc[after, AID] != log.loc[after, AID]).sum() > 100
    return changed


def files(run_dir: Path, pattern: str) -> dict[str, bytes]:
    found = {str(p.relative_to(run_dir)): p.read_bytes() for p in run_dir.glob(pattern) if p.is_file()}
    assert found, pattern
    return found


def with_vectors(tmp_path: Path, by: str, name: str, until: int | None, to_stage: str) -> tuple[World, World]:
    """Runs up to a stage on a log and on the same with the events after a period's cuts dealt out anew."""
    needs_embeddings()
    log, config = frame(400), of_file(**EMBEDDED, threads=1, split=settings(by)["split"])
    run_pipeline(config, data=write_parquet(tmp_path / "a.parquet", log), run_dir=tmp_path / "a", to_stage=to_stage)
    a = World(tmp_path / "a", config)
    changed = dealt_out_anew(log, a, name, until)
    run_pipeline(config, data=write_parquet(tmp_path / "b.parquet", changed), run_dir=tmp_path / "b", to_stage=to_stage)
    b = World(tmp_path / "b", config)
    np.testing.assert_array_equal(a.items, b.items)
    assert len(a.labels(name) & b.labels(name)) < 0.5 * len(a.labels(name))
    return a, b


VECTORS = {"word2vec", "factorization_1", "seq2seq", "encoder", "encoder.sessions"}


@pytest.mark.parametrize("by", ["time", "session"])
def test_what_follows_the_cuts_of_the_test_sessions_moves_no_vector_and_nothing_made_of_them(tmp_path, by):
    a, b = with_vectors(tmp_path, by, "test", None, "submission")
    vectors = files(a.run_dir, "embeddings/**/*.npy")
    assert vectors.keys() == {f"embeddings/{split}/{name}.npy" for split in SPLITS for name in VECTORS}
    assert vectors == files(b.run_dir, "embeddings/**/*.npy")
    made = ("embeddings/*.json", "candidates/validation/part-*", "candidates/fusion/*", "features/validation/part-*",
            "models/**/*.ubj", "predictions/**/*.parquet", "blend.json", "submission.csv")  # fmt: skip
    for pattern in made:
        assert files(a.run_dir, pattern) == files(b.run_dir, pattern), pattern
    same_tables(a.candidates("test"), b.candidates("test"))
    for name in SPLITS:
        for x, y in zip(a.features(name), b.features(name), strict=True):
            np.testing.assert_array_equal(x, y)


def test_what_follows_the_cuts_of_the_validation_sessions_moves_no_vector_of_the_validation_period(tmp_path):
    a, b = with_vectors(tmp_path, "time", "validation", TEST_MS, "encoder")
    vectors = files(a.run_dir, "embeddings/validation/*.npy")
    assert vectors.keys() == {f"embeddings/validation/{name}.npy" for name in VECTORS}
    assert vectors == files(b.run_dir, "embeddings/validation/*.npy")
    # for the test period they are known: there the change shows in every vector's file, so it could have shown above
    known, other = files(a.run_dir, "embeddings/test/*.npy"), files(b.run_dir, "embeddings/test/*.npy")
    assert [name for name in known if known[name] == other[name]] == []
