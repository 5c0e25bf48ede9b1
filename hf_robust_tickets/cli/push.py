"""`robust-tickets push`: checks a checkpoint, writes its card, and uploads it to the Hub."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.utils import validate_repo_id
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel

from .._files import parse_yaml, read_text
from .._reading import require_vocabulary
from ..errors import CheckpointError, ConfigurationError, HubError
from ..reporting.model_card import CARD_FILE
from ..tickets import load_pruned
from ..training.hub.card import facts_of_folder, write_model_card
from ..training.hub.contents import files_to_upload, patterns
from ..training.hub.upload import explain_failed_push
from .options import parse

# The Hub's limit for one file.
_LARGEST_FILE = 50_000_000_000
_CODE = ("modeling_robust_ticket.py", "robust_ticket_surgery.py")


@dataclass
class PushOptions:
    """What to upload, and where to."""

    folder: str = field(metadata={"help": "Folder of a pruned or dense checkpoint; the first argument needs no name."})
    repo_id: str = field(metadata={"help": "OWNER/NAME on the Hub; the second argument needs no name."})
    private: bool = field(default=False, metadata={"help": "A private repository, if it is made now."})
    revision: str | None = field(default=None, metadata={"help": "Branch to push to; made if there is none."})
    commit_message: str = field(default="Upload a robust ticket", metadata={"help": "Message of the commit."})
    token: str | None = field(
        default=None, metadata={"help": "Token that may write; better: HF_TOKEN, hf auth login."}
    )
    exist_ok: bool = field(default=False, metadata={"help": "Push to a repository that holds files already."})
    reports: list[str] | None = field(
        default=None, metadata={"help": "Robustness reports for the card; default: those in the folder."}
    )
    also: list[str] | None = field(
        default=None,
        metadata={"help": "Further files of the folder to upload; default: what opens the model, card and reports."},
    )


def run(argv: list[str]) -> None:
    """Uploads in one commit, after all checks that need no Hub, and prints the address."""
    (options,) = parse("push", (PushOptions,), _named(argv))
    folder = Path(options.folder)
    _check_name(options.repo_id)
    also = options.also or []
    model = open_checkpoint(folder)
    check_tokenizer(folder, model)
    _files(folder, also)
    api = HfApi(token=options.token, library_name="hf_robust_tickets")
    with explain_failed_push(options.repo_id, options.revision):
        user = api.whoami()["name"]
        repository = options.repo_id if "/" in options.repo_id else f"{user}/{options.repo_id}"
        if not options.exist_ok:
            _check_free(api, repository, options.revision or "main")
    facts = facts_of_folder(folder, model, repository.split("/")[-1])
    reports = None if options.reports is None else [Path(report) for report in options.reports]
    written = write_model_card(folder, model, facts, repository, reports)
    with explain_failed_push(repository, options.revision):
        _check_card(folder)
        api.create_repo(repository, private=options.private or None, exist_ok=True)
        if options.revision is not None:
            api.create_branch(repository, branch=options.revision, exist_ok=True)
        files = _files(folder, also)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message=options.commit_message,
            revision=options.revision,
            allow_patterns=patterns(files),
        )
    size = sum((folder / name).stat().st_size for name in files)
    print(f"{len(files)} files, {size / 1e6:.1f} MB; the card was {'written' if written else 'there and is kept'}")
    if stays := sorted({path.name for path in folder.iterdir()} - {name.split("/")[0] for name in files}):
        print(f"not uploaded: {', '.join(stays[:8])}{', ...' if len(stays) > 8 else ''} (--also uploads more)")
    branch = "" if options.revision is None else f"/tree/{options.revision}"
    print(f"{api.endpoint}/{repository}{branch} (commit {commit.oid[:12]})")


def open_checkpoint(folder: Path) -> PreTrainedModel:
    """Loads a checkpoint to see that it is whole.

    Raises:
        CheckpointError: If it is not: weights are missing, truncated or of other shapes than the configuration says,
            the ticket is another one, or the code that opens it elsewhere is missing.
    """
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"expected a checkpoint in {folder}, got no config.json there: give a model's folder")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"expected a configuration in {folder}, got a damaged one ({reason}): save it again"
        ) from error
    if getattr(config, "robust_ticket", None) is None:
        return _open_dense(folder, config)
    absent = [name for name in _CODE if not (folder / name).is_file()]
    if absent:
        raise CheckpointError(
            f"expected {absent[0]} in {folder}, which opens the checkpoint without this package, got none: save the "
            "model again with save_pruned(load_pruned(folder), folder)"
        )
    model, found = load_pruned(folder, output_loading_info=True)
    _check_no_holes(folder, found)
    return model


def check_tokenizer(folder: Path, model: PreTrainedModel) -> None:
    """Checks that who downloads a model of texts can read a text.

    Raises:
        CheckpointError: If the folder has no tokenizer, or one without a vocabulary.
    """
    if model.main_input_name != "input_ids":
        return
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    # Each kind of tokenizer fails in its own way where its files are missing.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"expected a tokenizer beside the model in {folder}, got: {reason}; save it there too"
        ) from error
    require_vocabulary(tokenizer, folder)


def _check_no_holes(folder: Path, found: dict[str, Any]) -> None:
    holes = sorted([*found["missing_keys"], *(key[0] for key in found["mismatched_keys"])])
    if holes:
        raise CheckpointError(f"expected all weights in {folder}, got none for {holes[0]}: save the model again")


def _open_dense(folder: Path, config: transformers.PretrainedConfig) -> PreTrainedModel:
    name = next(iter(config.architectures or ()), None)
    stock = getattr(transformers, name or "", None)
    if stock is None:
        raise CheckpointError(
            f"expected a class of transformers as the architecture in {folder}/config.json, got {name!r}: upload a "
            "model of your own code with `hf upload`"
        )
    try:
        model, found = stock.from_pretrained(folder, output_loading_info=True, trust_remote_code=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"expected a whole checkpoint in {folder}, got: {reason}; save it again") from error
    _check_no_holes(folder, found)
    return model


def _files(folder: Path, also: list[str]) -> list[str]:
    """What will be uploaded, by path in the repository."""
    found = files_to_upload(folder, also)
    for name in found:
        size = (folder / name).stat().st_size
        if size > _LARGEST_FILE:
            raise CheckpointError(
                f"expected files of at most {_LARGEST_FILE / 1e9:.0f} GB, got {name} with {size / 1e9:.1f} GB: save "
                "the model with max_shard_size='5GB'"
            )
    return found


def _check_name(repo_id: str) -> None:
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"expected OWNER/NAME, got {repo_id!r} ({reason}): choose another name") from error


def _check_free(api: HfApi, repository: str, revision: str) -> None:
    """A repository that an interrupted push has left behind is empty, and may be filled."""
    try:
        siblings = api.model_info(repository, revision=revision).siblings or []
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return
    files = [file.rfilename for file in siblings if file.rfilename != ".gitattributes"]
    if files:
        raise HubError(
            f"expected a new or empty repository, got {repository}, which holds {len(files)} files at {revision} "
            f"({', '.join(files[:3])}, ...): pass --exist_ok True to push over them, or take another name"
        )


def _check_card(folder: Path) -> None:
    """Before the weights go out: the Hub would refuse the commit at its end."""
    card = folder / CARD_FILE
    text = read_text(card, "a model card", largest=5 << 20)
    if found := REGEX_YAML_BLOCK.search(text):
        parse_yaml(found[2], "the metadata of a card", card)
    try:
        ModelCard(text).validate()
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        raise HubError(f"expected metadata that the Hub accepts in {card}, got: {reason}; correct them") from error


def _named(argv: list[str]) -> list[str]:
    """`FOLDER REPO_ID --x y` as `--folder FOLDER --repo_id REPO_ID --x y`."""
    if len(argv) < 2 or argv[0].startswith("-") or argv[1].startswith("-"):
        return argv
    return ["--folder", argv[0], "--repo_id", argv[1], *argv[2:]]
