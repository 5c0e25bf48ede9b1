"""How a value gets into a page, a card or onto a terminal: the only place that escapes, one function per medium.

`html` and `markdown` fill the gaps of a template. Every value is escaped on its way in, but for one that is of the
medium already, because it came out of the same function:

    >>> html("<p>{}</p>", "<script>")
    '<p>&lt;script&gt;</p>'
    >>> html("<div>{}</div>", html("<p>{}</p>", "a & b"))
    '<div><p>a &amp; b</p></div>'
    >>> markdown("- {}: **{}**", "a*b", "[x](y)")
    '- a\\\\*b: **\\\\[x\\\\](y)**'
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from html import escape
from string import Formatter
from typing import Any
from urllib.parse import quote

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that steer a terminal, turn the direction of what follows, or have no UTF-8; not tab and newline."""

# What begins a construct of CommonMark or of GitHub's dialect inside a line; an underscore inside a word does not.
_INLINE = re.compile(r"[\\`*\[\]<|~$#]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|:(?=//)|(?<=\bwww)\.|@(?=\w)")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def html(template: str, /, *values: Any, **named: Any) -> Html:
    """Fills a template as `str.format` does; values that are no `Html` are escaped."""
    return Html(_Filling(Html, escape_html).vformat(template, values, named))


def join_html(parts: Iterable[str], separator: str = "\n") -> Html:
    """Parts in a row; those that are no `Html` are escaped."""
    return Html(separator.join(part if isinstance(part, Html) else escape_html(part) for part in parts))


def markdown(template: str, /, *values: Any, **named: Any) -> Markdown:
    """Fills a template as `str.format` does; values that are no `Markdown` are escaped and put on one line."""
    return Markdown(_Filling(Markdown, escape_markdown).vformat(template, values, named))


def join_markdown(parts: Iterable[str], separator: str = "\n\n") -> Markdown:
    """Parts in a row; those that are no `Markdown` are escaped."""
    return Markdown(separator.join(part if isinstance(part, Markdown) else escape_markdown(part) for part in parts))


def code(text: Any) -> Markdown:
    """Text as code inside a line, whatever backticks it holds."""
    shown = visible(" ".join(str(text).split()))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    blank = " " if shown.startswith("`") or shown.endswith("`") or not shown else ""
    return Markdown(f"{fence}{blank}{shown}{blank}{fence}")


def code_block(text: str, language: str = "") -> Markdown:
    """Lines of code, whatever backticks they hold."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return Markdown(f"{fence}{language}\n{visible(text)}\n{fence}")


def link(text: Any, address: str) -> Markdown:
    """A link; the address cannot end it."""
    return markdown("[{}]({})", text, Markdown(quote(visible(address), safe="/:?=#%~")))


def escape_html(text: str) -> str:
    """Text for the inside of an element or of an attribute in quotes."""
    return escape(visible(text), quote=True)


def escape_markdown(text: str) -> str:
    """Text for the inside of a line, or of a table's cell: it is shown as it is."""
    return _INLINE.sub(lambda found: "\\" + found[0], visible(re.sub(r"\s+", " ", text)))


def visible(text: str) -> str:
    """Text in which nothing steers a terminal or turns the line around: such characters are written as Python does."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class _Filling(Formatter):
    def __init__(self, kind: type, escape: Callable[[str], str]) -> None:
        self.kind, self.escape = kind, escape

    def format_field(self, value: Any, spec: str) -> str:
        return value if isinstance(value, self.kind) else self.escape(format(value, spec))
