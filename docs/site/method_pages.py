"""One page per method, made from its docstring, its fields, the tests' record and the tables of the results."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path

from formulas import ADVERSARIES, SCORES, SPARSE

from hf_robust_tickets.adversaries import get_adversary, list_adversaries
from hf_robust_tickets.reporting.escaping import Markdown, code
from hf_robust_tickets.reporting.tables import markdown_table
from hf_robust_tickets.sparse.base import _METHODS as SPARSE_METHODS
from hf_robust_tickets.sparse.base import list_sparse_methods
from hf_robust_tickets.tickets import get_score, list_scores

DOCS = Path(__file__).resolve().parents[1]
FACTS = ("Cost", "Trains on", "Use when")
SECTIONS = ("Attributes", "Args", "Example", "Raises")


@dataclass(frozen=True)
class Kind:
    """A registry of methods, and what is said of all of its members.

    Args:
        folder: Where the pages go, below `methods/`.
        title: Heading of the list.
        classes: Name -> class.
        formulas: Name -> LaTeX.
        measured: Name -> pattern of the first cell of a row of the results that speaks of the method.
        references: Pattern of the rows that such a row is to be compared with.
        pictures: Name -> what a picture of the results shows, and its file.
        use: Name and class -> how it is asked for, in Markdown.
    """

    folder: str
    title: str
    classes: dict[str, type]
    formulas: dict[str, str]
    measured: dict[str, str]
    references: str
    pictures: dict[str, tuple[str, str]]
    use: Callable[[str, type], str]


def _ours(names: list[str], class_of: Callable[[str], type]) -> dict[str, type]:
    """Those of the package: a program may have registered others."""
    found = {name: class_of(name) for name in names}
    return {name: kind for name, kind in found.items() if kind.__module__.startswith("hf_robust_tickets.")}


def _use_adversary(name: str, method: type) -> str:
    return (
        "```python\nfrom hf_robust_tickets import AdversarialTrainer, AdversarialTrainingArguments\n\n"
        f'args = AdversarialTrainingArguments("out", adversary="{name}")\n'
        "AdversarialTrainer(model=model, args=args, train_dataset=train, processing_class=processor).train()\n```\n\n"
        f"or, with options, `adversary={method.__name__}(...)` of `hf_robust_tickets.adversaries`; in a ticket job\n"
        f'`finetune_adversary="{name}"`; on the command line\n'
        f"`robust-tickets train --ticket none --adversary {name}`.\n"
    )


def _use_score(name: str, method: type) -> str:
    return (
        "```python\nfrom hf_robust_tickets import RobustTicketArguments\n\n"
        f'args = RobustTicketArguments("out", ticket_score="{name}")\n```\n\n'
        f"on the command line `robust-tickets train --ticket_score {name}`.\n"
    )


def _use_sparse(name: str, method: type) -> str:
    options = {"fixed": "load_masks(path)", "dense": ""}.get(name, "density=0.2")
    return (
        "```python\nfrom hf_robust_tickets import SparseTrainingCallback\n"
        f"from hf_robust_tickets.sparse import {method.__name__}{', load_masks' if name == 'fixed' else ''}\n\n"
        f"callback = SparseTrainingCallback({method.__name__}({options}))      # a callback of any Trainer\n```\n\n"
        f"on the command line `robust-tickets sparse --method {name}`"
        f"{' (`--masks FILE`)' if name == 'fixed' else ''}. See [sparse training](../../sparse.md).\n"
    )


KINDS = (
    Kind(
        "adversaries",
        "Adversaries",
        _ours(list_adversaries(), lambda name: type(get_adversary(name))),
        ADVERSARIES,
        {
            "hotflip": r"[Hh]ot[Ff]lip",
            "freelb": r"FreeLB K=|FreeLB-\d",
            "freelb++": r"FreeLB\+\+",
            "pixel-pgd": r"dense$",
        },
        r"(dense|half), plain",
        dict.fromkeys(("freelb", "freelb++"), ("Accuracy, clean and under three attacks", "accuracy.png")),
        _use_adversary,
    ),
    Kind(
        "scores",
        "Ticket scores",
        _ours(list_scores(), lambda name: type(get_score(name))),
        SCORES,
        {
            "taylor": r"first-order, plain loss",
            "adversarial-taylor": r"first-order, under attack",
            "gate": r"gates, under attack",
        },
        r"dense, plain|random, ",
        {},
        _use_score,
    ),
    Kind(
        "sparse",
        "Sparse methods",
        _ours(list_sparse_methods(), SPARSE_METHODS.__getitem__),
        SPARSE,
        {
            "dense": r"dense$",
            "robust-bird": r"Robust Bird",
            "flying-bird": r"Flying Bird,",
            "flying-bird-plus": r"Flying Bird\+",
        },
        r"dense$",
        {
            "robust-bird": ("Robust accuracy over epochs", "vision_overfitting.png"),
            "flying-bird": ("Density per layer over time", "vision_density_flying-bird-80.png"),
            "flying-bird-plus": ("Density per layer over time", "vision_density_flying-bird_plus-80.png"),
        },
        _use_sparse,
    ),
)


def method_pages() -> Iterator[tuple[str, str]]:
    """Address below the site's root and Markdown of every page of a method, and of their index."""
    yield "methods/index.md", _index()
    for kind in KINDS:
        for name, method in kind.classes.items():
            yield f"methods/{kind.folder}/{name}.md", _page(kind, name, method)


def _index() -> str:
    parts = ["# Which method when\n\nMade from the registries and the docstrings; each name leads to its page.\n"]
    for kind in KINDS:
        rows = []
        for name, method in kind.classes.items():
            facts = _facts(method)
            row = {"method": Markdown(f"[`{name}`]({kind.folder}/{name}.md)")}
            row |= {fact.lower(): Markdown(facts[fact]) for fact in FACTS if fact in facts}
            rows.append(row)
        parts.append(f"## {kind.title}\n\n{markdown_table(rows)}\n")
    parts.append(
        "How the methods fit together is in [concepts](../concepts.md); what each was tested under in the table of\n"
        "[adversaries](../adversaries.md#what-each-was-tested-under); the attacks that evaluate a model are\n"
        "[recipes](../recipes.md).\n"
    )
    return "\n".join(parts)


def _page(kind: Kind, name: str, method: type) -> str:
    if name not in kind.formulas:
        raise ValueError(f"expected a formula of {name!r} in docs/site/formulas.py, got none: add it")
    text = inspect.getdoc(method)
    head, _, rest = _prose(text).partition("\n\n")
    parts = [
        f"# `{name}`: {method.__name__}",
        head,
        *(f"$$\n{line}\n$$" for line in kind.formulas[name].split(r", \qquad ")),
        markdown_table([{"in short": title, "": Markdown(value)} for title, value in _summary(name, method).items()]),
        rest.strip() and f"## How it works\n\n{rest.strip()}",
        f"## Use it\n\n{kind.use(name, method)}{_example(text)}",
        _options(method),
        _measured(kind, name),
        kind.folder == "adversaries" and _tested(name),
        _paper(method),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _prose(text: str) -> str:
    """A docstring without its lines of facts and its sections."""
    text = re.split(rf"^(?:{'|'.join(SECTIONS)}):\n", text, flags=re.MULTILINE)[0]
    text = re.sub(
        rf"^(?:{'|'.join(FACTS)}): .+(?:\n(?!\n|(?:{'|'.join(FACTS)}):).+)*\n?", "", text, flags=re.MULTILINE
    )
    # Indented lines are formulas; everything else is prose already.
    return re.sub(
        r"(?<=\n)((?: {4}.*\n)+)", lambda found: f"```text\n{inspect.cleandoc(found[0])}\n```\n", text + "\n"
    )


def _facts(method: type) -> dict[str, str]:
    """The lines `Cost: ...`, `Use when: ...` of a docstring."""
    pattern = rf"^({'|'.join(FACTS)}): (.+(?:\n(?!\n|(?:{'|'.join(FACTS)}):).+)*)"
    found = re.findall(pattern, inspect.getdoc(method), flags=re.MULTILINE)
    return {title: " ".join(value.split()).removesuffix(".") for title, value in found}


def _summary(name: str, method: type) -> dict[str, str]:
    facts = {title.lower(): value for title, value in _facts(method).items()}
    if hasattr(method, "space"):
        made = method()
        facts["cost"] += f", in plain steps; {made.cost:.3g} with the defaults"
        pixels = method.space == "pixels"
        facts["inputs"] = (
            "pixels of images, in [0, 1]"
            if pixels
            else "embeddings of texts, or the output of any layer (`adversary_layer`)"
            if "hidden layer: cached = uncached" in _said(name)
            else "embeddings of texts"
        )
        held = "a token" if made.scope == "token" else "an image" if pixels else "a text"
        facts["ball"] = f"{made.norm}, {held} at a time"
        facts["log"] = "the divergence" if method.step == "regularized" else "losses, gap and flips under attack"
    elif hasattr(method, "trains_gates"):
        facts["inputs"] = "texts and images; one coefficient per head and per neuron"
        facts["reads"] = (
            "coefficients that the search trains"
            if method.trains_gates
            else "gradients of coefficients that stay at 1"
        )
    else:
        facts["inputs"] = "texts and images; all weights of linear layers and convolutions but embeddings and the head"
    facts["source"] = code(f"{method.__module__.replace('.', '/')}.py")
    return facts


def _options(method: type) -> str:
    if not is_dataclass(method):
        return ""
    meaning = {}
    for base in reversed(method.__mro__):
        meaning |= _attributes(base.__dict__.get("__doc__") or "")
    rows = []
    for field in fields(method):
        default = _default(method, field)
        rows.append({"option": code(field.name), "default": default, "meaning": Markdown(meaning.get(field.name, ""))})
    return f"## Options\n\n{markdown_table(rows)}"


def _default(method: type, field: object) -> Markdown:
    """The value that an object has where nothing is given; lengths depend on the unit."""
    if hasattr(method, "space"):
        value = getattr(method(), field.name)
    elif field.default is MISSING:
        return Markdown("to be given")
    else:
        value = field.default
    return code(f"{value:.4g}" if isinstance(value, float) else repr(value))


def _attributes(doc: str) -> dict[str, str]:
    """Name -> what it is, of the section `Attributes:`."""
    found = re.search(r"^Attributes:\n((?: {4}.*\n?|\n(?= {4}))+)", inspect.cleandoc(doc), flags=re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.+(?:\n {5,}.+)*)", found[1] if found else "", flags=re.MULTILINE)
    return {name: " ".join(text.split()).replace("|", r"\|") for name, text in entries}


def _example(text: str) -> str:
    found = re.search(r"^Example:\n((?: {4}.*\n?)+)", text, flags=re.MULTILINE)
    if not found:
        return ""
    lines = [re.sub(r"^ {4}(>>> |\.\.\. )?", "", line) for line in found[1].splitlines()]
    return "\n```python\n" + "\n".join(lines) + "\n```\n"


def _measured(kind: Kind, name: str) -> str:
    """The rows of the results that speak of the method, beside those that they are to be compared with."""
    tables = list(_tables(kind.measured[name], kind.references)) if name in kind.measured else []
    if not tables:
        return (
            "## Measured effect\n\nNot measured here on a data set; what is known of it are the tests. "
            "[Results](../../results.md) has the methods that were measured."
        )
    said = [
        f"From [{title}](../../{page}#{_slug(title)}), with the protocol and what it does not say:\n\n{table}"
        for page, title, table in tables
    ]
    if name in kind.pictures:
        shown, file = kind.pictures[name]
        said.append(f"![{shown}](../../pictures/{file})")
    return "## Measured effect\n\n" + "\n\n".join(said)


def _tables(wanted: str, references: str) -> Iterator[tuple[str, str, str]]:
    for page in ("results.md", "results_vision.md"):
        section, lines = "", (DOCS / page).read_text().splitlines()
        for i, line in enumerate(lines):
            section = line.lstrip("# ") if line.startswith("## ") else section
            if not re.match(r"\|[ :|-]+\|$", line) or not re.match(r"\| *(model|method|score) ", lines[i - 1]):
                continue
            end = next((j for j in range(i, len(lines)) if not lines[j].startswith("|")), len(lines))
            rows = [(row.split("|")[1].strip(), row) for row in lines[i + 1 : end]]
            if any(re.search(wanted, first) for first, _ in rows):
                kept = [row for first, row in rows if re.search(wanted, first) or re.match(references, first)]
                yield page, section, "\n".join([lines[i - 1], line, *kept])


def _said(name: str) -> dict[str, str]:
    """Feature -> what its test says of an adversary."""
    record = json.loads((DOCS / "features.json").read_text())
    return {title: methods[name]["says"] for title, methods in record.items() if name in methods}


def _tested(name: str) -> str:
    said = _said(name)
    yes = [title for title, says in said.items() if says == "yes"]
    other = [f"{title}: {says}" for title, says in said.items() if says != "yes"]
    if not said:
        return ""
    lines = [f"- {text}" for text in [", ".join(yes), *other] if text]
    return (
        "## What it was tested under\n\n" + "\n".join(lines) + "\n\nWhat each name compares is in "
        "[the table of all methods](../../adversaries.md#what-each-was-tested-under)."
    )


def _paper(method: type) -> str:
    """The row of docs/papers.md that names the method's file."""
    file = method.__module__.removeprefix("hf_robust_tickets.").replace(".", "/") + ".py"
    rows = [line for line in (DOCS / "papers.md").read_text().splitlines() if line.startswith("|") and file in line]
    cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows]
    said = []
    for row in cells:
        paper = row[1].strip() if len(row) == 4 else row[0].strip()
        said.append(f"- {paper}. What we do differently: {row[-1].strip()}.")
    more = "[Papers](../../papers.md) has all of them."
    return "## Paper and departures\n\n" + ("\n".join(said) + "\n\n" if said else "The paper is quoted above. ") + more


def _slug(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-")
