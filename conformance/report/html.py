"""index.html: one page that needs no network and no script to be read."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from conformance.report.model import Report
from conformance.report.view import View

MARKS = {"pass": "✓", "fail": "✗", "untested": "?", "not exposed": "-", "error": "!", "not scored": "…"}


def render(report: Report, folder: Path) -> str:
    """The page. `folder` holds the traces."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["words"] = _words
    environment.filters["anchor"] = lambda requirement: requirement.lower()
    source = files("conformance.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    view = View(report, folder)
    return environment.from_string(source).render(view=view, report=report, claim=report.claim, marks=MARKS)


def _words(sentence: str) -> Markup:
    """A sentence of the table, with its `code` shown as such."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sentence))))  # noqa: S704  escaped before
