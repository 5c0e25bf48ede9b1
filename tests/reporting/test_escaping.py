"""Whatever a name, a text or a figure holds, it is shown as it is: in a page, in a card and on a terminal."""

from __future__ import annotations

import ast
import json
import time
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import hf_robust_tickets
from hf_robust_tickets.errors import CheckpointError, DataError
from hf_robust_tickets.reporting.attack_page import write_attack_page
from hf_robust_tickets.reporting.differences import common_words, mark_changes
from hf_robust_tickets.reporting.escaping import code, code_block, html, join_html, link, markdown, visible
from hf_robust_tickets.reporting.html import Facts, Note, Section, Table, Text, write_summary
from hf_robust_tickets.reporting.model_card import CardFacts, model_card
from hf_robust_tickets.reporting.tables import markdown_table, text_table
from tests.testing.cards import FACTS, STAND_INS, robustness_report
from tests.testing.reports import outcome, report

HOSTILE = (
    "\"'><script>alert(1)</script><img src=x onerror=y> &amp; | ``` `c` **b** _e_ ~~d~~ [l](http://e.vil) ![i](//e) "
    "https://e.vil www.e.vil <b> {x} $m$ \x1b[31m \u202e \ud800\n\n# head\n- item\n```\n</pre>"
)


def poison(value: Any, keep: tuple[str, ...] = ()) -> Any:
    """All texts in plain data, and the names of what has free names, replaced by one that means harm."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, dict):
        return {key: item if key in keep else poison(item, keep) for key, item in value.items()}
    return [poison(item, keep) for item in value] if isinstance(value, list | tuple) else value


class Tags(HTMLParser):
    """The elements of a page with their attributes' names, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        if tag != "mark":
            self.found.append((tag, [name for name, _ in attributes]))

    def handle_data(self, data):
        self.text += data


def test_templates_escape_what_is_not_of_their_medium():
    assert html("<p>{}</p>", '<b> & "c"') == "<p>&lt;b&gt; &amp; &quot;c&quot;</p>"
    assert html("<div>{inner}</div>", inner=html("<p>{:.1f}</p>", 0.25)) == "<div><p>0.2</p></div>"
    assert join_html([html("<br>"), "<br>"], "") == "<br>&lt;br&gt;"
    assert markdown("- {}: **{}**", "a*b", "[x](y)") == r"- a\*b: **\[x\](y)**"
    assert markdown("{}", markdown("**{}**", "a|b")) == r"**a\|b**"
    assert markdown("{} {}", "constant_with_warmup 5.1 - roberta-base", "_a_\n# b") == (
        r"constant_with_warmup 5.1 - roberta-base \_a\_ \# b"
    )


def test_code_and_links_cannot_be_left():
    assert code("a`b") == "``a`b``" and code("`a") == "`` `a ``" and code("a\nb") == "`a b`"
    assert code_block("```\nx", "python") == "````python\n```\nx\n````"
    assert link("a]b", "https://x/y) [z](w") == r"[a\]b](https://x/y%29%20%5Bz%5D%28w)"


def test_nothing_steers_a_terminal():
    assert visible("a\x1b[31mb\x00\u202ec\ud800\td") == "a\\x1b[31mb\\x00\\u202ec\\ud800\td"
    table = text_table([{HOSTILE: HOSTILE}])
    assert table.count("\n") == 2 and "\x1b" not in table
    table.encode("utf-8")


def test_every_value_of_an_attack_page_is_shown_as_it_is(tmp_path):
    plain = report(outcome("succeeded", index=1), outcome("failed", index=2), outcome("skipped", index=3))
    bad = poison(plain, keep=("outcome",))
    for each in bad["recipes"]["pwws"]["outcomes"]:
        each |= {"index": HOSTILE, "queries": HOSTILE, "original_prediction": HOSTILE, "perturbed_prediction": HOSTILE}
    bad["recipes"] = {HOSTILE: bad["recipes"]["pwws"]}
    bad |= {"seed": HOSTILE, "num_examples": HOSTILE, "versions": {HOSTILE: HOSTILE}, "failures": {HOSTILE: HOSTILE}}
    pages = [
        write_attack_page(tmp_path / "page.html", {name: values}, [{"attack": name}]).read_text(encoding="utf-8")
        for name, values in (("small", plain), (HOSTILE, bad))
    ]
    good, shown = map(Tags, pages)
    assert shown.found == good.found
    assert shown.text.count("<script>alert(1)</script>") > 20 and "\x1b" not in pages[1]


def test_every_block_of_a_summary_escapes(tmp_path):
    def page(text: str) -> str:
        blocks = [Text(text), Note(text), Facts({text: text}), Table([{text: text}], caption=text)]
        path = write_summary(tmp_path / "s.html", text, text, [Section(text, blocks)] * 3, text)
        return path.read_text(encoding="utf-8")

    assert Tags(page(HOSTILE.replace("\n\n", " "))).found == Tags(page("plain")).found


def test_a_block_of_plain_text_is_text(tmp_path):
    class Mine:
        def html(self) -> str:
            return "<script>"

    page = write_summary(tmp_path / "s.html", "t", "l", [Section("s", [Mine()])]).read_text()
    assert "&lt;script&gt;" in page and "<script" not in page


def tokens(text: str) -> list[tuple[str, Any]]:
    """What a reader of Markdown makes of a text, its words left out."""
    reader = pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable(["table"])
    found = []
    for token in reader.parse(text):
        found.append((token.type, token.content if token.type == "html_block" else None))
        children = (child for child in token.children or () if not child.type.startswith("text"))
        found += [(child.type, child.attrs.get("src")) for child in children]
    return found


def test_every_value_of_a_card_is_shown_as_it_is():
    values = asdict(FACTS)
    keep = ("auto_class", "base_model", "weights", "language", "license", "tags", "model_class", "origin")
    data = {**values["data"], "repository": "nyu-mll/glue"}
    bad = poison(values, keep) | {"data": poison(data, ("repository", "revision")), "model_class": HOSTILE}
    reports = [{name: robustness_report(6, 10, **STAND_INS)} for name in ("robustness.json", HOSTILE)]
    reports[1][HOSTILE] |= {"warnings": [HOSTILE], "failures": {HOSTILE: HOSTILE}, "seed": HOSTILE}
    reports[0]["robustness.json"] |= {"warnings": ["w"]}
    found = reports[1][HOSTILE]["recipes"]
    found[HOSTILE] = found.pop("textfooler") | {"not_comparable": [HOSTILE], "resources": {HOSTILE: HOSTILE}}
    good, shown = (
        tokens(model_card(facts, name, reports=given, left_out=[name], without_picture=name).split("\n---\n", 1)[1])
        for facts, name, given in ((FACTS, "me/small", reports[0]), (CardFacts(**bad), HOSTILE, reports[1]))
    )
    inner = [token for token in shown if token[0] not in ("code_inline", "html_block")]
    assert inner == [token for token in good if token[0] not in ("code_inline", "html_block")]
    assert {token for token in shown if token[0].startswith("html")} <= {
        token for token in shown if "written by hf_robust_tickets" in str(token[1])
    }


def test_the_code_of_a_card_holds_names_as_strings():
    card = model_card(FACTS, 'x")\nimport os; os.system("rm")\n```')
    blocks = [block.split("\n````")[0] for block in card.split("````python\n")[1:]]
    assert len(blocks) == 3
    for block in blocks:
        calls = (node.func for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call))
        names = {call.id for call in calls if isinstance(call, ast.Name)}
        assert names <= {"load_pruned", "pipeline", "export_dense"}


@pytest.mark.parametrize(
    "values",
    [{"auto_class": "X; f()"}, {"package_module": "os.f()"}, {"auto_class": 3}],
    ids=["code", "call", "number"],
)
def test_facts_that_would_be_shown_as_code_are_names(tmp_path, values):
    FACTS.save(tmp_path / "facts.json")
    content = json.loads((tmp_path / "facts.json").read_text())
    (tmp_path / "facts.json").write_text(json.dumps(content | values))
    with pytest.raises(CheckpointError, match="expected a name of Python"):
        CardFacts.load(tmp_path / "facts.json")


@pytest.mark.parametrize("name", ["parameters", "ticket", "search", "cost", "data", "metrics", "training", "versions"])
def test_facts_of_another_kind_are_one_line(name):
    with pytest.raises(DataError, match="expected facts that make a valid card"):
        model_card(CardFacts(**{**asdict(FACTS), name: "text"}), "me/small")


def test_cells_stay_in_their_table():
    assert markdown_table([{"a": "x|y\nz", "b": code("p|q")}]).splitlines()[-1] == r"| x\|y z | `p\|q` |"


def test_one_place_escapes_for_each_medium():
    package = Path(hf_robust_tickets.__file__).parent
    for path in package.rglob("*.py"):
        source = path.read_text()
        if path.name != "escaping.py":
            assert "html import escape" not in source and "html.escape" not in source, path
    for path in (package / "reporting").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else ()
            text = "".join(part.value for part in parts if isinstance(part, ast.Constant))
            assert "</" not in text, f"{path}: a template of HTML is filled by escaping.html, not by an f-string"


def test_the_words_that_changed():
    before, after = mark_changes("the good film", "the <fine> film")
    assert (before, after) == ("the <mark>good</mark> film", "the <mark>&lt;fine&gt;</mark> film")
    assert common_words("abcd", "bxd") == [(1, 0), (3, 2)]
    assert common_words("", "a") == [] and common_words("aba", "aba") == [(0, 0), (1, 1), (2, 2)]
    assert common_words("xay", "xby") == [(0, 0), (2, 2)]


def test_common_words_are_a_longest_common_subsequence():
    def length(a: str, b: str) -> int:
        rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                rows[i + 1][j + 1] = rows[i][j] + 1 if x == y else max(rows[i][j + 1], rows[i + 1][j])
        return rows[-1][-1]

    for number in range(200):
        a, b = (format(number * factor % 6561 + 1, "b").replace("10", "c") for factor in (7919, 104_729))
        pairs = common_words(a, b)
        assert len(pairs) == length(a, b) and all(a[i] == b[j] for i, j in pairs)
        assert all(first < second for pair in pairwise(pairs) for first, second in zip(*pair))


@pytest.mark.parametrize("kind", ["one word", "all differ", "every third"])
def test_four_thousand_words_are_marked_at_once(kind):
    words = ["word" if kind == "one word" else f"w{i % 97}" for i in range(4000)]
    others = [f"x{i}" if kind == "all differ" or i % 3 == 0 else word for i, word in enumerate(words)]
    start = time.perf_counter()
    mark_changes(" ".join(words), " ".join(others))
    assert time.perf_counter() - start < 2
