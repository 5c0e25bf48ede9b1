"""Facts of a model card and a report to show in it, made by hand."""

from __future__ import annotations

from hf_robust_tickets.evaluation import ExampleOutcome, RecipeResult, RobustnessReport
from hf_robust_tickets.reporting.model_card import CardFacts

FACTS = CardFacts(
    model_name="small",
    model_class="BertForSequenceClassification",
    parameters=66_000_000,
    dense_parameters=110_000_000,
    auto_class="AutoModelForSequenceClassification",
    task="text-classification",
    base_model="google-bert/bert-base-uncased",
    license="apache-2.0",
    language=["en"],
    tags=["generated_from_trainer"],
    data={
        "repository": "nyu-mll/glue",
        "config": "sst2",
        "split": "validation",
        "revision": "b" * 40,
        "train_rows": 67_349,
        "eval_rows": 872,
    },
    ticket={
        "head_counts": [3, 1],
        "dense_heads": [4, 4],
        "neuron_counts": [1000, 500],
        "dense_neurons": [1500, 1500],
        "heads_cut": [[0], [1, 2, 3]],
        "fingerprint": "f" * 64,
        "origin": "the early bird of the search",
    },
    search={"converged": True, "epoch": 0.42, "step": 884, "tickets": 9, "ticket_tolerance": 0.1},
    adversaries={"search": {"name": "freelb", "steps": 5, "step_size": 0.05}, "finetune": None},
    training={"learning_rate": 2e-5},
    metrics={"loss": 0.31, "accuracy": 0.91},
    cost={
        "search": {
            "seconds": 75.0,
            "steps": 884,
            "passes": 4420,
            "theoretical_flops": 1.5e15,
            "peak_memory_bytes": 3 * 2**30,
        }
    },
    weights="a" * 64,
    versions={"transformers": "5.23.0"},
)


def robustness_report(fooled: int, of: int, **result) -> dict:
    """A report in which an attack fooled the model on some examples; one more was misclassified from the start."""
    outcomes = [
        ExampleOutcome(i, 0, "a", "b", "succeeded" if i < fooled else "failed", 10, 0, int(i < fooled))
        for i in range(of - 1)
    ]
    outcomes.append(ExampleOutcome(of - 1, 0, "a", "a", "skipped", 1, 1, 1))
    found = RecipeResult("textfooler", tuple(outcomes), **result)
    return RobustnessReport(
        {"textfooler": found},
        found.clean_accuracy,
        sample_ids=tuple(range(of)),
        seed=3,
        failures={"pwws": "no WordNet"},
        settings={"data": {"repository": "nyu-mll/glue", "config": "sst2", "split": "validation"}},
        model={"sha256": "a" * 64},
    ).to_dict()


STAND_INS = {
    "resources": {"sentence_encoder": "minilm"},
    "not_comparable": ("the sentence encoder minilm stands in for the Universal Sentence Encoder",),
}
