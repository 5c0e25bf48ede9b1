"""Flips by gradient, worked out by hand on a linear bag of embeddings."""

from __future__ import annotations

import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from hf_robust_tickets.errors import ConfigurationError
from hf_robust_tickets.evaluation import RobustnessReport, compare_reports, evaluate_hotflip
from hf_robust_tickets.evaluation.white_box.token_flips import TokenFlips, first_order_scores
from tests.testing.families import tiny_config
from tests.testing.keyword_model import SCORES, keyword_model, keyword_tokenizer

# score = sum of the words' scores - 1; class 1 where it is positive
DATA = [
    {"text": "Good film", "label": 1},  # 1; good -> bad: -3
    {"text": "great good good film", "label": 1},  # 5; one flip: 1, two: -3
    {"text": "bad", "label": 0},  # -3; bad -> good: 1
    {"text": "film", "label": 1},  # wrong to begin with
]


def attack(data=DATA, **arguments):
    return evaluate_hotflip(keyword_model(), data, keyword_tokenizer(), progress=False, **arguments)


def outcomes(report):
    return [(o.outcome, o.flips) for o in report["hotflip"].outcomes]


def test_first_order_scores_by_hand():
    vectors = torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, -1.0]])
    scores = first_order_scores(vectors, torch.tensor([1, 2]), torch.tensor([[1.0, 0.0], [0.5, -2.0]]))
    assert scores.tolist() == [[-1.0, 0.0, 2.0], [-3.5, -7.0, 0.0]]


def test_the_estimate_is_the_gradient_of_the_model():
    """d loss / d score of class 1 is -sigmoid(-1) at score 1, and each token's embedding is its score."""
    from hf_robust_tickets.evaluation.victim.model import Victim
    from hf_robust_tickets.evaluation.white_box.hotflip import _HotFlip, _Options

    victim = Victim(keyword_model(), keyword_tokenizer())
    hotflip = _HotFlip(victim, ["text"], _Options(1, 1, 1, True, None))
    encoded = hotflip.flips.encode({"text": "Good film"})
    gradient = hotflip._gradient(encoded.inputs, 1)
    slope = -1 / (1 + math.e)
    assert gradient.flatten().tolist() == pytest.approx([slope, slope])
    scores = first_order_scores(hotflip.flips.vectors, encoded.ids, gradient)
    words = list(SCORES)
    assert scores[0, words.index("bad")].item() == pytest.approx(-4 * slope)
    assert scores[1, words.index("bad")].item() == pytest.approx(-2 * slope)


def test_flips_are_the_fewest_on_a_linear_model():
    report = attack(flips=2)
    assert outcomes(report) == [("succeeded", 1), ("succeeded", 2), ("succeeded", 1), ("skipped", 0)]
    first, second, third, _ = report["hotflip"].outcomes
    assert first.perturbed in ("bad film", "awful film") and third.perturbed in ("good", "great")
    assert second.perturbed.split()[-1] == "film" and second.perturbed_prediction == 0
    assert report.clean_accuracy == 0.75 and report["hotflip"].accuracy_under_attack == 0.0
    assert first.perturbed_probabilities[0] == pytest.approx(1 / (1 + math.exp(-3)))


def test_the_number_of_flips_is_a_limit_and_what_it_cost_is_counted():
    report = attack(flips=1, candidates=4)
    assert outcomes(report) == [("succeeded", 1), ("failed", 1), ("succeeded", 1), ("skipped", 0)]
    # the clean text, one gradient, four candidates; "bad" has three words that score higher
    assert [o.queries for o in report["hotflip"].outcomes] == [6, 6, 6, 1]


def test_a_beam_keeps_several_texts():
    one, more = attack(flips=2, candidates=2), attack(flips=2, candidates=2, beam=2)
    assert outcomes(one) == outcomes(more)
    assert more["hotflip"].outcomes[1].queries > one["hotflip"].outcomes[1].queries


def test_special_tokens_are_never_put_in_and_the_cosine_is_kept():
    flips = TokenFlips(keyword_tokenizer(), keyword_model().scores, 16, same_class=True, min_cosine=None)
    allowed = flips.allowed(flips.encode({"text": "good zzz"}), ["text"], {0})
    assert not allowed[0].any() and not allowed[1, :2].any() and allowed[1, 2:].all()
    # embeddings of one number: the cosine is the product of the signs, and 0 for film; "plot" is all that is left
    assert attack(min_cosine=0.5)["hotflip"].outcomes[0].perturbed == "plot film"


@pytest.mark.parametrize("column", ["premise", "hypothesis"])
def test_pairs_change_where_they_may(column):
    data = [{"premise": "good", "hypothesis": "good film", "label": 1}]
    report = attack(data, flips=3, modify_columns=[column])
    (outcome,) = report["hotflip"].outcomes
    other = "premise" if column == "hypothesis" else "hypothesis"
    assert outcome.outcome == "succeeded" and outcome.perturbed[other] == outcome.original[other]
    assert attack(data)["hotflip"].outcomes[0].perturbed["premise"] == "good"  # by default


def bert_and_wordpieces(folder):
    from transformers import BertForSequenceClassification, BertTokenizerFast, set_seed

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "good",
        "bad",
        "film",
        "play",
        "##ing",
        "##ed",
        "##s",
        "12",
        "7",
        ".",
        ",",
        "!",
    ]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    set_seed(0)
    config = tiny_config(
        "bert", vocab_size=len(words), num_labels=2, max_position_embeddings=32, initializer_range=1.0
    )
    return BertForSequenceClassification(config).eval(), tokenizer, words


def test_classes_of_words_are_kept_and_texts_mean_their_tokens(tmp_path):
    model, tokenizer, words = bert_and_wordpieces(tmp_path)
    flips = TokenFlips(tokenizer, model.get_input_embeddings(), 32, same_class=True, min_cosine=None)
    encoded = flips.encode({"text": "Playing 12 films!"})
    allowed = flips.allowed(encoded, ["text"], ())
    may = [[word for word, ok in zip(words, row) if ok] for row in allowed.tolist()]
    assert may == [
        [],
        ["a", "good", "bad", "film"],
        ["##ed", "##s"],
        ["7"],
        ["a", "good", "bad", "play"],
        ["##ing", "##ed"],
        [".", ","],
        [],
    ]
    texts = [text["text"] for text, _ in flips.best(encoded, allowed.float(), allowed, 20)]
    assert "gooding 12 films!" in texts and "Played 12 films!" in texts and len(texts) == 15
    data = [{"text": "Playing 12 films!", "label": i % 2} for i in range(2)]
    report = evaluate_hotflip(model, data, tokenizer, flips=3, beam=2, progress=False)
    for outcome in report["hotflip"].outcomes:
        again = model(**tokenizer(outcome.perturbed, return_tensors="pt")).logits.argmax().item()
        assert again == outcome.perturbed_prediction


def test_words_whose_tokens_hold_the_space_before_them_are_flipped():
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    pieces.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=["<pad>"])
    pieces.train_from_iterator(["a good bad movie film"] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, pad_token="<pad>")
    flips = TokenFlips(tokenizer, torch.nn.Embedding(len(tokenizer), 2), 16, same_class=True, min_cosine=None)
    encoded = flips.encode({"text": "a good movie"})
    assert encoded.spans[1] == ("text", 1, 6)
    allowed = flips.allowed(encoded, ["text"], {0, 2})
    found = [texts["text"] for texts, _ in flips.best(encoded, torch.ones(allowed.shape), allowed, 99)]
    assert {"a bad movie", "a film movie"} <= set(found)


def test_reports_are_like_those_of_other_attacks(tmp_path):
    report = attack()
    report.save(tmp_path / "robustness.json")
    assert RobustnessReport.load(tmp_path / "robustness.json") == report
    assert [c.recipe for c in compare_reports({"a": report, "b": report})] == ["clean", "hotflip"]
    assert attack()["hotflip"].outcomes == report["hotflip"].outcomes


def test_a_model_is_left_as_it_was_and_what_cannot_work_is_refused():
    model = keyword_model().train()
    report = evaluate_hotflip(model, DATA, keyword_tokenizer(), progress=False)
    assert model.training and not model.scores._forward_hooks and "train mode" in report.warnings[0]
    with pytest.raises(ConfigurationError, match="flips >= 1"):
        attack(flips=0)
    with pytest.raises(ConfigurationError, match="modify_columns"):
        attack(modify_columns=["nowhere"])
    with pytest.raises(ConfigurationError, match="min_cosine"):
        attack(min_cosine=2.0)


def test_a_single_column_may_be_called_premise():
    rows = [{"premise": "good film", "label": 1}]
    report = evaluate_hotflip(keyword_model(), rows, keyword_tokenizer(), flips=1, progress=False)
    assert report.settings["modify_columns"] == ["premise"]
