"""The page of an attack: what changed is marked, everything is escaped."""

from __future__ import annotations

from hf_robust_tickets.reporting.attack_page import TextPairs, write_attack_page
from hf_robust_tickets.reporting.differences import mark_changes
from tests.testing.reports import outcome, report


def test_changed_words_are_marked_on_both_sides():
    before, after = mark_changes("a good, quiet film", "a fine, quiet movie indeed")
    assert before == "a <mark>good</mark>, quiet <mark>film</mark>"
    assert after == "a <mark>fine</mark>, quiet <mark>movie indeed</mark>"
    assert mark_changes("same", "same") == ("same", "same")
    assert mark_changes("one", "one two") == ("one", "one<mark> two</mark>")


def test_text_is_escaped():
    html = TextPairs([outcome()], {0: "negative", 1: "positive"}).html()
    assert "a <mark>good</mark> &lt;film&gt;" in html and "<film>" not in html
    assert "fooled: positive → negative, 12 queries" in html


def test_pairs_of_texts_are_named():
    pair = outcome(
        before={"premise": "it rains", "hypothesis": "wet"}, after={"premise": "it rains", "hypothesis": "dry"}
    )
    html = TextPairs([pair]).html()
    assert "premise: it rains" in html and "hypothesis: <mark>dry</mark>" in html


def test_page_shows_figures_warnings_and_the_fooled_first(tmp_path):
    values = report(outcome("skipped", index=1), outcome("failed", index=2), outcome("succeeded", index=3))
    page = write_attack_page(
        tmp_path / "page.html", {"small": values}, [{"attack": "pwws", "difference": "+1"}]
    ).read_text()
    for text in (
        "75",
        "10",
        "did not run: no masked model",
        "the model &lt;was&gt; loud",
        "stand-ins",
        "seed 7",
        "+1",
    ):
        assert text in page
    rows = [page.index(f'<td class="number">{index}</td>') for index in (3, 2, 1)]
    assert rows == sorted(rows)


def test_page_says_when_it_cuts(tmp_path):
    values = report(*(outcome(index=i) for i in range(5)))
    page = write_attack_page(tmp_path / "page.html", {"small": values}, max_examples=2).read_text()
    assert "2 of 5 texts are shown" in page
    assert page.count("<mark>") == 4
