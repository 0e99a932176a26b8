import subprocess
import sys

import numba
import numpy as np
import orjson
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from otto_gpu.columns import EVENT_COLUMNS
from otto_gpu.errors import UserError
from otto_gpu.events.log import TYPES, EventLog
from otto_gpu.events.synthetic import FORMATS, START, generate, main, synthetic_log, write_log

DAY = 86_400_000
CLICK, CART, ORDER = 0, 1, 2


def whole(*args, **kwargs) -> dict[str, np.ndarray]:
    blocks = list(generate(*args, **kwargs))
    return {name: np.concatenate([b[name] for b in blocks]) for name in EVENT_COLUMNS}


def same(left, right) -> bool:
    return all(left[c].dtype == right[c].dtype and np.array_equal(left[c], right[c]) for c in EVENT_COLUMNS)


def seen_before(log: EventLog, earlier: int | None) -> np.ndarray:
    """bool [n]: the item of the event was met before in its session (in an event of type `earlier`, if given)."""
    item = log.session.astype(np.int64) * log.n_items + log.aid
    place = np.arange(len(log))
    of_type = place if earlier is None else np.flatnonzero(log.type == earlier)
    items, first = np.unique(item[of_type], return_index=True)  # the first place of each, as places rise
    at = np.minimum(np.searchsorted(items, item), len(items) - 1)
    return (items[at] == item) & (of_type[first][at] < place)


@pytest.fixture(scope="module")
def log() -> EventLog:
    return synthetic_log(50_000, seed=7)


# ----------------------------------------------------------------------------------- OTTO's published statistics
def test_lengths_of_sessions(log):
    lengths = np.diff(log.starts)
    assert lengths.mean() == pytest.approx(16.8, rel=0.05)
    assert np.median(lengths) == 6
    assert np.percentile(lengths, 90) == pytest.approx(39, abs=2)
    assert (lengths.min(), lengths.max()) == (2, 500)


@pytest.mark.parametrize("seed", [7, 8])
def test_shares_of_types(log, seed):
    log = log if seed == 7 else synthetic_log(50_000, seed=seed)
    shares = 100 * np.bincount(log.type, minlength=3) / len(log)
    assert shares == pytest.approx([89.9, 7.8, 2.4], abs=0.5)


def test_items_and_their_popularity(log):
    assert log.n_items == round(50_000 * 1.86 / 12.9)
    events = np.bincount(log.aid, minlength=log.n_items)
    assert len(events) == log.n_items and log.aid.min() >= 0
    top = np.sort(events)[::-1]
    assert 0.20 < top[: log.n_items // 100].sum() / len(log) < 0.35
    assert top[0] < 5 * top[20]  # the head is flat
    assert abs(np.corrcoef(np.arange(log.n_items), events)[0, 1]) < 0.05  # ids say nothing about popularity


def test_popularity_drifts_but_mildly(log):
    def distance(one, other):
        one, other = (np.bincount(log.aid[m], minlength=log.n_items) / m.sum() for m in (one, other))
        return np.abs(one - other).sum() / 2

    week = (log.ts - START) // (7 * DAY)
    either, odd = (week == 0) | (week == 3), log.session % 2 == 1
    chance = distance(either & odd, either & ~odd)  # the same events, dealt out without regard to time
    assert 1.2 * chance < distance(week == 0, week == 3) < 2 * chance


# --------------------------------------------------------------------------------------- what visitors do in a shop
def test_events_repeat_items(log):
    assert 0.35 < seen_before(log, None).mean() < 0.45


def test_what_is_bought_was_looked_at_and_put_in_the_cart(log):
    assert seen_before(log, CLICK)[log.type == CART].mean() > 0.85
    assert seen_before(log, CART)[log.type == ORDER].mean() > 0.85


def test_checkouts_order_several_items_at_one_time(log):
    order = log.type == ORDER
    _, sizes = np.unique(log.session[order] * np.int64(1 << 42) + (log.ts[order] - START), return_counts=True)
    assert (sizes > 1).mean() > 0.2
    assert 1.3 < sizes.mean() < 4


def test_sessions_are_visits_over_days(log):
    within = log.session[1:] == log.session[:-1]
    gaps = np.diff(log.ts)[within] / 1000
    assert 20 < np.median(gaps) < 180  # seconds
    assert 0.04 < (gaps > 1800).mean() < 0.15  # a new visit
    assert 0.01 < (gaps > 86_400).mean() < 0.1


def test_time(log):
    first, last = log.ts[log.starts[:-1]], log.ts[log.starts[1:] - 1]
    assert np.all(np.diff(first) >= 0)  # session ids ascend with their start
    assert first.min() >= START and last.max() < START + 28 * DAY
    per_day = np.bincount((first - START) // DAY, minlength=28)
    assert len(per_day) == 28 and per_day.min() > 0.3 * per_day.mean()
    by_hour = np.bincount((log.ts - START) // 3_600_000 % 24, minlength=24)
    assert by_hour[20] > 3 * by_hour[4]
    assert per_day[13] > per_day[12]  # Sunday


def test_the_next_click_can_be_told_from_co_occurrence(log):
    """Of the clicks on new items, far more lie among the 20 items that most often followed the last one than among the
    20 most popular."""
    step = (log.session[1:] == log.session[:-1]) & (log.aid[1:] != log.aid[:-1])
    x, y = log.aid[:-1][step].astype(np.int64), log.aid[1:][step]
    old = log.session[1:][step] < 45_000
    pairs, count = np.unique(x[old] * log.n_items + y[old], return_counts=True)
    order = np.lexsort((-count, pairs // log.n_items))
    pairs = pairs[order]
    rows = pairs // log.n_items
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    neighbours = np.sort(pairs[rank < 20])
    new = ~old & ~seen_before(log, None)[1:][step] & (log.type[1:][step] == CLICK)
    asked = x[new] * log.n_items + y[new]
    hits = neighbours[np.minimum(np.searchsorted(neighbours, asked), len(neighbours) - 1)] == asked
    popular = np.argsort(-np.bincount(log.aid[log.session < 45_000], minlength=log.n_items))[:20]
    assert hits.mean() > 0.3
    assert hits.mean() > 2.5 * np.isin(y[new], popular).mean()


# ----------------------------------------------------------------------------------------------------- same bits
@pytest.mark.parametrize("block", [1, 7, 300, 4096])
def test_blocks_change_nothing(block):
    assert same(whole(300, seed=3, block=block), whole(300, seed=3))


def test_threads_change_nothing():
    before = numba.get_num_threads()
    several = whole(2000, seed=3)
    try:
        numba.set_num_threads(1)
        assert same(whole(2000, seed=3), several)
    finally:
        numba.set_num_threads(before)


def test_seeds():
    assert same(whole(200, seed=3), whole(200, seed=3))
    one, other = synthetic_log(200, seed=3), synthetic_log(200, seed=4)
    assert len(one) != len(other) or not np.array_equal(one.aid, other.aid)
    assert not np.array_equal(np.diff(one.starts), np.diff(other.starts))


@pytest.mark.parametrize(
    "sessions, items, days", [(1, None, 28), (1, 1, 1), (500, 1, 1), (500, 3, 2), (500, 401, 1), (20, 10**5, 400)]
)
def test_small_and_odd_sizes(sessions, items, days):
    log = synthetic_log(sessions, items=items, days=days)
    assert log.n_sessions == sessions and np.diff(log.starts).min() >= 2
    assert log.n_items == (100 if items is None else items)
    assert log.aid.min() >= 0 and log.aid.max() < log.n_items
    assert log.ts.min() >= START and log.ts.max() < START + days * DAY
    assert np.all(np.diff(log.ts[log.starts[:-1]]) >= 0)


def test_in_order_and_no_event_twice(log):
    assert [getattr(log, c).dtype for c in EVENT_COLUMNS] == [np.int32, np.int32, np.int64, np.int8]
    put_right = EventLog.from_arrays(log.session, log.aid, log.ts, log.type, n_sessions=log.n_sessions, n_items=log.n_items)
    assert all(np.array_equal(getattr(put_right, c), getattr(log, c)) for c in EVENT_COLUMNS)


# --------------------------------------------------------------------------------------------------------- files
def read(path, format) -> dict[str, np.ndarray]:
    if format == "jsonl":
        rows = []
        for line in path.read_bytes().splitlines():
            session = orjson.loads(line)
            rows += [(session["session"], e["aid"], e["ts"], TYPES.index(e["type"])) for e in session["events"]]
        columns = dict(zip(EVENT_COLUMNS, np.array(rows).T, strict=True))
    else:
        table = (pq.read_table if format == "parquet" else pyarrow.csv.read_csv)(path)
        columns = {name: table[name].to_numpy() for name in table.column_names}
        if format == "csv":
            columns["type"] = np.array([TYPES.index(t) for t in columns["type"]])
    dtypes = (np.int32, np.int32, np.int64, np.int8)
    return {name: columns[name].astype(dtype) for name, dtype in zip(EVENT_COLUMNS, dtypes, strict=True)}


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_holds_the_same_events(tmp_path, format, monkeypatch):
    monkeypatch.setattr("otto_gpu.events.synthetic.generate", lambda *args: generate(*args, block=128))  # several blocks
    seen = []
    path = tmp_path / "log"
    events = write_log(path, 500, seed=5, format=format, progress=lambda *done: seen.append(done))
    expected = whole(500, seed=5)
    assert same(read(path, format), expected)
    assert events == len(expected["aid"])
    assert [s for s, _ in seen] == [128, 256, 384, 500] and seen[-1][1] == events
    assert [p.name for p in tmp_path.iterdir()] == ["log"]


def test_official_jsonl_and_plain_csv(tmp_path):
    write_log(tmp_path / "a.jsonl", 2, format="jsonl")
    line = (tmp_path / "a.jsonl").read_bytes().splitlines()[0]
    assert orjson.dumps(orjson.loads(line)) == line  # compact, as the official files
    assert list(orjson.loads(line)) == ["session", "events"] and list(orjson.loads(line)["events"][0]) == ["aid", "ts", "type"]
    write_log(tmp_path / "a.csv", 2, format="csv")
    header, first = (tmp_path / "a.csv").read_text().splitlines()[:2]
    assert header.replace('"', "") == "session,aid,ts,type" and first.endswith(",clicks")
    schema = pq.read_schema(write_parquet(tmp_path))
    assert [(f.name, str(f.type)) for f in schema] == [
        ("session", "int32"),
        ("aid", "int32"),
        ("ts", "int64"),
        ("type", "int8"),
    ]


def write_parquet(folder):
    write_log(folder / "a.parquet", 2)
    return folder / "a.parquet"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "log.parquet"
    path.write_text("old")

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_log(path, 100, progress=stop)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["log.parquet"]


# ------------------------------------------------------------------------------------------------------ mistakes
@pytest.mark.parametrize(
    "arguments, named",
    [
        ({"sessions": 0}, "sessions must be 1"),
        ({"sessions": 2**31}, "sessions must be 1"),
        ({"sessions": 5, "seed": -1}, "seed"),
        ({"sessions": 5, "items": 0}, "items"),
        ({"sessions": 5, "days": 0}, "days"),
        ({"sessions": 5, "start": -1}, "start"),
        ({"sessions": 5, "block": 0}, "block"),
    ],
)
def test_numbers_out_of_range(arguments, named):
    with pytest.raises(UserError, match=named):
        generate(**arguments)


def test_types_and_formats_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="click, cart and order"):
        synthetic_log(5, types=("clicks",))
    with pytest.raises(UserError, match="unknown format 'xml'"):
        write_log(tmp_path / "a", 5, format="xml")
    assert synthetic_log(5, types=("view", "basket", "buy")).types == ("view", "basket", "buy")


def test_command_line(tmp_path, capsys):
    path = tmp_path / "log.csv"
    assert main(["--sessions", "50", "--seed", "9", "--out", str(path), "--days", "3", "--items", "60"]) == 0
    assert "50 sessions" in capsys.readouterr().out
    assert same(read(path, "csv"), whole(50, seed=9, items=60, days=3))


def test_command_line_mistakes(tmp_path, capsys):
    folder_is_a_file = tmp_path / "file"
    folder_is_a_file.write_text("")
    for out in (tmp_path, tmp_path / "no" / "folder" / "log", folder_is_a_file / "log"):
        assert main(["--sessions", "5", "--out", str(out)]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {out}: cannot be written: ") and said.count("\n") == 1
    assert main(["--sessions", "0", "--out", str(tmp_path / "log")]) == 2
    assert capsys.readouterr().err == "error: synthetic log: sessions must be 1 to 2147483647, got 0\n"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_module_runs(tmp_path):
    command = [sys.executable, "-m", "otto_gpu.events.synthetic", "--sessions", "20", "--out", str(tmp_path / "log.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "log.jsonl").read_bytes().splitlines()) == 20
