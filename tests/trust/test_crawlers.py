"""A session of far more events than all others have together costs little, from the log to the lists."""

import json
import time

import numpy as np
import pandas as pd

from otto_gpu.events.log import EventLog
from otto_gpu.events.settings import MOST_EVENTS, SplitConfig, TargetsConfig
from otto_gpu.events.split import split_log
from otto_gpu.pipeline import run_pipeline
from otto_gpu.recommend import Recommender
from tests.runs import frame, metrics, of_file, write_parquet

EVENTS = 40_000
SPLIT = {"cut": "time", "test_days": 4, "validation_days": 4}  # everybody is asked, crawlers too


def crawled(log: pd.DataFrame) -> pd.DataFrame:
    """The events of a crawler of all types, on more items than the others know, all the time."""
    random = np.random.default_rng(3)
    ts = np.sort(random.integers(log["ts"].min(), log["ts"].max(), EVENTS))
    kinds = random.choice(["clicks", "carts", "orders"], EVENTS, p=[0.7, 0.2, 0.1])
    return pd.DataFrame({"session": 1, "aid": random.integers(0, 3000, EVENTS), "ts": ts, "type": kinds})


def test_a_run_and_its_answers(tmp_path):
    log = frame(150)
    crawler = crawled(log)
    data = write_parquet(tmp_path / "log.parquet", pd.concat([log, crawler]))
    began = time.process_time()
    run_pipeline(of_file(split=SPLIT), data, tmp_path / "crawled", to_stage="submission")
    assert time.process_time() - began < 60  # a tenth if nothing has to be compiled; without bounds, minutes
    found = metrics(tmp_path / "crawled")
    assert found["long_sessions"]["candidates"]["test"]["longest"] == 1
    assert found["events"]["periods"]["test"]["labels"]["orders"] > 300  # what it orders afterwards is asked
    recommender = Recommender.load(tmp_path / "crawled", "cpu")
    began = time.process_time()
    whole, newest = recommender.recommend(crawler), recommender.recommend(crawler.tail(MOST_EVENTS))
    assert time.process_time() - began < 5
    assert json.dumps(whole.to_dicts()) == json.dumps(newest.to_dicts()) and len(whole.to_dicts()[0]["clicks"]) == 20


def test_where_every_place_is_asked():
    log = EventLog.from_frame(pd.concat([frame(50), crawled(frame(50))]))
    config = SplitConfig(cut="every", by="session", test_fraction=0.5, validation_fraction=0.4)
    periods = split_log(log, config, TargetsConfig())
    own = pd.Series(np.concatenate([np.array(periods[p].history.sessions)[periods[p].sessions] for p in periods]))
    mine = own[own.str.startswith("1#")].str.slice(2).astype(int)
    assert mine.tolist() == list(range(EVENTS - MOST_EVENTS, EVENTS))
    assert max(int(np.diff(p.history.starts).max()) for p in periods.values()) <= MOST_EVENTS
