"""Bytes that are no request, or one of an odd kind, and what comes back: answers of a known shape, then the end."""

from __future__ import annotations

import http.client
import io
import json
import socket
from contextlib import suppress
from dataclasses import dataclass

from tests.serve.service import Answer, answer_of

BODY = b'{"events": []}'
PROMISED = {  # of every answer
    "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store",
    "content-security-policy": "default-src 'none'",
}  # fmt: skip
TELL_TALE = (b"Traceback", b'File "', b"line ", b"uvicorn", b"starlette", b"pydantic", b"site-packages")


@dataclass(frozen=True)
class Shape:
    """sent: all the bytes of a connection; statuses: of the answers, in their order."""

    name: str
    sent: bytes
    statuses: tuple[int, ...]


def get(path: str | bytes = "/health", *headers: bytes, version: bytes = b"1.1", host: bytes | None = b"localhost") -> bytes:
    path = path.encode() if isinstance(path, str) else path
    lines = [b"GET " + path + b" HTTP/" + version, *([] if host is None else [b"Host: " + host]), *headers]
    return b"\r\n".join([*lines, b"", b""])


def post(*headers: bytes, body: bytes = BODY, path: bytes = b"/recommend", version: bytes = b"1.1") -> bytes:
    kind = b"content-type: application/json"
    return b"\r\n".join([b"POST " + path + b" HTTP/" + version, b"Host: localhost:8000", kind, *headers, b"", body])


def length(n: int) -> bytes:
    return b"content-length: %d" % n


CHUNKED = b"transfer-encoding: chunked"
IN_CHUNKS = b"e\r\n" + BODY + b"\r\n0\r\n\r\n"
LAST = b"connection: close"
HIDDEN = get("/hidden")  # a request inside of a body: nobody may answer it

SHAPES = [
    # ---- two readings of where a request ends
    Shape("two lengths", post(length(14), length(140)), (400,)),
    Shape("two lengths in one header", post(b"content-length: 14, 15"), (400,)),
    Shape("a length and chunks", post(length(14), CHUNKED, body=IN_CHUNKS), (400,)),
    Shape("chunks and a length", post(CHUNKED, length(4), body=IN_CHUNKS + HIDDEN), (400,)),
    Shape("a length that hides a request", post(length(0), CHUNKED, body=b"0\r\n\r\n" + HIDDEN), (400,)),
    Shape("chunks twice", post(CHUNKED, CHUNKED, body=IN_CHUNKS), (400,)),
    Shape("another encoding", post(b"transfer-encoding: gzip, chunked", body=IN_CHUNKS), (400,)),
    Shape("an encoding in disguise", post(b"transfer-encoding: xchunked", length(14)), (400,)),
    Shape("a space before the colon", post(b"content-length : 14"), (400,)),
    Shape("a folded header", post(b"x: y\r\n content-length: 3", length(14), LAST), (200,)),
    Shape("a length below nothing", post(b"content-length: -1"), (400,)),
    Shape("a length with a sign", post(b"content-length: +14"), (400,)),
    Shape("a length in hexadecimal", post(b"content-length: 0xe"), (400,)),
    Shape("a length of many digits", post(b"content-length: " + b"9" * 40), (400,)),
    Shape("a length beyond all bounds", post(b"content-length: " + b"9" * 19), (413,)),
    Shape("chunks of no size", post(CHUNKED, body=b"zz\r\n" + BODY), (400,)),
    Shape("a chunk below nothing", post(CHUNKED, body=b"-e\r\n" + BODY), (400,)),
    Shape("a chunk that is longer than told", post(CHUNKED, body=b"3\r\n" + BODY + b"\r\n0\r\n\r\n"), (400,)),
    Shape("a chunk size without end", post(CHUNKED, body=b"0" * (1 << 17)), (400,)),
    Shape("chunks with extensions", post(CHUNKED, LAST, body=b"e;a=b\r\n" + BODY + b"\r\n0\r\nx: y\r\n\r\n"), (200,)),
    # ---- hosts
    Shape("no host", get(host=None), (400,)),
    Shape("two hosts", get("/health", b"host: there"), (400,)),
    Shape("another host", get(host=b"evil.example"), (421,)),
    Shape("another host, with a body", post(length(14)).replace(b"localhost:8000", b"localhost.evil.example:8000"), (421,)),
    Shape("an empty host", get(host=b""), (421,)),
    Shape("this machine's addresses", get(host=b"127.0.0.1:1") + get("/health", LAST, host=b"[::1]:1"), (200, 200)),
    Shape("a host that is no host", get(host=b"["), (421,)),
    Shape("a host with a path", get(host=b"localhost/a?b#c"), (421,)),
    Shape("a host of odd bytes", get(host=b"\xff\xfe]["), (421,)),
    Shape("an address of a whole", get("http://evil.example/health", LAST), (404,)),
    Shape("forwarded", get("/nothing", LAST, b"x-forwarded-host: evil.example", b"x-forwarded-proto: evil"), (404,)),
    # ---- paths
    *(
        Shape(f"the path {path}", get(path, LAST), (404,))
        for path in (
            "/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/....//app.py", "/static/%00page.css",
            "/static/..%5capp.py", "//etc/passwd", "/static//etc/passwd", "/../../etc/passwd", "/static/page.css/",
            "/static/", "/%ff%fe", "/.git/config", "/debug", "/metrics", "/<script>alert(1)</script>", "/%0d%0aset-cookie:a=b",
        )
    ),
    Shape("a very long path", get("/" + "x" * 60_000, LAST), (404,)),
    Shape("a path beyond all bounds", get("/" + "x" * 200_000), (400,)),
    Shape("a very long query", get("/examples?n=" + "1" * 50_000, LAST), (422,)),
    Shape("a number of too many digits", get("/examples?n=" + "1" * 5_000, LAST), (422,)),
    Shape("ten thousand parameters", get("/examples?" + "n=1&" * 10_000, LAST), (200,)),
    Shape("a path of odd bytes", get(b"/\xff\xfe"), (400,)),
    # ---- headers
    Shape("a thousand headers", get("/health", *(b"x-%d: y" % i for i in range(1000)), LAST), (200,)),
    Shape("headers beyond all bounds", get("/health", *(b"x-%d: y" % i for i in range(50_000))), (400,)),
    Shape("a header of odd bytes", get("/health", LAST, b"x: \xff\xfe"), (200,)),
    Shape("a header with a zero", get("/health", b"x: a\x00b"), (400,)),
    Shape("a kind of odd bytes", post(LAST, length(14), b"content-type: \xff"), (200,)),
    Shape("an expectation that is none", post(LAST, length(14), b"expect: miracles"), (200,)),
    Shape("an upgrade", get("/health", b"connection: upgrade, close", b"upgrade: websocket"), (200,)),
    Shape("another upgrade", get("/health", b"connection: upgrade, http2-settings, close", b"upgrade: h2c"), (200,)),
    # ---- versions and methods
    Shape("HTTP/1.0", get(version=b"1.0"), (200,)),
    Shape("HTTP/1.0 without a host", get(version=b"1.0", host=None), (200,)),
    Shape("HTTP/1.0 with a body", post(length(14), version=b"1.0"), (200,)),
    Shape("HTTP/0.9", b"GET /health\r\n\r\n", (400,)),
    Shape("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    Shape("HTTP/9.9", get(version=b"9.9"), (400,)),
    Shape("TLS", bytes.fromhex("16030100f8010000f40303") + bytes(200), (400,)),
    Shape("lines without returns", get("/health", LAST).replace(b"\r\n", b"\n"), (200,)),
    *(Shape(m, get("/health", LAST).replace(b"GET", m.encode()), (405,)) for m in ("TRACE", "OPTIONS", "PUT", "BREW")),
    Shape("a method of odd bytes", get().replace(b"GET", b"G(T"), (400,)),
    Shape("CONNECT", b"CONNECT evil.example:443 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", (404,)),
    Shape("an asterisk", get("*", LAST), (404,)),
    # ---- one after the other
    Shape("three at once", get() + post(length(14)) + get("/nothing", LAST), (200, 200, 404)),
    Shape("thirty at once", post(length(14)) * 29 + get("/health", LAST), (200,) * 30),
    Shape("one, and no HTTP", get() + b"\x00\x01\r\n\r\n", (200, 400)),
    Shape("one that works, and no HTTP", post(length(14)) + b"GARBAGE\r\n\r\n" + HIDDEN, (200, 400)),
    Shape("one, and two lengths", post(length(14)) + post(length(14), length(15)) + HIDDEN, (200, 400)),
    Shape("one after the end", get("/health", LAST) + HIDDEN, (200,)),
    Shape("a body where none is asked for", get("/health", length(5)) + b"12345" + get("/health", LAST), (200, 200)),
    Shape("a body to nowhere", post(length(14), path=b"/nothing") + get("/health", LAST), (404, 200)),
    Shape("nothing but lines", b"\r\n" * 10 + get("/health", LAST), (400,)),
]  # fmt: skip


def answers(place: tuple[str, int], sent: bytes, seconds: float = 20) -> list[Answer]:
    """All that comes back on a connection of its own until the service closes it, taken apart. OSError where it stays open."""
    back = bytearray()
    with socket.create_connection(place, timeout=seconds) as connection:
        with suppress(ConnectionError):  # it has heard enough; what it said may still be there
            connection.sendall(sent)
        while True:
            try:
                part = connection.recv(1 << 16)
            except ConnectionResetError:
                break
            if not part:
                break
            back += part
    return taken_apart(bytes(back))


def taken_apart(back: bytes) -> list[Answer]:
    stream, found = io.BytesIO(back), []
    while stream.tell() < len(back):
        response = http.client.HTTPResponse(_Socket(stream), method="GET")
        response.begin()
        found.append(answer_of(response))
    return found


class _Socket:
    """What http.client reads from."""

    def __init__(self, stream: io.BytesIO):
        self._stream = stream

    def makefile(self, *_):
        return _Unclosed(self._stream)


class _Unclosed(io.BufferedReader):
    """One answer ends, its bytes' stream does not."""

    def __init__(self, stream: io.BytesIO):
        super().__init__(stream, 1)
        self._of = stream

    def close(self):
        self.detach() if not self.closed else None


def is_safe(answer: Answer) -> None:
    """What holds for every answer of the service, whatever was asked."""
    assert answer.status != 500, answer
    for name, begins in PROMISED.items():
        assert answer.headers.get(name, "").startswith(begins), (name, answer)
    assert "server" not in answer.headers and "set-cookie" not in answer.headers
    if not answer.headers["content-type"].startswith("text/"):
        assert not [word for word in TELL_TALE if word in answer.body], answer
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/json"
        if answer.body:
            told = json.loads(answer.body)
            assert told.keys() == {"error", "where"} and "\n" not in told["error"]
