"""The log and its periods; settings and versions."""

from __future__ import annotations

import yaml

from otto_gpu.events.stage import SPLITS
from otto_gpu.report import words
from otto_gpu.report.charts import Table
from otto_gpu.report.layout import Hidden, Section, TableBlock
from otto_gpu.report.record import Record
from otto_gpu.report.sections import left_out

ASKED = {
    "last": "Of a period's sessions the last event is asked, all others are known.",
    "every": "Of a period's sessions every event but the first is asked, given those before it; nothing is learnt from them.",
    "time": "Everybody who was there before a period's start is asked for what they do in it.",
}


def section(record: Record) -> Section:
    counts = record.metrics["events"]["counts"]
    types = ", ".join(f"{words.count(n)} {name}" for name, n in counts["types"].items())
    told = f"{origin(record)}: {words.count(counts['events'])} events ({types})."
    tables = [TableBlock("Periods", periods(record), False)]
    tables += [TableBlock(title, table) for title, table in left_out.of_periods(record).items()]
    if (rows := left_out.of_the_log(record)) is not None:
        tables.append(TableBlock("Rows of the log that are no events of the run", rows))
    return Section("data", "Data", [told, *asked(record), *left_out.texts(record)], [], tables)


def origin(record: Record) -> str:
    generated = {"synthetic": "shop", "synthetic_news": "news portal"}.get(record.config["events"].get("format"))
    if generated:
        return f"A generated log of an invented {generated}"
    return f"The log at {record.config.get('data')}"


def asked(record: Record) -> list[str]:
    """What split: auto chose, and how the sessions were cut, where it is not in OTTO's way."""
    chosen = record.metrics["events"].get("split")
    cut = record.split.get("cut")
    told = [] if chosen is None else [f"split: auto chose {_settings(chosen)}, because {chosen['because']}."]
    return [*told, ASKED[cut]] if cut in ASKED else told


def _settings(chosen: dict) -> str:
    parts = {name: found for name, found in chosen.items() if isinstance(found, dict)}
    return ", ".join(f"{name}: {{{', '.join(f'{k}: {v}' for k, v in found.items())}}}" for name, found in parts.items())


def periods(record: Record) -> Table:
    """What is known before each period, and what is predicted."""
    rows = []
    for split in SPLITS:
        facts, spans = record.metrics["events"]["periods"][split], record.spans[split]
        labels = facts["labels"]
        truth = "none" if labels is None else ", ".join(f"{words.count(n)} {t}" for t, n in labels.items())
        known = f"{words.count(facts['train_events'])} events, {words.between(spans['train'])}"
        histories = f"{words.count(facts['history_events'])} events, {words.between(spans['history'])}"
        rows.append([split, known, words.count(facts["sessions"]), histories, truth])
    return Table(["period", "known before", "sessions", "their histories", "ground truth"], rows)


def configuration(record: Record) -> Section:
    versions = Table(["package", "version"], [[n, v] for n, v in record.metrics["versions"].items()])
    text = yaml.safe_dump(record.config, sort_keys=False, allow_unicode=True, width=100)
    device, threads = record.config.get("device", "cpu"), record.config.get("threads")
    on = f"device {device}, {f'{threads} threads' if threads else 'all cores'}"
    return Section(
        "configuration", "Configuration and versions",
        [f"Figures of {words.moment(record.finished)}, {on}. metrics.json holds the settings under config."],
        hidden=[Hidden("The resolved configuration", text), Hidden("Versions of the packages", table=versions)],
    )  # fmt: skip
