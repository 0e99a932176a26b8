import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otto_gpu.embeddings.settings import Seq2Seq
from otto_gpu.embeddings.vectors import normalised
from otto_gpu.events.log import EventLog
from tests.embeddings.worlds import grouped, sessions_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'otto_gpu[embeddings]'")

from otto_gpu.embeddings.seq2seq import HOUR_MS, Visits, _Network  # noqa: E402

SMALL = Seq2Seq(dim=8, epochs=10, length=4)
EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=8)  # (item, hours since the event before)


def log_of(sessions) -> EventLog:
    rows = []
    for s, events in enumerate(sessions):
        ts = 1_600_000_000_000 + 7 * s * HOUR_MS
        for item, hours in events:
            ts += hours * HOUR_MS + 1
            rows.append((s, item, ts))
    session, aid, ts = np.array(rows, np.int64).reshape(-1, 3).T
    return EventLog.from_arrays(session, aid, ts, np.zeros(len(rows)), n_sessions=len(sessions), n_items=4)


def examples_of(log, config) -> list:
    """(target, [(token, slot)]) as the rules say it: an event, up to `length` before it in its visit, and its time."""
    starts = [t // (config.bucket_hours * HOUR_MS) for t in log.ts.tolist()]
    found = []
    for events in sessions_of(log):
        visit = []
        for aid, ts in events:
            if visit and ts - visit[-1][1] > config.idle_hours * HOUR_MS:
                visit = []
            if visit:
                before = [a for a, _ in visit][::-1][: config.length]
                tokens = [(a, slot) for slot, a in enumerate(before) if a != aid]
                bucket = ts // (config.bucket_hours * HOUR_MS) - min(starts)
                found.append((aid, [*tokens, (log.n_items + bucket, config.length)]))
            visit.append((aid, ts))
    return found


@given(st.lists(EVENTS, max_size=5), st.integers(1, 4), st.integers(1, 5), st.integers(0, 3))
def test_examples_against_plain_loops(sessions, length, size, seed):
    config = Seq2Seq(length=length, idle_hours=2)
    log = log_of(sessions)
    expected = examples_of(log, config)
    visits = Visits.of(log, config)
    found = []
    for batch in visits.batches(size, seed):
        assert 0 < len(batch.target) <= size
        ends = [*batch.offset[1:].tolist(), len(batch.token)]
        for target, first, last in zip(batch.target.tolist(), batch.offset.tolist(), ends, strict=True):
            tokens = list(zip(batch.token[first:last].tolist(), batch.slot[first:last].tolist(), strict=True))
            found.append((target, tokens))
            assert all(token < visits.n_tokens for token, _ in tokens)
    assert sorted(found) == sorted(expected)
    assert len(visits) == len(expected)


def test_the_loss_against_plain_loops():
    """A weighted sum of cosines per example and per permuted target, one by one."""
    log = grouped(60)
    visits = Visits.of(log, SMALL)
    network = _Network(visits, SMALL, 3, torch.device("cpu"))
    rows = normalised(network.table.weight.detach().numpy())
    weight = network._weight.detach().numpy()[:, 0]
    batch = next(visits.batches(40, 1))
    ends = [*batch.offset[1:].tolist(), len(batch.token)]
    total = 0.0
    for e, (first, last) in enumerate(zip(batch.offset.tolist(), ends, strict=True)):
        for target, sign in ((batch.target[e], -1), (batch.target[e - 1], 1)):
            logit = sum(
                weight[s] * float(rows[t] @ rows[target])
                for t, s in zip(batch.token[first:last], batch.slot[first:last], strict=True)
            )
            total += np.log1p(np.exp(sign * logit))
    assert float(network.learn(batch, 0.0)) == pytest.approx(total / 80, rel=1e-5)
