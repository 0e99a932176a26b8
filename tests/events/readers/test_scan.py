import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otto_gpu.events.readers.scan import scan

TYPES = ["clicks", "carts", "a,b"]
SPELLED = [json.dumps(name).encode() for name in TYPES]


def lines_of(found) -> dict[int, dict]:
    """What the scanner understood, by line."""
    sessions, aids = found.session.to_pylist(), found.aid.to_pylist()
    lines = [{"session": session, "events": []} for session in sessions]
    for owner, aid, ts, kind in zip(found.owner.tolist(), aids, found.ts.tolist(), found.type.tolist(), strict=True):
        lines[owner]["events"].append({"aid": aid, "ts": ts, "type": TYPES[kind]})
    return dict(zip(found.line.tolist(), lines, strict=True))


def record(session, ids):
    event = st.builds(
        lambda aid, ts, kind: {"aid": aid, "ts": ts, "type": kind}, ids, st.integers(-9, 2**42), st.sampled_from(TYPES)
    )
    return st.builds(lambda s, events: {"session": s, "events": events}, session, st.lists(event, max_size=4))


NUMBER, TEXT = (
    st.integers(-(10**18) + 1, 10**18 - 1),
    st.text(st.characters(codec="utf-8", exclude_characters='"\\', min_codepoint=32)),
)


@given(st.data(), st.booleans(), st.booleans(), st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
@settings(deadline=None)
def test_plain_lines_are_understood(data, text_session, text_aid, separators, last_end):
    kinds = {True: TEXT, False: NUMBER}
    records = data.draw(st.lists(record(kinds[text_session], kinds[text_aid]), min_size=1, max_size=5))
    text = "\n".join(json.dumps(r, separators=separators, ensure_ascii=False) for r in records) + "\n" * last_end
    found = scan(text.encode(), text_session, text_aid, SPELLED, True)
    assert found.odd.tolist() == []
    assert lines_of(found) == dict(enumerate(records))


PLAIN = '{"session":12,"events":[{"aid":-5,"ts":1000,"type":"clicks"},{"aid":0,"ts":20,"type":"carts"}]}'
EDIT = st.tuples(st.integers(0, len(PLAIN) - 1), st.sampled_from(["", *'{}[]",:0-1x\\. \t\r\0', "\n"]), st.integers(0, 2))


@given(st.lists(st.lists(EDIT, max_size=3), min_size=1, max_size=4))
@settings(deadline=None, max_examples=500)
def test_damaged_lines_are_left_alone_or_mean_what_json_says(damage):
    """Some bytes of every line are replaced, inserted or taken out."""
    lines = []
    for edits in damage:
        line = PLAIN
        for at, new, taken in edits:
            line = line[:at] + new + line[at + taken :]
        lines.extend(line.split("\n"))
    lines.append(PLAIN)
    text = "\n".join(lines).encode()
    found = scan(text, False, False, SPELLED, True)
    understood = lines_of(found)
    odd = {line: text[start:end].decode() for start, end, line in found.odd.tolist()}
    assert sorted([*understood, *odd]) == list(range(len(lines)))
    assert all(odd[i] == lines[i] for i in odd)
    for i, meaning in understood.items():
        assert json.loads(lines[i]) == meaning
    assert understood[len(lines) - 1] == json.loads(PLAIN)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_integer_types_and_types_that_begin_alike(end):
    lines = [json.dumps({"session": 1, "events": [{"aid": 1, "ts": 1, "type": kind}]}) for kind in (12, 1, 3, 123)]
    text = "\n".join(lines) + end
    found = scan(text.encode(), False, False, [b"1", b"12"], True)
    assert found.type.tolist() == [1, 0]
    assert found.odd[:, 2].tolist() == [2, 3]


def test_events_without_a_type():
    found = scan(b'{"session":"x","events":[{"aid":"y","ts":5}]}', True, True, [], False)
    assert (found.session.to_pylist(), found.aid.to_pylist(), found.ts.tolist(), found.type.tolist()) == (
        ["x"],
        ["y"],
        [5],
        [0],
    )
