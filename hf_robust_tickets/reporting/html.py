"""A summary as one self-contained web page: text, figures, tables and pictures, nothing fetched, no script.

Example:
    >>> write_summary(
    ...     "out/summary.html",
    ...     title="A robust ticket for short reviews",
    ...     lead="MiniLM, searched for a quarter of an epoch, cut to two thirds and fine-tuned.",
    ...     sections=[
    ...         Section("Results", [Facts({"clean accuracy": "91.2 %"}), Table(rows, caption="400 reviews.")]),
    ...         Section("The search", [Picture("out/distances.png", "The ticket settles.")]),
    ...     ],
    ... )
"""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Protocol

from .._version import __version__
from ..errors import ConfigurationError, DataError
from ._page import PAGE, STYLE
from .formatting import format_value
from .tables import Columns, column_headings, is_numeric

_PNG = b"\x89PNG\r\n\x1a\n"
# Pictures are drawn at 160 dots per inch; a page counts 96, and a little larger reads better than that.
_PIXELS_PER_DOT = 0.66
_NOTE_KINDS = ("note", "warning")
# A list of contents helps from this many sections on.
_LEAST_SECTIONS_LISTED = 3


@dataclass(frozen=True)
class Text:
    """A passage of running text; an empty line begins a new paragraph."""

    text: str

    def html(self) -> str:
        """The passage as paragraphs."""
        paragraphs = [" ".join(part.split()) for part in self.text.split("\n\n")]
        return "\n".join(f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs if paragraph)


@dataclass(frozen=True)
class Note:
    """A remark set apart from the text.

    Args:
        text: The remark.
        kind: `"note"`, or `"warning"` for what limits the results.
    """

    text: str
    kind: str = "note"

    def html(self) -> str:
        """The remark in its box.

        Raises:
            ConfigurationError: If the kind is unknown.
        """
        if self.kind not in _NOTE_KINDS:
            raise ConfigurationError(f"expected the kind of a note to be one of {_NOTE_KINDS}, got {self.kind!r}")
        label = f"<strong>{self.kind.title()}.</strong>"
        return f'<div class="note {self.kind}" role="note">{label} {escape(self.text)}</div>'


@dataclass(frozen=True)
class Code:
    """Text as it is typed: a command, a configuration."""

    text: str

    def html(self) -> str:
        """The text, its spaces and lines kept."""
        return f"<pre><code>{escape(self.text)}</code></pre>"


@dataclass(frozen=True)
class Facts:
    """The few figures to see first, each large above its name.

    Args:
        facts: Name -> value; values are formatted as in tables.
    """

    facts: Mapping[str, Any]

    def html(self) -> str:
        """The figures as tiles."""
        tiles = "\n".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(format_value(value))}</dd></div>"
            for name, value in self.facts.items()
        )
        return f'<dl class="facts">\n{tiles}\n</dl>'


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        rows: One mapping per row, as for `markdown_table`.
        columns: The keys to show, or key -> heading, as for `markdown_table`.
        caption: What the table shows.
    """

    rows: Sequence[Mapping[str, Any]]
    columns: Columns | None = None
    caption: str = ""

    def html(self) -> str:
        """The table; columns of numbers are flush right."""
        headings = column_headings(self.rows, self.columns)
        cells = [[format_value(row.get(key)) for key in headings] for row in self.rows]
        classes = [' class="number"' if is_numeric([row[i] for row in cells]) else "" for i in range(len(headings))]
        head = "".join(f'<th scope="col"{c}>{escape(h)}</th>' for h, c in zip(headings.values(), classes))
        body = "\n".join(
            "<tr>" + "".join(f"<td{c}>{escape(cell)}</td>" for cell, c in zip(row, classes)) + "</tr>" for row in cells
        )
        caption = f"<caption>{escape(self.caption)}</caption>\n" if self.caption else ""
        return (
            f'<div class="table"><table>\n{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n'
            "</table></div>"
        )


@dataclass(frozen=True)
class Picture:
    """A PNG file, carried inside the page.

    Args:
        path: The file.
        caption: What it shows.
        alt: What a screen reader says; the caption by default.
    """

    path: str | os.PathLike[str]
    caption: str
    alt: str = ""

    def html(self) -> str:
        """The picture with its caption.

        Raises:
            DataError: If there is no such file, or it is no PNG.
        """
        path = Path(self.path)
        if not path.is_file():
            raise DataError(f"expected a picture at {path}, got no such file: draw it before writing the page")
        content = path.read_bytes()
        if not content.startswith(_PNG) or len(content) < 24:
            raise DataError(f"expected a PNG picture at {path}, got another kind of file: save it as PNG")
        width, height = (round(_PIXELS_PER_DOT * size) for size in struct.unpack(">II", content[16:24]))
        data = base64.b64encode(content).decode("ascii")
        return (
            f'<figure><img src="data:image/png;base64,{data}" width="{width}" height="{height}" '
            f'alt="{escape(self.alt or self.caption)}">\n<figcaption>{escape(self.caption)}</figcaption></figure>'
        )


class Block(Protocol):
    """What can stand in a section."""

    def html(self) -> str:
        """Its part of the page."""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        title: Its heading.
        blocks: What stands in it, in order: objects whose `html()` gives their part of the page.
    """

    title: str
    blocks: Sequence[Block]


def write_summary(
    path: str | os.PathLike[str], title: str, lead: str, sections: Sequence[Section], footer: str = ""
) -> Path:
    """Writes a summary page: one HTML file that holds all it shows, for light and dark screens and for print.

    All text is escaped; the page's own policy forbids scripts and anything from elsewhere.

    Args:
        path: The file to write; missing folders are created.
        title: The heading of the page.
        lead: One or two sentences: what was done, and what came out.
        sections: The parts, in order.
        footer: A last line, e.g. versions and seed; the name and version of this package follow it.

    Returns:
        The path.

    Raises:
        DataError: If a picture is missing or no PNG.
        ConfigurationError: If a note has an unknown kind.
    """
    bodies = [
        f'<section id="part-{i}">\n<h2>{escape(section.title)}</h2>\n'
        + "\n".join(block.html() for block in section.blocks)
        + "\n</section>"
        for i, section in enumerate(sections, start=1)
    ]
    made_by = f"hf_robust_tickets {__version__}"
    page = PAGE.substitute(
        title=escape(title),
        lead=escape(lead),
        style=STYLE,
        contents=_contents(sections) if len(sections) >= _LEAST_SECTIONS_LISTED else "",
        sections="\n".join(bodies),
        footer=escape(f"{footer} · {made_by}" if footer else made_by),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _contents(sections: Sequence[Section]) -> str:
    entries = "\n".join(
        f'<li><a href="#part-{i}">{escape(section.title)}</a></li>' for i, section in enumerate(sections, start=1)
    )
    return f'<nav aria-label="Contents"><ol>\n{entries}\n</ol></nav>'
