from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest

from hf_robust_tickets.errors import ConfigurationError, DataError
from hf_robust_tickets.reporting.html import Code, Facts, Note, Picture, Section, Table, Text, write_summary

# A white PNG of one pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8/5+hHgAHggJ/PchI7wAAAABJRU5ErkJggg=="
)
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Checks that tags are balanced, and collects them with the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "pixel.png"
    path.write_bytes(PIXEL)
    return path


def test_page_holds_everything(tmp_path, picture):
    path = write_summary(
        tmp_path / "new" / "summary.html",
        "A <ticket> & more",
        'The "lead".',
        [
            Section(
                "Results", [Facts({"clean": 0.5}), Table([{"model": "<b>", "Aua": 0.25}], caption="Small & true.")]
            ),
            Section("Search", [Text("One.\n\nTwo."), Picture(picture, "It settles.")]),
            Section("Limits", [Note("<script>alert(1)</script>", "warning"), Code("robust-tickets demo\n  --seed 1")]),
        ],
        footer="seed 0",
    )
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    for text in (
        "A <ticket> & more",
        'The "lead".',
        "<b>",
        "0.25",
        "Small & true.",
        "It settles.",
        "seed 0 · hf_robust",
    ):
        assert text in page.text
    assert "<script" not in source
    assert page.text.count("Results") == 2
    tags = [tag for tag, _ in page.tags]
    assert tags.count("section") == 3
    assert tags.count("p") == 4  # lead, two paragraphs, footer


def test_nothing_is_fetched_from_elsewhere(tmp_path, picture):
    path = write_summary(tmp_path / "s.html", "t", "l", [Section("s", [Picture(picture, "c")])])
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"(https?:)?//[a-z]", source)
    assert not re.search(r"url\(|@import|<link|<iframe", source)
    image = next(attrs for tag, attrs in Page(source).tags if tag == "img")
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == PIXEL
    assert image["alt"] == "c"


def test_numbers_are_flush_right():
    html = Table([{"name": "a", "seconds": "12.3 s"}], {"name": "Name", "seconds": "Time"}).html()
    assert '<td class="number">12.3 s</td>' in html
    assert '<th scope="col">Name</th>' in html


def test_few_sections_need_no_contents(tmp_path):
    path = write_summary(tmp_path / "s.html", "t", "l", [Section("only", [])])
    assert "<nav" not in path.read_text(encoding="utf-8")


def test_what_cannot_be_shown_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        Picture(tmp_path / "none.png", "c").html()
    (tmp_path / "fake.png").write_bytes(b"GIF89a" + bytes(30))
    with pytest.raises(DataError, match="another kind of file"):
        Picture(tmp_path / "fake.png", "c").html()
    with pytest.raises(ConfigurationError, match="got 'danger'"):
        Note("text", "danger").html()
