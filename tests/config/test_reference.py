"""docs/configuration.md against the schema that it is written from."""

import re

import pytest

from otto_gpu.config import Config
from otto_gpu.config.reference import meaning_of, page, parts
from tests.runs import ROOT

COMMITTED = (ROOT / "docs/configuration.md").read_text()


def rows(heading: str) -> dict[str, list[str]]:
    """{key: [type, default, meaning]} of the table below a heading."""
    part = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", COMMITTED, re.MULTILINE | re.DOTALL).group(1)
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in part.splitlines() if line.startswith(("| `", "| [`"))]
    return {re.search("`(.+?)`", key).group(1): [cell.strip() for cell in others] for key, *others in cells}


def test_the_document_is_up_to_date():
    assert page() == COMMITTED, "make docs writes docs/configuration.md anew"


def test_every_key_of_the_schema_is_told():
    schema = Config.model_json_schema()
    told = {frozenset(rows(part.path or "Configuration")) for part in parts()}
    for section in (schema, *schema["$defs"].values()):
        assert frozenset(section["properties"]) in told


def test_every_key_and_every_section_has_a_meaning():
    for part in parts():
        assert (part.model.__doc__ or "").strip(), f"{part.model.__name__} has no docstring"
        for key, field in part.model.model_fields.items():
            assert meaning_of(field).strip(), f"{part.at(key)} has no description"


def test_every_link_leads_somewhere():
    headings = {re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()) for line in COMMITTED.splitlines() if line.startswith("#")}
    links = re.findall(r"\]\(([^)]+)\)", COMMITTED)
    assert len(links) > 20
    for link in links:
        assert link[1:] in headings if link.startswith("#") else (ROOT / "docs" / link).exists(), link


@pytest.mark.parametrize(
    ("section", "key", "kind", "default"),
    [
        ("ranking", "folds", "integer, at least 2, at most 20", "`4`"),
        ("events", "format", "`auto`, `jsonl`, `csv`, `parquet`, `synthetic`, `synthetic_news`", "`auto`"),
        ("events", "before", "time or null", "`null`"),
        ("targets", "weights", "name → number", "`{clicks: 0.1, carts: 0.3, orders: 0.6}`"),
        ("split", "test_fraction", "number, above 0, below 1", "`0.1`"),
        ("embeddings", "word2vec", "settings or null", "as below"),
        ("matrices.rules.NAME", "keep", "integer, at least 1, at most 1,000", "must be given"),
        ("candidates.recipes.NAME.lines[]", "floor", "number, at least 0", "`0.0`"),
        ("ranking", "groups", "name → settings, not empty", "`{binary: {}}`"),
    ],
)
def test_a_row_says_what_the_schema_says(section, key, kind, default):
    assert rows(section)[key][:2] == [kind, default]
