"""What files are packed with, encoded in and broken by: every one of them is read as the plain file is."""

import bz2
import gzip
import io
import lzma
import re
import zipfile

import pyarrow as pa
import pytest

from otto_gpu.errors import UserError
from tests.events.logs import T0, WRITE, in_order, random_events, read, rejected, rows

EVENTS = random_events(40, ids=lambda i: f"i{i}")
HEADER = "session,aid,ts,type\n"


def arrow(codec):
    def pack(content: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(content)
        return sink.getvalue().to_pybytes()

    return pack


def in_zip(content: bytes, *more: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data/events", content)
        for name in more:
            file.writestr(name, "")
    return archive.getvalue()


PACK = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": arrow("zstd"), "lz4": arrow("lz4"),
    "zip": lambda c: in_zip(c, "__MACOSX/._events"), "gz.gz": lambda c: gzip.compress(gzip.compress(c)),
}  # fmt: skip


@pytest.mark.parametrize("pack", PACK)
def test_files_are_unpacked_as_their_content_says(tmp_path, pack):
    for format, write in WRITE.items():
        content = write(tmp_path / f"plain.{format}", EVENTS).read_bytes()
        for name in (f"log.{format}.{pack}", f"log.{format}"):  # also where the name does not say it
            (tmp_path / name).write_bytes(PACK[pack](content))
            assert rows(read(tmp_path / name, max_rejected=0)) == in_order(EVENTS), name
    plain = (tmp_path / "plain.csv").read_bytes()
    (tmp_path / "log.csv.gz").write_bytes(plain)  # and where it says what is not so
    assert rows(read(tmp_path / "log.csv.gz")) == in_order(EVENTS)
    if pack not in ("zip", "gz.gz"):  # written in two goes
        (tmp_path / "two").write_bytes(PACK[pack](plain[:100]) + PACK[pack](plain[100:]))
        assert rows(read(tmp_path / "two", max_rejected=0)) == in_order(EVENTS)
        (tmp_path / "cut.csv").write_bytes(PACK[pack](plain)[:-6])
        with pytest.raises(UserError, match=r"cut.csv: cannot be read as csv"):
            read(tmp_path / "cut.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (in_zip(b"", "b.csv"), "a ZIP archive, which holds data/events, b.csv: unpack it"),
        (in_zip(b"", "[Content_Types].xml"), "an Excel workbook: save it as CSV"),
        (b"\0" * 257 + b"ustar\0", "a tar archive: unpack it"),
        (b"7z\xbc\xaf\x27\x1c..", "a 7z archive: unpack it"),
        (b"ARROW1\0\0", "write it as Parquet"),
        (b"\x80\x04\x95", "a pickle, which is never loaded"),
    ],
)
def test_what_is_no_log_is_told_as_what_it_is(tmp_path, content, message):
    for name in ("log.csv", "log.jsonl", "log"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=re.escape(message)):
            read(tmp_path / name)


TEXT = HEADER + "ü,é1,5,clicks\nü,é2,6,carts\nñ,é1,7,clicks\n"
FOUND = [("ñ", "é1", 7, "clicks"), ("ü", "é1", 5, "clicks"), ("ü", "é2", 6, "carts")]


@pytest.mark.parametrize(
    ("encoding", "set_to"),
    [
        ("utf-8", "auto"), ("utf-8-sig", "auto"), ("utf-16", "auto"), ("utf-16-le", "auto"), ("utf-16-be", "auto"),
        ("utf-32", "auto"), ("cp1252", "auto"), ("latin-1", "latin-1"), ("mac_roman", "mac_roman"), ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16"), ("utf-8-sig", "utf-8"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path, encoding, set_to, ends):
    (tmp_path / "log.csv").write_bytes(TEXT.replace("\n", ends).encode(encoding))
    assert rows(read(tmp_path / "log.csv", encoding=set_to, max_rejected=0)) == FOUND
    if set_to == "auto":  # decided once for the file, of which most says nothing
        lines = [f"{i},{i},5,clicks\n" for i in range(500)] + TEXT.splitlines(keepends=True)[1:]
        (tmp_path / "long.csv").write_bytes((HEADER + "".join(lines)).replace("\n", ends).encode(encoding))
        assert rows(read(tmp_path / "long.csv", chunk_bytes=1 << 10, max_rejected=0))[-3:] == FOUND
        line = '{"session":"ü","events":[{"aid":"é1","ts":5,"type":"clicks"}]}\n'
        (tmp_path / "log.jsonl").write_bytes((line * 2).replace("\n", ends).encode(encoding))
        assert rows(read(tmp_path / "log.jsonl", max_rejected=0)) == [("ü", "é1", 5, "clicks")]


def test_a_broken_row_does_not_change_what_a_file_is_encoded_in(tmp_path):
    good = [f"ü,{i},{i},clicks\n".encode() for i in range(200)]
    for at in (0, 60, 199):
        lines = [*good[:at], b"\xfc,x,5,clicks\n", *good[at:]]
        (tmp_path / "log.csv").write_bytes(HEADER.encode() + b"".join(lines))
        result = read(tmp_path / "log.csv", chunk_bytes=1 << 10)
        assert rejected(result) == [(at + 2, "session: not UTF-8")]
        assert result.log.sessions.to_pylist() == ["ü"] and not result.notes


def test_each_file_has_an_encoding_of_its_own_and_what_was_guessed_is_said(tmp_path):
    for i, encoding in enumerate(("utf-8", "cp1252", "utf-16")):
        (tmp_path / f"{i}.csv").write_bytes(TEXT.encode(encoding))
    result = read(tmp_path, max_rejected=0)
    assert rows(result) == FOUND and result.counts["duplicates"] == 6
    assert result.notes == ["1.csv: not UTF-8: read as cp1252 (events.encoding)"]
    with pytest.raises(UserError, match=r"0.csv: cannot be read as ascii: .*set events.encoding"):
        read(tmp_path, encoding="ascii")


def test_line_ends_of_several_kinds_and_those_within_quotes(tmp_path):
    text = 'session,aid,ts,type,note\r\n1,1,5,clicks,"a\rb"\r1,2,6,clicks,"c\nd"\r\r\n1,3,7,clicks,e\n\n1,4,8,clicks,f\r'
    for chunk_bytes in (1 << 10, 1 << 20):
        (tmp_path / "log.csv").write_bytes(text.encode())
        result = read(tmp_path / "log.csv", extra=["note"], chunk_bytes=chunk_bytes, max_rejected=0)
        assert [e[1] for e in rows(result)] == [1, 2, 3, 4]
        assert result.log.extra["note"].to_pylist() == ["a\rb", "c\nd", "e", "f"]
    events = [(i, i, T0, "clicks") for i in range(300)]  # ends of pieces within CR LF
    for at in range(8):
        lines = ["session,aid,ts,type" + "x" * 0, *(f"{s},{a},{t},{k}" for s, a, t, k in events)]
        (tmp_path / "many.csv").write_bytes((" " * at + "\r\n" + "\r\n".join(lines) + "\r").encode())
        assert rows(read(tmp_path / "many.csv", chunk_bytes=1 << 10, max_rejected=0)) == events
