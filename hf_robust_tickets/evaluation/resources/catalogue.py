"""Files that recipes need besides Python packages: what they are, and how to get them."""

from __future__ import annotations

import functools
import logging
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ...errors import MissingResourceError, UnknownNameError
from .base import Resource
from .cache_files import CacheFiles
from .encoder import UniversalSentenceEncoderModel
from .hub import HubModel
from .nltk_data import NltkData
from .packages import Packages

logger = logging.getLogger(__name__)

VECTORS_FOLDER = "word_embeddings/paragramcf"
VECTORS_FILES = ("paragram.npy", "wordlist.pickle", "nn.npy")
VECTORS_SHAPE = (65713, 300)
"""Words and dimensions of the published counter-fitted vectors (Mrkšić et al. 2016): how a stand-in is told apart."""

GOOGLE_LM_FOLDER = "constraints/semantics/language-models/alzantot-goog-lm"
L2W_FOLDER = "constraints/grammaticality/language-models/learning-to-write"
HOWNET_FILE = "transformations/hownet/word_candidates_sense.pkl"
HOMOGLYPHS_FILE = "bad_characters/intentional.txt"

RESOURCES: dict[str, Resource] = {
    resource.name: resource
    for resource in (
        CacheFiles(
            "counter-fitted-vectors",
            "counter-fitted word vectors (Mrkšić et al. 2016)",
            size="481 MB",
            licence="Apache-2.0 (nmrksic/counter-fitting)",
            path=VECTORS_FOLDER,
            files=VECTORS_FILES,
        ),
        NltkData(
            "wordnet",
            "WordNet",
            size="36 MB",
            licence="WordNet 3.0 licence",
            sha256={
                "wordnet.zip": "cbda5ea6eef7f36a97a43d4a75f85e07fccbb4f23657d27b4ccbc93e2646ab59",
                "omw-1.4.zip": "3b941e664852f3297b6040236626065796a2aaf7d7f9eec8779a3beaa1096c2d",
            },
            packages=("corpora/wordnet", "corpora/omw-1.4"),
        ),
        NltkData(
            "pos-tagger",
            "NLTK's part-of-speech tagger",
            size="2 MB",
            licence="none stated; the tag set CC-BY-SA-4.0",
            sha256={
                "averaged_perceptron_tagger_eng.zip": (
                    "6025f530624335c67d6547d44757b357b4e79bae030a0383e9887a92c1718f0b"
                ),
                "universal_tagset.zip": "d490e1ae8f5625dcdfdda04be15c22a2aade8c2561a36a61edcdf0c7d6aa8352",
            },
            packages=("taggers/averaged_perceptron_tagger_eng", "taggers/universal_tagset"),
        ),
        UniversalSentenceEncoderModel(
            "universal-sentence-encoder", "Universal Sentence Encoder 3", size="1 GB", licence="Apache-2.0"
        ),
        HubModel(
            "bert-base-uncased",
            "BERT as a masked language model (Devlin et al. 2019)",
            size="440 MB",
            licence="Apache-2.0",
            sha256={
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                "model.safetensors": "68d45e234eb4a928074dfd868cead0219ab85354cc53d20e772753c6bb9169d3",
            },
            repo="google-bert/bert-base-uncased",
        ),
        HubModel(
            "distilroberta-base",
            "a distilled RoBERTa as a masked language model (Sanh et al. 2019)",
            size="331 MB",
            licence="Apache-2.0",
            sha256={"model.safetensors": "2b11ca9cf3d2cbb44cc1a93ad96aedc2894231ae6e33e2d2268c3d7b1ff97663"},
            repo="distilbert/distilroberta-base",
        ),
        HubModel(
            "stsb-distilbert-base",
            "the sentence encoder of A2T",
            size="265 MB",
            licence="Apache-2.0",
            repo="sentence-transformers/stsb-distilbert-base",
        ),
        HubModel(
            "gpt2",
            "GPT-2 (Radford et al. 2019)",
            size="548 MB",
            licence="MIT",
            sha256={"model.safetensors": "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"},
            repo="openai-community/gpt2",
        ),
        CacheFiles(
            "google-lm",
            "Google's language model of the One Billion Word Benchmark",
            licence="Apache-2.0",
            path=GOOGLE_LM_FOLDER,
            files=("graph-2016-09-10-gpu.pbtxt", "vocab-2016-09-10.txt", "ckpt-base"),
            packages=("tensorflow",),
        ),
        CacheFiles(
            "l2w-lm",
            "the language model of Learning to Write (Holtzman et al. 2018)",
            path=L2W_FOLDER,
            files=("word_map.th7", "word_freq.th7", "lm-state-dict.pt"),
            packages=("torchfile",),
        ),
        CacheFiles("hownet", "candidates by HowNet's sememes (Zang et al. 2020)", path=HOWNET_FILE),
        CacheFiles(
            "homoglyphs",
            "Unicode's list of intentional confusables",
            size="40 kB",
            licence="Unicode-3.0",
            path=HOMOGLYPHS_FILE,
            url="https://www.unicode.org/Public/security/latest/intentional.txt",
        ),
        Packages(
            "flair",
            "names and places by flair, numbers by num2words and word2number",
            licence="MIT, LGPL-2.1, MIT",
            packages=("flair", "num2words", "word2number"),
            note="flair 0.15.1 wants transformers<5: it needs an environment of its own",
        ),
    )
}


def get_resource(name: str) -> Resource:
    """Looks a resource up.

    Raises:
        UnknownNameError: If there is none of that name.
    """
    if name not in RESOURCES:
        raise UnknownNameError(f"expected a resource among {sorted(RESOURCES)}, got {name!r}")
    return RESOURCES[name]


def is_offline() -> bool:
    """Whether downloads are switched off, by `HF_HUB_OFFLINE=1` as for the Hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def ensure_resources(names: Sequence[str]) -> None:
    """Makes sure that resources lie on disk, by a download where that is allowed.

    Args:
        names: Names of resources.

    Raises:
        MissingResourceError: If one is absent and cannot be fetched; it names the command that would.
    """
    for name in names:
        resource = get_resource(name)
        missing = resource.missing()
        if missing is None:
            continue
        if is_offline():
            reason = "HF_HUB_OFFLINE forbids downloads"
        else:
            reason = _try_to_fetch(name)
            if reason is None:
                continue
        raise MissingResourceError(
            f"{resource.description} not found ({missing}) and not fetched ({reason}): "
            f"with a network run `{resource.command}`"
        )


def fetch_resource(name: str) -> None:
    """Downloads a resource to where TextAttack (`TA_CACHE_DIR`), NLTK (`NLTK_DATA`) or the Hub looks for it.

    Args:
        name: One of `RESOURCES`.

    Raises:
        UnknownNameError: If there is none of that name.
        MissingResourceError: If the download failed.
    """
    resource = get_resource(name)
    before = resource.missing()
    try:
        with resource.locked():
            # Another process may have fetched it while this one waited.
            if before is None or resource.missing() is not None:
                resource.fetch()
    except (OSError, zipfile.BadZipFile) as error:
        raise MissingResourceError(f"could not fetch {resource.description}: {_one_line(error)}") from error
    missing = resource.missing()
    if missing is not None:
        raise MissingResourceError(f"fetched {resource.description}, but still miss {missing}")


def install_resource(name: str, folder: str | os.PathLike[str]) -> None:
    """Takes a resource from a folder that was handed over, without a network.

    Args:
        name: One of `RESOURCES`.
        folder: A folder laid out as the caches are (`word_embeddings/...`, `corpora/...`, `models/...`), or one that
            holds them as `textattack_cache` and `nltk_data`; archives may still be packed.

    Raises:
        UnknownNameError: If there is none of that name.
        MissingResourceError: If it is not in the folder, or not what it should be.
    """
    resource = get_resource(name)
    if not Path(folder).is_dir():
        raise MissingResourceError(f"expected a folder with {resource.description}, got none at {folder}")
    try:
        with resource.locked():
            resource.install(Path(folder))
    except (OSError, zipfile.BadZipFile) as error:
        raise MissingResourceError(f"could not take {resource.name} from {folder}: {_one_line(error)}") from error
    missing = resource.missing()
    if missing is not None:
        raise MissingResourceError(f"took {resource.name} from {folder}, but still miss {missing}")


@functools.cache
def _try_to_fetch(name: str) -> str | None:
    """Fetches once per process: None, or why it failed. A second recipe does not wait for the same timeout."""
    logger.info("fetching %s", RESOURCES[name].description)
    try:
        fetch_resource(name)
    except MissingResourceError as error:
        return str(error)
    return None


def _one_line(error: BaseException) -> str:
    text = str(error) if type(error) is OSError else f"{type(error).__name__}: {error}"
    return text.replace("\n", " ")[:400]
