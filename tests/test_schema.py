import pytest
from pydantic import Field, ValidationError

from otto_gpu.schema import Section, as_user_error, did_you_mean


class Leaf(Section):
    depth: int = 3
    keep: int | None = None


class Branch(Section):
    leaves: dict[str, Leaf] = {}
    rows: tuple[Leaf, ...] = ()
    one: Leaf | None = None
    share: float = Field(0.5, ge=0)


class Tree(Section):
    branch: Branch = Branch()
    name: str = "tree"
    size: int = 1


def complaint(values: dict, model=Tree) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    return str(as_user_error(caught.value, model, "tree.yaml"))


def test_nearest_names_a_close_name_or_all_of_them():
    assert did_you_mean("clics", ["clicks", "carts"]) == "did you mean 'clicks'?"
    assert did_you_mean("zzz", ["clicks", "carts"]) == "known: carts, clicks"
    assert did_you_mean("3", [1, 2]) == "known: 1, 2"


@pytest.mark.parametrize(
    ("values", "path", "meant"),
    [
        ({"brnch": {}}, "brnch", "branch"),
        ({"branch": {"shar": 1}}, "branch.shar", "share"),
        ({"branch": {"leaves": {"a": {"dept": 1}}}}, "branch.leaves.a.dept", "depth"),
        ({"branch": {"rows": [{}, {"kep": 1}]}}, "branch.rows.1.kep", "keep"),
        ({"branch": {"one": {"depht": 1}}}, "branch.one.depht", "depth"),
        # a mapping's key that is also the name of one of its values' fields
        ({"branch": {"leaves": {"depth": {"kepe": 1}}}}, "branch.leaves.depth.kepe", "keep"),
    ],
)
def test_an_unknown_key_is_told_with_its_path_and_neighbour(values, path, meant):
    assert complaint(values) == f"tree.yaml: unknown key '{path}'; did you mean '{meant}'?"


def test_an_unknown_key_far_from_all_is_told_with_what_there_is():
    assert (
        complaint({"branch": {"leaves": {"a": {"qqq": 1}}}})
        == "tree.yaml: unknown key 'branch.leaves.a.qqq'; known: depth, keep"
    )


def test_a_wrong_value_is_told_with_its_path_and_itself():
    line = complaint({"branch": {"share": "much"}})
    assert line.startswith("tree.yaml: branch.share: ") and line.endswith("got 'much'")
    assert complaint({"branch": {"share": -1}}).endswith("got -1")
    assert complaint({"branch": 5}).startswith("tree.yaml: branch: ")


def test_more_than_one_mistake_is_counted():
    assert complaint({"size": "x", "brnch": 1, "nam": 1}).endswith("(and 2 more)")


def test_sections_are_immutable_and_take_no_nan_or_infinity():
    with pytest.raises(ValidationError):
        Tree().size = 2
    for value in (float("nan"), float("inf")):
        assert "branch.share" in complaint({"branch": {"share": value}})


def test_defaults_are_validated_too():
    class Wrong(Section):
        size: int = Field(0, ge=1)

    assert "size" in complaint({}, Wrong)
