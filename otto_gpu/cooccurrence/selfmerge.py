"""The engine of data frames (cuDF or pandas): the log merged with itself on session, chunk by chunk.

The code keeps to the part of the API that both share. Neither merges nor group-bys promise an order, so what an order
decides (which duplicate stays, which neighbours are kept) is sorted by total keys.

cuDF counts the rows of a frame in int32, and its groupby has no cumcount(ascending=False).
"""

from __future__ import annotations

import numpy as np

from otto_gpu.columns import AID, AID_X, AID_Y, SESSION, TS, TYPE, WEIGHT
from otto_gpu.cooccurrence.matrix import Matrix
from otto_gpu.cooccurrence.rule import DAY_MS, MatrixRule
from otto_gpu.device import CPU, Device
from otto_gpu.device.arrays import pointers, ranges
from otto_gpu.errors import UserError
from otto_gpu.events.log import EventLog

POSITION = "position"
CPU_PAIRS = 20_000_000  # estimated pairs per chunk: about 2 GB of frames on the CPU
# of cuDF's frames while pairs are merged, sorted and grouped, rounded up: not measured on a GPU
PAIR_BYTES, SHARE = 400, 0.7
MOST_ROWS = 2**31 - 1


def build(log: EventLog, rule: MatrixRule, device: Device = CPU, max_pairs: int | None = None, spill: bool = False) -> Matrix:
    """The matrix of one rule. max_pairs: estimated pairs per chunk of sessions; default what the
    free GPU memory holds, on the CPU 20 million. spill: cuDF may move what does not fit to the host's memory. UserError where
    a frame would have more rows than cuDF counts.
    """
    frames = device.frames(spill)
    max_pairs = max_pairs or pairs_at_once(device.free_memory())
    chunks = session_chunks(log, rule, max_pairs, device)
    begin, end = log.span
    sums, waiting, rows = None, [], 0
    for first, last in chunks:
        part = _pair_sums(_kept(log.of_sessions(first, last), rule, frames, end), log, rule, frames, begin, end)
        waiting.append(part)
        rows += len(part)
        # second stage: the partial sums are combined before they outgrow a chunk's pairs
        if rows > max_pairs // 4:
            sums = _combined([sums, *waiting], frames)
            waiting, rows = [], 0
    sums = _combined([sums, *waiting], frames)
    if sums is None or not len(sums):
        return Matrix(np.zeros(log.n_items + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32), log.items)
    # in float32, as they are stored: weights that are equal there are ties, whatever the order of the sums was
    sums[WEIGHT] = sums[WEIGHT].astype("float32")
    sums = sums.sort_values([AID_X, WEIGHT, AID_Y], ascending=[True, False, True]).reset_index(drop=True)
    sums = sums[sums.groupby(AID_X).cumcount() < rule.keep]
    return Matrix.from_rows(*(_host(sums[c]) for c in (AID_X, AID_Y, WEIGHT)), log.n_items, log.items)


def _host(column) -> np.ndarray:
    return column.to_numpy()


def pairs_at_once(free: int | None) -> int:
    """free: bytes of GPU memory; None on the CPU."""
    return CPU_PAIRS if free is None else min(max(int(free * SHARE) // PAIR_BYTES, 1), MOST_ROWS)


def session_chunks(log: EventLog, rule: MatrixRule, max_pairs: int, device: Device) -> list[tuple[int, int]]:
    """Ranges of sessions whose estimated pair count, the sum of n^2, stays under the limit (one session may pass it)."""
    lengths = np.diff(log.starts)
    lengths = np.minimum(lengths, rule.tail) if rule.tail else lengths
    if device.kind == "cuda" and int(lengths.max(initial=0)) ** 2 > MOST_ROWS:
        raise UserError(
            f"engine 'selfmerge': a session of {lengths.max():,} events makes more pairs than a cuDF frame has rows "
            f"({MOST_ROWS:,}); give the rule a `tail`, or use engine 'pairs'"
        )
    return ranges(pointers(lengths**2), max_pairs)


def _kept(part: EventLog, rule: MatrixRule, frames, end: int):
    """Step 1 of the rule for some sessions: a frame session, aid, ts, type, position."""
    frame = frames.DataFrame({SESSION: part.session, AID: part.aid, TS: part.ts, TYPE: part.type})
    if rule.new_sessions_days:
        began = frame.groupby(SESSION)[TS].transform("min")
        frame = frame[began >= end - rule.new_sessions_days * DAY_MS]
    if rule.since_days:
        frame = frame[frame[TS] >= end - rule.since_days * DAY_MS]
    left, right = rule.codes("left", part.types), rule.codes("right", part.types)
    if sorted(left) == sorted(right):
        frame = frame[frame[TYPE].isin(list(left))]
    if rule.tail:
        # the log is sorted and filters keep the order: the last events of a session are its last rows
        sessions = frame.groupby(SESSION)
        frame = frame[sessions[TS].transform("count") - sessions.cumcount() <= rule.tail]
    frame = frame.reset_index(drop=True)
    frame[POSITION] = frame.groupby(SESSION).cumcount()
    return frame


def _pair_sums(events, log: EventLog, rule: MatrixRule, frames, begin: int, end: int):
    """The weights of one chunk of sessions, added up: a frame aid_x, aid_y, weight (float64)."""
    x = events[events[TYPE].isin(list(rule.codes("left", log.types)))]
    if rule.left_first:
        x = x[x[POSITION] == 0]
    y = events[~events.duplicated([SESSION, AID])] if rule.right_first_seen else events
    y = y[y[TYPE].isin(list(rule.codes("right", log.types)))]
    pairs = x.merge(y, on=SESSION, suffixes=("_x", "_y"))
    pairs = pairs[_allowed(pairs, rule)]
    dt = (pairs["ts_y"] - pairs["ts_x"]).abs()
    if rule.once_per:
        key = [SESSION, AID_X, AID_Y] + (["type_y"] if rule.once_per == "pair_and_type" else [])
        # which duplicate stays: the closest, or at once the latest; positions fit into 31 bits
        age = -(pairs["position_x"].astype("int64") * 2**31 + pairs["position_y"])
        pairs = pairs.assign(dt=dt, age=age)
        pairs = pairs.sort_values(["dt", "age"] if rule.which == "closest" else ["age"]).drop_duplicates(key)
        dt = pairs["dt"]
    weight = dt.astype("float64") * 0 + 1.0
    if rule.weight.half_life_hours:
        weight = weight * 0.5 ** (dt / (rule.weight.half_life_hours * 3_600_000))
    if rule.weight.recency:
        a, b = rule.weight.recency
        weight = weight * (a + (pairs["ts_x"] - begin) * ((b - a) / max(end - begin, 1)))
    if rule.weight.type_y:
        for code, factor in enumerate(rule.type_weights(log.types)):
            weight = weight.where(pairs["type_y"] != code, weight * factor)
    pairs = frames.DataFrame({AID_X: pairs[AID_X], AID_Y: pairs[AID_Y], WEIGHT: weight})
    return _added_up(pairs)


def _added_up(pairs):
    return pairs.groupby([AID_X, AID_Y], sort=False).agg({WEIGHT: "sum"}).reset_index()


def _allowed(pairs, rule: MatrixRule):
    """Step 3 of the rule: a mask over the merged pairs."""
    mask = pairs["position_x"] != pairs["position_y"]
    if not rule.self_pairs:
        mask &= pairs[AID_X] != pairs[AID_Y]
    if rule.gap_positions:
        gap = pairs["position_y"] - pairs["position_x"]
        gap = gap.abs() if rule.gap_positions.abs else gap
        mask &= (gap >= rule.gap_positions.lo) & (gap <= rule.gap_positions.hi)
    if rule.gap_seconds:
        gap = pairs["ts_y"] - pairs["ts_x"]
        if rule.gap_seconds.abs:
            gap = gap.abs()
        else:
            mask &= gap >= 0
        if rule.gap_seconds.lo is not None:
            mask &= gap > rule.gap_seconds.lo_ms
        if rule.gap_seconds.hi is not None:
            mask &= gap < rule.gap_seconds.hi_ms
    return mask


def _combined(parts: list, frames):
    parts = [p for p in parts if p is not None]
    if len(parts) < 2:
        return parts[0] if parts else None
    rows = sum(map(len, parts))
    if rows > MOST_ROWS:
        raise UserError(
            f"engine 'selfmerge': {rows:,} pairs of items to add up, and a cuDF frame has at most {MOST_ROWS:,} rows; "
            "use engine 'pairs'"
        )
    return _added_up(frames.concat(parts, ignore_index=True))
