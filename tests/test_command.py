"""What the command lines share."""

import signal

import pytest

from otto_gpu.command import MISTAKE, STOPPED, in_one_line, run_command
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


def test_long_lines_are_cut():
    assert in_one_line("a" * 3000, 10) == "a" * 10 + "..."
