"""Good logs in every format, parts of them, and the files that they come in."""

import csv
import gzip
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.errors import UserError
from otto_gpu.events.read import read_log
from otto_gpu.events.readers.files import data_files
from otto_gpu.events.settings import EventsConfig, TargetsConfig
from tests.events.logs import (
    GOOD,
    HEADER,
    T0,
    TYPES,
    WRITE,
    in_order,
    random_events,
    read,
    rejected,
    rows,
    write_csv,
    write_jsonl,
    write_parquet,
)

# ---------------------------------------------------------------- good logs


def test_the_real_otto_sessions(real_log):
    file = real_log("otto_fixture") / "train.jsonl"
    result = read(file, max_rejected=0)
    events = [
        (record["session"], e["aid"], e["ts"], e["type"])
        for record in map(json.loads, file.read_text().splitlines())
        for e in record["events"]
    ]
    assert rows(result) == in_order(events)
    assert result.counts == {
        "events": 862, "read": 862, "rejected": 0, "reasons": {}, "left_out": {}, "missing": {}, "duplicates": 0,
        "unsorted": 0, "later": 0, "earlier": 0, "unsampled": 0, "files": 1,
        "types": {"clicks": 800, "carts": 52, "orders": 10},
    }  # fmt: skip
    assert result.log.n_sessions == 20
    assert result.from_test_file is None


def test_a_real_parquet_log(real_log):
    file = real_log("taobao_visits") / "events.parquet"
    result = read(file, types={0: "clicks", 1: "carts", 2: "orders"}, max_rejected=0)
    table = pq.read_table(file)
    plain = zip(*(table[c].to_pylist() for c in HEADER[:3]), [TYPES[k] for k in table["type"].to_pylist()], strict=True)
    assert rows(result) == in_order(plain)


@pytest.mark.parametrize("format", WRITE)
@pytest.mark.parametrize("ids", [lambda i: i, lambda i: i * 2**55, "s{}".format, lambda i: "00" + str(i)])
@pytest.mark.parametrize("chunk_bytes", [1 << 10, 32 << 20])
def test_unsorted_and_repeated_events_in_pieces_of_any_size(tmp_path, format, ids, chunk_bytes):
    events = random_events(600, ids=ids)
    arrived = []
    config = EventsConfig(chunk_bytes=chunk_bytes, max_rejected=0)
    result = read_log(WRITE[format](tmp_path / f"log.{format}", events), config, TargetsConfig(), arrived.append)
    assert rows(result) == in_order(events)
    assert sum(arrived) == 600
    assert (len(arrived) > 5) == (chunk_bytes == 1 << 10)
    last, unsorted = {}, 0
    for session, _, ts, _ in events:
        unsorted += ts < last.get(session, 0)
        last[session] = ts
    assert result.counts["unsorted"] == unsorted > 0
    assert result.counts["duplicates"] == 600 - len(set(events)) > 0
    assert result.counts["types"] == {name: sum(e[3] == name for e in set(events)) for name in TYPES}


TEXT_ID = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1),
    st.sampled_from(
        ["007", "-0", "a,b", 'say "so"', "ünï", "-5", "1.0", " x ", "5", "12", '"', "\\", "\u2028", "NA", "null", "💶"]
    ),
)
INT_ID = st.integers(-(2**63), 2**63 - 1)


def events_of(ids):
    return st.lists(st.tuples(ids, ids, st.integers(0, 2**42), st.sampled_from(TYPES)), min_size=1, max_size=20)


@given(st.one_of(events_of(TEXT_ID), events_of(INT_ID)), st.sampled_from(list(WRITE)), st.booleans())
@settings(deadline=None)
def test_any_ids_come_back_as_they_were(tmp_path_factory, events, format, plain):
    path = tmp_path_factory.mktemp("ids") / f"log.{format}"
    how = (
        {}
        if format == "parquet"
        else {"ensure_ascii": plain}
        if format == "jsonl"
        else {"quoting": csv.QUOTE_ALL}
        if plain
        else {}
    )
    result = read(WRITE[format](path, events, **how), max_rejected=0, missing=[])
    if format == "csv" and isinstance(events[0][0], str):  # there, an id column of nothing but integers is one of integers
        whole = [all(canonical(e[i]) for e in events) for i in (0, 1)]
        events = [tuple(int(v) if i < 2 and whole[i] else v for i, v in enumerate(e)) for e in events]
    assert rows(result) == in_order(events)


def canonical(text: str) -> bool:
    try:
        return str(int(text)) == text and -(2**63) <= int(text) < 2**63
    except ValueError:
        return False


def test_an_id_of_text_makes_all_ids_of_a_csv_text_whatever_the_piece(tmp_path):
    events = [(i, i % 7, T0 + i, "clicks") for i in range(300)] + [("007", "x", T0, "carts")]
    result = read(write_csv(tmp_path / "log.csv", events), chunk_bytes=1 << 10)
    assert rows(result) == in_order([(str(s), str(a), t, k) for s, a, t, k in events])


@pytest.mark.parametrize("how", [{}, {"separators": (",", ":")}, {"separators": (" , ", " : ")}, {"sort_keys": True}])
def test_every_spelling_of_json(tmp_path, how):
    events = random_events(50)
    assert rows(read(write_jsonl(tmp_path / "log.jsonl", events, **how), max_rejected=0)) == in_order(events)


def test_odd_lines_keep_their_place_among_plain_ones(tmp_path):
    """Events of one session and time stay in input order, whichever way their lines were parsed."""
    lines = []
    for aid in range(40):
        event = {"aid": aid, "ts": T0, "type": "clicks"}
        lines.append({"session": 1, "events": [event]} if aid % 3 else {"events": [event], "session": 1, "more": [1, {}]})
    path = tmp_path / "log.jsonl"
    path.write_text("\n\n".join(json.dumps(line) for line in lines) + "\r\n")
    assert rows(read(path, max_rejected=0)) == [(1, aid, T0, "clicks") for aid in range(40)]


def test_lines_may_end_as_on_windows_begin_with_a_mark_and_lack_the_last_end(tmp_path):
    events = random_events(20)
    for name in ("log.jsonl", "log.csv"):
        path = WRITE[name.split(".")[1]](tmp_path / name, events)
        text = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").removesuffix(b"\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text)
        assert rows(read(path, max_rejected=0)) == in_order(events), name


def test_rows_of_several_lines_and_stray_quotes_in_csv(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "title,session,aid,ts,type\n"
        '"two\nlines, ""quoted""",1,5,10,clicks\n'
        '27" screen,1,6,20,clicks\n'
        "\n"
        '"open,1,7,30,clicks\n'
        "plain,1,8,40,clicks\n"
        "four,1,9,50\n"
        "six,1,9,50,clicks,more\n"
    )
    for chunk_bytes in (1 << 10, 1 << 20):
        result = read(path, chunk_bytes=chunk_bytes)
        assert [e[1] for e in rows(result)] == [5, 6, 8]
        assert rejected(result) == [(6, "open quote"), (8, "wrong number of columns"), (9, "wrong number of columns")]


def test_csv_rows_of_several_lines_at_the_ends_of_pieces(tmp_path):
    events = [(s, a, t, k, f'x{i}\n,"y') for i, (s, a, t, k) in enumerate(random_events(300))]
    path = write_csv(tmp_path / "log.csv", events, header=[*HEADER, "note"])
    result = read(path, chunk_bytes=1 << 10, max_rejected=0, extra=["note"])
    assert rows(result) == in_order([e[:4] for e in events])
    first = {e[:4]: e[4] for e in reversed(events)}
    assert result.log.extra["note"].to_pylist() == [first[e] for e in rows(result)]


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_gzip(tmp_path, format):
    events = random_events(100)
    path = WRITE[format](tmp_path / f"log.{format}", events)
    packed = tmp_path / f"log.{format}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert rows(read(packed, max_rejected=0)) == in_order(events)


# ---------------------------------------------------------------- columns, types and times


def test_other_column_names_a_delimiter_and_types_by_number(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("kind;when;visit;sku\n4;1000;v1;a\n1;2000;v1;b\n9;3000;v1;c\n")
    result = read(
        path,
        delimiter=";",
        columns={"session": "visit", "aid": "sku", "ts": "when", "type": "kind"},
        types={"4": "orders", 1: "clicks"},
    )
    assert rows(result) == [("v1", "a", 1000, "orders"), ("v1", "b", 2000, "clicks")]
    assert rejected(result) == [(4, "unknown type")]


@pytest.mark.parametrize("format", WRITE)
def test_a_log_without_types(tmp_path, format):
    path = WRITE[format](tmp_path / f"log.{format}", [(1, 2, T0, "anything")])
    assert rows(read(path, columns={"type": None}, default_type="orders")) == [(1, 2, T0, "orders")]


@pytest.mark.parametrize("format", WRITE)
def test_types_of_ones_own_by_their_numbers(tmp_path, format):
    events = [(1, 2, T0, 1), (1, 3, T0, 12), (1, 4, T0, 7)]
    targets = TargetsConfig(types=["view", "buy"], next_only=[], weights={"buy": 1})
    result = read(WRITE[format](tmp_path / f"log.{format}", events), targets, types={1: "view", 12: "buy"})
    assert rows(result) == [(1, 2, T0, "view"), (1, 3, T0, "buy")]
    assert [reason for _, reason in rejected(result)] == ["unknown type"]


@pytest.mark.parametrize("format", WRITE)
@pytest.mark.parametrize(
    ("unit", "value", "ms"),
    [
        ("s", 1659304800, T0),
        ("s", 1659304800.0256, T0 + 26),
        ("ms", T0 + 1, T0 + 1),
        ("ms", float(T0), T0),
        ("us", T0 * 1000 + 1999, T0 + 1),
        ("ns", T0 * 1_000_000 + 1_999_999, T0 + 1),
        ("iso", "2022-07-31T22:00:00Z", T0),
        ("iso", "2022-07-31 22:00:00.0259", T0 + 25),
        ("iso", "2022-08-01T00:00:00+02:00", T0),
    ],
)
def test_every_unit_of_time(tmp_path, format, unit, value, ms):
    other = {"iso": "2022-07-31T22:00:01Z"}.get(unit, 1)
    path = WRITE[format](tmp_path / f"log.{format}", [(1, 2, value, "clicks"), (2, 3, type(value)(other), "clicks")])
    assert rows(read(path, ts_unit=unit, max_rejected=0))[0] == (1, 2, ms, "clicks")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([datetime(2022, 7, 31, 22, tzinfo=UTC)], pa.timestamp("ns", "Europe/Berlin")),
        ([datetime(2022, 7, 31, 22)], pa.timestamp("s")),
        ([T0], pa.uint64()),
        ([float(T0)], pa.float64()),
        ([str(T0)], pa.large_string()),
    ],
)
def test_every_kind_of_time_in_parquet(tmp_path, values, kind):
    path = write_parquet(tmp_path / "log.parquet", [(1, 2, 0, "clicks")], ts=pa.array(values, kind))
    assert rows(read(path, max_rejected=0)) == [(1, 2, T0, "clicks")]


def test_dictionaries_in_parquet(tmp_path):
    columns = {
        "session": pa.DictionaryArray.from_arrays([1, 0, None], ["b", "a"]),
        "aid": pa.DictionaryArray.from_arrays([0, 1, 1], pa.array([500, 7], pa.uint64())),
        "type": pa.DictionaryArray.from_arrays([0, 1, 1], ["orders", "clicks"]),
    }
    path = write_parquet(tmp_path / "log.parquet", [(0, 0, T0, "")] * 3, **columns)
    result = read(path)
    assert rows(result) == [("a", 500, T0, "orders"), ("b", 7, T0, "clicks")]
    assert rejected(result) == [(2, "missing session")]


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_further_columns_travel_along(tmp_path, format):
    events = [(*e, f"00{i}", i, i / 4, "") for i, e in enumerate(random_events(200))]
    header = [*HEADER, "code", "n", "x", "empty"]
    path = WRITE[format](tmp_path / f"log.{format}", events, header=header)
    result = read(path, extra=["x", "code", "n"], max_rejected=0, chunk_bytes=1 << 10, before="2022-07-31T22:00:00.040Z")
    first = {e[:4]: e for e in reversed(events)}
    expected = [first[e] for e in in_order(e[:4] for e in events if e[2] < T0 + 40)]
    assert rows(result) == [e[:4] for e in expected]
    assert result.log.extra.column_names == ["x", "code", "n"]
    assert list(zip(*(result.log.extra[c].to_pylist() for c in ("code", "n", "x")), strict=True)) == [e[4:7] for e in expected]


# ---------------------------------------------------------------- parts of the log


@pytest.mark.parametrize("after", [None, "2022-07-31T22:00:00.010"])
@pytest.mark.parametrize("before", ["2022-07-31T22:00:00.030", datetime(2022, 7, 31, 22, 0, 0, 30_000, UTC)])
def test_later_and_earlier_events_are_dropped(tmp_path, before, after):
    events = random_events(200)
    result = read(write_csv(tmp_path / "log.csv", events), before=before, after=after)
    first = T0 if after is None else T0 + 10
    assert rows(result) == in_order(e for e in events if first <= e[2] < T0 + 30)
    assert result.counts["later"] == sum(e[2] >= T0 + 30 for e in events) > 0
    assert result.counts["earlier"] == sum(e[2] < first for e in events)
    assert result.counts["rejected"] == 0 and result.counts["read"] == len(events)
    with pytest.raises(UserError, match=r"200 of 200 lie at or after events.before"):
        read(tmp_path / "log.csv", before="2001-01-01")
    with pytest.raises(UserError, match=r"200 of 200 lie before events.after"):
        read(tmp_path / "log.csv", after="2101-01-01")


def test_a_sample_of_sessions_is_the_same_in_every_order_format_and_piece(tmp_path):
    events = [(s, s % 5, T0 + s, "clicks") for s in range(3000)]
    whole = read(write_csv(tmp_path / "a.csv", events), sample_sessions=0.2)
    kept = {e[0] for e in rows(whole)}
    assert 450 < len(kept) < 750
    assert whole.counts["unsampled"] == 3000 - len(kept)
    backwards = read(write_csv(tmp_path / "b.csv", events[::-1]), sample_sessions=0.2, chunk_bytes=1 << 10)
    jsonl = read(write_jsonl(tmp_path / "c.jsonl", events), sample_sessions=0.2)
    parquet = read(write_parquet(tmp_path / "d.parquet", events), sample_sessions=0.2)
    assert rows(backwards) == rows(jsonl) == rows(parquet) == rows(whole)
    more = read(tmp_path / "a.csv", sample_sessions=0.4)
    assert kept < {e[0] for e in rows(more)}


# ---------------------------------------------------------------- files


def test_a_session_in_several_files_is_one_session(tmp_path):
    events = random_events(300)
    for i in range(3):
        write_jsonl(tmp_path / f"part-{i}.jsonl", events[i * 100 : (i + 1) * 100])
    for path in (tmp_path, str(tmp_path / "part-*.jsonl")):
        result = read(path)
        assert rows(result) == in_order(events)
        assert result.counts["files"] == 3


def test_train_and_test_file(tmp_path):
    write_jsonl(tmp_path / "b.jsonl", [(5, 1, T0, "clicks"), (9, 2, T0, "clicks")])
    write_jsonl(tmp_path / "a.jsonl", [(7, 1, T0, "carts")])
    write_jsonl(tmp_path / "other.jsonl", [(8, 1, T0, "carts")])
    config = {"train_file": "b.jsonl", "test_file": "a.jsonl"}
    result = read(tmp_path, **config)
    assert [e[0] for e in rows(result)] == [5, 7, 9]
    assert result.from_test_file.tolist() == [False, True, False]
    assert [f.name for f in data_files(tmp_path, EventsConfig(**config))] == ["b.jsonl", "a.jsonl"]
    assert [f.name for f in data_files(tmp_path, EventsConfig(test_file="a.jsonl"))] == ["b.jsonl", "other.jsonl", "a.jsonl"]
    absent = read(tmp_path, train_file="b.jsonl", test_file="none.jsonl")
    assert absent.from_test_file is None
    assert absent.log.n_sessions == 2
    assert read(tmp_path / "a.jsonl", **config).from_test_file is None  # one file is one log


def test_a_session_in_train_and_test_file_is_an_error(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [(5, 1, T0, "clicks"), (6, 1, T0, "clicks")])
    write_jsonl(tmp_path / "test.jsonl", [(6, 1, T0 + 1, "carts")])
    with pytest.raises(UserError, match=r"test\.jsonl: session 6 is in the train file too"):
        read(tmp_path, test_file="test.jsonl")


def test_files_by_extension(tmp_path):
    for name in ("b.csv", "a.csv.gz", ".hidden.csv", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [f.name for f in data_files(tmp_path, EventsConfig())] == ["a.csv.gz", "b.csv"]
    (tmp_path / "c.parquet").write_text("")
    with pytest.raises(UserError, match=r"more than one format: .*a.csv.gz \(csv\), c.parquet \(parquet\); set events.format"):
        data_files(tmp_path, EventsConfig())
    assert [f.name for f in data_files(tmp_path, EventsConfig(format="parquet"))] == ["c.parquet"]


@pytest.mark.parametrize(
    ("path", "config", "message"),
    [
        ("none.csv", {}, "none.csv: no such file or folder"),
        ("*.parquet", {}, "no file fits this pattern"),
        ("", {"format": "parquet"}, "holds no parquet file"),
        ("", {"train_file": "x.csv"}, r"no file 'x.csv' \(events.train_file\); the folder holds: log.csv, log.txt"),
        ("log.txt", {}, "set events.format to jsonl, csv or parquet"),
        (
            "log.csv",
            {"columns": {"aid": "item"}},
            r"missing column 'item'; the first row is: session, aid, ts, type; set events.col",
        ),
        ("log.csv", {"columns": {"type": "kind"}}, r"set events.columns.type, or set it to null and events.default_type"),
        ("log.csv", {"extra": ["user"]}, "missing column 'user'.*set events.extra"),
        ("log.csv", {"format": "parquet"}, "cannot be read as parquet"),
        ("log.csv", {"before": "2000-01-01"}, "no events.*1 of 1 lie at or after events.before"),
        ("log.csv", {"types": {"clicks": "click"}}, "'click' is not one of targets.types; did you mean 'clicks'"),
        ("log.csv", {"columns": {"type": None}}, "set events.default_type"),
        ("log.csv", {"columns": {"type": None}, "default_type": "cart"}, "events.default_type: 'cart'.*did you mean 'carts'"),
        ("log.csv", {"format": "jsonl", "extra": ["x"]}, "not read from JSONL with a session"),
        ("log.csv", {"extra": ["ts"]}, "has a column 'ts' already"),
        ("log.csv", {"extra": ["user", "user"]}, "has a column 'user' already"),
    ],
)
def test_what_the_user_got_wrong_is_one_line(tmp_path, path, config, message):
    (tmp_path / "log.csv").write_text("session,aid,ts,type\n1,1,1659304800000,clicks\n")
    (tmp_path / "log.txt").write_text("")
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path / path, **config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.jsonl", b"", "no events"),
        ("log.csv", b"", "no events to work with.*the file is empty"),
        ("log.csv", b"session,aid,ts,type\n", "no events"),
        ("log.csv", b"PAR1\x15\x04\r\x15\x80\n", "log.csv: cannot be read as parquet"),
        ("log.parquet", b"PAR1 and then something else PAR1", "cannot be read as parquet"),
        ("log.jsonl.gz", b"this is not gzip", "no events.*1 rows rejected"),
        ("log.jsonl.gz", gzip.compress(GOOD.encode() * 99, mtime=0)[:-9], "cannot be read as jsonl"),
        ("log.jsonl", b"{\n", "no events.*1 rows rejected"),
    ],
)
def test_empty_and_broken_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_ids_of_two_kinds_in_two_files_are_one_kind_and_told(tmp_path, format):
    WRITE[format](tmp_path / f"a.{format}", [(1, 1, T0, "clicks")])
    WRITE[format](tmp_path / f"b.{format}", [("2", "x", T0, "clicks"), ("1", "1", T0 + 1, "carts")])
    result = read(tmp_path)
    assert rows(result) == [(1, "1", T0, "clicks"), (1, "1", T0 + 1, "carts"), (2, "x", T0, "clicks")]
    assert [note.rpartition(": ")[2] for note in result.notes] == ["all are read as integers", "all are read as text"]
    assert f"integers in {tmp_path / 'a.'}{format} and text in {tmp_path / 'b.'}{format}" in result.notes[0]
