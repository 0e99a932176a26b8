"""Coverage by sets."""

from itertools import pairwise, product

import numpy as np
import pytest

from otto_gpu.candidates.coverage import CURVE, PERCENTILES, Coverage, label_rows
from otto_gpu.events.labels import Labels
from tests.worlds import synthetic_world

DEPTHS = (20, 50, 100)
TARGETS = {"clicks": 0, "carts": 1, "orders": 2}


@pytest.fixture(scope="module")
def case():
    world = synthetic_world()
    sessions = world.sessions[::3]
    candidates = world.candidates(sessions)
    keep = np.isin(world.labels.session, sessions)
    labels = Labels(world.labels.session[keep], world.labels.type[keep], world.labels.aid[keep])
    return world, candidates, labels


def truth_of(labels, code) -> set:
    mine = labels.type == code
    return set(zip(labels.session[mine].tolist(), labels.aid[mine].tolist(), strict=True))


def test_labels_of_rows(case):
    world, candidates, labels = case
    for code in (0, 1, 2):
        truth = truth_of(labels, code)
        pairs = zip(candidates.session.tolist(), candidates.aid.tolist(), strict=True)
        found = label_rows(candidates, labels, code, world.known.n_items)
        assert found.dtype == bool and found.tolist() == [pair in truth for pair in pairs]
        assert found.any()


def test_no_labels_of_a_type(case):
    world, candidates, _ = case
    nothing = Labels(np.empty(0, np.int32), np.empty(0, np.int8), np.empty(0, np.int32))
    assert not label_rows(candidates, nothing, 0, world.known.n_items).any()


@pytest.mark.parametrize("chunks", [1, 4])
def test_table(case, chunks):
    world, candidates, labels = case
    sources = world.config.sources
    order = {t: world.config.order_of(t) for t in TARGETS}
    coverage = Coverage(sources, TARGETS, order, DEPTHS)
    bounds = np.linspace(0, len(candidates.sessions), chunks + 1).astype(int)
    for first, last in pairwise(bounds):
        part = candidates.rows(first, last)
        coverage.add(part, {t: label_rows(part, labels, c, world.known.n_items) for t, c in TARGETS.items()})
    totals = {t: len(truth_of(labels, c)) for t, c in TARGETS.items()}
    table = coverage.table(totals)
    assert list(table) == [*sources, "all"]

    curves = coverage.curves(totals)
    assert curves.keys() == table.keys()
    for source, target in product(table, TARGETS):
        curve = dict(zip(CURVE, curves[source][target], strict=True))
        assert [curve[depth] for depth in DEPTHS] == [table[source][target][str(depth)] for depth in DEPTHS]
        assert all(a <= b for a, b in pairwise(curve.values())) and curve[CURVE[-1]] == table[source][target]["all"]

    frame = candidates.to_table().to_pandas()
    first = frame[frame["recall_clicks_rank"] == 0]
    found = sum((s, a) in truth_of(labels, 2) for s, a in zip(first["session"], first["aid"], strict=True))
    assert curves["clicks"]["orders"][0] == pytest.approx(found / totals["orders"], abs=1e-5)
    for source in table:
        sizes = []
        found = {t: dict.fromkeys([*map(str, DEPTHS), "all"], 0) for t in TARGETS}
        for session, rows in frame.groupby("session"):
            for target, code in TARGETS.items():
                by = order[target] if source == "all" else source
                rank = rows[f"recall_{by}_rank"]
                named = rows[rank >= 0].sort_values(f"recall_{by}_rank", kind="stable")["aid"].tolist()
                if source == "all":
                    named += [a for a in rows["aid"] if a not in set(named)]
                truth = {a for s, a in truth_of_session(labels, session, code)}
                for depth in found[target]:
                    found[target][depth] += len(truth & set(named if depth == "all" else named[: int(depth)]))
            sizes.append(len(rows) if source == "all" else int((rows[f"recall_{source}_rank"] >= 0).sum()))
        for target in TARGETS:
            assert table[source][target] == {d: pytest.approx(n / totals[target], abs=1e-5) for d, n in found[target].items()}
        expected = {"mean": pytest.approx(np.mean(sizes), abs=0.006)} | {f"p{p}": np.percentile(sizes, p) for p in PERCENTILES}
        assert table[source]["candidates"] == expected


def truth_of_session(labels, session, code):
    low, high = np.searchsorted(labels.session, [session, session + 1])
    return {(session, int(a)) for a, t in zip(labels.aid[low:high], labels.type[low:high], strict=True) if t == code}


def test_without_ground_truth(case):
    world, candidates, _ = case
    coverage = Coverage(world.config.sources, TARGETS, dict.fromkeys(TARGETS, "clicks"), (5, 1000))
    coverage.add(candidates, {})
    table = coverage.table({})
    assert table["all"]["orders"] == {"5": None, "1000": None, "all": None}
    assert table["all"]["candidates"]["mean"] > 0
    assert set(coverage.curves({})["all"]["orders"]) == {None}
