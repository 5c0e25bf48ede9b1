"""Export a pruned model to ONNX and serve it, without torch in the server.

Run it with `python examples/export_and_serve.py`; `jupytext --to ipynb` makes a notebook of it.
"""

# %% [markdown]
# A ticket first; any pruned or dense model of transformers is exported in the same way.

# %%
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

import numpy as np
import onnxruntime
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_robust_tickets import RobustTicketArguments, RobustTicketTrainer
from hf_robust_tickets.demo.corpus import corpus_as_datasets
from hf_robust_tickets.demo.encoder import minilm_path

ENCODER = minilm_path()
NUM_TRAIN, BATCH, EPOCHS = 1600, 32, 1
NAMES = ["negative", "positive"]

# %%
tokenizer = AutoTokenizer.from_pretrained(ENCODER)
data = corpus_as_datasets(num_train=NUM_TRAIN, num_validation=0, num_test=20)
data = data.map(lambda rows: tokenizer(rows["text"], truncation=True), batched=True)
args = RobustTicketArguments(
    "served",
    num_train_epochs=EPOCHS,
    per_device_train_batch_size=BATCH,
    learning_rate=1e-4,
    save_strategy="no",
    report_to="none",
)
trainer = RobustTicketTrainer(
    model=AutoModelForSequenceClassification.from_pretrained(ENCODER, num_labels=2),
    args=args,
    train_dataset=data["train"],
    processing_class=tokenizer,
)
trainer.train()
model = trainer.model.eval()

# %% [markdown]
# The example needs a batch and a length of at least two, for torch takes a one for a constant; both stay free.

# %%
example = dict(tokenizer(["a fine film", "a dull and tiresome book"], padding=True, return_tensors="pt"))
axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
exported = torch.onnx.export(model, (), kwargs=example, dynamic_shapes=dict.fromkeys(example, axes), dynamo=True)
exported.save("served/model.onnx")
session = onnxruntime.InferenceSession("served/model.onnx")
needed = [node.name for node in session.get_inputs()]


# %% [markdown]
# A server of the standard library: a list of texts comes in, a class and its probability go out for each. Behind a
# real address put a real server in its place; `answer` stays.


# %%
def answer(texts: list[str]) -> list[dict]:
    """Class and probability of each text."""
    encoded = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
    logits = session.run(None, {name: encoded[name].astype(np.int64) for name in needed})[0]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances = odds / odds.sum(axis=1, keepdims=True)
    return [{"label": NAMES[row.argmax()], "probability": round(float(row.max()), 4)} for row in chances]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        try:
            texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["texts"]
            status, said = 200, answer([str(text) for text in texts])
        except (KeyError, TypeError, ValueError) as error:
            status, said = 400, {"error": f'expected {{"texts": [...]}}, got {error!r}'}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()

# %%
texts = data["test"]["text"][:4]
address = f"http://127.0.0.1:{server.server_port}"
with urlopen(Request(address, data=json.dumps({"texts": list(texts)}).encode())) as reply:
    for text, said in zip(texts, json.load(reply)):
        print(f"{said['label']} ({said['probability']:.2f}): {text}")
server.shutdown()

# %%
with torch.no_grad():
    batch = tokenizer(list(texts), padding=True, return_tensors="pt")
    chances = model(**batch).logits.softmax(-1).max(-1).values
assert np.allclose(chances, [said["probability"] for said in answer(list(texts))], atol=1e-3)
