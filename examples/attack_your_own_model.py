"""Attack a classifier of yours: one sentence to look at, a sample with intervals, a page with every text.

Run it with `python examples/attack_your_own_model.py`; `jupytext --to ipynb` makes a notebook of it.
"""

# %% [markdown]
# `MODEL` is any classifier of texts, a folder or a repository of the Hub. Without one, a small model trains here
# first, in the plain `Trainer` of transformers: nothing of this package has to be in a model that is attacked.

# %%
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from hf_robust_tickets import evaluate_robustness
from hf_robust_tickets.cli.main import main as robust_tickets
from hf_robust_tickets.demo.corpus import corpus_as_datasets
from hf_robust_tickets.demo.encoder import minilm_path
from hf_robust_tickets.evaluation import attack_text, evaluate_noise

MODEL = None
ENCODER = minilm_path()
NUM_TRAIN, BATCH, EPOCHS, NUM_ATTACKED = 1600, 32, 2, 20

# %%
data = corpus_as_datasets(num_train=NUM_TRAIN, num_validation=0, num_test=100)
tokenizer = AutoTokenizer.from_pretrained(MODEL or ENCODER)
if MODEL:
    model = AutoModelForSequenceClassification.from_pretrained(MODEL)
else:
    names = {0: "negative", 1: "positive"}
    model = AutoModelForSequenceClassification.from_pretrained(
        ENCODER, id2label=names, label2id={name: label for label, name in names.items()}
    )
    train = data["train"].map(lambda rows: tokenizer(rows["text"], truncation=True), batched=True)
    args = TrainingArguments(
        "own-model",
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH,
        learning_rate=1e-4,
        save_strategy="no",
        report_to="none",
    )
    Trainer(model=model, args=args, train_dataset=train, processing_class=tokenizer).train()
model = model.eval()

# %% [markdown]
# One sentence. Changed words stand in double brackets.

# %%
print(attack_text(model, tokenizer, "The hotel was a wonderful surprise.", "positive", recipe="deepwordbug"))

# %% [markdown]
# A sample. DeepWordBug needs no resources; `robust-tickets doctor` says which other recipes run on this machine.
# Every outcome is on disk at once: the same call goes on where it was cut off.

# %%
report = evaluate_robustness(
    model,
    data["test"],
    tokenizer,
    recipes=["deepwordbug"],
    num_examples=NUM_ATTACKED,
    output_dir="own-model/robustness",
    progress=False,
)
print(report.summary())
low, high = report["deepwordbug"].confidence_interval
print(f"the truth is somewhere between {low:.0%} and {high:.0%}: attack more examples for a narrower interval")

# %% [markdown]
# Nobody attacks most of the time; people mistype.

# %%
noise = evaluate_noise(model, data["test"], tokenizer, kinds=["keyboard"], severities=[3], progress=False)
print(f"clean {noise.clean_accuracy:.1%}, every fifth word mistyped {noise.accuracy('keyboard', 3):.1%}")

# %% [markdown]
# The page with all texts, before and after.

# %%
robust_tickets(["report", "own-model/robustness"])
