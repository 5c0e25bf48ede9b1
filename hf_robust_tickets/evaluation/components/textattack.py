"""TextAttack's components as the recipes here use them: the same decisions, without the waste.

This module imports TextAttack: import it inside functions only.
"""

# ruff: noqa: E402  (TextAttack has to be imported by its shim before anything is imported from it)

from __future__ import annotations

import functools
import os
import pickle
import threading
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from ..._compat import import_textattack, textattack_cache
from ...errors import MissingResourceError
from ..resources import VECTORS_FILES, VECTORS_FOLDER, VECTORS_SHAPE, files_sha256
from ..victim.model import Victim
from .encoders import TextEncoder

import_textattack()

from nltk.tag import PerceptronTagger, map_tag
from textattack.constraints.grammaticality import PartOfSpeech
from textattack.constraints.semantics.sentence_encoders import SentenceEncoder
from textattack.goal_functions import InputReduction, UntargetedClassification
from textattack.models.wrappers import ModelWrapper as TextAttackWrapper
from textattack.shared import WordEmbedding, validators
from textattack.shared.utils import is_one_word
from textattack.transformations import WordSwapHomoglyphSwap, WordSwapHowNet, WordSwapWordNet


class ModelWrapper(TextAttackWrapper):
    """The attacked model as TextAttack's goal functions and gradient-based rankings ask for it."""

    def __init__(self, victim: Victim) -> None:
        self.model = victim.model
        self.tokenizer = victim.tokenizer
        self.max_length = victim.max_length
        self._victim = victim

    def __call__(self, texts: list[Any]) -> Tensor:
        """Logits, (texts, classes)."""
        return self._victim(texts)

    def get_grad(self, text_input: Any) -> dict[str, np.ndarray]:
        """The gradient of the loss of the predicted class with respect to the embedded tokens.

        TextAttack's wrapper switches dropout on for it; here the model stays in its mode, and nothing is left in the
        gradients of its parameters.

        Args:
            text_input: A text, or a pair.

        Returns:
            "ids", (1, tokens), and "gradient", (tokens, dim).
        """
        encoded = self._encode(text_input)
        device = next(self.model.parameters()).device
        inputs = {name: torch.as_tensor([values], device=device) for name, values in encoded.items()}
        embedded: list[Tensor] = []
        caller = threading.get_ident()

        def keep(module: Any, args: Any, output: Tensor) -> Tensor | None:
            if threading.get_ident() != caller:
                return None  # another thread asks the same model
            embedded.append(output.detach().requires_grad_())
            return embedded[-1]

        hook = self.model.get_input_embeddings().register_forward_hook(keep)
        try:
            with torch.enable_grad():
                logits = self.model(**inputs).logits
                loss = torch.nn.functional.cross_entropy(logits, logits.argmax(dim=1))
                (gradient,) = torch.autograd.grad(loss, embedded[0])
        finally:
            hook.remove()
        return {"ids": inputs["input_ids"].cpu().numpy(), "gradient": gradient[0].float().cpu().numpy()}

    def _encode(self, text_input: Any) -> dict[str, list[int]]:
        pair = text_input if isinstance(text_input, tuple) else (text_input,)
        return dict(self.tokenizer(*pair, truncation=True, max_length=self.max_length))

    def _tokenize(self, inputs: list[Any]) -> list[list[str]]:
        return [self.tokenizer.convert_ids_to_tokens(self._encode(text)["input_ids"]) for text in inputs]


class Goal(UntargetedClassification):
    """Lower the true class's probability until another class wins.

    As in TextAttack, with two differences that change no decision: every list of candidates goes to the model at once
    (its own cache answers repetitions), and the scores are NumPy's float32 instead of zero-dimensional tensors. A
    softmax is always applied; TextAttack guesses from the sums of the rows whether it was.
    """

    def __init__(self, victim: Victim) -> None:
        super().__init__(ModelWrapper(victim), use_cache=False, model_batch_size=2**31)

    def _process_model_outputs(self, inputs: list[Any], scores: Tensor) -> np.ndarray:
        return torch.softmax(scores, dim=1).numpy()

    def _is_goal_complete(self, model_output: np.ndarray, attacked_text: Any) -> bool:
        return int(model_output.argmax()) != self.ground_truth_output

    def _get_score(self, model_output: np.ndarray, attacked_text: Any) -> np.float32:
        return 1 - model_output[self.ground_truth_output]


class ReductionGoal(InputReduction):
    """As few words as possible under the same prediction: the goal of Input Reduction, which fools no model.

    As in TextAttack, with the differences of `Goal`.
    """

    def __init__(self, victim: Victim) -> None:
        super().__init__(ModelWrapper(victim), maximizable=True, use_cache=False, model_batch_size=2**31)

    def _process_model_outputs(self, inputs: list[Any], scores: Tensor) -> np.ndarray:
        return torch.softmax(scores, dim=1).numpy()


# Goal functions look their class up here and print a warning about models that they do not know.
validators.MODELS_BY_GOAL_FUNCTION[Goal] = [".*"]
validators.MODELS_BY_GOAL_FUNCTION[ReductionGoal] = [".*"]


class Similarity(SentenceEncoder):
    """TextAttack's sentence-encoder constraint over any `TextEncoder`.

    Each window is encoded once (TextAttack encodes the reference once per candidate), and not at all where
    `skip_text_shorter_than_window` throws the score away.
    """

    def __init__(self, encoder: TextEncoder, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = encoder

    def encode(self, sentences: list[str]) -> Tensor:
        """Vectors of sentences, (sentences, dim)."""
        return self.model.encode(sentences)

    def _score_list(self, starting_text: Any, transformed_texts: list[Any]) -> Tensor:
        scores = torch.ones(len(transformed_texts))
        needed = [
            i
            for i, text in enumerate(transformed_texts)
            if not (self.skip_text_shorter_than_window and len(text.words) < self.window_size)
        ]
        if not needed:
            return scores
        windows: dict[int, str] = {}
        before, after = [], []
        for i in needed:
            text = transformed_texts[i]
            modified = next(iter(text.attack_attrs["newly_modified_indices"]))
            if modified not in windows:
                windows[modified] = starting_text.text_window_around_index(modified, self.window_size)
            before.append(windows[modified])
            after.append(text.text_window_around_index(modified, self.window_size))
        vectors = self.encode(before + after)
        scores[needed] = self.sim_metric(vectors[: len(needed)], vectors[len(needed) :])
        return scores


class SameTag(PartOfSpeech):
    """TextAttack's part-of-speech constraint with NLTK's tagger, loaded once and remembered from example to example.

    TextAttack asks `nltk.pos_tag`, which reads the tagger's files again on every call.
    """

    def __init__(self, allow_verb_noun_swap: bool = True) -> None:
        super().__init__(tagger_type="nltk", tagset="universal", allow_verb_noun_swap=allow_verb_noun_swap)
        self._tagger = _tagger()

    def clear_cache(self) -> None:
        """Keeps the tags: they depend on the words alone."""

    def _get_pos(self, before_ctx: list[str], word: str, after_ctx: list[str]) -> str:
        context = [*before_ctx, word, *after_ctx]
        key = " ".join(context)
        if key not in self._pos_tag_cache:
            tagged = self._tagger.tag(context)
            self._pos_tag_cache[key] = (
                [token for token, _ in tagged],
                [map_tag("en-ptb", self.tagset, tag) for _, tag in tagged],
            )
        words, tags = self._pos_tag_cache[key]
        return tags[words.index(word)]


@functools.cache
def _tagger() -> PerceptronTagger:
    return PerceptronTagger()


def universal_tags(words: list[str]) -> list[str]:
    """Parts of speech (NOUN, VERB, ADJ, ...) by NLTK's tagger, where TextAttack asks flair's: flair refuses
    transformers 5.
    """
    return [map_tag("en-ptb", "universal", tag) for _, tag in _tagger().tag(words)]


class WordVectors(WordEmbedding):
    """Counter-fitted vectors, compared on the CPU: one pair of vectors is no work for an accelerator.

    Attributes:
        sha256: Checksum of the files that they were read from.
    """

    sha256: str = ""

    def get_cos_sim(self, a: int | str, b: int | str) -> float:
        """Cosine similarity of two words, in [-1, 1]."""
        a = self._word2index[a] if isinstance(a, str) else a
        b = self._word2index[b] if isinstance(b, str) else b
        low, high = min(a, b), max(a, b)
        row = self._cos_sim_mat[low]
        if high not in row:
            first, second = (torch.tensor(self.embedding_matrix[i]) for i in (low, high))
            row[high] = torch.nn.functional.cosine_similarity(first, second, dim=0).item()
        return row[high]

    @property
    def published(self) -> bool:
        """Whether this has the size of the published vectors, whose checksum is not known: the report names that of
        the files.
        """
        return self.embedding_matrix.shape == VECTORS_SHAPE


def load_word_vectors(folder: str | os.PathLike[str] | None = None) -> WordVectors:
    """Reads counter-fitted vectors.

    Args:
        folder: Where they lie; None for TextAttack's cache folder, see `resources.ensure_resources`.

    Raises:
        MissingResourceError: If a file is not there.
    """
    folder = textattack_cache() / VECTORS_FOLDER if folder is None else Path(folder)
    if absent := [name for name in VECTORS_FILES if not (folder / name).is_file()]:
        raise MissingResourceError(
            f"expected {', '.join(VECTORS_FILES)} in {folder}, got a folder without {', '.join(absent)}: hand over "
            "one laid out as TextAttack's word_embeddings/paragramcf"
        )
    matrix = np.load(folder / "paragram.npy", mmap_mode="r")
    word2index = np.load(folder / "wordlist.pickle", allow_pickle=True)
    index2word = {index: word for word, index in word2index.items()}
    vectors = WordVectors(matrix, word2index, index2word, np.load(folder / "nn.npy", mmap_mode="r"))
    vectors.sha256 = files_sha256(folder / name for name in VECTORS_FILES)
    return vectors


class WordNetSwap(WordSwapWordNet):
    """Swaps by WordNet's synonyms, without the download that TextAttack tries at every construction."""

    def __init__(self) -> None:
        self.language = "eng"


class HomoglyphSwap(WordSwapHomoglyphSwap):
    """Swaps by look-alike characters.

    The wheel of TextAttack 0.3.11 lacks `shared/intentional_homoglyphs.txt`. TextBugger does not need it: its swaps
    come from the table `homos`, which is filled before that file is opened. Remove when: the wheel carries the file.
    """

    def __init__(self) -> None:
        try:
            super().__init__()
        except FileNotFoundError:
            self.homos_intentional: dict[str, list[str]] = {}


class HowNetSwap(WordSwapHowNet):
    """Swaps by candidates of equal sememes, with parts of speech by NLTK's tagger instead of flair's."""

    def __init__(self, path: Path) -> None:
        self.max_candidates = -1
        self.pos_dict = {"ADJ": "adj", "NOUN": "noun", "ADV": "adv", "VERB": "verb"}
        with path.open("rb") as file:
            self.candidates_bank = _PlainPickle(file).load()

    def _get_transformations(self, current_text: Any, indices_to_modify: Any) -> list[Any]:
        tags = universal_tags(current_text.words)
        found = []
        for i in indices_to_modify:
            word = current_text.words[i]
            for candidate in self._get_replacement_words(word, tags[i]):
                if candidate != word and is_one_word(candidate):
                    found.append(current_text.replace_word_at_index(i, candidate))
        return found


class _PlainPickle(pickle.Unpickler):
    """Reads dictionaries, lists and strings; whatever would call code is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"expected plain data, got {module}.{name}: the file is not what it should be")
