"""CSVs as people write them: with and without a header, other delimiters, spaces and blank lines, in several parts."""

import pytest

from otto_gpu.errors import UserError
from tests.events.logs import in_order, random_events, read, rejected, rows, write_csv

EVENTS = [(1, 5, 10, "clicks"), (1, 6, 20, "carts"), (2, 5, 30, "orders")]
BY_PLACE = {"session": 0, "aid": 1, "ts": 2, "type": 3}


def lines(events=EVENTS, delimiter=",", header="session,aid,ts,type") -> str:
    return "\n".join([header.replace(",", delimiter), *(delimiter.join(map(str, e)) for e in events)]) + "\n"


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "::", "\x01"])
def test_the_delimiter_shows_in_the_first_row(tmp_path, delimiter):
    (tmp_path / "log.csv").write_text(lines(delimiter=delimiter))
    result = read(tmp_path / "log.csv", max_rejected=0)
    assert rows(result) == EVENTS
    assert result.notes == (
        [] if delimiter == "," else [f"log.csv: between its values stands {delimiter!r} (events.delimiter)"]
    )
    assert rows(read(tmp_path / "log.csv", delimiter=delimiter, max_rejected=0)) == EVENTS
    (tmp_path / "bare.csv").write_text(lines(delimiter=delimiter).split("\n", 1)[1])
    assert rows(read(tmp_path / "bare.csv", columns=BY_PLACE, max_rejected=0)) == EVENTS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.tsv", lines(delimiter="\t")),
        ("l.tab", lines(delimiter="\t", header="session,x,aid,ts,type").replace("\t5\t", "\t,,\t5\t").replace("\t6", "\t\t6")),
        ("log.txt", lines(delimiter=";")),
        ("log.dat", lines()),
        ("part-00000", lines(delimiter="\t")),
        ("log.csv", "sep=;\n" + lines(delimiter=";")),
        ("log.csv", "\n \n" + lines()),
        ("log.csv", lines().replace("ks\n", "ks,\n").replace("ts\n", "ts,\n").replace("rs\n", "rs,\n")),
        ("log.csv", "session,aid,ts,type\n" + "".join(f'"{i}",{",".join(map(str, e))}\n' for i, e in enumerate(EVENTS))),
        ("log.csv", lines().replace("\n", "\n\n")),
        ("log.csv", lines().replace(",", ", ")),
        ("log.csv", lines().replace(",", " , ").replace("session", " session")),
        ("log.csv", lines().replace(",", ", ").replace("carts", '"carts"').replace("aid", '"aid"')),
        ("log.csv", lines(header="session , aid,ts,type")),
        ("log.csv", lines(delimiter=";", header="session,aid,ts,type").replace("10", "10,5").replace("20", "20,5")),
    ],
)  # fmt: skip
def test_what_csvs_look_like(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    for chunk_bytes in (1 << 10, 1 << 20):
        result = read(tmp_path / name, chunk_bytes=chunk_bytes, max_rejected=0 if ";10,5" not in text else 1)
        assert rows(result) == EVENTS or (";10,5" in text and len(result.rejected) == 2)


def test_spaces_that_belong_to_a_value_stay(tmp_path):
    (tmp_path / "log.csv").write_text("session,aid,ts,type\n a, b ,5,clicks\n")
    assert rows(read(tmp_path / "log.csv")) == [(" a", " b ", 5, "clicks")]


def test_blank_lines_do_not_move_the_numbers_of_rows(tmp_path):
    (tmp_path / "log.csv").write_text("session,aid,ts,type\n\r\n1,5,10,clicks\n\n1,6,zz,carts\n\n")
    assert rejected(read(tmp_path / "log.csv")) == [(5, "ts is not a time")]


def test_columns_by_place(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(lines().split("\n", 1)[1])
    with pytest.raises(UserError, match=r"the first row is: 1, 5, 10, clicks; .*no header.*events.columns.session=0"):
        read(path)
    assert rows(read(path, columns=BY_PLACE, max_rejected=0)) == EVENTS
    with pytest.raises(
        UserError, match=r"no column at place 7 \(events.columns.aid\): there are 4, from 0 on: 1, 5, 10, clicks"
    ):
        read(path, columns=BY_PLACE | {"aid": 7})
    with pytest.raises(UserError, match=r"events.header is false: name the columns by their places"):
        read(path, header=False)
    path.write_text(lines())  # a header is seen, and no event
    assert rows(read(path, columns=BY_PLACE, max_rejected=0)) == EVENTS
    assert rejected(read(path, columns=BY_PLACE, header=False)) == [(1, "ts is not a time")]
    path.write_text("2026-01-01,a,5,clicks\n")  # the header of a day
    assert rows(read(path, columns=BY_PLACE | {"session": 1, "aid": 2, "ts": 0}, ts_unit="iso"))[0][:2] == ("a", 5)


def test_only_the_first_part_has_a_header_or_parts_have_another_order(tmp_path):
    events = random_events(90)
    write_csv(tmp_path / "a.csv", events[:30])
    write_csv(tmp_path / "b.csv", events[31:60], header=events[30])
    write_csv(tmp_path / "c.csv", [e[::-1] for e in events[60:]], header=["type", "ts", "aid", "session"])
    for name, text in (("d.csv", ""), ("e.csv", "session,aid,ts,type\n"), ("f.csv", '""\n')):
        (tmp_path / name).write_text(text)
    result = read(tmp_path, max_rejected=0)
    assert rows(result) == in_order(events)
    assert result.notes == ["files without a header have the columns of the first one (events.header)"]
    (tmp_path / "g.csv").write_text("session,sku,ts,type\n1,1,1,clicks\n")  # a header, though another one
    with pytest.raises(UserError, match=r"g.csv: missing column 'aid'; the first row is: session, sku, ts, type"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "config", "message"),
    [
        (lines(delimiter=";"), {"delimiter": ","}, "is one value, 'session;aid;ts;type': set events.delimiter to ';', not ','"),
        (lines(header=" session,item,ts,type"), {}, r"missing column 'aid'; the first row is: ' session', item, ts, type"),
        ("\0\0\0,", {}, "log.csv"),
        (lines(), {"columns": {"session": ["session", "shop"]}}, "missing column 'shop'.*set events.columns.session"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(tmp_path, text, config, message):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path / "log.csv", **config)
    assert "\n" not in str(caught.value)
