"""Other ways to build the matrices of some rules: a streaming self-join in polars, an SQL self-join in duckdb, and products of
sparse matrices (sparse_dot_topn, implicit), which can only count."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.rule import MatrixRule
from otto_gpu.events.log import EventLog

Build = Callable[[EventLog, MatrixRule], Matrix]


def like_time_decay(rule: MatrixRule) -> bool:
    """What the joins can do: all types, a tail, an absolute time gap, the latest pair once, half-life × recency."""
    able = MatrixRule(
        tail=rule.tail,
        gap_seconds=rule.gap_seconds,
        weight={"half_life_hours": rule.weight.half_life_hours, "recency": rule.weight.recency},
        keep=rule.keep,
    )
    gap = rule.gap_seconds
    return rule == able and (gap is None or (gap.abs and gap.lo is None))


def _terms(log: EventLog, rule: MatrixRule) -> tuple[int, int, float, float, int, float]:
    """(tail, gap in ms, decay per ms, recency at the log's first event, that event's ts, recency per ms)."""
    begin, end = log.span
    a, b = rule.weight.recency or (1.0, 1.0)
    half_life = rule.weight.half_life_hours
    return (
        rule.tail or len(log) + 1,
        int(rule.gap_seconds.hi_ms) if rule.gap_seconds and rule.gap_seconds.hi else 2**62,
        0.0 if half_life is None else 1 / (half_life * 3_600_000),
        a,
        begin,
        (b - a) / max(end - begin, 1),
    )


def build_polars(log: EventLog, rule: MatrixRule) -> Matrix:
    import polars as pl

    tail, gap, decay, recency, begin, slope = _terms(log, rule)
    events = (
        pl.LazyFrame({"session": log.session, "aid": log.aid, "ts": log.ts})
        .with_columns(position=pl.int_range(pl.len(), dtype=pl.Int32).over("session"), n=pl.len().over("session"))
        .filter(pl.col("n") - pl.col("position") <= tail)
        .drop("n")
    )
    dt = (pl.col("ts_y") - pl.col("ts")).abs()
    pairs = (
        events.join(events, on="session", suffix="_y")
        .filter((pl.col("aid") != pl.col("aid_y")) & (dt < gap))
        .with_columns(weight=0.5 ** (dt * decay) * (recency + (pl.col("ts") - begin) * slope))
        # the latest pair is the one with the largest x, then y
        .with_columns(place=pl.col("position").cast(pl.Int64) * 2**31 + pl.col("position_y"))
        .group_by("session", "aid", "aid_y")
        .agg(pl.col("weight").sort_by("place").last())
    )
    sums = (
        pairs.group_by("aid", "aid_y")
        .agg(pl.col("weight").sum().cast(pl.Float32))
        .sort(["aid", "weight", "aid_y"], descending=[False, True, False])
        .filter(pl.int_range(pl.len()).over("aid") < rule.keep)
        .collect(engine="streaming")
    )
    return Matrix.from_rows(*(sums[c].to_numpy() for c in ("aid", "aid_y", "weight")), log.n_items)


def build_duckdb(log: EventLog, rule: MatrixRule) -> Matrix:
    import duckdb
    import pyarrow as pa

    tail, gap, decay, recency, begin, slope = _terms(log, rule)
    order = np.arange(len(log), dtype=np.int64)
    log_table = pa.table({"session": log.session, "aid": log.aid, "ts": log.ts, "position": order})
    with duckdb.connect() as connection:
        connection.register("log_table", log_table)
        sums = connection.execute(f"""
            WITH events AS (
                SELECT * FROM log_table
                QUALIFY row_number() OVER (PARTITION BY session ORDER BY position DESC) <= {tail}
            ), pairs AS (
                SELECT x.aid AS aid_x, y.aid AS aid_y,
                    arg_max(
                        pow(0.5, abs(y.ts - x.ts) * {decay!r}::DOUBLE)
                            * ({recency!r}::DOUBLE + (x.ts - {begin}) * {slope!r}::DOUBLE),
                        x.position * 2147483648 + y.position
                    ) AS weight
                FROM events x JOIN events y ON x.session = y.session
                WHERE x.aid <> y.aid AND abs(y.ts - x.ts) < {gap}
                GROUP BY x.session, x.aid, y.aid
            ), sums AS (
                SELECT aid_x, aid_y, sum(weight)::FLOAT AS weight FROM pairs GROUP BY aid_x, aid_y
            )
            SELECT * FROM sums
            QUALIFY row_number() OVER (PARTITION BY aid_x ORDER BY weight DESC, aid_y) <= {rule.keep}
            ORDER BY aid_x, weight DESC, aid_y
        """).fetchnumpy()
    return Matrix.from_rows(sums["aid_x"], sums["aid_y"], sums["weight"], log.n_items)


def counts(rule: MatrixRule) -> bool:
    """What the products can do: in how many sessions both items occur."""
    return rule == MatrixRule(keep=rule.keep)


def _sessions_by_items(log: EventLog):
    """float32 [sessions, items]: 1 where the item occurs in the session."""
    from scipy.sparse import csr_matrix

    table = csr_matrix((np.ones(len(log), np.float32), (log.session, log.aid)), (log.n_sessions, log.n_items))
    table.sum_duplicates()
    table.data[:] = 1
    return table


def _without_itself(aid_x, aid_y, weight, keep: int, n_items: int) -> Matrix:
    """From rows of one more than `keep` heaviest, the item itself among them."""
    other = (aid_x != aid_y) & (weight > 0)
    aid_x, aid_y, weight = aid_x[other], aid_y[other], weight[other]
    order = np.lexsort((aid_y, -weight, aid_x))
    aid_x, aid_y, weight = aid_x[order], aid_y[order], weight[order]
    place = np.arange(len(aid_x)) - np.searchsorted(aid_x, aid_x)
    kept = place < keep
    return Matrix.from_rows(aid_x[kept], aid_y[kept], weight[kept], n_items)


def build_sparse_dot_topn(log: EventLog, rule: MatrixRule) -> Matrix:
    from sparse_dot_topn import sp_matmul_topn

    table = _sessions_by_items(log)
    # one more: the item itself occurs in all of its sessions
    product = sp_matmul_topn(table.T.tocsr(), table, top_n=rule.keep + 1, n_threads=_cores())
    rows = product.tocoo()
    return _without_itself(rows.row, rows.col, rows.data, rule.keep, log.n_items)


def build_implicit(log: EventLog, rule: MatrixRule) -> Matrix:
    from implicit.nearest_neighbours import ItemItemRecommender

    model = ItemItemRecommender(K=rule.keep + 1, num_threads=_cores())
    model.fit(_sessions_by_items(log).astype(np.float64), show_progress=False)  # it takes no other
    rows = model.similarity.tocoo()
    return _without_itself(rows.row, rows.col, rows.data.astype(np.float32), rule.keep, log.n_items)


def _cores() -> int:
    import numba

    return numba.get_num_threads()


class Peer(NamedTuple):
    build: Build
    able: Callable[[MatrixRule], bool]


PEERS = {
    "polars": Peer(build_polars, like_time_decay),
    "duckdb": Peer(build_duckdb, like_time_decay),
    "implicit": Peer(build_implicit, counts),
    "sparse_dot_topn": Peer(build_sparse_dot_topn, counts),
}
