"""The catalogue: what is declared is what is made."""

import numba
import numpy as np
import pytest
from pydantic import ValidationError

from otto_gpu.device import arrays
from otto_gpu.errors import UserError
from otto_gpu.features.catalogue import Catalogue, Column, FeaturesConfig, Spec
from otto_gpu.features.compute import FeatureMaker
from otto_gpu.features.families import FAMILIES, RANK, Family
from tests.features.case import case_of
from tests.worlds import synthetic_world, taobao_world

KNOWN = (*FAMILIES, RANK)
# constant by the nature of the generated log, not of the feature
CONSTANT: dict[str, str] = {}


@pytest.fixture(scope="module")
def case():
    return case_of(synthetic_world(), 120)


@pytest.fixture(scope="module")
def maker(case):
    """Of all families."""
    return case.maker(families=KNOWN)


@pytest.fixture(scope="module")
def features(case, maker):
    return maker.make(case.candidates)


def test_every_column_is_declared(maker):
    columns = maker.catalogue.columns
    assert len(columns) >= 700 and len({c.name for c in columns}) == len(columns)
    assert tuple(dict.fromkeys(c.family for c in columns)) == KNOWN
    counts = {f: sum(c.family == f for c in columns) for f in KNOWN}
    assert counts["matrix"] == 360 and counts["popularity"] == 50 and counts["session"] == 20 and counts["recall"] == 9
    assert counts["embedding"] == 5 * 30 and counts["encoder"] == 2
    assert counts["similarity"] == 5 * 3 and counts["attributes"] == 13 and counts["context"] == 2
    assert counts["rank"] == sum(c.ranked for c in columns) >= 150
    for c in columns:
        assert c.dtype in ("float32", "int32", "int16", "uint8") and len(c.meaning) > 10 and c.name == c.name.lower()


def test_every_mean_is_ranked_and_has_its_rank(maker):
    names = maker.catalogue.names
    means = [c.name for c in maker.catalogue.columns if c.name.endswith("_mean") and c.family in ("matrix", "embedding")]
    means = [name for name in means if "_close_" not in name]
    assert len(means) == 6 * (20 + 5)
    ranks = names[maker.catalogue.part(RANK)]
    assert ranks == tuple(f"{c.name}_rank" for c in maker.catalogue.columns if c.ranked)
    assert {f"{n}_rank" for n in means} | {"encoder_score_rank"} <= set(ranks)


def test_every_column_says_something(maker, features):
    assert features.shape[1] == len(maker.catalogue) and not np.isinf(features).any()
    missing = {c.family for c, values in zip(maker.catalogue.columns, features.T, strict=True) if np.isnan(values).any()}
    assert missing == {"attributes", "context"}
    for c, values in zip(maker.catalogue.columns, features.T, strict=True):
        assert not np.isnan(values).any() or "nan: unknown" in c.meaning
    constant = {n for n, values in zip(maker.catalogue.names, features.T, strict=True) if (values == values[0]).all()}
    assert constant == set(CONSTANT)


def test_the_declared_types_hold_the_values(maker, features):
    for c, values in zip(maker.catalogue.columns, features.T, strict=True):
        np.testing.assert_array_equal(values, values.astype(c.dtype).astype(np.float32), err_msg=c.name)


def test_parts_are_the_families(maker):
    for family in KNOWN:
        part = maker.catalogue.columns[maker.catalogue.part(family)]
        assert {c.family for c in part} == {family}
    assert maker.catalogue.part("none") == slice(0, 0)


@pytest.mark.parametrize("rows", [1, 700, 10**9])
def test_the_same_for_any_chunks(case, maker, features, rows):
    ranges = arrays.ranges(case.candidates.pointer, rows)
    assert [first for first, _ in ranges[1:]] == [last for _, last in ranges[:-1]]
    assert (ranges[0][0], ranges[-1][1]) == (0, len(case.candidates.sessions))
    assert rows != 1 or len(ranges) == len(case.candidates.sessions)
    parts = [maker.make(case.candidates.rows(*r)) for r in ranges]
    np.testing.assert_array_equal(np.concatenate(parts), features)


def test_the_same_for_any_number_of_threads(case, maker, features):
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = maker.make(case.candidates)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(alone, features)


def test_the_same_for_any_chunks_on_a_real_log(real_log):
    case = case_of(taobao_world(real_log("taobao_visits")), 60)
    maker = case.maker(families=KNOWN)
    parts = [maker.make(case.candidates.rows(*r)) for r in arrays.ranges(case.candidates.pointer, 500)]
    np.testing.assert_array_equal(np.concatenate(parts), maker.make(case.candidates))


def test_a_smaller_catalogue(case, maker, features):
    small = case.maker(families=("session", "recall"))
    assert len(small.catalogue) == 29
    np.testing.assert_array_equal(
        small.make(case.candidates), np.hstack([features[:, maker.catalogue.part(f)] for f in ("session", "recall")])
    )


def test_names_come_from_rules_sources_and_types():
    catalogue = Catalogue(("matrix", "popularity", "recall"), Spec(("near_2",), ("history", "mine"), ("views", "sales")))
    assert "matrix_near_2_one_mean" in catalogue.names and "recall_mine_score" in catalogue.names
    assert "popularity_sales_week" in catalogue.names and not any("clicks" in n for n in catalogue.names)
    assert len(catalogue.ranked) == 0


def test_without_vectors_there_are_no_columns_of_them(case):
    world = case.world
    bare = FeatureMaker(FeaturesConfig(families=KNOWN), world.period_state, case.candidates.sources, world.known.types)
    names = Catalogue(("embedding", "encoder"), Spec((), (), (), ("mine",), True)).names
    assert len(names) == 32 and all(n.startswith(("embed_mine_", "encoder_")) for n in names)
    assert not any(n.startswith(("embed_", "encoder_")) for n in bare.catalogue.names)
    small = case.maker(families=tuple(f for f in KNOWN if f == RANK or not FAMILIES[f].needs))
    assert bare.catalogue.names == small.catalogue.names
    np.testing.assert_array_equal(bare.make(case.candidates), small.make(case.candidates))


def columns(spec):
    return [Column("toy_aid", "toy", "float32", "the item's number, of all things", ranked=True)]


def compute(chunk, out):
    out[:, 0] = chunk.candidates.aid


def test_a_family_is_a_file_and_a_line(monkeypatch, case):
    """This module is the file, with the two functions above."""
    monkeypatch.setitem(FAMILIES, "toy", Family(__name__))
    maker = case.maker(families=("toy", "recall", "rank"))
    assert maker.catalogue.names[0] == "toy_aid" and "toy_aid_rank" in maker.catalogue.names
    np.testing.assert_array_equal(maker.make(case.candidates)[:, 0], case.candidates.aid)


def test_two_columns_of_one_name():
    with pytest.raises(UserError, match="two feature columns are called 'recall_mine_score'"):
        Catalogue(("recall",), Spec((), ("mine", "mine"), ()))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"families": ("matrx",)}, "did you mean 'matrix'"),
        ({"families": ("embeddings",)}, "did you mean 'embedding'"),
        ({"families": ("rank",)}, "needs another one"),
        ({"families": ()}, "at least 1 item"),
        ({"negatives": {"clicks": 0}}, "above 0"),
        ({"familys": ("matrix",)}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_refused(config, message):
    with pytest.raises(ValidationError, match=message):
        FeaturesConfig(**config)
