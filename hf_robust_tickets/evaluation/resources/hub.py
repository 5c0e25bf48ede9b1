"""Models of the Hub as resources: in its cache, or handed over."""

# ruff: noqa: D102  (what the methods do stands in `Resource`)

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..._compat import hub_connection_error, textattack_cache
from .base import Resource, files_below, find, place


@dataclass(frozen=True)
class HubModel(Resource):
    """A model from the Hub: in its cache, or in the folder `models` of TextAttack's cache when it was handed over."""

    repo: str = ""

    @property
    def source(self) -> str:
        return f"https://huggingface.co/{self.repo}"

    @property
    def target(self) -> Path:
        """Where a model that was handed over lies."""
        return handed_over_folder(self.repo)

    def location(self) -> str:
        return f"the Hub's cache (HF_HOME), then {self.target}"

    def missing(self) -> str | None:
        if handed_over_model(self.repo) or hub_snapshot(self.repo):
            return None
        return f"{self.repo} in {self.location()}"

    def root(self) -> Path:
        return textattack_cache()

    def found(self) -> list[Path]:
        found = handed_over_model(self.repo) or hub_snapshot(self.repo)
        return files_below(Path(found)) if found else []

    def fetch(self) -> None:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            folder = snapshot_download(self.repo, allow_patterns=["*.json", "*.txt", "*.safetensors", "1_Pooling/*"])
        except (HfHubHTTPError, LocalEntryNotFoundError, hub_connection_error()) as error:
            raise OSError(str(error).split("\n", 1)[0]) from error
        self.check_sha256(path for path in Path(folder).iterdir() if path.is_file())

    def install(self, folder: Path) -> None:
        names = [self.target.name, self.repo, self.repo.rpartition("/")[2]]
        found = find(
            folder,
            [prefix + name for name in names for prefix in ("models/", "textattack_cache/models/", "")],
            self.repo,
        )
        if not (found / "config.json").is_file():
            raise OSError(
                f"expected config.json in {found}, got none: hand over the folder that save_pretrained wrote"
            )
        # `save_pretrained` writes the same weights in other bytes than those that are on the Hub.
        self.check_sha256(path for path in found.iterdir() if path.is_file() and path.suffix != ".safetensors")
        with self.workshop() as folder:
            place(found, self.target, folder)


def handed_over_folder(repo: str) -> Path:
    """Where a model that is handed over is put."""
    return textattack_cache() / "models" / repo.replace("/", "--")


def handed_over_model(repo: str) -> str | None:
    """The folder of a model that `robust-tickets resources fetch --from` took in; None if there is none."""
    folder = handed_over_folder(repo)
    return str(folder) if (folder / "config.json").is_file() else None


def hub_snapshot(repo: str) -> str | None:
    """The folder of a model in the Hub's cache, with its weights; None if it is not there. Nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache

    for name in dict.fromkeys((repo, repo.partition("/")[2] or repo)):
        if name.count("/") > 1 or not name:
            continue
        for weights in ("model.safetensors", "pytorch_model.bin"):
            found = try_to_load_from_cache(name, weights)
            if isinstance(found, str):
                return str(Path(found).parent)
    return None
