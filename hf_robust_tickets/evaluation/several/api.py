"""Attacks on multi-label classifiers and on token classifiers with the recipes for texts."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from ..._arguments import check_arguments
from ..._files import check_folder
from ...errors import ConfigurationError, DataError
from ..config import EvaluationConfig, EvaluationSettings
from ..sampling import rows_of, text_columns_of, text_of
from .result import SeveralReport
from .rows import label_set, tagged_words
from .run import Row, SeveralRun
from .victim import LabelVictim, TagVictim

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@check_arguments
def evaluate_label_sets(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    recipes: Sequence[str] = ("textfooler",),
    threshold: float = 0.5,
    query_budget: int | None = None,
    sentence_encoder: str | os.PathLike[str] | SentenceTransformer = "use",
    masked_language_model: str | os.PathLike[str] | tuple[Any, Any] | None = None,
    word_vectors: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    resume: bool = True,
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> SeveralReport:
    """Attacks a classifier of several labels at once: an attack succeeds when the set of predicted labels changes.

    Accuracy is subset accuracy: an example is right where all of its labels are. Examples that are wrong to begin with
    are not attacked.

    Args:
        model: A sequence classifier with a sigmoid per label; it is put into evaluation mode and back.
        dataset: One split.
        tokenizer: The model's tokenizer.
        recipes: Names of recipes that see scores.
        threshold: Probability from which a label is predicted.
        query_budget: As in `evaluate_robustness`, as are the next three.
        sentence_encoder: See there.
        masked_language_model: See there.
        word_vectors: See there.
        output_dir: Folder for outcomes as they come and for the report; None to keep everything in memory.
        resume: Continues the evaluation in `output_dir`; False starts over.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`; by default 100 examples and `label_column="labels"`:
            a number per label, 0 or 1, or a list of label names.

    Returns:
        The report; saved as `labels.json` in `output_dir` if that is given.

    Raises:
        CheckpointError: If `output_dir` holds another evaluation.
        ConfigurationError: If an option is unknown, or a recipe does not do for this task.
        DataError: If a row does not fit the model.
        MissingResourceError: If no recipe can run for want of a resource.
    """
    config = EvaluationConfig.merged(evaluate_label_sets, config, settings, num_examples=100, label_column="labels")
    if output_dir is not None:
        check_folder(output_dir)
    if not 0 < threshold < 1:
        raise ConfigurationError(f"expected a threshold between 0 and 1, got {threshold}")
    data, labels = rows_of(dataset), config.label_column
    columns = text_columns_of(data, config.text_columns, labels)
    if len(columns) != 1:
        raise DataError(f"expected one text column, got the pair {list(columns)}: pass text_columns=")
    examples = [
        Row(i, text_of(row.get(columns[0]), columns[0], i), label_set(row.get(labels), model.config, labels, i))
        for i, row in _sample(data, config)
    ]
    victim = LabelVictim(model, tokenizer, config.batch_size, config.max_length, config.bf16)
    parts = {"sentence_encoder": sentence_encoder, "masked_language_model": masked_language_model}
    parts["word_vectors"] = word_vectors
    run = SeveralRun("labels", victim, examples, config, query_budget, threshold)
    return run.report(recipes, parts, output_dir, resume)


@check_arguments
def evaluate_tags(
    model: PreTrainedModel,
    dataset: Dataset | Sequence[Mapping[str, Any]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    recipes: Sequence[str] = ("textfooler",),
    min_share: float = 0.0,
    query_budget: int | None = None,
    sentence_encoder: str | os.PathLike[str] | SentenceTransformer = "use",
    masked_language_model: str | os.PathLike[str] | tuple[Any, Any] | None = None,
    word_vectors: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    resume: bool = True,
    config: EvaluationConfig | None = None,
    **settings: Unpack[EvaluationSettings],
) -> SeveralReport:
    """Attacks a token classifier: an attack succeeds when a word that it left as it is gets another tag.

    Words that were replaced may deserve another tag and never count, so tags need no guess about what an edit means.
    (Simoncini and Spanakis, *SeqAttack: On Adversarial Attacks for Named Entity Recognition*, EMNLP 2021, bring the
    attacks on text classifiers to this task; the criterion here is stricter about which words count.) Recipes that
    replace word for word alone can be used. A sentence is right where fewer than the asked-for number of its tags are
    wrong: with `min_share=0`, where all are right. Others are not attacked.

    Args:
        model: A token classifier; it is put into evaluation mode and back.
        dataset: One split of words with their tags.
        tokenizer: The model's fast tokenizer; a word has the tag of its first token.
        recipes: Names of recipes that see scores and swap words.
        min_share: Share of a sentence's words with a tag that have to become wrong; 0: one word.
        query_budget: As in `evaluate_robustness`, as are the next three.
        sentence_encoder: See there.
        masked_language_model: See there.
        word_vectors: See there.
        output_dir: Folder for outcomes as they come and for the report; None to keep everything in memory.
        resume: Continues the evaluation in `output_dir`; False starts over.
        config: Settings that evaluations share.
        **settings: The same as keywords, see `EvaluationConfig`; by default 100 examples, `text_columns="tokens"`, a
            list of words, and `label_column="tags"`, their tags by number (negative: none) or by the model's names.

    Returns:
        The report; saved as `tags.json` in `output_dir` if that is given.

    Raises:
        CheckpointError: If `output_dir` holds another evaluation.
        ConfigurationError: If an option is unknown, or a recipe does not do for this task.
        DataError: If a row does not fit the model.
        MissingResourceError: If no recipe can run for want of a resource.
    """
    defaults = {"num_examples": 100, "text_columns": "tokens", "label_column": "tags"}
    config = EvaluationConfig.merged(evaluate_tags, config, settings, **defaults)
    if output_dir is not None:
        check_folder(output_dir)
    if not 0 <= min_share <= 1:
        raise ConfigurationError(f"expected min_share between 0 and 1, got {min_share}")
    if not isinstance(config.text_columns, str):
        raise ConfigurationError(
            f"expected one column of words, got {config.text_columns!r}: pass text_columns='tokens'"
        )
    examples = [
        Row(i, *tagged_words(row.get(config.text_columns), row.get(config.label_column), model.config, i))
        for i, row in _sample(rows_of(dataset), config)
    ]
    victim = TagVictim(model, tokenizer, config.batch_size, config.max_length, config.bf16)
    parts = {"sentence_encoder": sentence_encoder, "masked_language_model": masked_language_model}
    parts["word_vectors"] = word_vectors
    run = SeveralRun("tags", victim, examples, config, query_budget, min_share)
    return run.report(recipes, parts, output_dir, resume)


def _sample(data: Any, config: EvaluationConfig) -> Iterator[tuple[int, Mapping[str, Any]]]:
    rows: Sequence[int] = range(len(data))
    if config.num_examples is not None and config.num_examples < len(data):
        rows = sorted(random.Random(config.seed).sample(rows, config.num_examples))
    return ((i, data[i]) for i in rows)
