"""HTML and Markdown from the templates beside this file."""

from __future__ import annotations

import html
from functools import cache
from importlib import resources

from otto_gpu import __version__
from otto_gpu.errors import UserError
from otto_gpu.report.card import card
from otto_gpu.report.record import Record
from otto_gpu.report.sections import page

try:
    from jinja2 import Environment, FunctionLoader
except ImportError as error:
    raise UserError("the report needs Jinja2, which is not installed: pip install Jinja2") from error


def report_html(record: Record) -> str:
    """The page of a run, whole in itself."""
    return _page(page(record), card(record))


def comparison_html(made: dict) -> str:
    """The page of several runs; made: what comparison.page returns."""
    return _page(made, [])


def _page(made: dict, parts: list) -> str:
    return _html().get_template("page.html.j2").render(**made, card=parts, version=__version__, style=_text("style.css"))


def model_card(record: Record) -> str:
    return _markdown().get_template("model_card.md.j2").render(name=record.name, version=__version__, parts=card(record))


def _text(name: str) -> str:
    return resources.files("otto_gpu.report").joinpath("templates", name).read_text("utf-8")


@cache
def _html() -> Environment:
    return Environment(autoescape=True, loader=FunctionLoader(_text), trim_blocks=True, lstrip_blocks=True)


@cache
def _markdown() -> Environment:
    # finalize sees every value that a template shows
    return Environment(
        finalize=_escaped, loader=FunctionLoader(_text), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )


def _escaped(value) -> str:
    """Text that stays text in Markdown, in a table's cell too; HTML in it is shown and not obeyed."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    for sign in ("\\", "|", "`", "](", "*"):
        text = text.replace(sign, "\\" + sign)
    return text
