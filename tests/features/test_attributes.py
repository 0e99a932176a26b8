"""Family `attributes` row by row, with what is missing, and what nobody can know at the session's last event."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from otto_gpu.candidates.lookup import Histories
from otto_gpu.events.items import NO_TIME, Items
from otto_gpu.features.attributes import Attributes
from tests.features import oracle
from tests.features.case import Case, assert_same, case_of, random_items
from tests.worlds import World, log_of, synthetic_world


def check(case: Case) -> pd.DataFrame:
    found, items = case.made("attributes"), case.attributes
    made = [None if t == NO_TIME else t for t in items.times["made"].tolist()]
    words = [None if np.isnan(w) else w for w in items.numbers["words"].tolist()]
    category = [None if c < 0 else c for c in items.codes["category"].tolist()]
    expected = oracle.attribute_features(case.pairs, case.history, made, words, category)
    assert_same(found, expected, atol=1e-5)
    return found


def test_a_generated_log():
    found = check(case_of(synthetic_world(), 40))
    assert next(iter(found)) == "item_made_hours" and len(found.columns) == 5 + 4 + 4
    assert (found.nunique() > 1).all()
    missing = found.isna().mean()
    assert missing["item_words"] > 0.05 and missing["item_words_less_last"] > missing["item_words"]
    assert (found["item_made_hours"] < 0).any() and (found["item_category"] == -1).any()


def test_a_history_of_which_nothing_is_known():
    log = log_of([[(0, 0, 0)], [(1, 3_600_000, 0), (0, 7_200_000, 0)]], 4)
    world = World(log, log, None)
    case = Case(world, world.candidates(world.sessions))
    times, words = np.array([NO_TIME, 0, 0, 3_600_000]), np.float32([np.nan, 7, np.nan, 9])
    case.__dict__["attributes"] = Items(4, {"category": np.int32([-1, 2, -1, 2])}, {"words": words}, {"made": times})
    found = check(case).assign(session=case.candidates.session, aid=case.candidates.aid).set_index(["session", "aid"])
    assert found.loc[0, 0].isna().sum() == 9 and found.loc[(0, 0), "item_category_as_last"] == 0
    assert found.loc[(1, 1), ["item_made_hours", "item_made_less_mean", "item_made_history_hours"]].tolist() == [2, 0, 1]
    assert found.loc[(1, 1), ["item_category", "item_category_events", "item_category_share"]].tolist() == [2, 1, 0.5]
    assert np.isnan(found.loc[(1, 1), "item_words_less_last"]) and found.loc[(1, 1), "item_words_less_mean"] == 0


def test_codes_are_declared_as_categories():
    catalogue = case_of(synthetic_world(), 12).maker(families=("attributes", "context", "session")).catalogue
    assert [c.name for c in catalogue.columns if c.categorical] == ["item_category", "context_device"]
    declared = {c["name"]: c for c in catalogue.to_json()}
    assert declared["item_category"]["categorical"] is True and "categorical" not in declared["item_words"]
    assert catalogue.schema(["clicks"]).field("item_category").type == "int32"


def test_without_an_items_file_there_are_no_columns():
    case = case_of(synthetic_world(), 12)
    bare = Case(case.world, case.candidates)
    bare.__dict__["period_state"] = case.world.period_state
    assert list(bare.made("attributes", "context", "recall")) == list(case.made("recall"))


@pytest.mark.parametrize("family", ["attributes", "context", "similarity"])
def test_what_other_sessions_do_moves_nothing(family):
    """Neither their histories nor what is counted over all events."""
    case = case_of(synthetic_world(), 12)
    keep = np.isin(case.log.session, case.candidates.sessions) | (np.arange(len(case.log)) % 3 > 0)
    context = {name: values[keep] for name, values in case.log.context.items()}
    histories = Histories.of(replace(case.log.where(keep), context=context), case.world.config)
    other, before = Case(case.world, case.candidates), case.period_state
    changed = replace(before, histories=histories, item_events=before.item_events + 1, popularity=None)
    other.__dict__["period_state"] = changed
    pd.testing.assert_frame_equal(other.made(family), case.made(family))


def test_times_before_1970_and_far_ones():
    items = Items(3, times={"made": np.array([-3_600_000, 0, NO_TIME])})
    assert Attributes.of(items).times["made"].tolist()[:2] == [-1, 0] and np.isnan(Attributes.of(items).times["made"][2])
    assert random_items(50, 0).times["made"].dtype == np.int64
