"""What the paths answer: the library's own answers, or one shape of error."""

import json
from itertools import islice

import pytest

from otto_gpu import Recommender, __version__
from otto_gpu.explain import explain, reasons
from otto_gpu.serve.messages import Explanation, Health, Lists, ListsOfSessions, Reasons
from tests.serve.conftest import OWN_NAMES
from tests.serve.service import serving

TS = 1_661_700_000_000
EVENT = {"aid": 1, "ts": TS, "type": "clicks"}


def of_test_period(run_dir, n: int) -> list[dict]:
    with (run_dir / "official/test_sessions.jsonl").open() as lines:
        return [json.loads(line) for line in islice(lines, n)]


def lists(recommender, events: list[dict], k=None) -> dict:
    (row,) = recommender.recommend(events, k, sessions=None).to_dicts()
    return {target: row[target] for target in recommender.targets}


def test_the_lists_of_one_session(run_dir, recommender, service):
    for session in of_test_period(run_dir, 10):
        found = service.post("/recommend", {"events": session["events"]})
        assert found.status == 200 and found.headers["content-type"] == "application/json"
        Lists.model_validate_json(found.body, strict=True)
        assert found.json == {"lists": lists(recommender, session["events"]), "cold": False, "unknown_items": 0}


def test_the_lists_of_many_sessions_in_their_order(run_dir, recommender, service):
    sessions = of_test_period(run_dir, 30)
    asked = [{"session": f"s{s['session']}" if i % 2 else s["session"], "events": s["events"]} for i, s in enumerate(sessions)]
    asked.insert(3, {"session": "nobody", "events": []})
    found = service.post("/recommend", {"sessions": asked[::-1], "k": 7})
    ListsOfSessions.model_validate_json(found.body, strict=True)
    rows = found.json["sessions"][::-1]
    assert [row["session"] for row in rows] == [s["session"] for s in asked]
    assert [row["cold"] for row in rows] == [not s["events"] for s in asked]
    for row, session in zip(rows, asked, strict=True):
        assert row["lists"] == lists(recommender, session["events"], 7)


def test_a_session_may_come_twice_and_no_sessions_are_no_lists(service):
    asked = [{"session": 5, "events": [EVENT]}, {"session": 5, "events": []}]
    rows = service.post("/recommend", {"sessions": asked}).json["sessions"]
    assert [row["session"] for row in rows] == [5, 5] and [row["cold"] for row in rows] == [False, True]
    assert service.post("/recommend", {"sessions": []}).json == {"sessions": []}


def test_a_cold_start_gets_what_is_popular(recommender, service):
    nothing, strangers = ({"events": []}, {"events": [EVENT | {"aid": -7}, EVENT | {"aid": "no such item"}]})
    popular = lists(recommender, [])
    assert service.post("/recommend", nothing).json == {"lists": popular, "cold": True, "unknown_items": 0}
    assert service.post("/recommend", strangers).json == {"lists": popular, "cold": True, "unknown_items": 2}
    told = service.post("/reasons", strangers).json
    assert told["cold"] and told["unknown_items"] == 2 and told["lists"] == popular
    assert all(not item["sources"] for items in told["reasons"].values() for item in items)


def test_items_and_types_may_be_said_in_several_ways(service):
    events = [EVENT, EVENT | {"aid": 2, "ts": TS + 5000, "type": "orders"}]
    expected = service.post("/recommend", {"events": events}).json
    for aids, types in (((1, 2), (0, 2)), (("1", "2"), ("0", "2")), ((1, "2"), ("clicks", 2)), ((1.0, 2.0), (0, 2))):
        other = [e | {"aid": a, "type": t} for e, a, t in zip(events, aids, types, strict=True)]
        assert service.post("/recommend", {"events": other}).json == expected


def test_ids_of_any_size_are_ids(service):
    sizes = [-(1 << 63), (1 << 63) - 1, 1 << 63, 1 << 70, -(1 << 80)]
    found = service.post("/recommend", {"events": [EVENT, *(EVENT | {"aid": aid} for aid in sizes)]}).json
    assert found["unknown_items"] == 5 and not found["cold"]
    rows = service.post("/recommend", {"sessions": [{"session": s, "events": []} for s in sizes]}).json["sessions"]
    assert [row["session"] for row in rows[:3]] == [*sizes[:2], str(1 << 63)]


def test_k(service):
    for k in (1, 3, 100):
        found = service.post("/recommend", {"events": [EVENT], "k": k}).json["lists"]
        assert all(1 <= len(items) <= k for items in found.values())
    assert all(len(items) > 20 for items in found.values())


def test_reasons_are_the_librarys_with_the_lists(run_dir, recommender, service):
    events = of_test_period(run_dir, 5)[4]["events"]
    found = service.post("/reasons", {"events": events, "k": 5})
    Reasons.model_validate_json(found.body, strict=True)
    assert found.json["reasons"] == json.loads(json.dumps(reasons(recommender, events, 5)))
    assert {**found.json, "reasons": None} == {**service.post("/recommend", {"events": events, "k": 5}).json, "reasons": None}


def test_explanations_are_the_librarys(run_dir, recommender, service):
    events = of_test_period(run_dir, 5)[4]["events"]
    aid = lists(recommender, events)["orders"][2]
    found = service.post("/explain", {"events": events, "aid": aid})
    Explanation.model_validate_json(found.body, strict=True)
    assert found.json == json.loads(json.dumps(explain(recommender, events, aid)))
    one = service.post("/explain", {"events": events, "aid": str(aid), "target": "orders"}).json
    assert list(one["targets"]) == ["orders"] and one["targets"]["orders"] == found.json["targets"]["orders"]
    assert not service.post("/explain", {"events": [], "aid": aid}).json["candidate"]


def test_health(service, recommender):
    found = service.get("/health")
    told = Health.model_validate_json(found.body, strict=True)
    assert found.status == 200 and told.ready and told.version == __version__ and told.run == "small"
    assert told.targets == recommender.targets and told.items == len(recommender.items) and told.k == 20
    assert told.limits["body_bytes"] == 4 << 20 and told.uptime_seconds > 0


def test_examples_are_histories_of_the_test_period(run_dir, service):
    known = {s["session"]: s["events"] for s in of_test_period(run_dir, 10_000)}
    found = service.get("/examples?n=7").json["sessions"]
    assert len(found) == len({s["session"] for s in found}) == 7
    assert all(known[s["session"]] == s["events"] and 3 <= len(s["events"]) <= 20 for s in found)
    assert 7 < len(service.get("/examples?n=100").json["sessions"]) <= 100
    for session in found:
        assert (
            service.post("/recommend", session | {"session": None}).status == 422
        )  # a session of many has an id, one has none
        assert service.post("/recommend", {"sessions": [session]}).status == 200


# ------------------------------------------------------------------------------------------------------- errors
def is_problem(found, status: int, where: str | None) -> str:
    assert found.status == status, found
    assert found.headers["content-type"] == "application/json"
    assert found.json.keys() == {"error", "where"} and found.json["where"] == where, found.json
    assert "\n" not in found.json["error"] and "Traceback" not in found.json["error"]
    return found.json["error"]


def one(**changes) -> dict:
    return {"events": [EVENT, {**EVENT, **changes}]}


@pytest.mark.parametrize(
    ("body", "status", "where", "says"),
    [
        (b"", 422, "body", "required"),
        (b"{", 400, "body", "no JSON"),
        (b'{"events": [], "k": NaN}', 400, "body", "no JSON"),
        (b'{"events": [{"aid": "\\ud800", "ts": 1, "type": "clicks"}]}', 400, "body", "no JSON"),
        (b"\xff\xfe", 400, "body", "no JSON"),
        (b"[" * 100_000, 400, "body", "no JSON"),
        ([], 422, "body", "an object"),
        ("events", 422, "body", "an object"),
        ({}, 422, "events", "required"),
        ({"events": None}, 422, "events", "list"),
        ({"evnts": []}, 422, "evnts", "unknown key"),
        ({"events": [], "sessions": []}, 422, "events", "unknown key"),
        ({"sessions": [{"events": []}]}, 422, "sessions[0].session", "required"),
        ({"sessions": [{"session": 1.5, "events": []}]}, 422, "sessions[0].session", "an integer or text"),
        ({"events": [], "k": 0}, 422, "k", "an integer from 1 to 100"),
        ({"events": [], "k": 101}, 422, "k", "an integer from 1 to 100"),
        ({"events": [], "k": "5"}, 422, "k", "an integer from 1 to 100"),
        (one(aid=None), 422, "events[1].aid", "an integer or text"),
        (one(aid=True), 422, "events[1].aid", "an integer or text"),
        (one(ts="2022-08-28"), 422, "events[1].ts", "integer"),
        (one(ts=-1), 422, "events[1].ts", "an integer from 0 to"),
        (one(ts=1e300), 422, "events[1].ts", "integer"),
        (one(ts=TS * 1000), 422, "events[1].ts", "an integer from 0 to"),
        (one(type="view"), 422, "events[1].type", "one of clicks, carts, orders, 0, 1, 2"),
        (one(type=3), 422, "events[1].type", "one of clicks"),
        (one(type=False), 422, "events[1].type", "one of clicks"),
        (one(aid=1.5), 422, "events[1].aid", "an integer or text"),
        (one(device="phone"), 422, "events[1].device", "unknown key"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_told_in_a_line(service, body, status, where, says):
    assert says in is_problem(service.post("/recommend", body), status, where)


def test_an_item_or_target_that_the_run_does_not_have(service):
    unknown = {"events": [EVENT], "aid": "no such item"}
    assert "does not know the item 'no such item'" in is_problem(service.post("/explain", unknown), 404, "aid")
    is_problem(service.post("/explain", {"events": [EVENT], "aid": 1, "target": "views"}), 422, "target")


def test_paths_and_methods_that_there_are_not(service):
    is_problem(service.get("/nothing"), 404, None)
    is_problem(service.get("/recommend/"), 404, None)
    is_problem(service.get("/static/../app.py"), 404, None)
    wrong = service.get("/recommend")
    is_problem(wrong, 405, None)
    assert wrong.headers["allow"] == "POST"
    is_problem(service.post("/health", {}), 405, None)
    is_problem(service.get("/examples?n=0"), 422, "n")
    is_problem(service.get("/examples?n=many"), 422, "n")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonl", ""])
def test_only_json_is_taken(service, kind):
    is_problem(service.post("/recommend", b'{"events": []}', {"content-type": kind}), 415, "content-type")


def test_json_may_name_its_encoding(service):
    assert service.post("/recommend", {"events": []}, {"content-type": "Application/JSON; charset=utf-8"}).status == 200


# ----------------------------------------------------------------------------------------------------- documents
def references(thing):
    if isinstance(thing, dict):
        yield from [thing["$ref"]] if "$ref" in thing else []
        thing = list(thing.values())
    if isinstance(thing, list):
        for part in thing:
            yield from references(part)


def test_the_openapi_document_says_what_is_answered(service):
    document = service.get("/openapi.json").json
    assert document["paths"].keys() == {"/recommend", "/reasons", "/explain", "/health", "/examples"}
    for path in ("/recommend", "/reasons", "/explain"):
        answers = document["paths"][path]["post"]["responses"]
        missing = {"404"} if path == "/explain" else set()  # an item that the run does not know
        assert answers.keys() == {"200", "400", "408", "413", "415", "422", "500", "503"} | missing
    schemas = document["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    assert {r.removeprefix("#/components/schemas/") for r in references(document)} == schemas.keys()
    assert schemas["OneSession"]["properties"]["events"]["maxItems"] == 1000
    assert schemas["Event"]["properties"]["type"]["enum"] == ["clicks", "carts", "orders", "0", "1", "2", 0, 1, 2]


def test_pages_ask_for_nothing_from_elsewhere(service):
    for path in ("/", "/docs", "/static/page.css", "/static/page.js", "/static/docs.css", "/health", "/nothing"):
        found = service.get(path)
        assert found.status == (404 if path == "/nothing" else 200)
        assert found.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert found.headers["x-content-type-options"] == "nosniff"
        assert b"http://" not in found.body and b"https://" not in found.body
    assert "/recommend" in service.get("/docs").body.decode()


# ---------------------------------------------------------------------------------------- a log of another kind
def test_a_log_with_words_of_its_own(worded_dir):
    recommender = Recommender.load(worded_dir, device="cpu")
    with serving(worded_dir, "--k", "30", "--session-events", "25") as service:
        for session in service.get("/examples?n=3").json["sessions"]:
            events = session["events"]
            assert session["session"].startswith("visit ") and events[0]["ts"].endswith("Z")
            expected = lists(recommender, events)
            assert service.post("/recommend", {"events": events}).json["lists"] == expected
            assert {e.get("click os") for e in events} <= {"a <b>", 7, "7", None} and all("class" in e for e in events)
            strange = [e | {"click os": "no code of the run", "class": None} for e in events]
            bare = [{name: e[name] for name in ("aid", "ts", "type")} for e in events]
            same = [service.post("/recommend", {"events": other}).json["lists"] for other in (strange, bare)]
            assert same[0] == same[1] == lists(recommender, bare)
            own = [e | {"type": OWN_NAMES[e["type"]]} for e in events]
            assert service.post("/recommend", {"events": own}).json["lists"] == expected
        is_problem(service.post("/recommend", {"events": [events[0] | {"click os": ["a"]}]}), 422, "events[0].click os")
        is_problem(service.post("/recommend", {"events": [events[0] | {"class": "2"}]}), 422, "events[0].class")
        bad = [events[0] | {"ts": "yesterday"}]
        assert "ts is not a time" in is_problem(service.post("/recommend", {"events": bad}), 422, "body")
        is_problem(service.post("/recommend", {"events": [events[0] | {"ts": TS}]}), 422, "events[0].ts")
        is_problem(service.post("/recommend", {"events": [], "k": 31}), 422, "k")
        is_problem(service.post("/recommend", {"events": events[:1] * 26}), 422, "events")
