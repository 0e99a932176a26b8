"""The model card tells of its run: settings, data, figures."""

import json
import re

import pytest

from otto_gpu.candidates.settings import Nearest
from otto_gpu.report.card import limits, seeds
from otto_gpu.report.page import model_card
from otto_gpu.report.record import Record
from tests.runs import metrics


@pytest.fixture(scope="module")
def card(finished):
    return (finished / "model_card.md").read_text()


def test_its_parts(card):
    assert re.findall(r"^#+ (.*)", card, re.MULTILINE) == [
        "Model card: small", "What it is", "What it is for, and what not", "Data", "How good it is", "How it was trained",
        "What to know about this run", "Once more",
    ]  # fmt: skip
    assert "\n\n\n" not in card and card.endswith("|\n")


def test_tables_are_markdown_tables(card):
    blocks = re.findall(r"(?:^\|.*\n)+", card, re.MULTILINE)
    assert len(blocks) == 9
    for block in blocks:
        lines = block.splitlines()
        assert set(lines[1]) == {"|", "-"} and len(lines) > 2
        assert len({line.count("|") for line in lines}) == 1


def test_its_numbers_are_the_runs(card, finished):
    found = metrics(finished)
    counts = found["events"]["counts"]
    assert f"{counts['events']:,} events" in card
    for target, n in counts["types"].items():
        assert f"{n:,} {target}" in card
    for split in ("test", "validation"):
        low, high = found[split]["interval"]["weighted"]
        assert f"{found[split]['weighted']:.3f} [{low:.3f}, {high:.3f}]" in card
    for target in ("clicks", "carts", "orders"):
        logs = [json.loads((finished / f"models/{target}/binary/fold-{k}.json").read_text()) for k in range(2)]
        assert f"| {target} | binary | {', '.join(str(log['best_round'] + 1) for log in logs)} |" in card
    catalogue = json.loads((finished / "features/catalogue.json").read_text())
    assert f"| matrix | {sum(c['family'] == 'matrix' for c in catalogue)} |" in card
    assert "ranking.seed 42" in card and "31 Jul 2022" in card and "2 folds" in card
    assert "    python -m otto_gpu.pipeline --config RUN/config.yaml --run-dir RUN-again\n" in card


def test_no_seconds_are_in_it(finished):
    """The same run has the same card, wherever it is made."""
    record = Record(finished)
    assert model_card(record) == (finished / "model_card.md").read_text()
    slow = Record(finished)
    slow.stages = {name: cost | {"seconds": 98765.432} for name, cost in record.stages.items()}
    assert model_card(slow) == model_card(record)


def test_seeds_are_found_wherever_they_are():
    assert seeds({"a": {"seed": 1, "b": {"synthetic_seed": 2, "c": []}}, "seed": 3, "seeds": 4}) == {
        "a.seed": 1,
        "a.b.synthetic_seed": 2,
        "seed": 3,
    }


def test_limits_are_those_of_the_run(finished):
    record = Record(finished)
    assert any("no probabilities" in point for point in limits(record))
    record.config["split"]["by"] = "session"
    assert any("random shares" in point for point in limits(record))
    record.models = {}
    assert not any("no probabilities" in point for point in limits(record))
    assert "by their events alone, not by name" in limits(record)[0]
    record.config["items"] = {"columns": {"brand": "code", "title": "text"}}
    record.config["features"]["families"].append("attributes")
    assert "of an item with events the models know brand as well" in limits(record)[0]
    record.config["embeddings"]["text"] = {"words": {"columns": ["title"]}}
    nearest = {"near": Nearest(vectors="words"), "others": Nearest(vectors="word2vec")}
    record.candidates = record.candidates.model_copy(update={"nearest": nearest})
    assert "recommended only through near: by vectors that take no events" in limits(record)[0]


def test_beginnings_of_sessions_are_no_sessions_of_the_log(finished):
    record, again = Record(finished), Record(finished)
    test = again.metrics["events"]["periods"]["test"]
    test["prefixes"] = True  # as split.cut: every leaves it
    assert again.sizes == record.sizes | {"sessions": record.sizes["sessions"] - test["sessions"]}
