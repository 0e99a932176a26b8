"""What the command lines share."""

import shlex
import signal

import pytest

from otto_gpu.command import MISTAKE, STOPPED, Parser, in_one_line, run_command
from otto_gpu.errors import UserError


def raising(error: BaseException):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("a: no\nsuch\tkey"), "error: a: no such key"),
        (OSError(28, "No space left on device"), "error: No space left on device"),
        (OSError(13, "Permission denied", "a.csv"), "error: a.csv: Permission denied"),
        (MemoryError("Unable to allocate 9 TiB"), "error: not enough memory: Unable to allocate 9 TiB; lower memory_limit"),
    ],
)
def test_what_goes_wrong_is_one_line(capsys, error, said):
    assert run_command(raising(error)) == MISTAKE
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(said) and err.count("\n") == 1
    with pytest.raises(type(error)):
        run_command(raising(error), debug=True)


def test_faults_of_our_own_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 // 0)


def test_an_interrupt_that_a_library_wraps_is_one(capsys):
    def run():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RuntimeError("somebody else's") from error

    before = signal.getsignal(signal.SIGINT)
    assert run_command(run, stopped="stopped here") == STOPPED
    assert capsys.readouterr().err == "stopped here\n"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def parser():
    made = Parser(prog="x")
    made.add_argument("run", nargs="?")
    made.add_argument("--aid")
    made.add_argument("--top", type=int)
    made.add_argument("--set", action="append", default=[])
    made.add_argument("--to")
    made.add_argument("--list-stages", action="store_true")
    return made


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("RUN --aid -x5", {"run": "RUN", "aid": "-x5"}),
        ("--aid -x5 RUN", {"run": "RUN", "aid": "-x5"}),
        ("--aid -5 --top -3", {"aid": "-5", "top": -3}),
        ("--aid=-x5 --set -a=1 --set b=-2", {"aid": "-x5", "set": ["-a=1", "b=-2"]}),
        ("--aid=--to", {"aid": "--to"}),
        ("--aid - --list-stages RUN", {"aid": "-", "list_stages": True, "run": "RUN"}),
        ("--list-stages -- -x5", {"run": "-x5", "list_stages": True}),
        ("--aid -x5 -- --aid", {"aid": "-x5", "run": "--aid"}),
    ],
)
def test_a_value_may_begin_with_a_hyphen(parser, line, expected):
    given = vars(parser.parse_args(line.split()))
    assert {name: given[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("RUN --to-stage events", "unrecognized arguments: --to-stage events; did you mean --to?"),
        ("--lits-stages", "unrecognized arguments: --lits-stages; did you mean --list-stages?"),
        ("--stages", "unrecognized arguments: --stages; did you mean --list-stages?"),
        ("--aidd=5", "unrecognized arguments: --aidd=5; did you mean --aid?"),
        ("a 'b c'", "unrecognized arguments: 'b c';"),
        ("--quiet", "unrecognized arguments: --quiet;"),
        ("--aid --x5", "argument --aid: expected one argument; one that begins with a hyphen is written --aid=-x"),
        ("--aid --to x", "argument --aid: expected one argument"),
        ("--top x", "argument --top: invalid int value: 'x'"),
    ],
)
def test_options_that_are_none_are_told_with_the_nearest(parser, capsys, line, said):
    with pytest.raises(SystemExit) as end:
        parser.parse_args(shlex.split(line))
    assert end.value.code == MISTAKE
    told = capsys.readouterr().err
    assert told.startswith(f"error: {said}") and told.count("\n") == 1


def test_long_lines_are_cut():
    assert in_one_line("a" * 3000, 10) == "a" * 10 + "..."
