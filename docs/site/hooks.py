"""MkDocs calls this: pages that are made from the code, links out of docs/ and formulas without JavaScript."""

from __future__ import annotations

import html
import importlib
import inspect
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import jupytext
import latex2mathml.converter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from method_pages import method_pages

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {
    "training": "Trainers, arguments, callbacks",
    "tickets": "Tickets: scores, masks, surgery, loading and saving",
    "adversaries": "Adversaries",
    "sparse": "Sparse training",
    "evaluation": "Evaluation",
    "augmentation": "Augmentation",
    "architectures": "Architectures",
    "vision": "Image models",
    "reporting.plots": "Pictures",
}
# Files outside docs/ that are pages of the site, and those that are copied as they are.
MOVED = {"README.md": "index.md", "CHANGES.md": "changes.md", "CONTRIBUTING.md": "contributing.md"}
COPIED = {"LICENSE": "LICENSE.txt", "constraints.txt": "constraints.txt", "CITATION.cff": "CITATION.cff"}
# Words of file names that are names.
SPELLED = {"nli": "NLI", "llama": "Llama", "lora": "LoRA", "modernbert": "ModernBERT", "glue": "GLUE"}
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
_pages: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Makes the pages, and puts those of `folder/*` into the navigation."""
    _pages.clear()
    _pages.update(made_pages())
    config.nav = _expanded(config.nav)
    return config


def made_pages() -> Iterator[tuple[str, str]]:
    """Address and Markdown of every page that is no file of docs/."""
    for source, target in MOVED.items():
        yield target, rewritten((ROOT / source).read_text(), source, target)
    for script in _scripts():
        yield f"examples/{script.stem}.md", example_page(script)
    yield from method_pages()
    yield from reference_pages()
    yield from evidence_pages()


def _scripts() -> list[Path]:
    return sorted((ROOT / "examples").glob("*.py"))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what was made, and the copied files."""
    for address, text in _pages.items():
        files.append(File.generated(config, address, content=text))
    for script in _scripts():
        if "# %%" in script.read_text():
            files.append(File.generated(config, f"examples/{script.stem}.ipynb", content=notebook(script)))
    for source, target in COPIED.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: object, **_: object) -> str:
    """Leads links of docs/ that leave it to where the site has the same."""
    address = page.file.src_uri
    return markdown if address in _pages else rewritten(markdown, f"docs/{address}", address)


def on_page_content(content: str, **_: object) -> str:
    """Formulas as MathML, which browsers show without a script."""
    return re.sub(
        r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>',
        lambda found: latex2mathml.converter.convert(
            # latex2mathml does not know \arg.
            re.sub(r"\\arg\b", r"\\operatorname{arg}", html.unescape(found[2]).strip()),
            display="block" if found[1] == "div" else "inline",
        ),
        content,
        flags=re.DOTALL,
    )


def rewritten(text: str, source: str, target: str) -> str:
    """Links of a file of the repository as those of the page that it becomes.

    Args:
        text: Markdown.
        source: Where it lies in the repository.
        target: Where the page lies in the site.
    """

    def moved(found: re.Match[str]) -> str:
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[1]))
        return posixpath.relpath(site_address(place), posixpath.dirname(target) or ".") + (found[2] or "")

    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _LINK.sub(moved, part) for part in parts)


def site_address(place: str) -> str:
    """Where the site has a file of the repository; what it has not keeps its name, and MkDocs complains."""
    if place in MOVED or place in COPIED:
        return (MOVED | COPIED)[place]
    if place.startswith("examples/"):
        return re.sub(r"\.py$", ".md", place)
    place = place.removeprefix("docs/")
    return f"{place}/index.md" if re.fullmatch(r"evidence(/\w+)?", place) else place


def example_page(script: Path) -> str:
    """A script as a page: what its docstring says, then prose and code as they take turns."""
    said, code = _said_and_code(script)
    title = " ".join(SPELLED.get(word, word) for word in script.stem.split("_"))
    title_line, _, rest = said.partition("\n")
    where = f"[As a notebook]({script.stem}.ipynb)." if "# %%" in code else f"This is `examples/{script.name}`."
    parts = [f"# {title[0].upper()}{title[1:]}", title_line, _indented_as_code(rest).strip(), where]
    cells = re.split(r"^# %%(.*)\n", code, flags=re.MULTILINE)
    for marker, cell in zip(["", *cells[1::2]], cells[::2], strict=True):
        if "[markdown]" in marker:
            parts.append(_uncommented(cell))
        elif cell.strip():
            parts.append(f"```python\n{cell.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def notebook(script: Path) -> str:
    """A script in cells as a Jupyter notebook, whose first cell is what the docstring says."""
    said, code = _said_and_code(script)
    first = "".join(f"# {line}".rstrip() + "\n" for line in said.splitlines())
    cells = jupytext.reads(f"# %% [markdown]\n{first}\n{code.lstrip()}", fmt="py:percent")
    return jupytext.writes(cells, fmt="ipynb")


def _said_and_code(script: Path) -> tuple[str, str]:
    text = script.read_text()
    found = re.match(r'"""(.*?)"""\n', text, flags=re.DOTALL)
    return found[1].strip(), text[found.end() :]


def _uncommented(cell: str) -> str:
    return re.sub(r"^# ?", "", cell.strip(), flags=re.MULTILINE)


def _indented_as_code(text: str) -> str:
    return re.sub(
        r"((?:^ {4}.*\n?)+)",
        lambda found: f"```bash\n{re.sub('^ {4}', '', found[0], flags=re.M).strip()}\n```\n",
        text,
        flags=re.MULTILINE,
    )


def reference_pages() -> Iterator[tuple[str, str]]:
    """A page for each room, with what it lets others import."""
    import hf_robust_tickets

    for room, title in ROOMS.items():
        module = f"hf_robust_tickets.{room}"
        names = importlib.import_module(module).__all__
        first = [name for name in names if name in hf_robust_tickets.__all__]
        objects = [
            name for name in [*first, *(name for name in names if name not in first)] if documented(module, name)
        ]
        constants = [f"`{name}`" for name in names if name not in objects]
        intro = [f"# {title}", f"What `{module}` lets others import."]
        if first:
            intro.append(f"`hf_robust_tickets` itself knows {', '.join(f'`{name}`' for name in first)}.")
        if constants:
            intro.append(f"Constants: {', '.join(constants)}.")
        blocks = [f"::: {module}.{name}" for name in objects]
        yield f"reference/{room.replace('.', '_')}.md", "\n\n".join([*intro, *blocks]) + "\n"


def documented(module: str, name: str) -> bool:
    """Whether a name is a class or a function, which have docstrings."""
    found = getattr(importlib.import_module(module), name)
    return inspect.isclass(found) or inspect.isfunction(found)


def evidence_pages() -> Iterator[tuple[str, str]]:
    """Lists of the files behind the results."""
    folder = ROOT / "docs" / "evidence"
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    listed = "".join(f"- [{path.name}]({path.name}/index.md)\n" for path in inside)
    what = "One JSON file per training: protocol, cost, tickets, attacks. [Results](results.md) says what they mean."
    for path, rest in [(folder, listed), *((path, "") for path in inside)]:
        address = f"{path.relative_to(ROOT / 'docs').as_posix()}/index.md"
        files = "".join(f"- [{file.name}]({file.name})\n" for file in sorted(path.glob("*.json")))
        back = posixpath.relpath("results.md", posixpath.dirname(address))
        yield (
            address,
            f"# {path.name.replace('_', ' ').capitalize()}\n\n{what.replace('results.md', back)}\n\n{rest}{files}",
        )


def _expanded(nav: list) -> list:
    """`folder/*` replaced by the pages of that folder, wherever it stands."""
    found = []
    for entry in nav:
        if isinstance(entry, str) and entry.endswith("/*"):
            found += _below(entry)
        elif isinstance(entry, dict):
            (title, value), *_ = entry.items()
            if isinstance(value, list):
                found.append({title: _expanded(value)})
            else:
                found.append({title: _below(value) if value.endswith("/*") else value})
        else:
            found.append(entry)
    return found


def _below(pattern: str) -> list[dict[str, str] | str]:
    """Pages of a folder, by their titles; those of its folders too."""
    folder = pattern.removesuffix("*")
    return [{_title(text): address} for address, text in _pages.items() if address.startswith(folder)]


def _title(text: str) -> str:
    return re.sub(r"`[^`]*`: |`", "", text.partition("\n")[0].lstrip("# "))
