"""A tiny encoder that reads the demo's reviews, in the place of the pretrained one."""

from __future__ import annotations

import re
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertTokenizerFast

from hf_robust_tickets.demo.corpus import make_corpus
from tests.testing.tiny import tiny_bert


def write_tiny_encoder(folder: Path) -> Path:
    """Two layers without a head, and a tokenizer of the corpus's words."""
    texts = [review["text"] for review in make_corpus(num_train=200, num_validation=0, num_test=0)["train"]]
    words = sorted({word for text in texts for word in re.findall(r"\w+", text.lower())})
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    bare = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]"))
    bare.normalizer, bare.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    bare.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    BertTokenizerFast(tokenizer_object=bare, model_max_length=64).save_pretrained(folder)
    tiny_bert(vocab_size=len(known), max_position_embeddings=64).base_model.save_pretrained(folder)
    return folder
