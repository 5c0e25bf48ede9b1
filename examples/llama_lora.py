"""A decoder: cut heads and neurons out of a Llama, then train adapters (LoRA) under attack on what is left.

Run it with `python examples/llama_lora.py`; `jupytext --to ipynb` makes a notebook of it.
"""

# %% [markdown]
# The Llama is a small random one, for there are no weights without a network: it shows the steps, and its accuracy
# means nothing. With grouped-query attention a *head* of the ticket is one group of key and value heads.

# %%
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    LlamaConfig,
    set_seed,
)

from hf_robust_tickets import (
    AdversarialTrainer,
    AdversarialTrainingArguments,
    attach_gates,
    detach_gates,
    draw_ticket,
    load_pruned,
    prune_,
    save_pruned,
)
from hf_robust_tickets.demo.corpus import corpus_as_datasets
from hf_robust_tickets.demo.encoder import minilm_path
from hf_robust_tickets.tickets import ExampleGradients, ScoreSums, get_score

MODEL = None  # or a Llama of yours
ENCODER = minilm_path()  # its tokenizer, for the random model
NUM_TRAIN, BATCH, EPOCHS = 800, 16, 1

# %%
set_seed(0)
tokenizer = AutoTokenizer.from_pretrained(MODEL or ENCODER)
if MODEL:
    model = AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=2)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
else:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=128,
        num_labels=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = AutoModelForSequenceClassification.from_config(config)
data = corpus_as_datasets(num_train=NUM_TRAIN, num_validation=0, num_test=100)
data = data.map(lambda rows: tokenizer(rows["text"], truncation=True, max_length=64), batched=True)

# %% [markdown]
# A first-order score from a few batches, and the cut. (`RobustTicketTrainer` does this and the fine-tuning in one
# call, where all weights are to train.)

# %%
collator, rows = DataCollatorWithPadding(tokenizer), data["train"].remove_columns("text")
gates, sums, examples = attach_gates(model), ScoreSums(get_score("taylor")), ExampleGradients()
for start in range(0, min(8 * BATCH, NUM_TRAIN), BATCH):
    batch = collator([rows[i] for i in range(start, start + BATCH)])
    with examples.watching(model):
        model(**batch).loss.backward()
    for gate, gradient in zip(gates.parameters(), examples.take(), strict=True):
        gate.grad = gradient
    sums.add(gates)
    model.zero_grad()
ticket = draw_ticket(sums.scores(), head_sparsity=0.25, neuron_sparsity=0.5)
detach_gates(model)
dense_size = model.num_parameters()
prune_(model, ticket)
print(f"{model.num_parameters():,} of {dense_size:,} parameters are left; groups per layer {ticket.head_counts}")

# %% [markdown]
# Prune first, then adapt: an adapter has the width of the layer that it is added to. Only the adapters train, and
# the attack is on the embeddings all the same.

# %%
adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=4, target_modules="all-linear"))
args = AdversarialTrainingArguments(
    "llama-lora",
    adversary="freelb",
    adversary_steps=2,
    num_train_epochs=EPOCHS,
    per_device_train_batch_size=BATCH,
    learning_rate=1e-3,
    save_strategy="no",
    report_to="none",
)
AdversarialTrainer(model=adapted, args=args, train_dataset=data["train"], processing_class=tokenizer).train()

# %%
merged = adapted.merge_and_unload()
save_pruned(merged, "llama-lora/merged", tokenizer=tokenizer)
again = load_pruned("llama-lora/merged", AutoModelForSequenceClassification).eval()
batch = collator([rows[i] for i in range(4)])
with torch.no_grad():
    print(
        "opened again: logits differ by at most",
        float((merged.eval()(**batch).logits - again(**batch).logits).abs().max()),
    )
