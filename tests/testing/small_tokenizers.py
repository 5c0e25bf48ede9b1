"""Small tokenizers of every kind, trained here on a few words."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = (
    "The film was good and the acting was great, but a dull plot isn't unwatchable.",
    "A lovely movie with great actors; its story unwinds slowly, unbearably so.",
    "Watch the watchable parts of the unlovely story: good, fine, great!",
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_NAMES = {f"{name.lower()}_token": f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}


def wordpiece() -> PreTrainedTokenizerFast:
    """As BERT's, in small letters; words and pieces, and all letters."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [
        "the",
        "film",
        "was",
        "good",
        "and",
        "act",
        "great",
        "but",
        "dull",
        "plot",
        "un",
        "watch",
        "love",
        "movie",
    ]
    pieces = ["##ing", "##able", "##ly", "##ors", "##s", *(f"##{letter}" for letter in letters)]
    vocabulary = [*SPECIAL, *words, *pieces, *letters, *".,;:!'2"]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return _finished(tokenizer)


def byte_level() -> PreTrainedTokenizerFast:
    """As RoBERTa's: a space belongs to the word after it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _finished(tokenizer)


def metaspace() -> PreTrainedTokenizerFast:
    """As SentencePiece has it: a mark before each word, the first one too."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    alphabet = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _finished(tokenizer)


def unigram() -> PreTrainedTokenizerFast:
    """As T5's and XLM-R's: the cut of the highest score."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=SPECIAL, unk_token="[UNK]")
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _finished(tokenizer)


def word_level() -> PreTrainedTokenizerFast:
    """Whole words."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(TEXTS, trainers.WordLevelTrainer(special_tokens=SPECIAL))
    return _finished(tokenizer)


def word_ends() -> PreTrainedTokenizerFast:
    """As the first GPT's and CLIP's: the last piece of a word has a mark."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=SPECIAL, end_of_word_suffix="</w>")
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _finished(tokenizer)


KINDS = {"wordpiece": wordpiece, "byte level": byte_level, "metaspace": metaspace}


def _finished(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **_NAMES)
