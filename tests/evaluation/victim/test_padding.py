"""A text gets the answer that it has alone, whatever stands beside it."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.evaluation import evaluate_white_box
from hf_robust_tickets.evaluation.victim.model import Victim
from hf_robust_tickets.evaluation.white_box.perturbed_model import make_batches, sample_rows
from tests.testing.families import tiny_model
from tests.testing.keyword_model import KeywordConfig, KeywordModel
from tests.testing.tiny import tiny_bert, tiny_tokenizer

TEXTS = ["w7", "w8 w9 w10 w11 w12 w13 w14 w15", "w16 w17", "w18 w19 w20 w21 w22 w23 w24 w25 w26 w27 w28"]


def padded_on(side):
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = side
    return tokenizer


def alone(model, tokenizer):
    return torch.cat([Victim(model, tokenizer, batch_size=1)([text]) for text in TEXTS])


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "gpt2", "opt"])
def test_left_padding_moves_no_text(family):
    model = tiny_model(family, vocab_size=60, pad_token_id=0).eval()
    tokenizer = padded_on("left")
    torch.testing.assert_close(Victim(model, tokenizer)(TEXTS), alone(model, tokenizer), atol=1e-5, rtol=1e-4)


class Last(KeywordModel):
    """Reads the last place, as XLNet does: right where it is no padding."""

    place = -1

    def __init__(self, config):
        super().__init__(config)
        self.scores = torch.nn.Embedding(60, 1)

    def forward(self, input_ids, attention_mask=None, **_):
        score = input_ids[:, self.place].float() + 0 * self.scores(input_ids).sum()
        return SequenceClassifierOutput(logits=torch.stack([-score, score], dim=1))


class Counting(Last):
    """Counts padding as it counts words."""

    def forward(self, input_ids, attention_mask=None, **_):
        score = torch.ones_like(input_ids).sum(dim=1).float() + 0 * self.scores(input_ids).sum()
        return SequenceClassifierOutput(logits=torch.stack([-score, score], dim=1))


def test_a_model_that_reads_the_last_token_is_padded_on_the_left():
    model, tokenizer = Last(KeywordConfig()).eval(), padded_on("right")
    assert torch.equal(Victim(model, tokenizer)(TEXTS), alone(model, tokenizer))
    rows = [{"text": text, "label": i % 2} for i, text in enumerate(TEXTS)]
    assert evaluate_white_box(model, rows, tokenizer, progress=False, batch_size=4).clean_accuracy == pytest.approx(
        float((alone(model, tokenizer).argmax(1) == torch.tensor([0, 1, 0, 1], device="cpu")).float().mean())
    )


def test_a_model_that_reads_its_padding_is_asked_one_by_one_or_refused():
    model, tokenizer = Counting(KeywordConfig()).eval(), padded_on("right")
    with pytest.raises(ConfigurationError, match="batch_size=1"):
        Victim(model, tokenizer)(TEXTS)
    rows = [{"text": text, "label": 0} for text in TEXTS]
    with pytest.raises(ConfigurationError, match="batch_size=1"):
        evaluate_white_box(model, rows, tokenizer, progress=False)
    assert alone(model, tokenizer)[1].tolist() == [-8.0, 8.0]


@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_that_were_padded_before_are_read_without_their_padding(side):
    model, tokenizer = tiny_bert().eval(), padded_on(side)
    data = Dataset.from_dict({**tokenizer(TEXTS, padding=True), "label": [0, 1, 0, 1]})
    from hf_robust_tickets.evaluation.config import EvaluationConfig

    rows = sample_rows(model, data, None, EvaluationConfig())
    assert [len(row["input_ids"]) for row in rows] == [1, 8, 2, 11]
    (inputs, labels), *rest = make_batches(rows, 4, model, tokenizer)
    assert not rest and labels.tolist() == [0, 0, 1, 1]
    with torch.no_grad():
        found = model(**inputs).logits
    torch.testing.assert_close(found, alone(model, tokenizer)[[0, 2, 1, 3]], atol=1e-5, rtol=1e-4)
