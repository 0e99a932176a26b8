"""Family `context`: the last event's, and none where a new session comes without."""

from dataclasses import replace

import numpy as np
import pandas as pd

from otto_gpu.candidates.lookup import Histories
from otto_gpu.features.catalogue import FeaturesConfig
from otto_gpu.features.compute import FeatureMaker
from tests.features.case import case_of
from tests.worlds import synthetic_world


def expected(case) -> pd.DataFrame:
    log = case.log
    last = {session: i for i, session in enumerate(log.session.tolist())}
    rows = [last[s] for s in case.candidates.session.tolist()]
    return pd.DataFrame({f"context_{name}": [values[i] for i in rows] for name, values in log.context.items()}).astype(
        np.float32
    )


def test_the_last_event_of_every_session():
    case = case_of(synthetic_world(), 60)
    found = case.made("context")
    pd.testing.assert_frame_equal(found, expected(case))
    assert (found["context_device"] == -1).any() and found["context_scroll"].isna().any()


def test_sessions_without_events_have_none():
    case = case_of(synthetic_world(), 12)
    empty = np.diff(case.log.starts) == 0
    histories = Histories.of(case.log, case.world.config)
    assert (
        empty.any() and (histories.context["device"][empty] == -1).all() and np.isnan(histories.context["scroll"][empty]).all()
    )
    assert histories.chunk(case.candidates.sessions).context["device"].tolist() == [
        histories.context["device"][s] for s in case.candidates.sessions
    ]


def test_new_sessions_with_context_and_without():
    case = case_of(synthetic_world(), 12)
    maker = case.maker(families=("context", "session"))
    known = maker.make(case.candidates)
    queries = np.zeros((case.log.n_sessions, 6), np.float32)  # of the encoder, which nobody asks
    about = maker.about(Histories.of(case.log, case.world.config), queries)
    np.testing.assert_array_equal(about.make(case.candidates), known)
    plain = Histories.of(replace(case.log, context={}), case.world.config)
    without = maker.about(plain, queries).make(case.candidates)
    assert (without[:, 0] == -1).all() and np.isnan(without[:, 1]).all()
    np.testing.assert_array_equal(without[:, 2:], known[:, 2:])


def test_hours_by_another_clock():
    case = case_of(synthetic_world(), 40)
    names = ["hour", "weekday"]
    made = {}
    for offset in (0, -3, 5.5):
        config = FeaturesConfig(families=("session",), utc_offset_hours=offset)
        maker = FeatureMaker(config, case.period_state, case.candidates.sources, case.world.known.types)
        made[offset] = pd.DataFrame(maker.make(case.candidates), columns=maker.catalogue.names)[names]
    assert maker.catalogue.columns[-1].meaning == "weekday of the last event (UTC+5.5), Monday 0"
    last = case.history.groupby("session")["ts"].max()
    for offset, found in made.items():
        at = pd.to_datetime(case.pairs["session"].map(last) + int(offset * 3_600_000), unit="ms")
        assert (found["hour"] == at.dt.hour).all() and (found["weekday"] == at.dt.day_of_week).all()
