"""The documentation site: it builds without a warning, has no dead links, and opens from a file without a network."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import hf_robust_tickets
from hf_robust_tickets.adversaries import list_adversaries
from hf_robust_tickets.sparse import list_sparse_methods
from hf_robust_tickets.tickets import list_scores
from tests.testing.paths import ROOT

for needed in ("mkdocs", "material", "mkdocstrings", "latex2mathml", "jupytext"):
    pytest.importorskip(needed, reason="the extra `docs` is not installed")

# Attributes of elements that a browser loads with the page.
LOADED = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src")}
# Links in the head that name a page and load nothing.
NAMED = {"canonical", "prev", "next"}


class Page(HTMLParser):
    """What a page links to, loads, and has under names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.names |= {values[key] for key in ("id", "name") if values.get(key)}
        for key in ("href", "src"):
            if not values.get(key) or values.get("rel") in NAMED:
                continue
            (self.loads if (tag, key) in LOADED else self.links).append(values[key])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # A proxy that is not there: what asks for the network fails.
    dead = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **dead, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", "docs/site/mkdocs.yml"]
    done = subprocess.run(
        [*command, "--site-dir", str(folder)], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=500
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_no_dead_links(site, pages):
    dead = []
    for path, page in pages.items():
        for link in (*page.links, *page.loads):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                dead.append(f"{path.relative_to(site)}: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].names:
                dead.append(f"{path.relative_to(site)}: {link} (no such place on the page)")
    assert not dead


def test_nothing_is_loaded_from_a_network(site, pages):
    loaded = {f"{path.relative_to(site)}: {url}" for path, page in pages.items() for url in page.loads if "//" in url}
    assert not loaded
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:", sheet.read_text()), sheet.name
    assert (site / "search" / "search_index.js").is_file()  # the search of a page that was opened from a file


def test_every_page_is_in_the_navigation(site, pages):
    links = Page((site / "index.html").read_text()).links
    named = {(site / unquote(urlsplit(link).path)).resolve() for link in links if not urlsplit(link).scheme}
    assert not {str(path.relative_to(site)) for path in set(pages) - named} - {"index.html"}


def test_every_method_has_a_page(site):
    for folder, names in (
        ("adversaries", list_adversaries()),
        ("scores", list_scores()),
        ("sparse", list_sparse_methods()),
    ):
        for name in names:
            text = (site / "methods" / folder / f"{name}.html").read_text()
            for part in ("<math", "cost</td>", "use when</td>", "Use it", "Measured effect", "Paper and departures"):
                assert part in text, f"{name}: no {part}"


def test_every_command_of_a_formula_is_known(site):
    """latex2mathml shows a command that it does not know as it is written."""
    for path in site.rglob("*.html"):
        for formula in re.findall(r"<math.*?</math>", path.read_text(), flags=re.DOTALL):
            assert not re.search(r">[^<]*\\[a-zA-Z]+", formula), f"{path.relative_to(site)}: {formula}"


def test_every_public_name_is_in_the_reference(site):
    text = "".join(path.read_text() for path in (site / "reference").glob("*.html"))
    for name in set(hf_robust_tickets.__all__) - {"__version__"}:
        assert re.search(rf'id="hf_robust_tickets\.\w+\.{name}"', text), name


@cache
def messages_of_the_source() -> list[str]:
    """Every text of the package's code, with `...` for what is filled in."""
    found = []
    for path in Path(hf_robust_tickets.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


QUOTES = re.findall(r"^> (.+)$", (ROOT / "docs" / "troubleshooting.md").read_text(), flags=re.MULTILINE)


def test_twenty_errors_are_explained():
    assert len(QUOTES) >= 20 and len(set(QUOTES)) == len(QUOTES)


@pytest.mark.parametrize("quote", QUOTES, ids=lambda quote: quote[:40])
def test_quoted_errors_are_said(quote):
    pattern = re.compile(".*".join(re.escape(part) for part in quote.split("...")), flags=re.DOTALL)
    assert any(pattern.search(text) for text in messages_of_the_source()), quote
