"""`robust-tickets resources`: what the recipes need, whether it is there, and how to get it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from transformers.hf_argparser import HfArg

from ..errors import ConfigurationError, MissingResourceError
from ..evaluation import fetch_resource, get_recipe, install_resource, list_recipes
from ..evaluation.recipes import needs
from ..evaluation.resources import RESOURCES, files_sha256, get_resource, is_offline
from ..reporting.tables import text_table
from .options import parse

ACTIONS = ("list", "fetch", "check")


@dataclass
class ResourcesOptions:
    """What to do, and with which resources: all of them if nothing is named."""

    action: str = field(metadata={"help": "list, fetch or check; may stand first without --action."})
    names: list[str] | None = field(
        default=None, metadata={"help": "Resources; may stand after the action without --names."}
    )
    recipes: list[str] | None = field(default=None, metadata={"help": "All that these recipes need."})
    from_folder: str | None = HfArg(
        aliases=["--from"], default=None, help="fetch: take them from this folder instead of the network."
    )


def run(argv: list[str]) -> None:
    """Lists, fetches or checks. Raises if something is missing in the end."""
    (options,) = parse("resources", (ResourcesOptions,), _with_names(argv))
    if options.action not in ACTIONS:
        raise ConfigurationError(f"expected an action among {', '.join(ACTIONS)}, got {options.action!r}")
    if options.from_folder is not None and options.action != "fetch":
        raise ConfigurationError(f"expected --from with `fetch` only, got it with {options.action!r}")
    chosen = _chosen(options)
    if options.action == "list":
        print(text_table([_row(name) for name in chosen]))
    elif options.action == "fetch":
        _fetch(chosen, options.from_folder)
    else:
        _check(chosen)


def _with_names(argv: list[str]) -> list[str]:
    """`resources fetch wordnet --from F` as well as `resources --action fetch --names wordnet --from F`."""
    if not argv or argv[0].startswith("-") or argv[0].endswith((".yaml", ".yml")):
        return argv
    count = next((i for i, argument in enumerate(argv) if argument.startswith("-")), len(argv))
    names = argv[1:count]
    return ["--action", argv[0], *(["--names", *names] if names else []), *argv[count:]]


def _chosen(options: ResourcesOptions) -> list[str]:
    names = [get_resource(name).name for name in options.names or ()]
    for recipe in options.recipes or ():
        names += [name for name in needs(get_recipe(recipe)) if name in RESOURCES]
    if options.names is None and options.recipes is None:
        names = list(RESOURCES)
    return list(dict.fromkeys(names))


def _users(name: str) -> list[str]:
    return [recipe for recipe in list_recipes() if name in needs(get_recipe(recipe))]


def _row(name: str) -> dict[str, str]:
    resource = RESOURCES[name]
    known = ", ".join(f"{file} {digest[:12]}..." for file, digest in resource.sha256.items())
    return {
        "resource": name,
        "there": "yes" if resource.missing() is None else "no",
        "recipes": ", ".join(_users(name)),
        "size": resource.size,
        "licence": resource.licence,
        "sha256": known or "unknown",
        "looked for in": resource.location(),
        "from": resource.source,
    }


def _fetch(names: list[str], folder: str | None) -> None:
    failed = []
    for name in names:
        if RESOURCES[name].missing() is None and folder is None:
            print(f"{name}: there")
            continue
        try:
            if folder is not None:
                install_resource(name, folder)
            elif is_offline():
                raise MissingResourceError(
                    f"HF_HUB_OFFLINE forbids downloads: unset it, or give --from FOLDER ({name})"
                )
            else:
                fetch_resource(name)
        except MissingResourceError as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)
            continue
        print(f"{name}: {'taken from ' + folder if folder is not None else 'fetched'}")
    if failed:
        raise MissingResourceError(f"expected {len(names)} resources, still miss {', '.join(failed)}")


def _there(name: str) -> str:
    """With a checksum over its files, by which two machines can be compared."""
    files = RESOURCES[name].found()
    return f"there, sha256 {files_sha256(files)} ({len(files)} files)" if files else "there"


def _check(names: list[str]) -> None:
    missing = []
    for name in names:
        status = RESOURCES[name].status()
        print(f"{name}: {_there(name) if status.available else f'{status.detail}; run `{status.command}`'}")
        if not status.available:
            missing.append(name)
    if missing:
        raise MissingResourceError(f"expected {len(names)} resources, miss {', '.join(missing)}")
