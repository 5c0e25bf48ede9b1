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
from pathlib import Path
from typing import Any, Protocol

from .._files import write_text
from .._version import __version__
from ..errors import ConfigurationError, DataError
from ._page import PAGE, STYLE
from .escaping import Html, html, join_html
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

    def html(self) -> Html:
        """The passage as paragraphs."""
        paragraphs = [" ".join(part.split()) for part in self.text.split("\n\n")]
        return join_html(html("<p>{}</p>", paragraph) for paragraph in paragraphs if paragraph)


@dataclass(frozen=True)
class Note:
    """A remark set apart from the text.

    Args:
        text: The remark.
        kind: `"note"`, or `"warning"` for what limits the results.
    """

    text: str
    kind: str = "note"

    def html(self) -> Html:
        """The remark in its box.

        Raises:
            ConfigurationError: If the kind is unknown.
        """
        if self.kind not in _NOTE_KINDS:
            raise ConfigurationError(f"expected the kind of a note to be one of {_NOTE_KINDS}, got {self.kind!r}")
        label = html("<strong>{}.</strong>", self.kind.title())
        return html('<div class="note {}" role="note">{} {}</div>', self.kind, label, self.text)


@dataclass(frozen=True)
class Code:
    """Text as it is typed: a command, a configuration."""

    text: str

    def html(self) -> Html:
        """The text, its spaces and lines kept."""
        return html("<pre><code>{}</code></pre>", self.text)


@dataclass(frozen=True)
class Facts:
    """The few figures to see first, each large above its name.

    Args:
        facts: Name -> value; values are formatted as in tables.
    """

    facts: Mapping[str, Any]

    def html(self) -> Html:
        """The figures as tiles."""
        tiles = join_html(
            html("<div><dt>{}</dt><dd>{}</dd></div>", name, format_value(value)) for name, value in self.facts.items()
        )
        return html('<dl class="facts">\n{}\n</dl>', tiles)


def table(headings: Sequence[str], cells: Sequence[Sequence[str]], numbers: Sequence[bool], caption: str = "") -> Html:
    """A table of cells that are text or `Html`; the columns that hold `numbers` are flush right."""
    right = [Html(' class="number"') if number else "" for number in numbers]
    head = join_html((html('<th scope="col"{}>{}</th>', c, name) for name, c in zip(headings, right)), "")
    rows = (join_html((html("<td{}>{}</td>", c, cell) for cell, c in zip(row, right)), "") for row in cells)
    return html(
        '<div class="table"><table>\n{}<thead><tr>{}</tr></thead>\n<tbody>\n{}\n</tbody>\n</table></div>',
        *(caption, head, join_html(html("<tr>{}</tr>", row) for row in rows)),
    )


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

    def html(self) -> Html:
        """The table; columns of numbers are flush right."""
        headings = column_headings(self.rows, self.columns)
        cells = [[format_value(row.get(key)) for key in headings] for row in self.rows]
        numbers = [is_numeric([row[i] for row in cells]) for i in range(len(headings))]
        caption = html("<caption>{}</caption>\n", self.caption) if self.caption else ""
        return table(list(headings.values()), cells, numbers, caption)


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

    def html(self) -> Html:
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
        return html(
            '<figure><img src="data:image/png;base64,{}" width="{}" height="{}" alt="{}">\n'
            "<figcaption>{}</figcaption></figure>",
            *(data, width, height, self.alt or self.caption, self.caption),
        )


class Block(Protocol):
    """What can stand in a section."""

    def html(self) -> Html:
        """Its part of the page, as `escaping.html` makes it; other text is shown as text."""


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
    made_by = f"hf_robust_tickets {__version__}"
    page = html(
        PAGE,
        title=title,
        lead=lead,
        style=Html(STYLE),
        contents=_contents(sections) if len(sections) >= _LEAST_SECTIONS_LISTED else "",
        sections=join_html(_section(i, section) for i, section in enumerate(sections, start=1)),
        footer=f"{footer} · {made_by}" if footer else made_by,
    )
    write_text(path, page)
    return Path(path)


def _section(number: int, section: Section) -> Html:
    blocks = join_html(block.html() for block in section.blocks)
    return html('<section id="part-{}">\n<h2>{}</h2>\n{}\n</section>', number, section.title, blocks)


def _contents(sections: Sequence[Section]) -> Html:
    entries = join_html(
        html('<li><a href="#part-{}">{}</a></li>', i, section.title) for i, section in enumerate(sections, start=1)
    )
    return html('<nav aria-label="Contents"><ol>\n{}\n</ol></nav>', entries)
