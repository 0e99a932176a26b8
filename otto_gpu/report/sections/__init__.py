"""The page of a run, section by section: what is told, drawn and listed."""

from __future__ import annotations

from otto_gpu.report.notes import notes
from otto_gpu.report.record import Record
from otto_gpu.report.sections import (
    beside,
    calibration,
    candidates,
    cost,
    data,
    headline,
    item_map,
    rankers,
    recall,
    score,
    since,
    vectors,
)
from otto_gpu.report.tally import tally


def page(record: Record) -> dict:
    """What the template takes."""
    tallies = {target: tally(record, target) for target in record.targets.names}
    made = [
        score.section(record),
        beside.section(record),
        since.section(record),
        recall.section(record, tallies),
        candidates.section(record),
        vectors.section(record),
        item_map.section(record),
        rankers.section(record),
        calibration.section(tallies, record),
        cost.section(record),
        data.section(record),
        data.configuration(record),
    ]
    return {
        "title": record.name,
        "kicker": headline.kicker(record),
        "summary": headline.summary(record),
        "tiles": headline.tiles(record),
        "notes": notes(record),
        "sections": [section for section in made if section is not None],
    }
