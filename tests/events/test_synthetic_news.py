"""The generated news log: the same for a seed, like news, and the same from memory and from the competition's files."""

import numpy as np
import pandas as pd
import pytest

from otto_gpu.config import Config
from otto_gpu.errors import UserError
from otto_gpu.events.attributes import by_item, read_items, with_ids
from otto_gpu.events.read import read_log
from otto_gpu.events.settings import GENERATED_ITEMS, EventsConfig, ItemsConfig, TargetsConfig
from otto_gpu.events.stage import load_ids, load_period
from otto_gpu.events.synthetic_news import CONTEXT, HOUR, START, generate, read_generated, write_news
from otto_gpu.pipeline import run_pipeline

TARGETS = TargetsConfig(types=["clicks"], weights={"clicks": 1}, next_only=["clicks"])
COLUMNS = {"session": "user_id", "aid": "click_article_id", "ts": "click_timestamp", "type": None}
CODES = dict.fromkeys(CONTEXT, "code")
ITEMS = ItemsConfig(file="articles.csv", id="article_id", columns=GENERATED_ITEMS["synthetic_news"])


@pytest.fixture(scope="module")
def news():
    found = generate(2000, 5)
    return found.clicks.to_pandas(), found.articles.to_pandas()


def test_the_same_seed_gives_the_same_news_and_another_one_others():
    one, again, other = generate(60, 1), generate(60, 1), generate(60, 2)
    assert one.clicks.equals(again.clicks) and one.articles.equals(again.articles)
    assert not one.clicks.equals(other.clicks) and not one.articles.equals(other.articles)
    for wrong in ({"users": 0}, {"users": 5, "articles": 3}, {"users": 5, "days": 1}):
        with pytest.raises(UserError, match="synthetic news: "):
            generate(**wrong)


def test_users_and_articles(news):
    clicks, articles = news
    assert list(clicks)[3:] == list(CONTEXT)
    per_user = clicks.groupby("user_id").size()
    assert len(per_user) == 2000 and per_user.min() == 2 and 3 < per_user.mean() < 7
    assert clicks.equals(clicks.sort_values(["user_id", "click_timestamp"], kind="stable"))
    assert clicks["click_timestamp"].between(START, START + 14 * 24 * HOUR).all()
    assert not clicks.isna().any().any()
    assert clicks.duplicated(["user_id", "click_article_id"]).mean() < 0.03
    assert articles["article_id"].tolist() == list(range(800))
    never = 1 - clicks["click_article_id"].nunique() / len(articles)
    assert 0.4 < never < 0.6
    missing = articles.isna().sum()
    assert (missing[["created_at_ts", "words_count", "title"]] > 0).all() and missing.max() < 25


def test_what_is_hot_cools_down_and_what_follows_is_told_by_the_referrer(news):
    clicks, articles = news
    both = clicks.merge(articles, left_on="click_article_id", right_on="article_id").sort_values(["user_id", "click_timestamp"])
    age = (both["click_timestamp"] - both["created_at_ts"]) / HOUR
    assert age.median() < 14 and (age > 0).mean() > 0.95 and (age < 0).any()  # some were edited later
    last = both.groupby("user_id")["category_id"].shift()
    same = (both["category_id"] == last)[last.notna()]
    by_link = both.loc[last.notna(), "click_referrer_type"] == 5
    assert same[by_link].mean() > same[~by_link].mean() + 0.2
    words = articles.dropna().groupby("category_id")["title"].apply(lambda titles: set(" ".join(titles).split()))
    assert len(words[0] & words[1]) / len(words[0] | words[1]) < 0.7


def test_it_is_what_reading_its_files_gives(tmp_path):
    write_news(tmp_path, 80, 3)
    found = read_generated(
        EventsConfig(format="synthetic_news", synthetic_sessions=80, synthetic_seed=3, context=CODES), TARGETS
    )
    reading = EventsConfig(columns=COLUMNS, default_type="clicks", context=CODES, train_file="train_click_log.csv")
    read, table = read_log(tmp_path, reading, TARGETS), read_items(tmp_path / "articles.csv", ITEMS, print)
    for name in ("session", "aid", "ts", "type"):
        assert np.array_equal(getattr(found.log, name), getattr(read.log, name)), name
    assert found.log.items.to_pylist() == read.log.items.to_pylist()
    assert found.log.sessions.to_pylist() == read.log.sessions.to_pylist()
    assert found.context == read.context and found.log.context.keys() == set(CONTEXT)
    for name, values in read.log.context.items():
        assert np.array_equal(found.log.context[name], values)
    assert found.counts | {"files": 1} == read.counts
    mine, theirs = (by_item(t, with_ids(read.log, t.ids)) for t in (found.items, table))
    assert mine.n_items == theirs.n_items == 200
    for kind in ("codes", "numbers", "times", "texts"):
        for name, values in getattr(theirs, kind).items():
            other = getattr(mine, kind)[name]
            equal = values.equals(other) if kind == "texts" else np.array_equal(values, other, equal_nan=kind == "numbers")
            assert equal, name
    with pytest.raises(UserError, match="the generated log has no column 'colour'; it has: click_environment"):
        read_generated(EventsConfig(format="synthetic_news", context={"colour": "code"}), TARGETS)


def test_the_files_of_the_competition_ask_for_the_last_click_of_a_test_user(tmp_path):
    write_news(tmp_path / "data", 120, 3, test_users=30)
    clicks = generate(120, 3).clicks.to_pandas()
    config = Config(
        events=EventsConfig(
            columns=COLUMNS, default_type="clicks", context=CODES, train_file="train_click_log.csv",
            test_file="testA_click_log.csv", test_answers="testA_answers.csv",
        ),
        items=ITEMS, split={"by": "session", "cut": "last", "validation_fraction": 0.3}, targets=TARGETS,
    )  # fmt: skip
    run_dir = run_pipeline(config, data=tmp_path / "data", run_dir=tmp_path / "run", to_stage="events").run_dir
    period, users, items = load_period(run_dir, "test"), load_ids(run_dir, "sessions"), load_ids(run_dir, "items")
    assert len(items) == 200 and set(users.take(period.sessions).to_pylist()) == set(range(90, 120))
    found = pd.Series(items.take(period.labels.aid).to_numpy(), users.take(period.labels.session).to_numpy())
    wanted = clicks.groupby("user_id")["click_article_id"].last().loc[90:]
    assert found.sort_index().tolist() == wanted.tolist()
