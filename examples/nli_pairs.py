"""Pairs of texts: a small, robust model of entailment, and an attack that changes the hypothesis alone.

Run it with `python examples/nli_pairs.py`; `jupytext --to ipynb` makes a notebook of it.
"""

# %% [markdown]
# The pairs are written by rule, so that nothing is downloaded: a synthetic review is the premise, a sentence about
# its writer the hypothesis. Real ones, `load_dataset("stanfordnlp/snli")`, take the place of `train` and `test`.

# %%
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_robust_tickets import RobustTicketArguments, RobustTicketTrainer, evaluate_robustness
from hf_robust_tickets.demo.corpus import make_corpus
from hf_robust_tickets.demo.encoder import minilm_path

ENCODER = minilm_path()
NUM_TRAIN, BATCH, EPOCHS, NUM_ATTACKED = 1600, 32, 2, 20
LIKED = ("The writer liked it.", "The writer was pleased with it.", "This is praise.")
DISLIKED = ("The writer disliked it.", "The writer was unhappy with it.", "This is a complaint.")


# %%
def pairs(reviews: list[dict]) -> Dataset:
    """Every second hypothesis contradicts its premise."""
    rows = []
    for i, review in enumerate(reviews):
        entailed = i % 2
        said = LIKED if review["label"] == entailed else DISLIKED
        rows.append({"premise": review["text"], "hypothesis": said[i % 3], "label": entailed})
    return Dataset.from_list(rows)


corpus = make_corpus(num_train=NUM_TRAIN, num_validation=0, num_test=100)
train, test = pairs(corpus["train"]), pairs(corpus["test"])

# %% [markdown]
# Both texts go into the tokenizer; everything after it is as for single sentences. The fine-tuning is adversarial
# too.

# %%
tokenizer = AutoTokenizer.from_pretrained(ENCODER)
train = train.map(lambda rows: tokenizer(rows["premise"], rows["hypothesis"], truncation=True), batched=True)
names = {0: "contradiction", 1: "entailment"}
model = AutoModelForSequenceClassification.from_pretrained(
    ENCODER, id2label=names, label2id={name: label for label, name in names.items()}
)
args = RobustTicketArguments(
    "nli-pairs",
    num_train_epochs=EPOCHS,
    per_device_train_batch_size=BATCH,
    learning_rate=1e-4,
    head_sparsity=0.25,
    neuron_sparsity=0.25,
    finetune_adversary="freelb",
    finetune_adversary_kwargs={"steps": 2},
    save_strategy="no",
    report_to="none",
)
trainer = RobustTicketTrainer(model=model, args=args, train_dataset=train, processing_class=tokenizer)
trainer.train()

# %% [markdown]
# By the papers' rule an attack on `premise` and `hypothesis` changes the hypothesis; `modify_columns` decides
# otherwise.

# %%
report = evaluate_robustness(
    trainer.model.eval(), test, tokenizer, recipes=["deepwordbug"], num_examples=NUM_ATTACKED, progress=False
)
print(report.summary())
