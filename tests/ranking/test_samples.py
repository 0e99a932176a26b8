"""The rows that rankers are trained on."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from otto_gpu.ranking.samples import Samples

NAMES = ("a", "b")


@pytest.fixture(params=[1, 0], ids=["kept in memory", "read every time"])
def kept_mb(request):
    return request.param


@pytest.fixture
def files(tmp_path):
    """Three parts; column a is the row's number; every fifth row was not sampled for carts."""
    rng = np.random.default_rng(3)
    session = np.repeat(np.arange(30, dtype=np.int32) * 3, rng.integers(1, 12, 30))
    row = np.arange(len(session))
    table = pa.table(
        {
            "session": session,
            "a": row.astype(np.float32),
            "b": rng.integers(0, 9, len(row)).astype(np.int16),
            "label_carts": (row % 7 == 0).astype(np.int8),
            "sampled_carts": (row % 5 > 0).astype(np.int8),
        }
    )
    borders = np.searchsorted(session, [0, 27, 60, 90])
    paths = []
    for i in range(3):
        paths.append(tmp_path / f"part-{i}.parquet")
        pq.write_table(table.slice(borders[i], borders[i + 1] - borders[i]), paths[-1])
    return paths, table.to_pandas()


def all_rows(session):
    return np.ones(len(session), bool)


def test_the_sampled_rows_come_in_their_order(files, kept_mb):
    paths, frame = files
    mine = frame[frame["sampled_carts"] == 1]
    rows = Samples(paths, "carts", NAMES, kept_mb=kept_mb)
    assert (rows.rows, rows.positives) == (len(mine), mine["label_carts"].sum())
    for _ in range(2):
        features, label, session = (np.concatenate(c) for c in zip(*rows.batches(all_rows), strict=True))
        assert (features.dtype, label.dtype) == (np.float32, np.float32)
        np.testing.assert_array_equal(features, mine[["a", "b"]])
        np.testing.assert_array_equal(label, mine["label_carts"])
        np.testing.assert_array_equal(session, mine["session"])


@pytest.mark.parametrize("batch_rows", [1, 7, 20, 1000])
def test_batches_are_small_and_keep_sessions_whole(files, batch_rows, kept_mb):
    paths, frame = files
    frame = frame[(frame["sampled_carts"] == 1) & (frame["session"] % 2 == 0)]
    batches = list(Samples(paths, "carts", NAMES, batch_rows, kept_mb=kept_mb).batches(lambda session: session % 2 == 0))
    np.testing.assert_array_equal(np.concatenate([f for f, _, _ in batches]), frame[["a", "b"]])
    sessions = [set(s.tolist()) for _, _, s in batches]
    assert sum(map(len, sessions)) == len(set.union(*sessions)) == frame["session"].nunique()
    assert all(len(s) <= batch_rows or len(set(s.tolist())) == 1 for _, _, s in batches)
    assert {1: len(set.union(*sessions)), 1000: 3}.get(batch_rows, len(batches)) == len(batches)


def test_further_columns_stand_behind_and_are_asked_for_once(files, kept_mb):
    paths, _ = files
    asked = []

    def more(features, session):
        asked.append(len(session))
        return np.column_stack([features[:, 0] * 2, session]).astype(np.float32)

    rows = Samples(paths, "carts", NAMES, more=more, kept_mb=kept_mb)
    for _ in range(2):
        for features, _, session in rows.batches(lambda session: session > 30):
            np.testing.assert_array_equal(features[:, 2], features[:, 0] * 2)
            np.testing.assert_array_equal(features[:, 3], session)
    assert len(asked) == 3 and sum(asked) == rows.rows


def test_both_labels(files, kept_mb):
    paths, frame = files
    rows = Samples(paths, "carts", NAMES, kept_mb=kept_mb)
    assert rows.both_labels(all_rows)
    mine = frame[frame["sampled_carts"] == 1].groupby("session")["label_carts"].agg(["min", "max"])
    for session, (low, high) in mine.iterrows():
        assert rows.both_labels(lambda s: s == session) == (low != high)
    assert not rows.both_labels(lambda s: s < 0)


def test_what_is_kept_is_read_once(files, kept_mb, monkeypatch):
    paths, _ = files
    rows = Samples(paths, "carts", NAMES, kept_mb=kept_mb)
    read = []
    monkeypatch.setattr(
        pq, "read_table", lambda path, read_table=pq.read_table, **more: read.append(path) or read_table(path, **more)
    )
    for _ in range(3):
        list(rows.batches(all_rows))
    assert len(read) == (3 if kept_mb else 9)


def test_threads_that_ask_at_once_read_once(files, monkeypatch):
    paths, frame = files
    reads, read = [], pq.read_table

    def slowly(path, *given, **more):
        reads.append(path)
        time.sleep(0.02)
        return read(path, *given, **more)

    asked = []
    rows = Samples(paths, "carts", NAMES, more=lambda features, session: asked.append(1) or features[:, :1], kept_mb=100)
    monkeypatch.setattr(pq, "read_table", slowly)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: np.concatenate([b[0] for b in rows.batches(all_rows)]), range(4)))
    assert len(reads) == len(asked) == len(paths)
    assert all(np.array_equal(f, found[0]) for f in found) and len(found[0]) == (frame["sampled_carts"] == 1).sum()
