import pytest
import yaml
from pydantic import ValidationError

from otto_gpu.cooccurrence.rule import RULES, MatrixRule, PairWeight, PositionGap, TimeGap
from otto_gpu.events.log import TYPES
from otto_gpu.schema import as_user_error

CLICKS_ONLY, BOUGHT = ("clicks",), ("carts", "orders")

# name: left, right, window, pairs, once per, weight, keep; None where the rule sets no bound
TABLE = {
    "time_decay": (None, None, "tail 30", "|dt| < 24 h", "pair latest", "half-life 1, recency 1 4", 80),
    "decay_21d": (None, None, "since 21 d", "self", "pair latest", "half-life 1", 40),
    "then_bought": (None, BOUGHT, "since 28 d", "0 < dt, self", "pair latest", "half-life 1", 40),
    "adjacent": (None, None, "first seen", "|positions| 1..1", "pair latest", "1", 40),
    "near_2": (None, None, "first seen", "|positions| 1..2", "pair latest", "1", 80),
    "bought_next_3": (BOUGHT, BOUGHT, "first seen", "positions 1..3", "pair latest", "1", 80),
    "near_3_decay": (None, None, "first seen", "|positions| 1..3", "pair latest", "half-life 1", 80),
    "near_6_decay": (None, None, "first seen", "|positions| 1..6", "pair latest", "half-life 1", 80),
    "bought_within_2h": (None, BOUGHT, "", "0 < dt < 2 h, self", "pair closest", "half-life 1", 20),
    "first_to_bought": (None, BOUGHT, "left first, new 21 d", "", "pair_and_type latest", "1", 40),
    "first_to_any": (None, None, "left first, new 21 d", "", "pair_and_type latest", "half-life 1", 40),
    "then_bought_6h": (None, BOUGHT, "", "0 < dt, self", "pair latest", "half-life 6", 40),
    "decay_6h": (None, None, "", "self", "pair latest", "half-life 6", 80),
    "buy2buy": (BOUGHT, BOUGHT, "", "|dt| < 336 h", "pair latest", "1", 40),
    "decay_buy4": (None, None, "tail 30", "", "pair latest", "half-life 1, types 1 4 4", 40),
    "buy2buy_decay": (BOUGHT, BOUGHT, "since 28 d", "", "pair latest", "half-life 1", 40),
    "time_weighted": (None, None, "tail 30", "|dt| < 24 h", "pair latest", "recency 1 4", 40),
    "type_136": (None, None, "tail 30", "|dt| < 24 h", "pair latest", "types 1 3 6", 40),
    "buy2buy_day": (BOUGHT, BOUGHT, "tail 30", "|dt| < 24 h", "pair latest", "1", 40),
    "cart_heavy": (None, None, "tail 30", "|dt| < 24 h", "pair latest", "types 0.5 9 0.5", 40),
}


def described(rule: MatrixRule) -> tuple:
    """The rule in the words of TABLE."""
    window = [
        rule.right_first_seen and "first seen",
        rule.left_first and "left first",
        rule.new_sessions_days and f"new {rule.new_sessions_days:g} d",
        rule.since_days and f"since {rule.since_days:g} d",
        rule.tail and f"tail {rule.tail}",
    ]
    pairs = []
    if gap := rule.gap_positions:
        pairs.append(f"{'|positions|' if gap.abs else 'positions'} {gap.lo}..{gap.hi}")
    if gap := rule.gap_seconds:
        lower = "" if gap.lo is None else f"{gap.lo / 3600:g} < "
        upper = "" if gap.hi is None else f" < {gap.hi / 3600:g} h"
        pairs.append(lower + ("|dt|" if gap.abs else "dt") + upper)
    weight = rule.weight
    weights = [
        weight.half_life_hours and f"half-life {weight.half_life_hours:g}",
        weight.recency and "recency {:g} {:g}".format(*weight.recency),
        weight.type_y and "types {:g} {:g} {:g}".format(*(weight.type_y[t] for t in TYPES)),
    ]
    return (
        rule.left,
        rule.right,
        ", ".join(filter(None, window)),
        ", ".join(pairs + ["self"] * rule.self_pairs),
        f"{rule.once_per} {rule.which}",
        ", ".join(filter(None, weights)) or "1",
        rule.keep,
    )


def test_the_packaged_rules_are_these_twenty():
    assert list(RULES) == list(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_each_packaged_rule_is_the_one_of_the_table(name):
    assert described(RULES[name]) == TABLE[name]


@pytest.mark.parametrize(
    "fields, key",
    [
        ({"keep": 0}, "keep"),
        ({"keep": 1001}, "keep"),
        ({}, "keep"),
        ({"keep": 5, "tail": 0}, "tail"),
        ({"keep": 5, "since_days": 0}, "since_days"),
        ({"keep": 5, "since_days": float("inf")}, "since_days"),
        ({"keep": 5, "new_sessions_days": -1}, "new_sessions_days"),
        ({"keep": 5, "left": []}, "left"),
        ({"keep": 5, "right": ["carts", "carts"]}, "right"),
        ({"keep": 5, "once_per": "session"}, "once_per"),
        ({"keep": 5, "which": "first"}, "which"),
        ({"keep": 5, "gap_positions": {"lo": 0, "hi": 2}}, "gap_positions.lo"),
        ({"keep": 5, "gap_positions": {"lo": 1}}, "gap_positions.hi"),
        ({"keep": 5, "gap_positions": {"lo": 3, "hi": 2}}, "gap_positions"),
        ({"keep": 5, "gap_seconds": {"lo": -1}}, "gap_seconds.lo"),
        ({"keep": 5, "gap_seconds": {"hi": 0}}, "gap_seconds.hi"),
        ({"keep": 5, "gap_seconds": {"lo": 60, "hi": 60}}, "gap_seconds"),
        ({"keep": 5, "weight": {"half_life_hours": 0}}, "weight.half_life_hours"),
        ({"keep": 5, "weight": {"recency": [1]}}, "weight.recency"),
        ({"keep": 5, "weight": {"recency": [0, 4]}}, "weight.recency"),
        ({"keep": 5, "weight": {"type_y": {"clicks": 0}}}, "weight.type_y"),
    ],
)
def test_a_rule_without_sense_is_refused_and_its_key_named(fields, key):
    with pytest.raises(ValidationError) as caught:
        MatrixRule(**fields)
    location = [part for part in caught.value.errors()[0]["loc"] if not isinstance(part, int)]
    assert ".".join(location) == key


def test_closest_without_once_per_is_refused():
    with pytest.raises(ValidationError, match="closest needs once_per"):
        MatrixRule(keep=5, which="closest", once_per=None)
    assert MatrixRule(keep=5, which="latest", once_per=None).once_per is None


@pytest.mark.parametrize(
    "fields, unknown, meant",
    [
        ({"keep": 5, "tial": 3}, "tial", "tail"),
        ({"keep": 5, "gap_seconds": {"hihi": 3}}, "gap_seconds.hihi", "hi"),
        ({"keep": 5, "weight": {"half_life": 3}}, "weight.half_life", "half_life_hours"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(fields, unknown, meant):
    with pytest.raises(ValidationError) as caught:
        MatrixRule(**fields)
    line = str(as_user_error(caught.value, MatrixRule, "rules.yaml"))
    assert line == f"rules.yaml: unknown key '{unknown}'; did you mean '{meant}'?"


def test_a_rule_does_not_change_once_made():
    with pytest.raises(ValidationError, match="frozen"):
        RULES["time_decay"].keep = 3


def test_a_rule_comes_back_from_its_own_yaml():
    for rule in RULES.values():
        assert MatrixRule(**yaml.safe_load(yaml.safe_dump(rule.model_dump(mode="json")))) == rule


def test_defaults_ask_for_every_pair_once():
    rule = MatrixRule(keep=5)
    assert described(rule) == (None, None, "", "", "pair latest", "1", 5)
    assert PositionGap(hi=2) == PositionGap(lo=1, hi=2, abs=True)
    assert TimeGap() == TimeGap(lo=None, hi=None, abs=True)
    assert rule.weight == PairWeight()


def test_gaps_in_milliseconds():
    assert (TimeGap(lo=0.5, hi=2).lo_ms, TimeGap(lo=0.5, hi=2).hi_ms) == (500, 2000)
    assert (TimeGap().lo_ms, TimeGap().hi_ms) == (None, None)


def test_codes_are_those_of_the_log():
    rule = MatrixRule(left=CLICKS_ONLY, right=("orders", "carts"), keep=5)
    assert rule.codes("left", TYPES) == (0,)
    assert set(rule.codes("right", TYPES)) == {1, 2}
    assert MatrixRule(keep=5).codes("left", ("view", "buy")) == (0, 1)


def test_a_type_that_the_log_does_not_know_picks_nothing():
    rule = MatrixRule(left=("orders",), right=("orders", "clicks"), keep=5)
    assert rule.codes("left", ("clicks", "carts")) == ()
    assert rule.codes("right", ("clicks", "carts")) == (0,)


def test_a_type_without_a_weight_weighs_one():
    assert MatrixRule(weight={"type_y": {"carts": 9}}, keep=5).type_weights(TYPES) == [1.0, 9.0, 1.0]
    assert MatrixRule(keep=5).type_weights(TYPES) == [1.0, 1.0, 1.0]
