"""HotFlip: tokens replaced where the gradient says that it hurts, on any Hugging Face classifier.

Ebrahimi, Rao, Lowd and Dou, "HotFlip: White-Box Adversarial Examples for Text Classification", ACL 2018.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..._provenance import describe_data
from ...adversaries import PerturbationHook
from ...errors import ConfigurationError
from ..fingerprints import describe_model, versions
from ..results import false_robustness as checks
from ..results.example import ExampleOutcome, plain, tokenizer_input
from ..results.report import RecipeResult, RobustnessReport
from ..sampling import Example, select_examples
from ..victim.model import Victim, evaluation_mode
from .token_flips import Flips, first_order_scores

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

NAME = "hotflip"

NOT_COMPARABLE = (
    "the paper flips characters and words of convolutional and recurrent networks, here tokens are flipped"
)


@dataclass(frozen=True)
class _Settings:
    flips: int
    candidates: int
    beam: int
    same_class: bool
    min_cosine: float | None

    def check(self) -> None:
        for name in ("flips", "candidates", "beam"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"expected {name} >= 1, got {getattr(self, name)}")
        if self.min_cosine is not None and not -1 <= self.min_cosine <= 1:
            raise ConfigurationError(f"expected min_cosine in [-1, 1] or None, got {self.min_cosine}")


def evaluate_hotflip(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    flips: int = 3,
    *,
    candidates: int = 32,
    beam: int = 1,
    same_class: bool = True,
    min_cosine: float | None = None,
    num_examples: int | None = None,
    seed: int = 0,
    text_columns: str | Sequence[str] | None = None,
    attacked_columns: Sequence[str] | None = None,
    label_column: str = "label",
    batch_size: int = 64,
    max_length: int | None = None,
    progress: bool = True,
) -> RobustnessReport:
    """Replaces single tokens, guided by the gradient, until the model is wrong or `flips` tokens are replaced.

    Replacing token a at position i by b changes the loss, to first order, by `(e_b - e_a) . dL/de_i` (the paper's
    equation 10, for words). The flips with the largest estimate over all positions and the whole vocabulary are put
    into the text, the text is tokenized again and asked: what counts is the model's answer to a text, never an
    estimate, and flips that do not survive tokenization are left out. The `beam` texts with the largest loss are
    flipped further. Position and token are each flipped once.

    Args:
        model: A sequence classifier with an input embedding; it is put into evaluation mode and back.
        dataset: One split of texts and labels.
        tokenizer: Its tokenizer, a fast one (flips are placed by character offsets).
        flips: Most tokens replaced in one example.
        candidates: Texts asked per flip and text of the beam.
        beam: Texts kept per flip; 1 is greedy.
        same_class: Words are replaced by words, continuations of words by continuations, numbers by numbers,
            punctuation by punctuation.
        min_cosine: Least cosine of the two tokens' embeddings; the paper asks for 0.8 to keep the meaning. None: any.
        num_examples: Size of a seeded, stratified sample; None for all.
        seed: Seed of the sample; the attack draws nothing.
        text_columns: The text column or pair; None to guess.
        attacked_columns: Columns that may change; None: all, but never a premise, as in the papers' recipes.
        label_column: Column of the labels.
        batch_size: Most texts per forward call.
        max_length: Truncation in tokens; None for the tokenizer's limit.
        progress: Shows a progress bar.

    Returns:
        A report with one recipe, `hotflip`, as `evaluate_robustness` gives it: it can be saved, shown, compared and
        replayed. `queries` counts every text that was run, forwards or for its gradient.

    Raises:
        ConfigurationError: If an argument cannot work.
        DataError: If data set and model do not fit.
    """
    settings = _Settings(flips, candidates, beam, same_class, min_cosine)
    settings.check()
    examples = select_examples(
        dataset,
        model.config,
        num_examples=num_examples,
        seed=seed,
        text_columns=text_columns,
        label_column=label_column,
    )
    columns = _attacked(list(examples[0].texts), attacked_columns)
    victim = Victim(model, tokenizer, batch_size=batch_size, max_length=max_length)
    warnings = checks.mode_warnings(model)
    attack = _HotFlip(victim, columns, settings)
    start = time.perf_counter()
    outcomes = []
    try:
        with evaluation_mode(model), tqdm(examples, desc=NAME, unit="example", disable=not progress) as bar:
            for example in bar:
                outcomes.append(attack.run(example))
                victim.forget()
    finally:
        attack.injector.remove()
    result = RecipeResult(
        NAME,
        tuple(outcomes),
        time.perf_counter() - start,
        not_comparable=(NOT_COMPARABLE,),
        description=f"HotFlip: {settings}, attacked columns {columns}",
    )
    warnings += checks.logit_scale_warnings([outcome.margin for outcome in outcomes])
    warnings += checks.gradient_warnings(attack.zero, attack.not_finite, sum(o.outcome != "skipped" for o in outcomes))
    for warning in warnings:
        logger.warning("%s", warning)
    return RobustnessReport(
        results={NAME: result},
        clean_accuracy=result.clean_accuracy,
        sample_ids=tuple(example.index for example in examples),
        seed=seed,
        settings={
            **vars(settings),
            "text_columns": list(examples[0].texts),
            "attacked_columns": columns,
            "label_column": label_column,
            "num_examples": num_examples,
            "max_length": victim.max_length,
            "data": describe_data(dataset),
        },
        model=describe_model(model),
        versions=versions(),
        warnings=tuple(warnings),
    )


def _attacked(columns: list[str], wanted: Sequence[str] | None) -> list[str]:
    if wanted is None:
        return [name for name in columns if name != "premise" or len(columns) == 1]
    chosen = list(wanted)
    if not chosen or not set(chosen) <= set(columns):
        raise ConfigurationError(f"expected attacked_columns among {columns}, got {chosen}")
    return chosen


@dataclass(frozen=True)
class _State:
    """A text on the way: which tokens were flipped, and what the model says."""

    texts: dict[str, str]
    flipped: frozenset[int]
    logits: Tensor

    def loss(self, label: int) -> float:
        return float(torch.nn.functional.cross_entropy(self.logits[None], torch.tensor([label])))


class _HotFlip:
    """The attack on one model."""

    def __init__(self, victim: Victim, columns: Sequence[str], settings: _Settings) -> None:
        self.victim, self.columns, self.settings = victim, columns, settings
        self.model = victim.model
        embedding = self.model.get_input_embeddings()
        self.flips = Flips(victim.tokenizer, embedding, victim.max_length, settings.same_class, settings.min_cosine)
        self.injector = PerturbationHook(embedding)
        self.zero = self.not_finite = 0

    def run(self, example: Example) -> ExampleOutcome:
        """Attacks one example."""
        clean = self._ask([example.texts])[0]
        state = _State(dict(example.texts), frozenset(), clean)
        queries, kind = 1, "skipped"
        if int(clean.argmax()) == example.label:
            state, asked = self._search(state, example.label)
            queries += asked
            kind = "failed" if int(state.logits.argmax()) == example.label else "succeeded"
        return ExampleOutcome(
            index=example.index,
            label=example.label,
            original=plain(example.texts),
            perturbed=plain(state.texts),
            outcome=kind,
            queries=queries,
            original_prediction=int(clean.argmax()),
            perturbed_prediction=int(state.logits.argmax()),
            margin=checks.margins(clean[None])[0],
            probabilities=tuple(clean.double().softmax(0).tolist()),
            perturbed_probabilities=tuple(state.logits.double().softmax(0).tolist()),
            flips=len(state.flipped),
        )

    def _search(self, start: _State, label: int) -> tuple[_State, int]:
        """The first text that is classified wrongly, else the one of the largest loss, and how many texts it took."""
        kept, best, asked = [start], start, 0
        for flip in range(self.settings.flips):
            found: dict[tuple[str, ...], _State] = {}
            for state in kept:
                for texts, position in self._candidates(state, label, first=flip == 0):
                    flipped = state.flipped | {position}
                    found.setdefault(tuple(texts.values()), _State(texts, flipped, state.logits))
            asked += len(kept)
            if not found:
                break
            logits = self._ask([state.texts for state in found.values()])
            asked += len(found)
            states = [_State(s.texts, s.flipped, row) for s, row in zip(found.values(), logits)]
            states.sort(key=lambda state: -state.loss(label))
            wrong = [state for state in states if int(state.logits.argmax()) != label]
            if wrong:
                return wrong[0], asked
            kept = states[: self.settings.beam]
            best = max(best, kept[0], key=lambda state: state.loss(label))
        return best, asked

    def _candidates(self, state: _State, label: int, first: bool) -> list[tuple[dict[str, str], int]]:
        encoded = self.flips.encode(state.texts)
        gradient = self._gradient(encoded.inputs, label)
        if first:
            self.not_finite += int(not gradient.isfinite().all())
            self.zero += int((gradient == 0).all())
        gradient = torch.nan_to_num(gradient, posinf=0.0, neginf=0.0)
        scores = first_order_scores(self.flips.vectors, encoded.ids, gradient)
        allowed = self.flips.allowed(encoded, self.columns, state.flipped)
        return self.flips.best(encoded, scores, allowed, self.settings.candidates)

    def _gradient(self, inputs: dict[str, list[int]], label: int) -> Tensor:
        """Gradient of the loss with respect to what the embedding puts out, (tokens, dim)."""
        device = next(self.model.parameters()).device
        batch = {name: torch.tensor([values], device=device) for name, values in inputs.items()}
        deltas: list[Tensor] = []

        def watch(clean: Tensor) -> Tensor:
            deltas.append(torch.zeros_like(clean).requires_grad_())
            return deltas[0]

        with torch.enable_grad(), self.injector.armed(watch):
            logits = self.model(**batch).logits.float()
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor([label], device=device))
            (gradient,) = torch.autograd.grad(loss, deltas[0])
        return gradient[0].float()

    def _ask(self, texts: Sequence[Mapping[str, str]]) -> Tensor:
        return self.victim([tokenizer_input(text) for text in texts])
