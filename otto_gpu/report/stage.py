"""The stage `report`: report.html and model_card.md of a run whose submission is done."""

from __future__ import annotations

from pathlib import Path

from otto_gpu.errors import UserError
from otto_gpu.report.page import model_card, report_html
from otto_gpu.report.record import Record
from otto_gpu.run.directory import write_atomically

REPORT, CARD = "report.html", "model_card.md"


def run(folder: Path, run_dir: Path) -> dict:
    """Both files below the folder."""
    write(Record(run_dir), folder / REPORT, folder / CARD)
    return {}


def write(record: Record, page: Path, card: Path | None) -> list[Path]:
    """The page and, where a place is named, the model card; returns what was written."""
    made = {page: report_html(record)} | ({card: model_card(record)} if card is not None else {})
    for path, text in made.items():
        save(path, text)
    return list(made)


def save(path: Path, text: str) -> None:
    try:
        write_atomically(path, lambda p: p.write_text(text, encoding="utf-8", errors="replace"))
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
