"""A small generated log in the shape of the one that each config of the project is for: which columns there are, what a session
is, how long it all lasts. The real logs are not in CI."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from otto_gpu.events.log import EventLog
from otto_gpu.events.official import write_sessions
from otto_gpu.events.settings import SplitConfig, TargetsConfig
from otto_gpu.events.split import split_log
from otto_gpu.events.synthetic import synthetic_log
from otto_gpu.events.synthetic_news import write_news

Shape = Callable[[Path], list]  # writes the log into the folder; what the command line says about it
CLICK, CART, ORDER = 0, 1, 2


def demo(folder: Path) -> list:
    return ["--set", "events.synthetic_sessions=300"]


def otto(folder: Path) -> list:
    """Sessions of clicks, carts and orders as JSON lines, and a file of the truncated ones that follow."""
    log = synthetic_log(350, seed=1, items=120, days=17)
    test = split_log(log, SplitConfig(test_days=5), TargetsConfig())["test"]
    write_sessions(folder / "train.jsonl", test.train)
    write_sessions(folder / "test.jsonl", test.history)
    return ["--data", folder]


def yoochoose_clicks(folder: Path) -> list:
    """Short sessions of clicks only, and large ids."""
    log = synthetic_log(900, seed=2, items=120, days=8)
    _write(folder, log.where(log.type == CLICK), aid=lambda aid: aid * 7 + 214_500_000)
    return ["--data", folder]


def globo_news(folder: Path) -> list:
    """Visits of a week that belong to users, with codes of what was used; a few events come late."""
    log = synthetic_log(900, seed=3, items=120, days=8, start=_ms(2017, 10, 9) - 4 * 3_600_000)
    log = log.where(log.type == CLICK)
    rng = np.random.default_rng(3)
    sizes = {"environment": 5, "deviceGroup": 6, "os": 21, "country": 12, "region": 29, "referrer_type": 8}
    codes = {
        f"click_{name}": rng.integers(1, size, log.n_sessions)[log.session].astype(np.int16) for name, size in sizes.items()
    }
    late = np.where(log.session % 100 == 7, 5 * 86_400_000, 0)
    _write(folder, log, ts=lambda ts: ts + late, user=(log.session // 3).astype(np.int32), **codes)
    return ["--data", folder]


def taobao_visits(folder: Path) -> list:
    """Visits of ten days with few carts and orders."""
    _write(folder, synthetic_log(500, seed=4, items=120, days=9))
    return ["--data", folder]


def taobao_buyers(folder: Path) -> list:
    """Long sessions of users that order much."""
    log = _of_users(synthetic_log(900, seed=5, items=150, days=9), 3)
    kind = np.random.default_rng(5).choice([CLICK, CART, ORDER], len(log), p=[0.8, 0.12, 0.08])
    _write(folder, log, type=lambda _: kind)
    return ["--data", folder]


def taobao_users(folder: Path) -> list:
    """One session a user, over all days."""
    _write(folder, _of_users(synthetic_log(900, seed=6, items=150, days=9), 5))
    return ["--data", folder]


def news_demo(folder: Path) -> list:
    return ["--set", "events.synthetic_sessions=700"]


def tianchi_news(folder: Path) -> list:
    """The competition's files, with the answers that it kept."""
    write_news(folder, 800, seed=7, test_users=100)
    return ["--data", folder]


def completejourney(folder: Path) -> list:
    """Households' orders over ten months, and products with departments and brands."""
    log = _of_users(synthetic_log(1200, seed=7, items=120, days=300), 10)
    _write(folder, log, type=lambda _: np.full(len(log), ORDER))
    names = {"department": ["GROCERY", "DAIRY", "MEAT"], "product_category": [f"C{i}" for i in range(15)], "brand": ["A", "B"]}
    rng = np.random.default_rng(7)
    columns = {name: pa.array(rng.choice(values, log.n_items).tolist()) for name, values in names.items()}
    pq.write_table(pa.table({"aid": np.arange(log.n_items), **columns}), folder / "items.parquet")
    return ["--data", folder]


def mind_9k(folder: Path) -> list:
    """Users' clicks of a week on articles with titles, some of which nobody has read."""
    log = _of_users(synthetic_log(900, seed=8, items=120, days=6), 3)
    log = log.where(log.type == CLICK)
    _write(folder, log, from_history=(log.session % 2).astype(np.int8))
    rng, n = np.random.default_rng(8), log.n_items + 30
    words = np.array([f"word{i}" for i in range(200)])
    titles = [" ".join(line) for line in rng.choice(words, (n, 6))]
    abstracts = [None if i % 7 == 0 else " ".join(line) for i, line in enumerate(rng.choice(words, (n, 12)))]
    codes = {name: pa.array(rng.choice(["news", "sports", "finance"], n).tolist()) for name in ("category", "subcategory")}
    pq.write_table(pa.table({"aid": np.arange(n), **codes, "title": titles, "abstract": abstracts}), folder / "items.parquet")
    return ["--data", folder]


SHAPES: dict[str, Shape] = {
    shape.__name__: shape
    for shape in (
        demo, otto, yoochoose_clicks, globo_news, taobao_visits, taobao_buyers, taobao_users, news_demo, tianchi_news,
        completejourney, mind_9k,
    )
}  # fmt: skip


def _of_users(log: EventLog, visits: int) -> EventLog:
    """The log's sessions joined, every n-th of them to one."""
    users = log.n_sessions // visits
    return EventLog.from_arrays(log.session % users, log.aid, log.ts, log.type, n_sessions=users, n_items=log.n_items)


def _write(folder: Path, log: EventLog, **columns) -> None:
    """events.parquet as the data's folders have it. columns: functions of the log's own, or further ones."""
    own = {"session": log.session, "aid": log.aid, "ts": log.ts, "type": log.type}
    table = own | {n: c(own[n]).astype(own[n].dtype) if callable(c) else c for n, c in columns.items()}
    pq.write_table(pa.table(table), folder / "events.parquet")


def _ms(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp() * 1000)
