"""ModernBERT: gated feed-forward blocks and alternating attention, cut like any other encoder.

Run it with `python examples/modernbert.py`; `jupytext --to ipynb` makes a notebook of it.
"""

# %% [markdown]
# Without a network there are no weights to begin with, so the model here is a small random one: it shows that every
# step works, and its accuracy means nothing. With one, `MODEL = "answerdotai/ModernBERT-base"` is the only line to
# change.

# %%
from transformers import AutoModelForSequenceClassification, AutoTokenizer, ModernBertConfig, set_seed

from hf_robust_tickets import RobustTicketArguments, RobustTicketTrainer, load_pruned
from hf_robust_tickets.demo.corpus import corpus_as_datasets
from hf_robust_tickets.demo.encoder import minilm_path

MODEL = None
ENCODER = minilm_path()  # its tokenizer, for the random model
NUM_TRAIN, BATCH, EPOCHS = 800, 16, 1

# %%
if MODEL:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=2)
else:
    set_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(ENCODER)
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=128,
        num_labels=2,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
    )
    model = AutoModelForSequenceClassification.from_config(config)

# %%
data = corpus_as_datasets(num_train=NUM_TRAIN, num_validation=0, num_test=100)
data = data.map(lambda rows: tokenizer(rows["text"], truncation=True, max_length=128), batched=True)
args = RobustTicketArguments(
    "modernbert",
    num_train_epochs=EPOCHS,
    per_device_train_batch_size=BATCH,
    learning_rate=5e-4,
    head_sparsity=0.5,
    neuron_sparsity=0.5,
    save_strategy="no",
    report_to="none",
)
trainer = RobustTicketTrainer(model=model, args=args, train_dataset=data["train"], processing_class=tokenizer)
trainer.train()
trainer.save_model()

# %%
small = load_pruned("modernbert")
print(f"{small.num_parameters():,} parameters; heads per layer {trainer.ticket.head_counts}")
