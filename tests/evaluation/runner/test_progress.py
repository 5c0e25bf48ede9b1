from __future__ import annotations

import itertools
import random

import pytest

from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.evaluation import evaluate_robustness
from hf_robust_tickets.evaluation.results.example import ExampleOutcome
from hf_robust_tickets.evaluation.results.metrics import wilson_interval
from hf_robust_tickets.evaluation.runner.progress import Progress, representative_order
from hf_robust_tickets.evaluation.sampling import Example
from tests.testing.keyword_model import keyword_model, keyword_tokenizer, rows

EXAMPLES = [Example(i, {"text": f"t{i}"}, int(i < 30)) for i in range(40)]


def evaluate(**arguments):
    defaults = {"recipes": ["deepwordbug"], "progress": False}
    return evaluate_robustness(keyword_model(), rows(20), keyword_tokenizer(), **(defaults | arguments))


def outcome(index, name):
    return {"a": ExampleOutcome(index, 0, "x", "y", name, 3, 0, 1)}


def test_every_beginning_of_the_order_is_stratified():
    order = representative_order(EXAMPLES, seed=1)
    assert sorted(order, key=lambda example: example.index) == EXAMPLES
    assert order == representative_order(EXAMPLES, seed=1) != representative_order(EXAMPLES, seed=2)
    for length in range(1, 41):
        assert abs(sum(example.label for example in order[:length]) - 0.75 * length) <= 1
    assert [example.index for example in order if example.label] != list(range(30))


def test_where_to_stop_does_not_depend_on_who_ends_first():
    order = representative_order(EXAMPLES, seed=0)
    names = ["failed" if example.index % 3 else "succeeded" for example in order]
    widths = []
    for length in range(1, 41):
        lower, upper = wilson_interval(names[:length].count("failed"), length)
        widths.append(upper - lower)
    expected = next(length for length, width in enumerate(widths, start=1) if width <= 0.4)
    for seed in range(5):
        following = Progress(order, ["a"], until_width=0.4)
        arrivals = list(range(40))
        random.Random(seed).shuffle(arrivals)
        for i in arrivals:
            assert following.enough is None or set(range(expected)) <= set(arrivals[: arrivals.index(i)])
            following.add(order[i].index, outcome(order[i].index, names[i]))
        assert following.enough == expected and following.width == widths[expected - 1]


def test_the_report_is_about_the_beginning_and_says_so(tmp_path):
    report = evaluate(until_width=0.3, output_dir=tmp_path)
    result = report["deepwordbug"]
    lower, upper = result.confidence_interval
    attacked = len(report.sample_ids)
    assert 0.2 < upper - lower <= 0.3 and result.num_examples == attacked < 60
    assert report.warnings == (
        f"stopped after {attacked} of 60 examples: the widest interval is {upper - lower:.4f} wide, "
        "and 0.3 was asked for",
    )
    whole = {outcome.index: outcome for outcome in evaluate()["deepwordbug"].outcomes}
    assert list(report.sample_ids) == sorted(report.sample_ids)
    assert [whole[index] for index in report.sample_ids] == list(result.outcomes)
    assert evaluate(until_width=0.3, concurrent_examples=7)["deepwordbug"].outcomes == result.outcomes
    # the same folder goes on to all examples, and back to the beginning
    assert evaluate(output_dir=tmp_path)["deepwordbug"].outcomes == tuple(whole[index] for index in range(60))
    assert evaluate(until_width=0.3, output_dir=tmp_path)["deepwordbug"].outcomes == result.outcomes


def test_recipes_that_fool_no_model_are_not_waited_for(capsys):
    alone = evaluate(until_width=0.3)
    report = evaluate(until_width=0.3, recipes=["input-reduction", "deepwordbug"], progress=True)
    assert report.sample_ids == alone.sample_ids and report.warnings == alone.warnings
    assert report["input-reduction"].num_examples == len(report.sample_ids)
    assert "input-reduction" not in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="until_width"):
        evaluate(until_width=0.3, recipes=["input-reduction"])


def test_attacks_are_given_up_only_when_asked_for_and_the_report_says_so():
    freely, report = evaluate(), evaluate(query_budget=6)
    queries = [outcome.queries for outcome in report["deepwordbug"].outcomes]
    given_up = sum(o.queries == 6 and o.outcome == "failed" for o in report["deepwordbug"].outcomes)
    assert max(queries) == 6 < max(outcome.queries for outcome in freely["deepwordbug"].outcomes)
    assert report.settings["query_budget"] == 6 and "query_budget" not in freely.settings and not freely.warnings
    assert report.warnings == (
        "attacks were given up after 6 queries, as asked for, and count as failed: "
        f"deepwordbug on {given_up} of 60 examples",
    )


def test_bar_says_figure_interval_and_time_left(capsys):
    evaluate(progress=True)
    shown = capsys.readouterr().err.replace("\r", "\n").splitlines()
    assert "60/60" in shown[-1] and "deepwordbug 33.3% [22.7%, 45.9%]" in shown[-1]
    assert any("<00:" in line for line in itertools.islice(shown, 1, None))


@pytest.mark.parametrize(
    "wrong",
    [
        {"until_width": 0.0},
        {"until_width": 3},
        {"query_budget": 0},
        {"max_length": 0},
        {"concurrent_examples": 0},
        {"num_processes": 0},
        {"num_processes": 2, "distributed": True},
    ],
    ids=str,
)
def test_what_cannot_work_is_refused(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        evaluate(**wrong)
