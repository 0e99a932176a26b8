"""Recipes as data: what is refused, and that the packaged ones are those of the rules' table."""

import pytest
from pydantic import ValidationError

from otto_gpu.candidates.recipes import Line, Recipe, packaged_recipes
from otto_gpu.candidates.settings import CandidatesConfig
from otto_gpu.cooccurrence.rule import RULES


def test_packaged_recipes_ask_known_matrices():
    config = CandidatesConfig()
    assert list(config.recipes) == ["quick_clicks", "clicks", "orders", "wide"]
    assert set(config.matrices) <= set(RULES)
    assert config.outputs == ["clicks", "orders", "wide"] and config.sources == ["history", "clicks", "orders", "wide"]
    assert [config.order_of(t) for t in ("clicks", "carts", "orders", "likes")] == ["clicks", "orders", "orders", "clicks"]


def test_a_matrix_that_boosts_is_asked_for_too():
    line = Line(keys="all", matrix="near_2", use="weight", decay=0.7, boost={"matrix": "near_6"})
    config = CandidatesConfig(recipes={"it": {"lines": [line, Line(keys="all", matrix="near_6")]}}, order={})
    assert config.matrices == ["near_2", "near_6"]
    assert CandidatesConfig(**config.model_dump(mode="json")) == config


def test_every_matrix_is_named_once():
    config = CandidatesConfig()
    lines = [line for recipe in config.recipes.values() for line in recipe.lines if line.matrix]
    assert len(config.matrices) == len(set(config.matrices)) == len({line.matrix for line in lines})


def test_defaults_of_a_line_weigh_every_neighbour_the_same():
    line = Line(keys="all", matrix="near_2")
    neutral = {"weight": 1, "fade": 1, "step": 0, "floor": 0, "per_key": False, "head": 0, "neighbour_step": 0, "last": None}
    assert {name: getattr(line, name) for name in neutral} == neutral


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"keys": "top", "last": 3}, "top and recipe go together"),
        ({"keys": "all", "recipe": "clicks"}, "top and recipe go together"),
        ({"keys": "top", "recipe": "clicks"}, "needs last"),
        ({"keys": "running"}, "needs last"),
        ({"keys": "newest"}, "Input should be"),
        ({"keys": "all", "depth": 0}, "greater than or equal to 1"),
        ({"keys": "all", "weight": 0}, "greater than 0"),
        ({"keys": "all", "fade": 1.5}, "less than or equal to 1"),
        ({"keys": "all", "hours": 0}, "greater than 0"),
        ({"keys": "all", "deep": 3}, "Extra inputs"),
        ({"keys": "all", "matrix": "near_2", "use": "place"}, "'rank' or 'weight'"),
        ({"keys": "all", "use": "weight"}, "name the matrix"),
        ({"keys": "all", "boost": {"matrix": "near_2"}}, "name the matrix"),
        ({"keys": "all", "matrix": "near_2", "boost": {"matrix": "near_6", "weight": 0}}, "greater than 0"),
        ({"keys": "all", "decay": 0}, "greater than 0"),
        ({"keys": "all", "decay": 0.9, "fade": 0.5}, "set one of them"),
    ],
)
def test_wrong_lines_are_refused(line, message):
    with pytest.raises(ValidationError, match=message):
        Line(**line)


def test_a_second_hop_needs_a_recipe_above_it():
    hop = Recipe(lines=(Line(keys="top", recipe="quick", last=3, matrix="near_2"),))
    quick = Recipe(lines=(Line(keys="all", matrix="near_2"),))
    assert CandidatesConfig(recipes={"quick": quick, "hop": hop}, order={}).outputs == ["quick", "hop"]
    with pytest.raises(ValidationError, match="'quick' must be a recipe above it"):
        CandidatesConfig(recipes={"hop": hop, "quick": quick}, order={})


def test_some_recipe_must_be_an_output_and_the_order_one_of_them():
    quick = Recipe(lines=(Line(keys="all", matrix="near_2"),), output=False)
    with pytest.raises(ValidationError, match="none of them is an output"):
        CandidatesConfig(recipes={"quick": quick}, order={})
    with pytest.raises(ValidationError, match="did you mean 'clicks'"):
        CandidatesConfig(order={"clicks": "click"})
    for name in ("quick_clicks", "history", "fusion"):
        with pytest.raises(ValidationError, match="is no recipe with output"):
            CandidatesConfig(order={"clicks": name})


def test_sources_from_vectors_and_fusion_come_behind_the_recipes():
    config = CandidatesConfig(nearest={"near": {"vectors": "word2vec"}, "asked": {"vectors": "encoder"}})
    assert config.sources == config.named_by == ["history", "clicks", "orders", "wide", "near", "asked"]
    config = CandidatesConfig(nearest={"near": {"vectors": "word2vec"}}, fusion={"keep": 50}, order={"clicks": "fusion"})
    assert config.named_by == ["history", "clicks", "orders", "wide", "near"] and config.sources == [*config.named_by, "fusion"]
    assert [config.order_of(t) for t in ("clicks", "carts")] == ["fusion", "clicks"]
    assert CandidatesConfig(nearest={"near": {"vectors": "word2vec"}}, order={"clicks": "near"}).order_of("clicks") == "near"
    assert CandidatesConfig().fusion is None


@pytest.mark.parametrize("name", ["history", "fusion", "all"])
def test_names_with_a_meaning_of_their_own_are_refused(name):
    with pytest.raises(ValidationError, match=f"may be called '{name}'"):
        CandidatesConfig(nearest={name: {"vectors": "word2vec"}})
    with pytest.raises(ValidationError, match=f"may be called '{name}'"):
        CandidatesConfig(recipes={name: {"lines": [{"keys": "all"}]}}, order={})


def test_a_source_from_vectors_is_not_called_like_a_recipe():
    with pytest.raises(ValidationError, match="a recipe is called 'quick_clicks' too"):
        CandidatesConfig(nearest={"quick_clicks": {"vectors": "word2vec"}})


def test_recipes_are_read_once_and_cannot_be_changed():
    assert packaged_recipes() is packaged_recipes()
    with pytest.raises(ValidationError, match="frozen"):
        packaged_recipes()["wide"].size = 3
