"""Wide submissions and answers: out, in, and files that are neither."""

import bz2

import numpy as np
import pyarrow as pa
import pytest

from otto_gpu import evaluate
from otto_gpu.errors import UserError
from otto_gpu.events.wide import read_answers, read_wide, write_wide


def test_what_is_written_comes_back(tmp_path):
    sessions, items = pa.array(["u,1", "2", 'q"']), pa.array(["a", "b b", "c,c"])
    lists = np.array([[2, 0, -1], [1, -1, -1], [0, 1, 2]], np.int32)
    write_wide(tmp_path / "s.csv", sessions, lists, items, "user,id", "article_")
    header, first, second, _ = (tmp_path / "s.csv").read_text().splitlines()
    assert header == '"user,id",article_1,article_2,article_3'
    assert first.replace('"a"', "a") == '"u,1","c,c",a,' and second.replace('"', "") == "2,b b,,"
    found = read_wide(tmp_path / "s.csv", 2, sessions, items)
    assert found.lists.tolist() == [[2, 0], [1, -1], [0, 1]] and found.rows.all() and found.others == 0


def test_integers_are_written_plainly(tmp_path):
    write_wide(tmp_path / "s.csv", pa.array([7, 8]), np.array([[1, 0], [0, -1]]), pa.array([10, 20]), "user_id", "article_")
    assert (tmp_path / "s.csv").read_bytes() == b"user_id,article_1,article_2\n7,20,10\n8,10,\n"


ANSWERS = "user_id,click_article_id\n1,10\n2,20\n3,30\n4,40\n"
ROWS = "user_id,article_1,article_2,article_3\n1,10,11,12\n3,31,030,32\n2,21,22,20\n9,10,20,30\n8,1,,\n"


@pytest.fixture
def files(tmp_path):
    def write(answers: str = ANSWERS, rows: str = ROWS) -> list[str]:
        (tmp_path / "a.csv").write_text(answers)
        (tmp_path / "s.csv").write_text(rows)
        return ["--answers", str(tmp_path / "a.csv"), "--predictions", str(tmp_path / "s.csv"), "--metric", "mrr", "--k", "5"]

    return write


def run(capsys, arguments) -> tuple[int, str, str]:
    code = evaluate.main(arguments)
    return code, *capsys.readouterr()


def test_the_leaderboard_at_home(files, capsys):
    """A first, a second and a third place, and a user without a row; two users without answers."""
    code, out, err = run(capsys, files())
    assert (code, err) == (0, "")
    assert run(capsys, [*files(), "--official-quirks"])[::2] == (
        2, "error: --official-quirks goes with --test-labels: leave it out\n",
    )  # fmt: skip
    assert out.startswith(f"mrr@5: {(1 + 1 / 2 + 1 / 3) / 4:.4f} (95 % interval ") and "4 users with answers\n" in out
    assert "warning: 1 of 4 users with answers (25.0%) have no list: they count as misses\n" in out
    assert "warning: 2 users, such as 9, have a list and are not among the users with answers: not counted\n" in out
    assert "warning: no list holds more than 3 items, of the 5 that would count\n" in out
    code, out, _ = run(capsys, [*files(), "--k", "2", "--metric", "hit_rate", "--json"])
    found = evaluate.orjson.loads(out)
    assert code == 0 and found["hit_rate@2"] == {"answers": 2 / 4} and found["columns"] == ["user_id", "click_article_id"]


def test_large_numbers_are_told_apart(files, capsys):
    big, other = (1 << 62) + 1, (1 << 62) + 2
    code, out, _ = run(capsys, files(f"user_id,aid\n{big},{other}\n-0,1\n", f"u,a_1\n{big},0{other}\n0,{big}\n"))
    assert code == 0 and out.startswith("mrr@5: 0.5000")


def test_columns_are_found_or_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("when,item_id,who\n5,x,7\n6,y,7\n")
    found = read_answers(path, user="who")
    assert (found.user, found.item) == ("who", "item_id") and found.items.to_pylist() == ["x", "y"] and len(found.labels) == 2
    with pytest.raises(UserError, match=r"a\.csv:1: there is no column 'nobody', which --user-column names"):
        read_answers(path, user="nobody")
    with pytest.raises(UserError, match=r"'who' cannot be both the column of users and that of items"):
        read_answers(path, user="who", item="who")
    path.write_text("who,what,when\n7,x,5\n")
    with pytest.raises(UserError, match=r"which of its columns is meant is not clear: name it with --item-column"):
        read_answers(path)


@pytest.mark.parametrize(
    ("answers", "rows", "message"),
    [
        ("user_id,aid\n", ROWS, "no answers: there is nothing to score"),
        ("user_id,aid\n1,\n", ROWS, "a.csv:2: column aid is empty"),
        ("", ROWS, "a.csv:1: expected a header with a name for every column"),
        ("user_id;aid\n1;10\n", ROWS, "a.csv:1: expected a header with a column of users and one of items"),
        (ANSWERS, "user_id\n1\n", "s.csv:1: expected a header like user_id,article_1"),
        (ANSWERS, ROWS + "1,10,11,12\n", "s.csv: user_id 1 has 2 rows; expected one row a user"),
        (ANSWERS, ROWS + "5,6\n", "s.csv: not a CSV with the columns of its header"),
        (ANSWERS, "user_id,article_1\n1,\xff\n".encode("latin-1"), "s.csv: not a CSV"),
    ],
)
def test_bad_files_end_in_one_line(files, tmp_path, capsys, answers, rows, message):
    arguments = files(answers, "" if isinstance(rows, bytes) else rows)
    if isinstance(rows, bytes):
        (tmp_path / "s.csv").write_bytes(rows)
    code, out, err = run(capsys, arguments)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1


def test_a_submission_without_rows_is_all_misses(files, capsys):
    code, out, _ = run(capsys, files(rows="user_id,article_1\n"))
    assert code == 0 and out.startswith("mrr@5: 0.0000 (95 % interval 0.0000 to 0.4")


def test_answers_of_other_users_are_an_error(files, tmp_path, capsys):
    code, out, err = run(capsys, files(rows="user_id,a\n101,10\n102,20\n"))
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "none of the 4 users with answers of" in err and "are of 2 other users, such as 101" in err
    code, out, _ = run(capsys, files(rows="user_id,a\n1.0,10.0\n2,7\n3,8\n4.0,9\n"))
    assert code == 0 and out.startswith("mrr@5: 0.2500") and "no list holds more than 1 items, of the 5" in out
    arguments = files(rows="user_id,a\n1,x1\n2,x2\n3,x3\n4,x4\n")
    code, out, _ = run(capsys, arguments)
    (tmp_path / "s.csv").write_bytes(bz2.compress((tmp_path / "s.csv").read_bytes()))
    assert run(capsys, arguments) == (code, out, "")
    assert code == 0 and "none of the 4 items in the lists is anybody's answer, such as 10 is" in out
