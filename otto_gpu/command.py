"""What the command lines share: whatever a user or the machine gets wrong ends in one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from otto_gpu.errors import UserError

MISTAKE, STOPPED = 2, 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the options in one line, as everything else does, and an unknown one with the nearest there is.

    What follows an option that takes a value is its value, also where it begins with a hyphen and is no option: --aid -x5.
    """

    def parse_known_args(self, args=None, namespace=None):
        words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._joined(words), namespace)

    def parse_args(self, args=None, namespace=None):
        given, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(map(shlex.quote, unknown))}{self._nearest(unknown)}")
        return given

    def _joined(self, words: list[str]) -> list[str]:
        """An option and its value that begins with a hyphen as one word: --aid=-x5."""
        made, i = [], 0
        while i < len(words):
            word, value = words[i], words[i + 1] if i + 1 < len(words) else ""
            if word == "--":
                return made + words[i:]
            action = self._option_string_actions.get(word)
            takes = action is not None and action.nargs is None and word.startswith("--")
            if takes and value.startswith("-") and value != "-" and not self._is_option(value):
                made.append(f"{word}={value}")
                i += 1
            else:
                made.append(word)
            i += 1
        return made

    def _is_option(self, word: str) -> bool:
        """Also where it is cut short, or has its value behind it. Anything with two hyphens may be one that is misspelt."""
        return word.startswith("--") or word[:2] in self._option_string_actions

    def _nearest(self, unknown: list[str]) -> str:
        """The option that may have been meant."""
        options = [option for option in self._option_string_actions if option.startswith("--")]
        for word in unknown:
            name = word.split("=")[0]
            if name.startswith("-"):
                begun = [option for option in options if name.startswith(option)]
                close = sorted(begun, key=len)[-1:] or difflib.get_close_matches(name, options, n=1, cutoff=0.6)
                close = close or [option for option in options if name[2:] and name[2:] in option][:1]
                return f"; did you mean {close[0]}?" if close else ""
        return ""

    def error(self, message: str) -> NoReturn:
        if lacks := re.fullmatch(r"argument (?:.*/)?(--[\w-]+): expected one argument", message):
            message += f"; one that begins with a hyphen is written {lacks[1]}=-x"
        self.exit(MISTAKE, f"error: {in_one_line(message)}; --help explains the options\n")


def run_command(run: Callable[[], int], debug: bool = False, stopped: str = "stopped") -> int:
    """The exit code of run(). debug: errors keep their traceback; stopped: what is said after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may hold signs that a terminal cannot show
    with _interrupts() as came:
        try:
            code = run()
            sys.stdout.flush()  # here, where it can be told that it fails
            return code
        except (Exception, KeyboardInterrupt) as error:
            # some libraries make an error of their own of an interrupt that comes while they call us
            if came or isinstance(error, KeyboardInterrupt):
                print(stopped, file=sys.stderr)
                return STOPPED
            if debug or not isinstance(error, (UserError, OSError, MemoryError)):
                raise
            if isinstance(error, BrokenPipeError):  # who read our output has left: nothing to tell, and nobody to tell it to
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return MISTAKE
            print(f"error: {in_one_line(_told(error))}", file=sys.stderr)
            return MISTAKE


@contextmanager
def noting_errors(note: Callable[[str], None]) -> Iterator[None]:
    """Notes the line of whatever ends the block, in a run's log; the error goes on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        note("stopped")
        raise
    except Exception as error:
        with suppress(OSError):  # such as a full disk, which may be the error itself
            known = isinstance(error, (UserError, OSError, MemoryError))
            note(f"error: {in_one_line(_told(error) if known else f'{type(error).__name__}: {error}')}")
        raise


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """The signals of Ctrl-C that have come so far; each raises KeyboardInterrupt, as ever."""
    came: list[int] = []

    def note(number: int, frame) -> NoReturn:
        came.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where signals cannot be listened to
        yield came
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _told(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"not enough memory{': ' if str(error) else ''}{error}; lower memory_limit, or give a smaller log"
    where = f"{error.filename}: " if getattr(error, "filename", None) else ""
    return f"{where}{error.strerror or error}"


def in_one_line(text: str, most: int = 2000) -> str:
    """Without line ends and other control characters, as ids and names of files may hold them."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[:most] + "..."
