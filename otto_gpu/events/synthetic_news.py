"""A generated log of a news portal, in the columns of the Tianchi news competition (531842): users who click on articles over
two weeks, what is known of the articles, and how every click came about.

It is a small model, seeded, of what makes news another task than a shop:
- an article is hot when it is published, and cools down within hours;
- a click goes to what is hot now, to what is hot among the user's categories, or to one of three articles that follow the last
  one (earlier ones on the same topic), and hardly ever to what the user has read;
- whoever came by a link once is likely to come by one again, which the referrer tells; the region has a taste of its own;
- titles are made of the words of their category and topic; half of the articles nobody ever clicks; a few values are missing,
  and some articles were edited after their first clicks, so that they look created later.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from otto_gpu.errors import UserError
from otto_gpu.events.attributes import read_items
from otto_gpu.events.read import ReadResult, read_log
from otto_gpu.events.settings import GENERATED_ITEMS, ColumnNames, EventsConfig, ItemsConfig, TargetsConfig

HOUR = 3_600_000
START = 1_507_075_200_000  # 2017-10-04 00:00 UTC
CLICKS, ARTICLES = "train_click_log", "articles"
USER, ARTICLE, TIME, ID = "user_id", "click_article_id", "click_timestamp", "article_id"
CONTEXT = (
    "click_environment", "click_deviceGroup", "click_os", "click_country", "click_region", "click_referrer_type",
)  # fmt: skip
COOLING = 8 * HOUR  # an article's heat falls to 1/e in it
OLDEST = 48  # hours, after which nobody clicks it
LONGEST = 60  # clicks of a user
HOT, TASTE, LINK = range(3)  # ways to an article
WAYS = np.array([[0.6, 0.25, 0.15], [0.25, 0.6, 0.15], [0.25, 0.15, 0.6]])  # of users of each kind
TOPICS = 4  # of a category
# clicks by hour of the day
_HOURS = np.array([4, 2, 1, 1, 1, 2, 4, 7, 9, 10, 11, 11, 12, 11, 10, 10, 10, 10, 10, 10, 10, 9, 8, 6], float)


@dataclass(frozen=True)
class News:
    """clicks: one row a click, by user and time; articles: one row an article. Both with the competition's columns, and the
    articles with a title besides."""

    clicks: pa.Table
    articles: pa.Table


def generate(users: int, seed: int = 42, articles: int | None = None, days: int = 14) -> News:
    """Users are 0..users-1, each with 2 clicks or more; articles 0..articles-1 (None: 0.4 a user, 200 at least), half of them
    never clicked. The same arguments give the same log. UserError for numbers out of range."""
    articles = max(200, int(0.4 * users)) if articles is None else articles
    limits = {"users": (users, 1, 10**7), "articles": (articles, 100, 10**7), "days": (days, 3, 365), "seed": (seed, 0, 2**63)}
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise UserError(f"synthetic news: {name} must be {low} to {high}, got {value}")
    rng = np.random.default_rng(seed)
    stock = _Articles(rng, articles, days)
    return News(_clicks(rng, users, days, stock), stock.table(rng))


class _Articles:
    """category, topic, published (ms), quality: by article, of which `live` may be clicked; follows: int64 [n, 3], -1: none."""

    def __init__(self, rng: np.random.Generator, n: int, days: int):
        self.n, self.categories = n, max(8, min(int(n**0.5) // 2, 400))
        self.live = rng.random(n) < 0.5
        share = 1 / np.arange(2, self.categories + 2)
        self.category = rng.choice(self.categories, n, p=share / share.sum())
        self.topic = rng.integers(0, TOPICS, n)
        hour = rng.choice(24, n, p=_HOURS / _HOURS.sum())
        day = rng.integers(-2, days, n)
        self.published = START + (day * 24 + hour) * HOUR + rng.integers(0, HOUR, n)
        # the archive is years old
        self.published[~self.live] -= rng.integers(0, 1500 * 24, (~self.live).sum()) * HOUR
        self.quality = rng.lognormal(0, 1.2, n)
        self.follows = self._follows(rng)
        self._hours(days)

    def _follows(self, rng) -> np.ndarray:
        """One of the three articles before it on its topic, another one, and a third."""
        live = np.flatnonzero(self.live)
        story = self.category[live] * TOPICS + self.topic[live]
        order = live[np.lexsort((self.published[live], story))]
        story = self.category[order] * TOPICS + self.topic[order]
        back = np.arange(len(order))[:, None] - np.cumsum(rng.integers(1, 3, (len(order), 3)), axis=1)
        there = (back >= 0) & (story[np.maximum(back, 0)] == story[:, None])
        follows = np.full((self.n, 3), -1)
        follows[order] = np.where(there, order[np.maximum(back, 0)], -1)
        return follows

    def _hours(self, days: int) -> None:
        """For every hour the articles that are read in it, by category, and the sum of their heat up to each."""
        live = np.flatnonzero(self.live)
        first = (self.published[live] - START) // HOUR + 1
        hour = (first[:, None] + np.arange(OLDEST)).ravel()
        article = np.repeat(live, OLDEST)
        inside = (hour >= 0) & (hour < 24 * days)
        hour, article = hour[inside], article[inside]
        order = np.lexsort((article, self.category[article], hour))
        hour, self.read = hour[order], article[order]
        age = hour * HOUR + START - self.published[self.read]
        self.heat = np.append(0, np.cumsum(self.quality[self.read] * np.exp(-age / COOLING)))
        key = hour * self.categories + self.category[self.read]
        self.begins = np.searchsorted(key, np.arange(24 * days * self.categories + 1))

    def draw(self, rng, hour: np.ndarray, category: np.ndarray) -> np.ndarray:
        """An article for each hour, by heat; of the category, or of any (-1); -1 where there is none."""
        one = category >= 0
        low = self.begins[hour * self.categories + np.where(one, category, 0)]
        high = self.begins[hour * self.categories + np.where(one, category + 1, self.categories)]
        base, top = self.heat[low], self.heat[high]
        found = np.searchsorted(self.heat, base + rng.random(len(hour)) * (top - base), "right") - 1
        found = np.clip(found, low, np.maximum(high - 1, low))
        return np.where(high > low, self.read[np.minimum(found, len(self.read) - 1)], -1)

    def table(self, rng) -> pa.Table:
        edited = rng.random(self.n) < 0.1
        created = self.published + np.where(edited, rng.integers(0, 6 * HOUR, self.n), 0)
        words = np.maximum(rng.normal(190 + 10 * (self.category % 7), 60, self.n), 20).astype(np.int64)
        titles, missing = _titles(rng, self.category, self.topic), rng.random((3, self.n)) < 0.01
        return pa.table({
            ID: np.arange(self.n),
            "category_id": self.category,
            "created_at_ts": pa.array(created, mask=missing[0]),
            "words_count": pa.array(words, mask=missing[1]),
            "title": pa.array(titles, mask=missing[2]),
        })  # fmt: skip


def _titles(rng, category: np.ndarray, topic: np.ndarray) -> np.ndarray:
    """Six words: two that anybody uses, two of the category, two of the topic."""
    syllables = np.array(["ka", "lo", "mi", "ne", "ru", "sa", "ti", "vo", "pa", "de", "gu", "zi"], object)
    parts = rng.integers(0, len(syllables), (4, 5000))
    words = syllables[parts[0]] + syllables[parts[1]] + syllables[parts[2]] + syllables[parts[3]]
    n = len(category)
    titles = words[rng.integers(0, 150, n)]
    for _ in range(2):
        titles = titles + " " + words[(200 + 20 * category + rng.integers(0, 20, n)) % 5000]
        titles = titles + " " + words[(700 + 8 * (category * TOPICS + topic) + rng.integers(0, 8, n)) % 5000]
    return titles + " " + words[rng.integers(0, 150, n)]


def _clicks(rng, users: int, days: int, stock: _Articles) -> pa.Table:
    end = START + days * 24 * HOUR
    wanted = np.minimum(2 + rng.lognormal(0.7, 1.1, users).astype(np.int64), LONGEST)
    region = rng.choice(28, users, p=_falling(28))
    kind = rng.integers(0, len(WAYS), users)
    # two categories: one of the region's, one of the user's own
    tastes = np.stack([(region * 5) % stock.categories, rng.integers(0, stock.categories, users)], axis=1)
    first = rng.integers(0, max(days - 2, 1), users) * 24 + rng.choice(24, users, p=_HOURS / _HOURS.sum())
    now = START + first * HOUR + rng.integers(0, HOUR, users)
    read = np.full((users, LONGEST), -1)
    times, ways = np.zeros((users, LONGEST), np.int64), np.zeros((users, LONGEST), np.int64)
    for place in range(LONGEST):
        on = np.flatnonzero((wanted > place) & (now < end))
        if not len(on):
            break
        if place:
            # the second click comes in the same visit: everybody has two
            stays = rng.random(len(on)) < (1 if place == 1 else 0.6)
            gap = np.where(stays, np.minimum(rng.lognormal(11.5, 0.9, len(on)), HOUR), rng.exponential(20 * HOUR, len(on)))
            now[on] += np.maximum(gap, 1000).astype(np.int64)
            on = on[now[on] < end]
        hour = (now[on] - START) // HOUR
        way = (rng.random(len(on))[:, None] > np.cumsum(WAYS[kind[on]], axis=1)).sum(axis=1).clip(0, 2)
        way = np.where((way == LINK) & (place == 0), HOT, way)
        article, linked = np.full(len(on), -1), np.zeros(len(on), bool)
        for _ in range(3):  # who has read it looks for another
            category = np.where(way == TASTE, tastes[on, (rng.random(len(on)) < 0.5).astype(int)], -1)
            found = stock.draw(rng, hour, category)
            follows = np.zeros(len(on), bool)
            if place:
                next_one = stock.follows[read[on, place - 1], rng.choice(3, len(on), p=[0.6, 0.25, 0.15])]
                recent = now[on] - stock.published[next_one] < OLDEST * HOUR
                follows = (way == LINK) & (next_one >= 0) & recent
                found = np.where(follows, next_one, found)
            again = (read[on, :place] == found[:, None]).any(axis=1)
            fresh = (article < 0) & ~again
            article, linked = np.where(fresh, found, article), np.where(fresh, follows, linked)
        way = np.where((way == LINK) & ~linked, HOT, way)
        hot = stock.draw(rng, hour, np.full(len(on), -1))
        way = np.where(article < 0, HOT, way)
        article = np.where(article < 0, hot, article)
        read[on, place], times[on, place], ways[on, place] = article, now[on], way
    there = read >= 0
    user = np.nonzero(there)[0]
    way = ways[there]
    devices = rng.choice([1, 3, 4, 5], users, p=[0.6, 0.36, 0.03, 0.01])
    referrer = np.where(rng.random(len(user)) < 0.8, np.array([1, 2, 5])[way], rng.integers(1, 8, len(user)))
    return pa.table({
        USER: user, ARTICLE: read[there], TIME: times[there],
        "click_environment": rng.choice([4, 2, 1], users, p=[0.97, 0.02, 0.01])[user],
        "click_deviceGroup": np.where(rng.random(len(user)) < 0.95, devices[user], 1),
        "click_os": np.array([0, 17, 2, 2, 20, 12])[devices][user],
        "click_country": np.where(rng.random(users) < 0.97, 1, rng.integers(2, 12, users))[user],
        "click_region": (region + 1)[user],
        "click_referrer_type": referrer,
    })  # fmt: skip


def _falling(n: int) -> np.ndarray:
    share = 1 / np.arange(1, n + 1)
    return share / share.sum()


# ----------------------------------------------------------------------------------------------------------- as files
def write_news(folder: Path, users: int, seed: int = 42, test_users: int = 0, **more) -> None:
    """The competition's files: train_click_log.csv, articles.csv, and of the last `test_users` users testA_click_log.csv with
    all clicks but each one's last, which is in testA_answers.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    news = generate(users, seed, **more)
    user = news.clicks[USER].to_numpy()
    test = user >= users - test_users
    last = np.append(user[1:] != user[:-1], True)
    _csv(news.clicks.filter(pa.array(~test)), folder / f"{CLICKS}.csv")
    _csv(news.articles, folder / f"{ARTICLES}.csv")
    if test_users:
        _csv(news.clicks.filter(pa.array(test & ~last)), folder / "testA_click_log.csv")
        _csv(news.clicks.filter(pa.array(test & last)).select([USER, ARTICLE]), folder / "testA_answers.csv")


def _csv(table: pa.Table, path: Path) -> None:
    pa.csv.write_csv(table, path, pa.csv.WriteOptions(quoting_style="needed"))


def read_generated(events: EventsConfig, targets: TargetsConfig) -> ReadResult:
    """The generated log as if it had been read from files: with the columns of events.context, and all that is known of the
    articles."""
    news = generate(events.synthetic_sessions, events.synthetic_seed)
    if lacking := [name for name in events.context if name not in news.clicks.column_names]:
        raise UserError(f"events.context: the generated log has no column {lacking[0]!r}; it has: {', '.join(CONTEXT)}")
    reading = EventsConfig(
        format="parquet", columns=ColumnNames(session=USER, aid=ARTICLE, ts=TIME, type=None), default_type=targets.types[0],
        context=events.context,
    )  # fmt: skip
    items = ItemsConfig(file=f"{ARTICLES}.parquet", id=ID, columns=GENERATED_ITEMS["synthetic_news"])
    with TemporaryDirectory() as folder:
        log, articles = Path(folder) / f"{CLICKS}.parquet", Path(folder) / items.file
        pq.write_table(news.clicks, log)
        pq.write_table(news.articles, articles)
        result = read_log(log, reading, targets)
        table = read_items(articles, items, lambda line: None)
    return ReadResult(result.log, result.rejected, result.counts | {"files": 0}, None, table, result.context)
