"""What is said of a period that leaves much out, and that nothing is said of little."""

import pytest

from otto_gpu.events.remarks import in_short, warnings

TARGETS = ["clicks", "orders"]


def facts(fate: str, sessions=(0, 10), clicks=(0, 100), orders=(0, 50)) -> dict:
    """Of (how many of the fate, all)."""
    counts = {"sessions": sessions, "events": [c + o for c, o in zip(clicks, orders, strict=True)]}
    targets = {t: {"all": of, fate: n} for t, (n, of) in {"clicks": clicks, "orders": orders}.items()}
    return {"left_out": {name: {"all": of, fate: n} for name, (n, of) in counts.items()} | {"targets": targets}}


@pytest.mark.parametrize(
    ("period", "said"),
    [
        (facts("unknown_items", orders=(21, 50)), "In the test period 21 of 50 orders (42 %) are of items that have no event"),
        (facts("unknown_items", orders=(10, 50)), None),  # not more than a fifth
        (facts("unknown_items", orders=(9, 9)), None),  # so few say nothing
        (facts("one_event", clicks=(30, 100)), "In the test period 30 of 100 clicks (30 %) stand alone in their session"),
        (facts("began_earlier", orders=(24, 50)), None),  # half of them may
        (facts("began_earlier", orders=(26, 50)), "26 of 50 orders (52 %) are of sessions that began before it"),
        (facts("began_earlier", (6, 10), (30, 100), (12, 50)), "30 of 100 clicks (30 %) and 12 of 50 orders (24 %) are of ses"),
        (facts("began_in_it", clicks=(51, 100)), "split.cut: time asks about those of whom something is known"),
        ({"labels": {"clicks": 40, "orders": 9}, "unknown_answers": {"clicks": 15, "orders": 9}}, "15 of 40 clicks that are"),
        ({"labels": None}, None),  # a test file without answers
        ({"labels": {"clicks": 40}, "sessions": 40}, None),  # of an earlier version
    ],
)
def test_what_is_much_is_said_in_a_sentence(period, said):
    found = [told.replace("\xa0", " ") for told in warnings({"test": period, "validation": {}}, TARGETS)]
    assert len(found) == (said is not None) and all(said in told for told in found)


def test_both_periods_have_one_sentence():
    test, validation = facts("unknown_items", orders=(25, 50)), facts("unknown_items", clicks=(30, 100))
    assert "orders (50\xa0%) are" in warnings({"test": test, "validation": facts("unknown_items")}, TARGETS)[0]
    (told,) = warnings({"validation": validation, "test": test}, TARGETS)
    assert "In the test period 25 of 50 orders" in told and "before it, and likewise in the validation period. They" in told
    (told,) = warnings({"validation": validation, "test": {}}, TARGETS)
    assert told.startswith("In the validation period 30 of 100 clicks")


def test_in_short():
    period = facts("unknown_items", (1, 10), clicks=(30, 100)) | {"labels": {"orders": 20}, "unknown_answers": {"orders": 10}}
    assert in_short("test", period, TARGETS) == [
        "left out of the test period (150 events, 10 sessions): events of items unknown before it 30",
        "test period: 10 of 20 orders that are asked (50\xa0%) are of items without an event in what is known",
    ]
    assert (
        in_short("test", facts("unknown_items", clicks=(20, 100)), TARGETS) == in_short("test", {"labels": None}, TARGETS) == []
    )
