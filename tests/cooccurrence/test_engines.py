"""The engines do what rule.py says (the oracle), and the same as each other on real logs."""

import json
import os
from types import SimpleNamespace

import numba
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st

from benchmarks.crawlers import with_crawlers
from otto_gpu.cooccurrence import pairs, postings, rowwise, selfmerge, sides
from otto_gpu.cooccurrence.build import build_matrix
from otto_gpu.cooccurrence.rule import RULES, MatrixRule, PairWeight, TimeGap
from otto_gpu.device import Device
from otto_gpu.errors import UserError
from otto_gpu.events.log import TYPES, EventLog
from otto_gpu.events.synthetic import synthetic_log
from tests.cooccurrence.compare import assert_follows, assert_same, assert_well_formed
from tests.cooccurrence.oracle import oracle
from tests.cooccurrence.strategies import DAY, DECAY, HOUR, SESSION_OF_ALL, log_of, logs, rules
from tests.gpus import a_gpu

EXAMPLES = int(os.environ.get("OTTO_FUZZ", 250))  # many more in `make trust`
ENGINES = {"rowwise": rowwise.build, "selfmerge": selfmerge.build, "pairs": pairs.build}
each_engine = pytest.mark.parametrize("build", ENGINES.values(), ids=ENGINES)
each_rule = pytest.mark.parametrize("name", RULES)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(log=logs, rule=rules())
@example(log=SESSION_OF_ALL, rule=MatrixRule(which="closest", weight=PairWeight(type_y={"orders": 9}), keep=9))
@example(log=SESSION_OF_ALL, rule=MatrixRule(gap_seconds=TimeGap(lo=60), keep=9))
@example(log=SESSION_OF_ALL, rule=MatrixRule(right=("carts", "orders"), self_pairs=True, weight=DECAY, keep=9))
@example(log=SESSION_OF_ALL, rule=MatrixRule(self_pairs=True, once_per="pair_and_type", weight=DECAY, keep=9))
def test_random_rules_on_random_logs_follow_the_oracle(log, rule):
    """All engines, whose log and oracle take longer than they do."""
    expected = oracle(log, rule)
    for engine, build in ENGINES.items():
        note(engine)
        matrix = build(log, rule)
        assert_well_formed(matrix, rule, log.n_items)
        assert_follows(matrix, expected, rule)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(log=logs, rule=rules(), max_pairs=st.integers(1, 60))
def test_selfmerge_in_tiny_chunks_follows_the_oracle(log, rule, max_pairs):
    matrix = selfmerge.build(log, rule, max_pairs=max_pairs)
    assert_well_formed(matrix, rule, log.n_items)
    assert_follows(matrix, oracle(log, rule), rule)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(log=logs, rule=rules(), max_pairs=st.integers(1, 60), max_events=st.integers(1, 40))
def test_pairs_in_tiny_chunks_follows_the_oracle(log, rule, max_pairs, max_events):
    matrix = pairs.build(log, rule, max_pairs=max_pairs, max_events=max_events)
    assert_well_formed(matrix, rule, log.n_items)
    assert_follows(matrix, oracle(log, rule), rule)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(log=logs, rule=rules(), most=st.integers(1, 8))
@example(log=SESSION_OF_ALL, rule=MatrixRule(left_first=True, weight=PairWeight(recency=(1, 4)), keep=9), most=7)
@example(log=SESSION_OF_ALL, rule=MatrixRule(new_sessions_days=0.5, keep=9), most=2)
def test_of_a_long_session_every_engine_takes_the_newest_events(engine, log, rule, most):
    matrix = build_matrix(log, rule, engine, "cpu", most_events=most)
    assert_well_formed(matrix, rule, log.n_items)
    assert_follows(matrix, oracle(log, rule, most), rule)


def test_by_default_a_thousand_events_of_a_session_count(generated):
    crawled = with_crawlers(generated, 1500, items=generated.n_items)
    ids = {"n_sessions": crawled.n_sessions, "n_items": crawled.n_items}
    newest = np.arange(len(crawled)) < len(generated)
    newest[-1000:] = True
    columns = (crawled.session, crawled.aid, crawled.ts, crawled.type)
    at_the_bound = EventLog.from_arrays(*(c[newest] for c in columns), **ids)
    for name in ("decay_6h", "time_decay", "first_to_any", "near_2"):
        built = [build_matrix(log, RULES[name], device="cpu") for log in (crawled, at_the_bound)]
        built += [build_matrix(at_the_bound, RULES[name], device="cpu", most_events=None)]
        assert len({m.pointer.tobytes() + m.neighbours.tobytes() + m.weights.tobytes() for m in built}) == 1
    whole = build_matrix(crawled, RULES["near_2"], device="cpu", most_events=None)
    assert whole.neighbours.tobytes() != built[0].neighbours.tobytes()


def test_chunks_are_as_large_as_the_gpu_has_room_for():
    assert selfmerge.pairs_at_once(None) == selfmerge.CPU_PAIRS
    assert selfmerge.pairs_at_once(80_000_000_000) == 140_000_000
    assert selfmerge.pairs_at_once(2**50) == selfmerge.MOST_ROWS
    assert selfmerge.pairs_at_once(0) == 1
    assert sides.at_once(None, 80, 7) == 7
    assert sides.at_once(80_000_000_000, 80, 7) == 700_000_000
    assert sides.at_once(2**50, 80, 7) == sides.MOST


def test_selfmerge_refuses_what_a_cudf_frame_cannot_hold():
    session = log_of(*((0, i % 5, i, "clicks") for i in range(50_000)))
    rule = MatrixRule(keep=5)
    assert selfmerge.session_chunks(session, rule, 10, Device("cpu", "as asked")) == [(0, 1), (1, 4)]
    with pytest.raises(UserError, match="a session of 50,000 events"):
        selfmerge.session_chunks(session, rule, 10, Device("cuda", "as asked"))
    tailed = MatrixRule(keep=5, tail=30)
    assert selfmerge.session_chunks(session, tailed, 900, Device("cuda", "as asked")) == [(0, 4)]


@pytest.fixture(scope="module")
def generated():
    return synthetic_log(3_000, seed=1)


@each_rule
def test_engines_agree_on_a_generated_log(generated, name):
    rule = RULES[name]
    matrix = rowwise.build(generated, rule)
    assert_well_formed(matrix, rule, generated.n_items)
    assert len(matrix.neighbours) > 1000
    assert_same(matrix, selfmerge.build(generated, rule, max_pairs=400_000))
    assert_same(matrix, pairs.build(generated, rule, max_pairs=100_000))
    assert_same(matrix, pairs.build(generated, rule, max_pairs=100_000, max_events=20_000))


@each_rule
def test_the_same_bits_for_one_and_two_threads(generated, name):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("this machine has one core")
    before = numba.get_num_threads()
    try:
        built = []
        for threads in (1, 2):
            numba.set_num_threads(threads)
            built.append(rowwise.build(generated, RULES[name]))
    finally:
        numba.set_num_threads(before)
    one, two = built
    assert one.pointer.tobytes() == two.pointer.tobytes()
    assert one.neighbours.tobytes() == two.neighbours.tobytes()
    assert one.weights.tobytes() == two.weights.tobytes()


def read(folder, sessions=None) -> EventLog:
    """A real log, or every n-th of its sessions so that about `sessions` stay; unused item ids go."""
    if (folder / "train.jsonl").exists():
        rows = [
            (session["session"], e["aid"], e["ts"], TYPES.index(e["type"]))
            for session in map(json.loads, (folder / "train.jsonl").read_text().splitlines())
            for e in session["events"]
        ]
        session, aid, ts, type = np.array(rows, np.int64).T
    else:
        table = pq.read_table(folder / "events.parquet", columns=["session", "aid", "ts", "type"])
        session, aid, ts, type = (table[c].to_numpy() for c in table.column_names)
    session = np.unique(session, return_inverse=True)[1]
    if sessions:
        keep = session % max(1, (session.max() + 1) // sessions) == 0
        session, aid, ts, type = session[keep], aid[keep], ts[keep], type[keep]
    aids, aid = np.unique(aid, return_inverse=True)
    return EventLog.from_arrays(session, aid, ts, type, n_sessions=int(session.max()) + 1, n_items=len(aids))


# How many of a log's sessions make a test of seconds on pandas; OTTO_GPU_WHOLE_LOGS=1 takes them all (10 minutes).
REAL_LOGS = {
    "otto_fixture": None,
    "taobao_visits": 2_500,
    "taobao_users": 50,
    "taobao_buyers": 1_500,
    "yoochoose_clicks": None,
    "globo_news": 20_000,
}
if os.environ.get("OTTO_GPU_WHOLE_LOGS"):
    REAL_LOGS |= dict.fromkeys(REAL_LOGS) | {"globo_news": 200_000}


@pytest.fixture(scope="module", params=REAL_LOGS)
def real(request, real_log):
    return SimpleNamespace(name=request.param, log=read(real_log(request.param), REAL_LOGS[request.param]))


@each_rule
def test_engines_agree_on_real_logs(real, name):
    rule = RULES[name]
    matrix = rowwise.build(real.log, rule)
    assert_well_formed(matrix, rule, real.log.n_items)
    clicks_only = real.name in ("yoochoose_clicks", "globo_news")
    if rule.right == ("carts", "orders"):  # few: a small log may have no such pair
        assert not (clicks_only and len(matrix.neighbours))
    else:
        assert len(matrix.neighbours)
    assert_same(matrix, selfmerge.build(real.log, rule))
    assert_same(matrix, pairs.build(real.log, rule))


def test_otto_fixture_follows_the_oracle(real_log):
    log = read(real_log("otto_fixture"))
    assert len(log) == 862
    for rule in RULES.values():
        expected = oracle(log, rule)
        for build in ENGINES.values():
            assert_follows(build(log, rule), expected, rule)


@each_engine
@each_rule
def test_an_empty_log_gives_an_empty_matrix(build, name):
    matrix = build(log_of(n_sessions=3, n_items=2), RULES[name])
    assert_well_formed(matrix, RULES[name], 2)
    assert len(matrix.neighbours) == 0


@each_engine
def test_a_log_without_sessions_and_items(build):
    matrix = build(log_of(n_sessions=0, n_items=0), RULES["time_decay"])
    assert matrix.pointer.tolist() == [0]


@each_engine
def test_items_that_were_never_seen_have_empty_rows(build):
    log = log_of((1, 2, 0, "clicks"), (1, 4, 1, "clicks"), (3, 5, 2, "clicks"), n_items=8)
    matrix = build(log, RULES["adjacent"])
    assert np.diff(matrix.pointer).tolist() == [0, 0, 1, 0, 1, 0, 0, 0]
    assert matrix.neighbours.tolist() == [4, 2]


@each_engine
def test_a_type_that_the_log_knows_but_never_has(build):
    log = log_of((0, 0, 0, "clicks"), (0, 1, 1, "carts"), (0, 2, 2, "carts"))
    assert len(build(log, MatrixRule(right=("orders",), keep=5)).neighbours) == 0
    matrix = build(log, MatrixRule(right=("carts", "orders"), keep=5))
    assert np.diff(matrix.pointer)[:3].tolist() == [2, 1, 1]


@each_engine
def test_a_type_that_the_log_does_not_know(build):
    log = log_of((0, 0, 0, "views"), (0, 1, 1, "views"), types=("views",))
    assert len(build(log, RULES["then_bought"]).neighbours) == 0
    assert len(build(log, RULES["buy2buy"]).neighbours) == 0
    assert len(build(log, RULES["type_136"]).neighbours) == 2


@each_engine
def test_ties_keep_the_smaller_aid(build):
    log = log_of((0, 5, 0, "clicks"), (0, 3, 1, "clicks"), (0, 1, 2, "clicks"), (0, 4, 3, "clicks"))
    matrix = build(log, MatrixRule(keep=2))
    row = slice(matrix.pointer[5], matrix.pointer[6])
    assert matrix.neighbours[row].tolist() == [1, 3]


@each_engine
def test_sums_that_float32_cannot_tell_apart_are_ties(build):
    # 0-3 and 1-3 weigh 1.00000003 and 1: the same in float32
    log = log_of((0, 1, 0, "clicks"), (0, 3, 0.001, "clicks"), (1, 0, 0, "clicks"), (1, 3, 0, "clicks"),
                 (2, 0, 0, "clicks"), (2, 0, 86400, "clicks"))  # fmt: skip
    matrix = build(log, MatrixRule(weight=PairWeight(recency=(1, 4)), keep=5))
    assert matrix.neighbours[matrix.pointer[3] :].tolist() == [0, 1]


@each_engine
@pytest.mark.parametrize("field", ["since_days", "new_sessions_days"])
def test_a_period_begins_with_its_first_millisecond(build, field):
    day = 86400
    log = log_of((0, 0, 0, "clicks"), (0, 1, 1, "clicks"), (1, 2, 0.001, "clicks"), (1, 3, 1, "clicks"),
                 (2, 4, day + 0.001, "clicks"), (2, 5, day + 0.001, "carts"))  # fmt: skip
    matrix = build(log, MatrixRule(**{field: 1}, keep=5))
    assert np.diff(matrix.pointer).tolist() == [0, 0, 1, 1, 1, 1]


@each_engine
def test_new_sessions_are_told_by_their_first_event_in_the_log(build):
    # session 0 began before the last day, although since_days leaves only events of the last day
    day = 86400
    log = log_of((0, 0, 0, "clicks"), (0, 1, day + 1, "clicks"), (0, 2, day + 2, "clicks"), (1, 3, 2 * day, "clicks"))
    assert len(build(log, MatrixRule(since_days=1, keep=5)).neighbours) == 2
    assert len(build(log, MatrixRule(since_days=1, new_sessions_days=1, keep=5)).neighbours) == 0


@each_engine
def test_of_the_duplicates_the_latest_or_the_closest_counts(build):
    # x = 0 at 0 h and 3 h; y = 1 at 1 h and 8 h: the latest pair lies 5 h apart, the closest 1 h
    hour = 3600
    log = log_of((0, 0, 0, "clicks"), (0, 1, hour, "clicks"), (0, 0, 3 * hour, "clicks"), (0, 1, 8 * hour, "clicks"))
    weight = PairWeight(half_life_hours=1)
    for which, expected in (("latest", 0.5**5), ("closest", 0.5)):
        matrix = build(log, MatrixRule(which=which, weight=weight, keep=5))
        assert matrix.weights[0] == pytest.approx(expected, rel=1e-6)


@each_engine
def test_time_decay_worked_out_by_hand(build):
    # one day of log; the pair 1 h apart at its beginning, and the same pair at its end with x at the last event
    hour = 3600
    log = log_of((0, 0, 0, "clicks"), (0, 1, hour, "clicks"), (1, 1, 22 * hour, "clicks"), (1, 0, 24 * hour, "orders"))
    matrix = build(log, RULES["time_decay"])
    assert matrix.neighbours.tolist() == [1, 0]
    recency = {hours: 1 + 3 * hours / 24 for hours in (0, 1, 22, 24)}
    expected = [0.5 * recency[0] + 0.25 * recency[24], 0.5 * recency[1] + 0.25 * recency[22]]
    assert matrix.weights.tolist() == pytest.approx(expected, rel=1e-5)


def test_build_matrix_chooses_the_engine():
    rule = RULES["near_2"]
    on_cpu = build_matrix(SESSION_OF_ALL, rule, device="cpu")
    for engine in ENGINES:
        assert_same(on_cpu, build_matrix(SESSION_OF_ALL, rule, engine=engine, device="cpu"))


def test_build_matrix_refuses_an_unknown_engine():
    with pytest.raises(UserError, match="rowwise"):
        build_matrix(SESSION_OF_ALL, RULES["near_2"], engine="rowwyse", device="cpu")


@pytest.mark.parametrize("name", ["time_decay", "decay_21d", "bought_within_2h", "then_bought"])
def test_a_log_of_years_follows_the_oracle(name):
    """Times that do not fit into 32 bits."""
    random = np.random.default_rng(5)
    n = 300
    session, aid, type = (random.integers(0, high, n) for high in (40, 7, 3))
    ts = 1_600_000_000_000 + random.integers(0, 4, n) * 400 * DAY + random.integers(0, 30, n) * HOUR
    log = EventLog.from_arrays(session, aid, ts, type, n_sessions=40, n_items=7)
    assert np.ptp(log.ts) >= 1 << 32
    rule = RULES[name].model_copy(update={"since_days": None})
    assert_follows(rowwise.build(log, rule), oracle(log, rule), rule)


def test_more_events_than_places_can_count(monkeypatch):
    monkeypatch.setattr(postings, "MOST_EVENTS", len(SESSION_OF_ALL))
    with pytest.raises(UserError, match="fewer than 15 events, but the rule keeps 15: give it a tail"):
        rowwise.build(SESSION_OF_ALL, RULES["adjacent"])
    rowwise.build(SESSION_OF_ALL, RULES["adjacent"].model_copy(update={"tail": 1}))


def test_more_items_than_fit_beside_the_types():
    log = EventLog.from_arrays([0], [0], [0], [0], n_sessions=1, n_items=(1 << 30) + 1)
    with pytest.raises(UserError, match=r"1,073,741,824 items with 3 types"):
        rowwise.build(log, RULES["adjacent"])


def test_on_cuda_rowwise_is_refused_and_what_rows_cannot_do_is_left_to_pairs(monkeypatch):
    device, rule = Device("cuda", "as asked"), RULES["bought_within_2h"]
    with pytest.raises(UserError, match="use engine 'rows'"):
        build_matrix(SESSION_OF_ALL, rule, engine="rowwise", device=device)
    monkeypatch.setattr(pairs, "build", lambda *arguments: arguments)
    assert build_matrix(SESSION_OF_ALL, rule, device=device) == (SESSION_OF_ALL, rule, device)


@pytest.mark.gpu
@each_rule
@pytest.mark.parametrize("engine", ["pairs", "selfmerge"])
def test_on_a_gpu_the_matrices_are_the_same(generated, name, engine):
    matrix = build_matrix(generated, RULES[name], engine=engine, device=a_gpu(*(["cudf"] if engine == "selfmerge" else [])))
    assert_well_formed(matrix, RULES[name], generated.n_items)
    assert_same(matrix, rowwise.build(generated, RULES[name]))
