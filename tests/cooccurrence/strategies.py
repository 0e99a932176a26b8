"""Random logs and random rules, for every engine the same."""

import numpy as np
from hypothesis import strategies as st

from otto_gpu.cooccurrence.rule import MatrixRule, PairWeight, PositionGap, TimeGap
from otto_gpu.events.log import TYPES, EventLog


def log_of(*events, n_sessions=4, n_items=6, types=TYPES) -> EventLog:
    """events: (session, aid, ts in seconds, type name)."""
    session, aid, ts, type = zip(*events, strict=True) if events else ((), (), (), ())
    return EventLog.from_arrays(
        session, aid, [int(t * 1000) for t in ts], [types.index(t) for t in type],
        n_sessions=n_sessions, n_items=n_items, types=types,
    )  # fmt: skip


# Times on a coarse grid, so that ties, exact gap bounds and exact period bounds all occur; some a millisecond beside it.
HOUR, DAY = 3_600_000, 86_400_000
moments = st.builds(
    lambda unit, n, beside: unit * n + beside,
    st.sampled_from([1, 500, 1000, HOUR, DAY // 2]),
    st.integers(0, 12),
    st.sampled_from([0, 0, 0, 1]),
)


@st.composite
def small_logs(draw):
    """Event by event, so that a failure shrinks to few of them."""
    n_items = draw(st.integers(1, 6))
    types = draw(st.sampled_from([TYPES, TYPES[:1], TYPES[:2], ("orders", "clicks", "views")]))
    event = st.tuples(st.integers(0, n_items - 1), moments, st.integers(0, len(types) - 1))
    sessions = draw(st.lists(st.lists(event, max_size=10), min_size=1, max_size=5))
    rows = [(s, *e) for s, events in enumerate(sessions) for e in events]
    session, aid, ts, type = np.array(rows, np.int64).reshape(-1, 4).T
    start = draw(st.sampled_from([0, 1_659_304_800_025]))
    unseen = draw(st.integers(0, 2))
    return EventLog.from_arrays(
        session, aid, ts + start, type, n_sessions=len(sessions) + unseen, n_items=n_items + unseen, types=types,
        keep_repeats=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def larger_logs(draw):
    """Up to a hundred events of few items, so that pairs repeat; sessions of 0, 1 and more events; times on a grid of
    half hours or quarters of a day, now and then a millisecond beside it.
    """
    random = np.random.default_rng(draw(st.integers(0, 100_000)))
    n_items, n_sessions = random.integers(1, 9), random.integers(1, 8)
    lengths = random.integers(0, 20, n_sessions) * (random.random(n_sessions) < 0.8)
    session = np.repeat(np.arange(n_sessions), lengths)
    began = random.integers(0, 7, n_sessions) * DAY
    step, steps = ((HOUR // 2, 60), (DAY // 4, 12))[random.integers(2)]
    ts = began[session] + random.integers(0, steps, len(session)) * step + (random.random(len(session)) < 0.1)
    aid, type = random.integers(0, n_items, len(session)), random.choice(3, len(session), p=[0.5, 0.3, 0.2])
    return EventLog.from_arrays(session, aid, ts, type, n_sessions=int(n_sessions), n_items=int(n_items))


logs = st.one_of(small_logs(), larger_logs(), larger_logs())


def maybe(strategy):
    return st.none() | strategy


some_types = st.sampled_from([None, TYPES, ("carts", "clicks"), ("carts", "orders"), ("clicks",), ("orders",)])
days = st.sampled_from([6.0, 2.5, 1.0, 0.5])
seconds = st.sampled_from([0.001, 0.5, 1, 1.5, 1800, 7200, 43200, 86400])


@st.composite
def time_gaps(draw):
    lo, hi = draw(maybe(st.just(0) | seconds)), draw(maybe(seconds))
    return TimeGap(lo=lo, hi=hi if lo is None or hi is None or hi > lo else lo + 3600, abs=draw(st.booleans()))


DECAY = PairWeight(half_life_hours=6)
FIELDS = {
    "types": st.tuples(some_types, some_types),
    "since_days": days,
    "new_sessions_days": days,
    "tail": st.integers(1, 10),
    "left_first": st.just(True),
    "right_first_seen": st.just(True),
    "gap_positions": st.builds(
        lambda lo, more, abs: PositionGap(lo=lo, hi=lo + more, abs=abs), st.integers(1, 4), st.integers(0, 8), st.booleans()
    ),
    "gap_seconds": time_gaps(),
    "self_pairs": st.just(True),
    "once": st.sampled_from([("pair", "closest"), ("pair_and_type", "latest"), ("pair_and_type", "closest"), (None, "latest")]),
    "weight": st.builds(
        PairWeight,
        half_life_hours=maybe(st.sampled_from([0.01, 1, 240])),
        recency=maybe(st.sampled_from([(1, 4), (3, 0.5), (2, 2)])),
        type_y=maybe(st.dictionaries(st.sampled_from(TYPES), st.sampled_from([0.5, 1, 3, 9]))),
    ),
}


@st.composite
def rules(draw):
    """A decaying weight and any few fields besides, or all: the more a rule forbids, the less is left to compare."""
    count = draw(st.sampled_from([1, 2, 3, 4, 2, 3, 1, len(FIELDS)]))
    varied = draw(st.permutations(sorted(FIELDS)))[:count]
    fields = {"weight": DECAY, "keep": draw(st.integers(1, 4) | st.just(100))}
    fields |= {name: draw(FIELDS[name]) for name in varied}
    for short, names in {"types": ("left", "right"), "once": ("once_per", "which")}.items():
        if short in fields:
            fields |= dict(zip(names, fields.pop(short), strict=True))
    return MatrixRule(**fields)


# Ties in time, repeats, gaps of exactly 60 s, an item clicked and then bought, equally near neighbours on both sides.
SESSION_OF_ALL = log_of(
    (0, 1, 0, "clicks"), (0, 1, 0, "carts"), (0, 2, 0, "clicks"), (0, 1, 60, "clicks"), (0, 2, 60, "orders"),
    (0, 2, 90, "carts"), (0, 3, 7200, "clicks"), (0, 1, 90000, "orders"),
    (1, 4, 0, "clicks"), (1, 5, 60, "clicks"), (1, 4, 120, "orders"),
    (2, 3, 0, "clicks"), (2, 3, 3600, "carts"), (3, 4, 0, "clicks"), (3, 4, 60, "clicks"),
)  # fmt: skip
