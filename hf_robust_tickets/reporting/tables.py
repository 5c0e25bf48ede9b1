"""Tables for Markdown files and for terminals, from rows of plain data."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from .escaping import Markdown, escape_markdown, visible
from .formatting import MISSING, format_percent, format_ratio, format_seconds, format_value

__all__ = ["format_percent", "format_ratio", "format_seconds", "format_value", "markdown_table", "text_table"]

Columns = Sequence[str] | Mapping[str, str]

# What `format_value` and the other formatting functions make of a number, units and intervals included.
_NUMBER = re.compile(
    r"[-+−]?(\d[\d.,]*(e[-+]?\d+)?|inf|nan)( ?(%|×|s|min|h|d)( \d+ (s|min|h))?)?( ± \d[\d.]*)?( \([^)]*\))?"
)


_PIPE = re.compile(r"(?<!\\)\|")


def markdown_table(rows: Sequence[Mapping[str, Any]], columns: Columns | None = None) -> Markdown:
    """A table in GitHub's Markdown, aligned in the source too.

    Args:
        rows: One mapping per row; a key that a row lacks, or None, is shown as a dash. Values are shown as they are,
            but for those that are `Markdown` already.
        columns: The keys to show in their order, or a mapping from key to heading; by default all keys, in the order
            of their first appearance.

    Returns:
        The table, without a newline at its end; an empty string if there is no column.
    """
    headings, cells, right = _lay_out(rows, columns, escape=_escape_markdown)
    if not headings:
        return Markdown("")
    widths = _widths(headings, cells, least=3)
    rule = ["-" * (width - 1) + ":" if at_right else "-" * width for width, at_right in zip(widths, right)]
    lines = [_pad(headings, widths, right), rule, *(_pad(row, widths, right) for row in cells)]
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def text_table(rows: Sequence[Mapping[str, Any]], columns: Columns | None = None, indent: int = 0) -> str:
    """A table for a terminal: aligned columns under a ruled heading, two blanks apart.

    Args:
        rows: As for `markdown_table`.
        columns: As for `markdown_table`.
        indent: Blanks in front of every line.

    Returns:
        The table, without a newline at its end; an empty string if there is no column.
    """
    headings, cells, right = _lay_out(rows, columns, escape=_one_line)
    if not headings:
        return ""
    widths = _widths(headings, cells)
    lines = [_pad(headings, widths, right), ["─" * width for width in widths]]
    lines += [_pad(row, widths, right) for row in cells]
    return "\n".join((" " * indent + "  ".join(line)).rstrip() for line in lines)


def column_headings(rows: Sequence[Mapping[str, Any]], columns: Columns | None) -> dict[str, str]:
    """The keys to show, each with its heading."""
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    return dict(columns) if isinstance(columns, Mapping) else {key: key.replace("_", " ") for key in columns}


def is_numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers, so that it is set flush right."""
    filled = [cell for cell in cells if cell != MISSING]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def _lay_out(
    rows: Sequence[Mapping[str, Any]], columns: Columns | None, escape: Any
) -> tuple[list[str], list[list[str]], list[bool]]:
    headings = column_headings(rows, columns)
    shown = [[format_value(row.get(key)) for key in headings] for row in rows]
    right = [is_numeric([row[i] for row in shown]) for i in range(len(headings))]
    cells = [[escape(cell) for cell in row] for row in shown]
    return [escape(heading) for heading in headings.values()], cells, right


def _escape_markdown(text: str) -> str:
    # A pipe ends a cell even inside code.
    return _PIPE.sub(r"\|", text) if isinstance(text, Markdown) else escape_markdown(text.strip())


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()))


def _width(text: str) -> int:
    """Columns of a terminal that the text takes: wide characters two, combining ones none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _widths(headings: list[str], cells: list[list[str]], least: int = 1) -> list[int]:
    return [max(least, *(_width(row[i]) for row in [headings, *cells])) for i in range(len(headings))]


def _pad(cells: list[str], widths: list[int], right: list[bool]) -> list[str]:
    padded = []
    for cell, width, at_right in zip(cells, widths, right):
        blanks = " " * (width - _width(cell))
        padded.append(blanks + cell if at_right else cell + blanks)
    return padded
