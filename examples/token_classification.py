"""A label per word: a ticket for a token classifier that marks praise and blame.

Run it with `python examples/token_classification.py`; `jupytext --to ipynb` makes a notebook of it.
"""

# %% [markdown]
# The tags come from the lexicon that the synthetic reviews are written with: every word of praise is `GOOD`, every
# word of blame `BAD`. In the test split half of these words were never seen in training.

# %%
import numpy as np
from datasets import Dataset
from transformers import AutoModelForTokenClassification, AutoTokenizer, DataCollatorForTokenClassification

from hf_robust_tickets import RobustTicketArguments, RobustTicketTrainer
from hf_robust_tickets.demo.corpus import lexicon, make_corpus
from hf_robust_tickets.demo.encoder import minilm_path

ENCODER = minilm_path()
NUM_TRAIN, BATCH, EPOCHS = 1600, 32, 2
TAGS = ["O", "BAD", "GOOD"]

# %%
tokenizer = AutoTokenizer.from_pretrained(ENCODER)
TAG_OF = {word: 1 + liked for liked, words in lexicon().items() for word in words.surface_forms()}


def tagged(reviews: list[dict]) -> Dataset:
    """The first piece of a word has its tag; other pieces and special tokens do not count."""
    words = [[word.strip(".,;:!?").lower() for word in review["text"].split()] for review in reviews]
    batch = tokenizer(words, is_split_into_words=True, truncation=True)
    labels = []
    for i, row in enumerate(words):
        places = batch.word_ids(i)
        first = [place is not None and place not in places[:k] for k, place in enumerate(places)]
        labels.append([TAG_OF.get(row[p], 0) if is_first else -100 for p, is_first in zip(places, first)])
    return Dataset.from_dict({**batch, "labels": labels})


corpus = make_corpus(num_train=NUM_TRAIN, num_validation=0, num_test=200)
train, test = tagged(corpus["train"]), tagged(corpus["test"])


# %% [markdown]
# From here on it is the script of any token classifier, with two imports changed. The collator pads the labels.


# %%
def word_accuracy(prediction) -> dict[str, float]:
    """Of all words, and of those that praise or blame."""
    said, true = prediction.predictions.argmax(-1), prediction.label_ids
    right = said == true
    return {"of_all": float(right[true >= 0].mean()), "of_tagged": float(np.mean(right[true > 0]))}


model = AutoModelForTokenClassification.from_pretrained(ENCODER, num_labels=len(TAGS), id2label=dict(enumerate(TAGS)))
args = RobustTicketArguments(
    "token-classification",
    num_train_epochs=EPOCHS,
    per_device_train_batch_size=BATCH,
    learning_rate=1e-4,
    finetune_adversary="freelb",
    finetune_adversary_kwargs={"steps": 2, "scope": "token"},
    save_strategy="no",
    report_to="none",
)
trainer = RobustTicketTrainer(
    model=model,
    args=args,
    train_dataset=train,
    eval_dataset=test,
    processing_class=tokenizer,
    data_collator=DataCollatorForTokenClassification(tokenizer),
    compute_metrics=word_accuracy,
)
trainer.train()
metrics = trainer.evaluate()
print(
    f"right: {metrics['eval_of_all']:.3f} of all words, {metrics['eval_of_tagged']:.3f} of those that praise or blame"
)

# %% [markdown]
# `hf_robust_tickets.evaluation.evaluate_tags` attacks such a model, sentence by sentence.
