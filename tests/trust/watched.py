"""Runs a command line with an eye on what it unpickles: `python -m tests.trust.watched FILE MODULE ARGUMENTS`.

FILE is told every class that pickle looks up (the audit event `pickle.find_class`), and where from.
"""

import importlib
import sys
import traceback

TOLD, MODULE, *ARGUMENTS = sys.argv[1:]


def watch(event: str, arguments: tuple) -> None:
    if event == "pickle.find_class":
        places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack()[:-1]]
        with open(TOLD, "a") as file:
            file.write(f"{'.'.join(map(str, arguments[1:]))} {' '.join(places)}\n")


if __name__ == "__main__":
    sys.addaudithook(watch)
    sys.exit(importlib.import_module(f"otto_gpu.{MODULE}").main(ARGUMENTS))
