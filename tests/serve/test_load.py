"""Requests that are too large, too slow, too many or cut off, and the end: nobody else is kept waiting."""

import http.client
import json
import resource
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import pytest

from tests.serve.service import answer_of, serving
from tests.serve.test_app import EVENT, is_problem, lists, of_test_period

TIGHT = {
    "body-bytes": 20_000, "sessions": 40, "session-events": 50, "events": 200, "waiting-bytes": 30_000, "header-seconds": 1,
    "body-seconds": 1, "stop-seconds": 3,
}  # fmt: skip
NOTHING = {"events": []}


@pytest.fixture(scope="module")
def tight(run_dir):
    with serving(run_dir, *(part for name, value in TIGHT.items() for part in (f"--{name}", value))) as found:
        yield found


def head(length: int | str, path: str = "/recommend") -> bytes:
    size = f"content-length: {length}" if length != "chunked" else "transfer-encoding: chunked"
    return f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{size}\r\n\r\n".encode()


def answer_on(connection: socket.socket):
    response = http.client.HTTPResponse(connection, method="POST")
    response.begin()
    return answer_of(response)


# ------------------------------------------------------------------------------------------------------ too large
def test_counts_are_limited(tight):
    one, more = [EVENT] * 51, [{"session": i, "events": []} for i in range(41)]
    assert "at most 50 items" in is_problem(tight.post("/recommend", {"events": one}), 422, "events")
    assert "at most 40 items" in is_problem(tight.post("/recommend", {"sessions": more}), 422, "sessions")
    many = {"sessions": [{"session": i, "events": [EVENT] * 50} for i in range(5)]}
    assert "250 events, more than 200" in is_problem(tight.post("/recommend", many), 422, "sessions")
    assert tight.post("/recommend", {"sessions": many["sessions"][:4]}).status == 200


def test_a_body_that_says_that_it_is_too_large(tight):
    found = tight.post("/recommend", json.dumps(NOTHING).encode() + b" " * 20_000)
    assert "more than 20,000 bytes" in is_problem(found, 413, "body") and found.headers["connection"] == "close"
    with socket.create_connection(tight.place, timeout=20) as connection:  # who asks first hears it before sending
        connection.sendall(head(1 << 40).replace(b"host: ", b"expect: 100-continue\r\nhost: "))
        is_problem(answer_on(connection), 413, "body")


def test_a_body_that_turns_out_to_be_too_large(tight):
    with socket.create_connection(tight.place, timeout=20) as connection:
        connection.sendall(head("chunked") + (b"3e8\r\n" + b" " * 1000 + b"\r\n") * 30 + b"0\r\n\r\n")
        is_problem(answer_on(connection), 413, "body")


def test_headers_that_are_too_large(tight):
    with socket.create_connection(tight.place, timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nlong: " + b"x" * (1 << 17))
        is_problem(answer_on(connection), 400, None)


# ------------------------------------------------------------------------------------------------------- too slow
def test_a_body_that_does_not_end_holds_nobody_up(tight):
    waiting = []
    for _ in range(40):
        waiting.append(socket.create_connection(tight.place, timeout=20))
        waiting[-1].sendall(head(1000) + b'{"events": ')
    began = time.monotonic()
    assert tight.post("/recommend", NOTHING).status == 200
    assert time.monotonic() - began < 0.9
    for connection in waiting:
        with connection:
            found = answer_on(connection)
            assert "within 1 seconds" in is_problem(found, 408, "body") and found.headers["connection"] == "close"
            assert connection.recv(10) == b""


def test_a_body_in_drops(tight):
    with socket.create_connection(tight.place, timeout=20) as connection:
        connection.sendall(head(1000))
        began = time.monotonic()
        with pytest.raises(OSError):
            for _ in range(100):
                connection.sendall(b" ")
                time.sleep(0.05)
        assert 0.5 < time.monotonic() - began < 4


def test_headers_that_do_not_end(tight):
    for sent in (b"", b"POST /recommend HTTP/1.1\r\nhost: lo"):
        with socket.create_connection(tight.place, timeout=20) as connection:
            connection.sendall(sent)
            began = time.monotonic()
            assert connection.recv(10) == b"" and 0.5 < time.monotonic() - began < 4
    assert tight.post("/recommend", NOTHING).status == 200


def test_a_client_that_goes_away(tight):
    for sent in (head(1000) + b"{", head(14) + b'{"events": []}'):
        with socket.create_connection(tight.place, timeout=20) as connection:
            connection.sendall(sent)
    assert tight.post("/recommend", NOTHING).status == 200


def test_a_connection_serves_one_request_after_the_other(tight):
    connection = http.client.HTTPConnection(*tight.place, timeout=20)
    for status, body in ((200, NOTHING), (422, {}), (200, NOTHING)):
        connection.request("POST", "/recommend", json.dumps(body), {"content-type": "application/json"})
        assert answer_of(connection.getresponse()).status == status
    time.sleep(1.5)  # longer than headers may take: between two requests another time counts
    connection.request("GET", "/health")
    assert answer_of(connection.getresponse()).status == 200


def test_what_is_no_http(tight):
    with socket.create_connection(tight.place, timeout=20) as connection:
        connection.sendall(b"hello\r\n\r\n")
        is_problem(answer_on(connection), 400, None)


def test_answers_that_nobody_takes_end_with_their_connection(run_dir):
    sessions = (of_test_period(run_dir, 100) * 10)[:1000]
    body = json.dumps({"sessions": sessions, "k": 100}).encode()
    with serving(run_dir, "--answer-seconds", "1") as service, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(1)
        connection.connect(service.place)
        with pytest.raises(OSError):  # some answers the system keeps, so many it does not
            for _ in range(100):
                connection.sendall(head(len(body)) + body)
        until = time.monotonic() + 10
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while time.monotonic() < until:
                connection.send(b"{")
                time.sleep(0.2)
        assert service.post("/recommend", NOTHING).status == 200


def test_requests_whose_end_is_in_doubt(tight):
    inside = b"GET /hidden HTTP/1.1\r\nhost: localhost\r\n\r\n"
    both, chunks = (
        head("chunked").replace(b"host: ", b"content-length: 4\r\nhost: "),
        b"e\r\n" + b'{"events": []}' + b"\r\n0\r\n\r\n",
    )
    for sent in (both + chunks, head("chunked").replace(b"HTTP/1.1", b"HTTP/1.0") + chunks, head(0).replace(b"1.1", b"2.0")):
        with socket.create_connection(tight.place, timeout=20) as connection:
            connection.sendall(sent + inside)
            found = answer_on(connection)
            assert "no valid HTTP" in is_problem(found, 400, None) and found.headers["connection"] == "close"
            assert connection.recv(10) == b""


# ------------------------------------------------------------------------------------------------------- too many
def test_more_connections_than_there_may_be_are_told_and_closed(run_dir):
    """Also where the system gives fewer files than that, and nobody is left without an answer or with a long log."""
    limited = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (150, 150))
    for options, before, most in ((("--connections", "20"), None, 20), ((), limited, 22)):
        with serving(run_dir, *options, before=before) as service, ExitStack() as closed:
            held = [closed.enter_context(socket.create_connection(service.place, timeout=20)) for _ in range(400)]
            for connection in held[most:]:
                found = answer_on(connection)
                assert "too many connections" in is_problem(found, 503, None) and found.headers["retry-after"] == "1"
                assert connection.recv(10) == b""
            for connection in held[:most]:
                connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                assert answer_on(connection).status == 200
            assert service.post("/recommend", NOTHING).status == 200
            assert service.stop() == (0, "")


def test_many_at_once_get_their_own_answers(run_dir, recommender, service):
    sessions = [s["events"] for s in of_test_period(run_dir, 25)]
    expected = [lists(recommender, events, 10) for events in sessions]

    def ask(i: int):
        if i % 10 == 9:
            return service.post("/recommend", {"events": [EVENT | {"type": "no such type"}]}).status == 422
        if i % 10 == 8:
            both = [{"session": 1, "events": sessions[i % 25]}, {"session": 2, "events": []}]
            return service.post("/recommend", {"sessions": both, "k": 10}).json["sessions"][0]["lists"] == expected[i % 25]
        return service.post("/recommend", {"events": sessions[i % 25], "k": 10}).json["lists"] == expected[i % 25]

    with ThreadPoolExecutor(24) as pool:
        assert all(pool.map(ask, range(200)))


def test_who_comes_when_too_many_wait_is_told_to_come_back(run_dir):
    sessions = of_test_period(run_dir, 40) * 10
    with serving(run_dir, "--waiting", "2", "--threads", "1") as service, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: service.post("/recommend", {"sessions": sessions}), range(32)))
        refused = [f for f in found if f.status != 200]
        assert 0 < len(refused) < 32
        for answer in refused:
            is_problem(answer, 503, None)
            assert answer.headers["retry-after"] == "1"
        assert service.post("/recommend", NOTHING).status == 200 and service.get("/health").json["waiting"] == 0


def test_bodies_under_way_are_bounded_together(tight):
    half = b" " * 12_000
    with socket.create_connection(tight.place, timeout=20) as a, socket.create_connection(tight.place, timeout=20) as b:
        for connection in (a, b):
            connection.sendall(head(13_000) + half)
        time.sleep(0.2)
        found = tight.post("/recommend", json.dumps(NOTHING).encode() + half)
        assert "bodies" in is_problem(found, 503, None) and found.headers["retry-after"] == "1"
    assert tight.post("/recommend", NOTHING).status == 200


# --------------------------------------------------------------------------------------------------------- the end
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_answered_before_the_end(run_dir, recommender, by):
    sessions = of_test_period(run_dir, 30)
    body = json.dumps({"sessions": sessions}).encode()
    with serving(run_dir) as service, socket.create_connection(service.place, timeout=20) as connection:
        idle = socket.create_connection(service.place, timeout=20)
        connection.sendall(head(len(body)) + body[:100])
        time.sleep(0.3)
        service.process.send_signal(by)
        time.sleep(0.5)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(service.place, timeout=20)
        assert idle.recv(10) == b""
        connection.sendall(body[100:])
        found = answer_on(connection)
        assert found.status == 200 and [s["lists"] for s in found.json["sessions"]][3] == lists(
            recommender, sessions[3]["events"]
        )
        assert service.process.wait(20) == 0 and service.process.stderr.read() == ""


def test_whoever_was_let_in_is_answered_at_the_end(run_dir):
    """Also who was connected, and had asked, but had not been read when the signal came."""
    body = json.dumps({"sessions": of_test_period(run_dir, 100)}).encode()
    with serving(run_dir) as service, ExitStack() as closed:
        asking = [closed.enter_context(socket.create_connection(service.place, timeout=20)) for _ in range(40)]
        for connection in asking:
            connection.sendall(head(len(body)) + body)
        code, said = service.stop()
        assert (code, said) == (0, "")
        assert {answer_on(connection).status for connection in asking} <= {200, 503}


def test_the_end_does_not_wait_for_ever(run_dir):
    with (
        serving(run_dir, "--stop-seconds", "1", "--body-seconds", "60") as service,
        socket.create_connection(service.place) as connection,
    ):
        connection.sendall(head(1000) + b"{")
        time.sleep(0.3)
        began = time.monotonic()
        code, said = service.stop()
        assert code == 0 and time.monotonic() - began < 8 and "Traceback" not in said, said
        assert "stops" in is_problem(answer_on(connection), 503, None)


# a service whose calls take a minute
SLOW = (
    "import sys, time; from otto_gpu.serve import __main__, worker;"
    "worker.Worker._answers = lambda *_: time.sleep(60) or []; sys.exit(__main__.main())"
)


def test_a_call_that_does_not_end_is_waited_for_once(run_dir):
    with (
        serving(run_dir, "--stop-seconds", "4", program=("-c", SLOW)) as service,
        socket.create_connection(service.place) as connection,
    ):
        body = json.dumps(NOTHING).encode()
        connection.sendall(head(len(body)) + body)
        time.sleep(0.5)
        began = time.monotonic()
        code, said = service.stop()
        seconds = time.monotonic() - began
        assert code == 0 and "Traceback" not in said, said
        assert 3.5 < seconds < 7, seconds  # 8 if it were waited for by the connection and then by the thread
