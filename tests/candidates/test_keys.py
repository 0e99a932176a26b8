"""Key items: read back from the bits, every kind is what the oracle says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.candidates.keys import BITS, DAY_MS, key_bits
from tests.candidates.oracle import keys
from tests.worlds import log_of, taobao_world

TYPES = ("clicks", "carts", "orders")
event = st.tuples(st.integers(0, 4), st.sampled_from([0, 1, DAY_MS // 2, DAY_MS, 2 * DAY_MS]), st.integers(0, 2))
sessions = st.lists(st.lists(event, max_size=12), min_size=1, max_size=5)


def read_back(log, bits, session, bit) -> list[int]:
    part = slice(log.starts[session], log.starts[session + 1])
    return log.aid[part][(bits[part] & bit) > 0][::-1].tolist()


def check(log, chosen=None, bought=("carts", "orders")):
    bits = key_bits(log, np.array([t in bought for t in log.types]))
    assert bits.dtype == np.uint8
    for s in range(log.n_sessions) if chosen is None else chosen:
        part = slice(log.starts[s], log.starts[s + 1])
        events = [
            (a, t, log.types[k]) for a, t, k in zip(log.aid[part].tolist(), log.ts[part].tolist(), log.type[part], strict=True)
        ]
        for kind, bit in BITS.items():
            assert read_back(log, bits, s, bit) == (keys(kind, events, bought) if events else []), (s, kind)


@settings(max_examples=200)
@given(sessions, st.sampled_from([("carts", "orders"), ("clicks",), ()]), st.integers(0, DAY_MS))
def test_every_kind_of_key(sessions, bought, start):
    timed = [[(a, start + sum(e[1] for e in s[: i + 1]), t) for i, (a, _, t) in enumerate(s)] for s in sessions]
    check(log_of(timed, 5), bought=bought)


DAY = DAY_MS
BY_HAND = [  # (aid, ts, type) of one session; kind; its keys
    ([(1, 0, 1), (2, 1, 1), (1, 2, 0)], "bought", [2, 1]),  # the newest event of item 1 is no purchase
    ([(1, 0, 0), (2, 1, 0), (1, DAY, 0), (1, 2 * DAY, 0), (3, 2 * DAY, 0)], "last_of_each_day", [3, 1, 2]),
    ([(1, 0, 0), (2, DAY, 0), (1, DAY, 0), (1, 2 * DAY, 0), (3, 2 * DAY, 0)], "first_of_each_day", [1, 2]),
    # item 1 is the newest of all, but the last of a day only on day 0
    ([(2, 0, 0), (1, 1, 0), (3, DAY, 0), (1, DAY, 0), (4, DAY, 0)], "last_of_each_day", [4, 1]),
    ([(1, DAY - 1, 0), (2, DAY, 0), (1, DAY, 0)], "last_day", [1, 2]),
    ([(1, 0, 0), (1, 5 * DAY, 2)], "only", [1]),
    ([(1, 0, 0), (2, 1, 0), (1, 2, 0)], "only", []),
    ([(1, 0, 0), (2, 1, 0), (1, 2, 0)], "all", [1, 2]),
]


@pytest.mark.parametrize(("events", "kind", "expected"), BY_HAND)
def test_by_hand(events, kind, expected):
    log = log_of([events], 5)
    bits = key_bits(log, np.array([False, True, True]))
    assert read_back(log, bits, 0, BITS[kind]) == expected


def test_500_events_and_none():
    random = np.random.default_rng(0)
    events = [(int(a), int(t), int(k)) for a, t, k in zip(
        random.integers(0, 60, 500), np.sort(random.integers(0, 20 * DAY, 500)), random.integers(0, 3, 500), strict=True
    )]  # fmt: skip
    check(log_of([[], events, []], 60))


def test_a_real_log(real_log):
    world = taobao_world(real_log("taobao_visits"))
    check(world.known, chosen=range(0, world.known.n_sessions, 7))
