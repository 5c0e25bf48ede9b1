"""Several labels per text: a ticket for a multi-label classifier, trained under attack.

Run it with `python examples/multi_label.py`; `jupytext --to ipynb` makes a notebook of it.
"""

# %% [markdown]
# Synthetic reviews again, with four labels that are known by construction. `problem_type` makes the model, the loss
# and the adversary multi-label; nothing else changes.

# %%
import numpy as np
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_robust_tickets import RobustTicketArguments, RobustTicketTrainer
from hf_robust_tickets.demo.corpus import make_reviews
from hf_robust_tickets.demo.encoder import minilm_path

ENCODER = minilm_path()
NUM_TRAIN, BATCH, EPOCHS = 1600, 32, 3
NAMES = ["positive", "negated", "culture", "away from home"]
CULTURE, AWAY = {"films", "books", "concerts"}, {"restaurants", "hotels", "trips"}

# %%
tokenizer = AutoTokenizer.from_pretrained(ENCODER)


def labelled(reviews: list) -> Dataset:
    """One float per label, as the loss of transformers wants them."""
    facts = ((r.label == 1, r.pattern == "negation", r.domain in CULTURE, r.domain in AWAY) for r in reviews)
    texts = [review.text for review in reviews]
    rows = Dataset.from_dict({"text": texts, "labels": [[float(fact) for fact in row] for row in facts]})
    return rows.map(lambda batch: tokenizer(batch["text"], truncation=True), batched=True)


reviews = make_reviews(num_train=NUM_TRAIN, num_validation=0, num_test=200)
train, test = labelled(reviews["train"]), labelled(reviews["test"])


# %%
def per_label(prediction) -> dict[str, float]:
    """F1 of each label, at a probability of one half."""
    said, true = prediction.predictions > 0, prediction.label_ids > 0.5
    hits = (said & true).sum(axis=0)
    return dict(zip(NAMES, (2 * hits / np.maximum(said.sum(axis=0) + true.sum(axis=0), 1)).tolist()))


model = AutoModelForSequenceClassification.from_pretrained(
    ENCODER, num_labels=len(NAMES), problem_type="multi_label_classification", id2label=dict(enumerate(NAMES))
)
args = RobustTicketArguments(
    "multi-label",
    num_train_epochs=EPOCHS,
    per_device_train_batch_size=BATCH,
    learning_rate=1e-4,
    finetune_adversary="freelb",
    finetune_adversary_kwargs={"steps": 2},
    save_strategy="no",
    report_to="none",
)
trainer = RobustTicketTrainer(
    model=model,
    args=args,
    train_dataset=train,
    eval_dataset=test,
    processing_class=tokenizer,
    compute_metrics=per_label,
)
trainer.train()

# %%
for name, value in trainer.evaluate().items():
    if name.removeprefix("eval_") in NAMES:
        print(f"F1 of {name.removeprefix('eval_')}: {value:.2f}")
print(f"kept {sum(trainer.ticket.head_counts)} heads and {sum(trainer.ticket.neuron_counts)} neurons")

# %% [markdown]
# `hf_robust_tickets.evaluation.evaluate_label_sets` attacks such a model: it is fooled when one of the labels turns.
