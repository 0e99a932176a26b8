"""What parts two results: settings key by key, scores session by session, coverage and cost."""

from __future__ import annotations

from dataclasses import dataclass

from otto_gpu.candidates.settings import EVERYTHING, FUSION
from otto_gpu.errors import UserError
from otto_gpu.outcome.scores import SessionScores, paired
from otto_gpu.report.record import Record
from otto_gpu.report.words import setting

ABSENT = "not there"


def flat(config: dict, path: str = "") -> dict[str, object]:
    """{dotted key: value}; lists are values."""
    result = {}
    for key, value in config.items():
        name = f"{path}{key}"
        result |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return result


def changed_settings(configs: list[dict]) -> list[tuple[str, list[str]]]:
    """(key, its value in every configuration) of the keys that are not the same in all of them.

    A section that is there in some only is told as one key, not as all of its own.
    """
    flats = [flat(config) for config in configs]
    keys = list(dict.fromkeys(key for settings in flats for key in settings))
    rows: dict[str, list[str]] = {}
    for key in keys:
        name = _widest_absent(key, configs) or key
        values = [_value(config, name) for config in configs]
        if all(isinstance(v, dict) for v in values):
            continue  # an empty section here and a filled one there: its keys tell
        if any(v != values[0] for v in values):
            rows[name] = [ABSENT if v is _NOTHING else setting(v) for v in values]
    return list(rows.items())


_NOTHING = object()


def _value(config: dict, key: str):
    """By its dotted key, whose parts may hold dots themselves."""
    for name, value in config.items():
        if key == name:
            return value
        if key.startswith(f"{name}.") and isinstance(value, dict):
            found = _value(value, key[len(name) + 1 :])
            if found is not _NOTHING:
                return found
    return _NOTHING


def _widest_absent(key: str, configs: list[dict]) -> str | None:
    """The shortest beginning of a key that some configuration has as a section and another does not have."""
    parts = key.split(".")
    for n in range(1, len(parts)):
        name = ".".join(parts[:n])
        found = [_value(config, name) for config in configs]
        if any(isinstance(v, dict) for v in found) and not all(isinstance(v, dict) for v in found):
            return name
    return None


@dataclass(frozen=True)
class Difference:
    """found: what outcome.paired returns, None where nothing can be said; why: the reason then."""

    found: dict | None
    why: str = ""


def difference(after: SessionScores | None, before: SessionScores | None, record: Record, names: tuple[str, str]) -> Difference:
    """As outcome.paired, with the reason in the place of its UserError."""
    try:
        return Difference(paired(after, before, record.targets, names))
    except UserError as error:
        return Difference(None, str(error))


def since_before(record: Record) -> tuple[list[tuple[str, list[str]]] | None, Difference] | None:
    """(settings that changed, None where the older ones are not known; the difference of the scores) since the results that the
    run directory held before; None where it held none."""
    if record.previous is None:
        return None
    metrics, hits = record.previous
    changes = changed_settings([metrics["config"], record.config]) if "config" in metrics else None
    return changes, difference(record.hits, hits, record, ("this run", "the run before"))


def against_first(records: list[Record], names: list[str]) -> list[Difference]:
    """Of every further run to the first one. Raises UserError where a ground truth, the targets or k are others: runs without
    ground truth have no difference."""
    result = []
    for record, name in zip(records[1:], names[1:], strict=True):
        if record.hits is None or records[0].hits is None:
            without = name if record.hits is None else names[0]
            result.append(Difference(None, f"{without} has no scores of test sessions with ground truth"))
        else:
            result.append(Difference(paired(record.hits, records[0].hits, records[0].targets, (name, names[0]))))
    return result


def kept_coverage(coverage: dict[str, dict]) -> dict:
    """Of what the rankers see: with fusion what stays of all that was named."""
    return coverage.get(FUSION) or coverage[EVERYTHING]


def distinct_names(records: list[Record]) -> list[str]:
    """The runs' names; where two share one, their folders'."""
    for of in (lambda r: r.name, lambda r: r.run_dir.resolve().name, lambda r: str(r.run_dir)):
        names = [of(record) for record in records]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"the run {next(n for n in names if names.count(n) > 1)} is named twice: name every run once")
