"""Write the page: one file that needs nothing else, and asks nobody for anything."""

import base64
import hashlib
import os
from collections.abc import Iterable
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Final

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from leasehold.adapters.auditing import AuditReport
from leasehold.adapters.bundle_files import opened_to_write
from leasehold.adapters.reader import Reader
from leasehold.adapters.report import (
    choosing,
    facts,
    gathering,
    overview,
    palette,
    timeline,
    wording,
)
from leasehold.domain.errors import InvalidInputError

TITLE: Final = "Lease audit"
_TEMPLATES: Final = resources.files("leasehold.adapters.report") / "templates"


def write_report(
    reader: Reader,
    report: AuditReport,
    target: str | os.PathLike[str],
    *,
    title: str = TITLE,
) -> None:
    """Write a report as an HTML page: whole, at the end, or not at all.

    Args:
        reader: What the audit was made over.
        report: What it found.
        target: The file; one that is there is replaced.
        title: The heading of the page.

    Raises:
        InvalidInputError: The folder of the target is not there.
        StoreError: The target cannot be written, or the store cannot answer.
    """
    check_target(target)
    page = render(report, gathering.gather(reader, report), title=title)
    with opened_to_write(target) as file:
        file.write(page.encode())


def check_target(target: str | os.PathLike[str]) -> None:
    """Check that a report can be written there, before the work for it is done.

    Raises:
        InvalidInputError: Its folder is not there, or it is a folder itself.
    """
    path = Path(target)
    if path.is_dir():
        message = f"{path} is a directory; name a file in it"
        raise InvalidInputError(message)
    if not path.parent.is_dir():
        message = f"the directory {path.parent} of {path} is not there; make it first"
        raise InvalidInputError(message)


def render(report: AuditReport, gathered: gathering.Gathered, *, title: str) -> str:
    """Return the page as text."""
    style, script = _source("page.css"), _source("page.js")
    stories = gathered.stories
    picture = timeline.draw(stories, report.at_ms)
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=wording.printable(title),
            policy=_policy(style, script),
            # These two are files of this package and hold no value of a store.
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            facts=facts.state(report),
            since=report.since_ms,
            picture=picture,
            overview=overview.draw(gathered.intervals, picture.sheets),
            totals=gathered.totals,
            trouble=wording.printable(gathered.trouble),
            stories=stories,
            drawn=sum(len(story.tenures) for story in stories),
            drawn_ids={str(story.execution_id) for story in stories},
            cut=sum(1 for story in stories if story.cut),
            lease_events_max=gathering.LEASE_EVENTS_MAX,
            patterns=range(1, palette.PATTERNS),
            bounds=choosing,
            findings_max=facts.FINDINGS_SHOWN_MAX,
            version=version("leasehold"),
            holder_columns=facts.HOLDER_COLUMNS,
        )
    )


def _policy(style: str, script: str) -> str:
    """Return the rule that keeps the page to itself.

    Nothing may be fetched, and nothing runs or styles but what stands in the page under
    these digests: not even a value that had got past the escaping.
    """
    rules = {
        "default-src": "'none'",
        "style-src": _digest(style),
        "script-src": _digest(script),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _digest(source: str) -> str:
    sha256 = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(sha256).decode('ascii')}'"


def _source(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "at": _percent,
        "counted": wording.counted,
        "lasting": wording.lasting,
        "lines": _lines,
        "number": wording.number,
        "printable": wording.printable,
        "time": wording.time_text,
    }
    return environment


def _percent(value: float) -> str:
    """Write a place in the picture, as short as the eye allows."""
    return f"{value:.2f}".rstrip("0").rstrip(".") + "%"


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)
