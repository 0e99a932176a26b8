import re

import pytest
import yaml

from otto_gpu.candidates.recipes import packaged_recipes
from otto_gpu.config import DEMO, FOLDER, Config, known_configs, load_config
from otto_gpu.cooccurrence.rule import RULES
from otto_gpu.errors import UserError


def complaint(source=None, changes=()) -> str:
    with pytest.raises(UserError) as caught:
        load_config(source, changes)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return path

    return write


# ---------------------------------------------------------------------------------------------- the project's own
@pytest.mark.parametrize("name", known_configs())
def test_every_config_of_the_project_is_valid_under_its_name(name):
    config = load_config(FOLDER / f"{name}.yaml")
    assert config.name == name
    assert load_config(name) == config


def test_the_configs_are_there():
    assert {"demo", "otto", "taobao_visits", "yoochoose_clicks"} <= set(known_configs())


@pytest.mark.parametrize(
    "groups, told",
    [
        (
            {"ranker": "lightgbm", "objective": "rank:ndcg"},
            "a: lightgbm has no objective 'rank:ndcg': it has binary, lambdarank",
        ),
        ({"objective": "lambdarank"}, "a: xgboost has no objective 'lambdarank': it has binary:logistic, "),
        (
            {"ranker": "lightgbm", "depth": 5},
            "a: lightgbm has no setting 'depth', which is xgboost's; it has leaves, leaf_rows",
        ),
        ({"leaves": 31}, "a: xgboost has no setting 'leaves', which is lightgbm's; it has depth"),
        ({"ranker": "lightgbn"}, "ranking.groups.a.ranker: Input should be 'xgboost' or 'lightgbm'"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value),
)
def test_a_setting_or_an_objective_of_another_kind_of_ranker_is_told(groups, told):
    with pytest.raises(UserError, match=re.escape(told)):
        load_config({"ranking": {"groups": {"a": groups}}})


def test_kinds_of_rankers_are_kept_with_their_own_settings():
    """A resolved configuration, read again, is the same: it names no setting of another kind."""
    groups = {"x": {}, "l": {"ranker": "lightgbm", "leaves": 15}, "r": {"ranker": "lightgbm", "objective": "rank_xendcg"}}
    config = load_config({"ranking": {"groups": groups}})
    dumped = config.model_dump(mode="json")
    assert [g["ranker"] for g in dumped["ranking"]["groups"].values()] == ["xgboost", "lightgbm", "lightgbm"]
    assert [g["objective"] for g in dumped["ranking"]["groups"].values()] == ["binary:logistic", "binary", "rank_xendcg"]
    assert "leaves" not in dumped["ranking"]["groups"]["x"] and "depth" not in dumped["ranking"]["groups"]["l"]
    assert load_config(dumped) == config
    every = load_config({"ranking": {"ranker": "lightgbm"}}).ranking.groups["binary"]
    assert (every.ranker, every.objective) == ("lightgbm", "binary")


def test_the_demo_needs_no_file():
    assert load_config(None) == load_config("demo") == Config.model_validate(DEMO)


def test_a_config_survives_being_written_and_read(tmp_path):
    for name in known_configs():
        config = load_config(name)
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
        assert load_config(path) == config


def test_what_is_left_out_stays_out_when_a_config_is_written_and_read(tmp_path):
    given = {
        "matrices": {"rules": {"count": None}},
        "embeddings": {"factorization": {"factorization_1_5": None}},
        "candidates": {"recipes": {"clicks": {"size": 7}}},
    }
    config = load_config(given)
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    assert load_config(path) == config
    assert "count" not in config.matrices.rules and "factorization_1_5" not in config.embeddings.factorization


def test_an_empty_file_is_all_defaults(written):
    assert load_config(written("")) == Config()


# ---------------------------------------------------------------------------------------------------- unknown keys
@pytest.mark.parametrize(
    ("text", "path", "meant"),
    [
        ("rankin: {folds: 3}", "rankin", "ranking"),
        ("ranking: {fold: 3}", "ranking.fold", "folds"),
        ("split: {test_day: 3}", "split.test_day", "test_days"),
        ("events: {columns: {sesion: visitor}}", "events.columns.sesion", "session"),
        ("ranking: {groups: {binary: {rouds: 3}}}", "ranking.groups.binary.rouds", "rounds"),
        ("ranking: {groups: {seed: {rouds: 3}}}", "ranking.groups.seed.rouds", "rounds"),
        ("matrices: {rules: {time_decay: {kepe: 3}}}", "matrices.rules.time_decay.kepe", "keep"),
        (
            "matrices: {rules: {time_decay: {weight: {half_life: 3}}}}",
            "matrices.rules.time_decay.weight.half_life",
            "half_life_hours",
        ),
        (
            "candidates: {recipes: {clicks: {lines: [{keys: all, matrix: adjacent, depht: 3}]}}}",
            "candidates.recipes.clicks.lines.0.depht",
            "depth",
        ),
        (
            "candidates: {recipes: {clicks: {lines: [{keys: all}], long_history: {item: 3}}}}",
            "candidates.recipes.clicks.long_history.item",
            "items",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_file_path_and_neighbour(written, text, path, meant):
    file = written(text)
    assert complaint(file).startswith(f"{file}: unknown key '{path}'; did you mean '{meant}'?")


def test_an_unknown_key_of_a_change_is_refused_too():
    assert "unknown key 'ranking.foldz'; did you mean 'folds'?" in complaint(None, ["ranking.foldz=3"])
    assert "unknown key 'nothing'" in complaint(None, ["nothing.at.all=3"])


# ---------------------------------------------------------------------------------------------------- wrong values
@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("ranking: {folds: many}", "ranking.folds"),
        ("ranking: {folds: 1}", "ranking.folds"),
        ("ranking: 5", "ranking"),
        ("name: a/b", "name"),
        ("device: gpu", "device"),
        ("events: {format: xml}", "events.format"),
        ("blend: {damping: .nan}", "blend.damping"),
        ("split: {by: user}", "split.by"),
        ("split: {test_start: soon}", "split.test_start"),
        ("ranking: {groups: {recall: {}}}", "ranking.groups"),
        ("ranking: {groups: {a/b: {}}}", "ranking.groups"),
        ("targets: {weights: {click: 1}}", "targets"),
        ("targets: {weights: {clicks: -1}}", "targets"),
        ("features: {families: [matrixes]}", "features"),
    ],
)
def test_a_wrong_value_is_refused_with_file_and_path(written, text, path):
    file = written(text)
    assert complaint(file).startswith(f"{file}: {path}: ")


@pytest.mark.parametrize(
    ("text", "where", "meant"),
    [
        ("events: {types: {0: click}}", "events.types", "clicks"),
        ("candidates: {bought: [cartz]}", "candidates.bought", "carts"),
        ("matrices: {rules: {time_decay: {left: [order]}}}", "matrices.rules.time_decay", "orders"),
        ("matrices: {rules: {time_decay: {weight: {type_y: {clics: 1}}}}}", "matrices.rules.time_decay", "clicks"),
        (
            "embeddings: {factorization: {factorization_1: {types: [order]}}}",
            "embeddings.factorization.factorization_1",
            "orders",
        ),
        ("embeddings: {factorization: {mine: {types: [carts, click]}}}", "embeddings.factorization.mine", "clicks"),
        ("embeddings: {seq2seq: {types: [cart]}}", "embeddings.seq2seq", "carts"),
    ],
)
def test_a_misspelled_type_is_refused(written, text, where, meant):
    line = complaint(written(text))
    assert where in line and f"did you mean '{meant}'?" in line


def test_other_types_than_ottos_may_be_named():
    config = load_config({
        "events": {"types": {"v": "views", "p": "purchases"}},
        "targets": {"types": ["views", "purchases"], "next_only": ["views"], "weights": {"purchases": 1}},
        "candidates": {"bought": ["purchases"], "order": {"purchases": "orders"}},
    })  # fmt: skip
    assert config.targets.names == ["purchases"]


# ---------------------------------------------------------------------------------------------------------- files
def test_yaml_that_would_run_code_is_refused(written, tmp_path):
    trap = tmp_path / "trapped"
    for tag in (
        f"!!python/object/apply:os.mkdir [{trap}]",
        "!!python/name:os.system",
        "!!python/object:otto_gpu.config.Config {}",
    ):
        file = written(f"name: {tag}\n")
        assert complaint(file).startswith(f"{file}:1: not valid YAML: ")
        assert "not valid YAML" in complaint(None, [f"name={tag}"])
    assert not trap.exists()


def test_what_is_no_mapping_is_refused(written):
    for text, kind in (("- a\n- b", "list"), ("5", "int"), ("just words", "str")):
        file = written(text)
        assert complaint(file) == f"{file}: expected a mapping of sections, got {kind}"


def test_broken_yaml_names_file_and_line(written):
    file = written("name: a\nranking: {folds: 3\n")
    assert complaint(file).startswith(f"{file}:3: not valid YAML: ")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00name")
    assert complaint(path).startswith(str(path))


def test_keys_that_are_no_words_are_refused(written):
    assert complaint(written("1: 2")).startswith(str(written("1: 2")))


def test_a_file_that_is_missing_is_told_with_what_there_is(tmp_path):
    for missing in ("otoo", tmp_path / "none.yaml", tmp_path):
        line = complaint(missing)
        assert f"--config {missing}: no such file" in line
        assert all(name in line for name in known_configs())
    assert "did you mean 'otto'?" in complaint("otoo") and "that is a folder" in complaint(tmp_path)


def test_a_config_of_the_project_goes_by_its_files_name_too_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("otto.yaml") == load_config("configs/otto.yaml") == load_config("otto")
    (tmp_path / "otto.yaml").write_text("name: mine")
    assert load_config("otto.yaml").name == "mine" and load_config("otto").name == "otto"


# -------------------------------------------------------------------------------------------------------- changes
def test_changes_reach_nested_keys():
    changes = ["ranking.folds=5", "split.by=session", "candidates.fill_to=10", "targets.next_only=[]", "name=other"]
    config = load_config(None, changes)
    assert (config.ranking.folds, config.split.by, config.candidates.fill_to) == (5, "session", 10)
    assert (config.targets.next_only, config.name) == ([], "other")
    assert config.events == load_config(None).events


def test_a_change_of_one_key_leaves_its_neighbours():
    default = load_config(None)
    changed = load_config(None, ["ranking.groups.binary.rounds=7"]).ranking.groups
    assert changed == default.ranking.groups | {"binary": default.ranking.groups["binary"].model_copy(update={"rounds": 7})}
    assert load_config(None, ["targets.weights.clicks=0.5"]).targets.weights == {"clicks": 0.5, "carts": 0.3, "orders": 0.6}
    recipes = load_config(None, ["candidates.recipes.clicks.size=70"]).candidates.recipes
    assert recipes["clicks"].size == 70 and recipes["clicks"].lines == default.candidates.recipes["clicks"].lines
    assert recipes.keys() == default.candidates.recipes.keys()
    # what a file says is not filled up by defaults
    assert list(load_config({"targets": {"weights": {"carts": 1}}}, ["targets.weights.orders=1"]).targets.weights) == [
        "carts",
        "orders",
    ]


def test_later_changes_win_and_nothing_is_changed_in_place():
    mine = {"ranking": {"folds": 3}}
    assert load_config(mine, ["ranking.folds=4", "ranking.folds=5", "ranking.seed=1"]).ranking.folds == 5
    assert mine == {"ranking": {"folds": 3}}
    load_config(None, ["events.synthetic_sessions=50"])
    assert load_config(None).events.synthetic_sessions == 20_000


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ranking.folds", "expected key=value"),
        ("=5", "expected key=value"),
        ("ranking.folds=many", "ranking.folds"),
        ("ranking.folds=[1", "not valid YAML"),
        ("name.inner=1", "'name' is not a section"),
        ("device.inner=1", "'device' is not a section"),
        ("ranking.folds.inner=1", "'folds' is not a section"),
    ],
)
def test_changes_that_make_no_sense_are_refused(change, told):
    assert told in complaint(None, [change])


def test_keywords_are_top_level_keys_and_none_changes_nothing(tmp_path):
    assert load_config("demo", device="cpu", threads=None) == load_config("demo", ["device=cpu"])


# ---------------------------------------------------------------------------------------------------------- rules
def test_a_part_of_a_packaged_rule_may_be_changed():
    rules = load_config({"matrices": {"rules": {"time_decay": {"keep": 7}}}}).matrices.rules
    assert rules["time_decay"] == RULES["time_decay"].model_copy(update={"keep": 7})
    assert {n: r for n, r in rules.items() if n != "time_decay"} == {n: r for n, r in RULES.items() if n != "time_decay"}
    assert load_config(None, ["matrices.rules.time_decay.keep=7"]).matrices.rules == rules


def test_a_rule_may_be_added():
    rules = load_config({"matrices": {"rules": {"mine": {"keep": 5, "tail": 3}}}}).matrices.rules
    assert list(rules) == [*RULES, "mine"] and rules["mine"].tail == 3


def test_null_leaves_a_rule_out_unless_a_recipe_needs_it():
    line = complaint({"matrices": {"rules": {"time_decay": None}}})
    assert "candidates.recipes.quick_clicks: there is no matrix rule 'time_decay'" in line
    needed = {line.matrix for recipe in load_config(None).candidates.recipes.values() for line in recipe.lines}
    spare = next(name for name in RULES if name not in needed)
    assert spare not in load_config({"matrices": {"rules": {spare: None}}}).matrices.rules
    assert f"features.rules: there is no matrix rule {spare!r}" in complaint(
        {"matrices": {"rules": {spare: None}}, "features": {"rules": [spare]}}
    )


def test_a_recipe_that_asks_an_unknown_matrix_is_refused():
    line = complaint(
        {
            "candidates": {
                "recipes": {"clicks": {"lines": [{"keys": "all", "matrix": "time_deca"}]}},
                "order": {"clicks": "clicks"},
            }
        }
    )
    assert "there is no matrix rule 'time_deca'; did you mean 'time_decay'?" in line


def test_without_the_packaged_rules_there_are_those_of_ones_own_alone(tmp_path):
    rules = {"next": {"gap_positions": {"hi": 1, "abs": False}, "keep": 20}}
    line = {"keys": "all", "matrix": "next"}
    candidates = {
        "recipes": {"some": {"size": 20, "lines": [line]}},
        "order": dict.fromkeys(("clicks", "carts", "orders"), "some"),
    }
    matrices = {"packaged": False, "rules": rules}
    config = load_config({"matrices": matrices, "candidates": candidates})
    assert list(config.matrices.rules) == ["next"]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    assert load_config(path) == config
    with pytest.raises(UserError, match="packaged: false leaves no rules"):
        load_config({"matrices": {"packaged": False}, "candidates": candidates})
    line["matrix"] = "time_decay"  # a packaged one
    with pytest.raises(UserError, match="no matrix rule 'time_decay'"):
        load_config({"matrices": matrices, "candidates": candidates})


def test_a_recipe_without_lines_changes_those_fields_of_the_packaged_one_and_no_others():
    recipes = load_config({"candidates": {"recipes": {"clicks": {"size": 70, "history": "left_out"}}}}).candidates.recipes
    packaged = packaged_recipes()
    assert list(recipes) == list(packaged)
    assert recipes["clicks"] == packaged["clicks"].model_copy(update={"size": 70, "history": "left_out"})
    assert recipes["clicks"] != packaged["clicks"] == Config().candidates.recipes["clicks"]
    assert {n: r for n, r in recipes.items() if n != "clicks"} == {n: r for n, r in packaged.items() if n != "clicks"}
    line = complaint({"candidates": {"recipes": {"click": {"size": 70}}}})
    assert "'click' has no lines and is no packaged recipe; did you mean 'clicks'?" in line


# -------------------------------------------------------------------------------------------------------- vectors
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "{features: {families: [session, encoder]}, embeddings: {encoder: null}}",
            "features.families: the section embeddings has no vectors 'encoder'",
        ),
        (
            "{submission: {format: wide}}",
            "submission.format: wide holds one list a session, but targets.weights names clicks",
        ),
        (
            "{submission: {format: wide, prefix: u}, targets: {weights: {clicks: 1}}, events: {columns: {session: u2}}}",
            "submission.prefix: the column 'u2' would hold sessions and items",
        ),
        ("{targets: {metric: map}}", "targets.metric"),
        (
            "{features: {families: [embedding]}, embeddings: {word2vec: null, factorization: null, seq2seq: null}}",
            "features.families: 'embedding' needs vectors, but the section embeddings has none",
        ),
        ("features: {families: [session, context]}", "features.families: 'context' needs columns in events.context"),
        (
            "{features: {families: [attributes]}, items: {file: items.csv, columns: {title: text}}}",
            "features.families: 'attributes' needs the section items with a column that is a code, a number or a time",
        ),
        (
            "candidates: {nearest: {near: {vectors: word2vek}}}",
            "candidates.nearest.near: the section embeddings has no vectors 'word2vek'; did you mean 'word2vec'?",
        ),
        (
            "{candidates: {nearest: {near: {vectors: encoder}}}, embeddings: {encoder: null}}",
            "candidates.nearest.near: the section embeddings has no vectors 'encoder'",
        ),
        (
            "{candidates: {nearest: {a: {vectors: seq2seq}}}, embeddings: {seq2seq: null, factorization: {seq2seq_own: {}}}}",
            "no vectors 'seq2seq'; did you mean 'seq2seq_own'?",
        ),
    ],
)
def test_vectors_that_are_not_there_are_refused_where_they_are_used(written, text, told):
    assert told in complaint(written(text))


FACTORIZATIONS = {"factorization_1", "factorization_1_5", "factorization_bought_1_9"}


@pytest.mark.parametrize(
    ("sections", "trained"),
    [
        ({"features": {"families": ["session"]}}, set()),
        ({"features": {"families": ["encoder"]}}, {"encoder"}),
        ({"features": {"families": ["embedding"]}}, {"word2vec", "seq2seq", *FACTORIZATIONS}),
        (
            {
                "features": {"families": ["embedding"]},
                "embeddings": {"word2vec": None, "factorization": {"factorization_1_5": None, "mine": {"steps": [2, 3]}}},
            },
            {"seq2seq", "factorization_1", "factorization_bought_1_9", "mine"},
        ),
        (
            {"features": {"families": ["session"]}, "candidates": {"nearest": {"near": {"vectors": "seq2seq"}}}},
            {"seq2seq"},
        ),
        (
            {"features": {"families": ["encoder"]}, "candidates": {"nearest": {"a": {"vectors": "word2vec"}}}},
            {"encoder", "word2vec"},
        ),
    ],
)
def test_the_vectors_that_something_uses_are_trained_and_no_others(sections, trained):
    config = load_config(sections)
    assert config.vectors == trained
    assert set(config.embeddings.only(config.vectors).known) == trained


def test_chunks_are_in_proportion_to_the_memory_limit():
    plain = load_config({})
    assert plain.sized() == plain
    half = load_config({"memory_limit": 4}).sized()
    assert half.features.chunk_rows == plain.features.chunk_rows / 2
    assert half.ranking.kept_mb == 2048 and half.ranking.batch_rows == plain.ranking.batch_rows / 2
    assert half.candidates.chunk_sessions == plain.candidates.chunk_sessions / 2
    assert half.events.chunk_bytes == plain.events.chunk_bytes / 2
    assert half.sized() == half
    own = load_config({"memory_limit": 16}, ["features.chunk_rows=7", "ranking.folds=3"]).sized()
    assert own.features.chunk_rows == 7 and own.ranking.kept_mb == 8192
