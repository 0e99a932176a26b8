"""The search for a group's settings."""

import json

import pytest

from otto_gpu.config import load_config
from otto_gpu.device import choose_device
from otto_gpu.errors import UserError
from otto_gpu.pipeline import run_pipeline
from otto_gpu.ranking.search import best_settings
from otto_gpu.ranking.settings import Group, Search
from otto_gpu.ranking.train import train
from otto_gpu.run.directory import write_atomically
from otto_gpu.run.progress import Reporter
from tests.runs import GROUP, small

SEARCH = Search(trials=8, startup=3, parameters=("depth", "learning_rate", "bins"))


class Judge:
    """Likes deep trees and a learning rate of .1; stands in for minutes of training. Stops the search at a trial."""

    def __init__(self, stop: int | None = None):
        self.seen, self._stop = [], stop

    def __call__(self, group):
        if len(self.seen) == self._stop:
            raise KeyboardInterrupt
        self.seen.append(group)
        return [group.depth / 20 - abs(group.learning_rate - 0.1), group.depth / 20]


def trials(record):
    return [(t["params"], t["score"], t["folds"]) for t in record["trials"]]


def test_the_best_trial_wins_and_the_first_is_the_groups_own(tmp_path):
    judge, group = Judge(), Group(depth=3, colsample=0.2)
    best, record = best_settings(tmp_path / "search.json", SEARCH, group, judge)
    assert len(judge.seen) == len(record["trials"]) == 8
    assert judge.seen[0] == group
    values = [sum(Judge()(g)) / 2 for g in judge.seen]
    assert [t["score"] for t in record["trials"]] == pytest.approx(values)
    assert record["best"] == values.index(max(values)) > 0 and best == judge.seen[record["best"]]
    assert best.colsample == 0.2  # what is not searched stays
    for trial in record["trials"][1:]:
        assert trial["params"].keys() == set(SEARCH.parameters)
        assert 2 <= trial["params"]["depth"] <= 8 and 0.03 <= trial["params"]["learning_rate"] <= 0.3
    assert json.loads((tmp_path / "search.json").read_text()) == record


def test_of_a_group_its_own_kinds_settings_are_searched(tmp_path):
    search, judged = Search(trials=3, startup=1), []
    group = Group(ranker="lightgbm", objective="lambdarank", leaves=15)
    best_settings(tmp_path / "search.json", search, group, lambda g: judged.append(g) or [0.5])
    record = json.loads((tmp_path / "search.json").read_text())
    for trial, mine in zip(record["trials"], judged, strict=True):
        assert trial["params"].keys() == set(search.parameters) - {"depth"}
        assert mine.leaves == trial["params"]["leaves"] and mine.depth == group.depth
    assert record["trials"][0]["params"]["leaves"] == 15 and 4 <= judged[1].leaves <= 127
    assert "leaves" not in Search().of(Group()) and "depth" in Search().of(Group())
    with pytest.raises(UserError, match=r"search.parameters: xgboost, the kind of the group 'binary', has none of these"):
        load_config({"ranking": {"search": {"parameters": ["leaves"]}}})


def test_the_group_stays_where_no_trial_does_better(tmp_path):
    group = Group(depth=20)  # outside of what is searched, and better
    best, record = best_settings(tmp_path / "search.json", SEARCH, group, Judge())
    assert best == group and record["best"] == 0


def test_it_is_repeatable_and_the_seed_decides(tmp_path):
    records = [
        best_settings(tmp_path / f"{i}.json", SEARCH.model_copy(update={"seed": seed}), Group(), Judge())[1]
        for i, seed in enumerate((1, 1, 2))
    ]
    assert trials(records[0]) == trials(records[1]) != trials(records[2])


@pytest.mark.parametrize("stop", [0, 1, 5])
def test_killed_it_goes_on_where_it_was(tmp_path, stop):
    whole, record = best_settings(tmp_path / "whole.json", SEARCH, Group(), Judge())
    killed, again = Judge(stop), Judge()
    with pytest.raises(KeyboardInterrupt):
        best_settings(tmp_path / "killed.json", SEARCH, Group(), killed)
    best, resumed = best_settings(tmp_path / "killed.json", SEARCH, Group(), again)
    assert (len(killed.seen), len(again.seen)) == (stop, 8 - stop)
    assert trials(resumed) == trials(record) and best == whole


def test_the_budget_of_seconds_counts_what_was_spent_before(tmp_path):
    judge = Judge()
    _, record = best_settings(tmp_path / "search.json", Search(seconds=1e-9, trials=3), Group(), judge)
    assert len(record["trials"]) == 3  # so little that it is rounded away
    record["trials"] = [t | {"seconds": 40} for t in record["trials"]]
    write_atomically(tmp_path / "search.json", lambda p: p.write_text(json.dumps(record)))
    best_settings(tmp_path / "search.json", Search(seconds=100, trials=9), Group(), judge)
    assert len(judge.seen) == 3
    best_settings(tmp_path / "search.json", Search(seconds=130, trials=4), Group(), judge)
    assert len(judge.seen) == 4


def test_in_a_run_the_models_are_trained_with_what_was_found(tmp_path):
    search = {"trials": 3, "startup": 1, "parameters": ["depth", "learning_rate"]}
    settings = small(400, ranking={"search": search, "groups": {"binary": GROUP, "b": GROUP | {"objective": "rank:ndcg"}}})
    run_pipeline(settings, run_dir=tmp_path / "run", to_stage="rankers")
    for group in ("binary", "b"):
        place = tmp_path / "run/models/clicks" / group
        record = json.loads((place / "search.json").read_text())
        assert len(record["trials"]) == 3
        logs = [json.loads((place / f"fold-{k}.json").read_text()) for k in range(2)]
        best = record["trials"][record["best"]]
        assert [log["best_score"] for log in logs] == best["folds"]

    again = tmp_path / "again"
    again.mkdir()
    config = load_config(settings)
    train(again, tmp_path / "run", config.ranking, config.targets, choose_device("cpu"), 2, Reporter(quiet=True))
    for path in (tmp_path / "run/models").rglob("*.ubj"):
        assert path.read_bytes() == (again / path.relative_to(tmp_path / "run")).read_bytes()
