"""What is tried by processes of its own takes minutes: `make trust` runs it, `make test` the rest."""

from pathlib import Path

import pytest

IN_MINUTES = ("test_bad_input", "test_choices", "test_determinism", "test_kills", "test_machine", "test_service", "test_fuzz")


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(item.path).parent == Path(__file__).parent and item.path.stem in IN_MINUTES:
            item.add_marker(pytest.mark.long)
