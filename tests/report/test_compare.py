"""What parts two configurations, key by key."""

from otto_gpu.config import load_config
from otto_gpu.report.compare import changed_settings


def dumped(*changes, source=None):
    return load_config(source, changes).model_dump(mode="json")


def test_only_what_differs_is_told():
    assert changed_settings([dumped(), dumped()]) == []
    found = changed_settings([dumped(), dumped("ranking.folds=5", "candidates.recipes.clicks.size=80", "split.by=session")])
    assert dict(found) == {
        "split.by": ["time", "session"],
        "candidates.recipes.clicks.size": ["60", "80"],
        "ranking.folds": ["4", "5"],
    }


def test_three_configurations():
    found = changed_settings([dumped(), dumped("ranking.folds=5"), dumped()])
    assert found == [("ranking.folds", ["4", "5", "4"])]


def test_a_section_that_is_not_there_is_one_key():
    fusion = dict(changed_settings([dumped(), dumped("candidates.fusion={keep: 50}")]))
    assert fusion.keys() == {"candidates.fusion"} and fusion["candidates.fusion"][0] == "null"
    assert '"keep": 50' in fusion["candidates.fusion"][1]
    groups = dict(changed_settings([dumped(), dumped("ranking.groups.pairwise={objective: 'rank:pairwise'}")]))
    assert groups.keys() == {"ranking.groups.pairwise"} and groups["ranking.groups.pairwise"][0] == "not there"


def test_an_empty_section_and_a_filled_one():
    found = dict(changed_settings([dumped(), dumped("ranking.cascade={carts: [clicks]}")]))
    assert found == {"ranking.cascade.carts": ["not there", '["clicks"]']}
    found = dict(changed_settings([{"a": {}}, {"a": None}, {"a": {"b": 1}}]))
    assert found == {"a": ["{}", "null", '{"b": 1}']}


def test_keys_may_hold_dots():
    found = changed_settings([{"types": {"a.b": 1, "c": {"d.e": 1}}}, {"types": {"a.b": 2, "c": {"d.e": 1, "f": 2}}}])
    assert found == [("types.a.b", ["1", "2"]), ("types.c.f", ["not there", "2"])]
