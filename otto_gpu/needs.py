"""Packages that not everybody has: each is imported where it computes, and looked for before a run begins."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass

from otto_gpu.errors import MissingExtra, UserError


@dataclass(frozen=True)
class Need:
    """what: who needs it, as the message names him; package: as people know it; extra: of pyproject.toml, which brings it;
    modules: what is imported of it, () the one that is called as the package is."""

    what: str
    package: str
    extra: str
    modules: tuple[str, ...] = ()

    @property
    def there(self) -> bool:
        return all(map(installed, self.modules or (self.package,)))

    def missing(self) -> MissingExtra:
        """The error that says so."""
        return MissingExtra(self.what, self.package, self.extra)


def installed(module: str) -> bool:
    """Whether there is such a module; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # of what is around it, or of whoever hides it
        return False
    except ValueError:  # it has been imported already, by a way of its own
        return True


def look_for(needs: Iterable[Need]) -> None:
    """A UserError in one line for all that is missing."""
    missing = [need for need in dict.fromkeys(needs) if not need.there]
    if len(missing) == 1:
        raise missing[0].missing()
    if missing:
        whose: dict[str, list[str]] = {}
        for need in missing:
            whose.setdefault(need.what, []).append(need.package)
        told = ", ".join(f"{what} needs {' and '.join(packages)}" for what, packages in whose.items())
        extras = ",".join(dict.fromkeys(need.extra for need in missing))
        raise UserError(f"{told}, which are not installed: pip install 'otto_gpu[{extras}]'")
