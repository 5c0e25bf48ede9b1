"""`robust-tickets sweep`, on a tiny model and files made here."""

from __future__ import annotations

import importlib.util
import json

import pytest

from hf_robust_tickets.cli import sweep
from hf_robust_tickets.cli.main import main
from hf_robust_tickets.tickets import load_pruned
from tests.testing.command_line import write_model_and_rows

WITH_TEXTATTACK = pytest.mark.skipif(
    importlib.util.find_spec("textattack") is None, reason="TextAttack is not installed"
)
FIGURE = importlib.util.find_spec("matplotlib") is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model_and_rows(tmp_path_factory.mktemp("sweep"))


def line(folder, out, *more: str) -> list[str]:
    files = ["--train_file", str(folder / "data.csv"), "--validation_file", str(folder / "data.csv")]
    arguments = ["--model_name_or_path", str(folder / "model"), *files, "--output_dir", str(out)]
    rest = ["--report_to", "none", "--disable_tqdm", "True", "--save_strategy", "no", "--max_steps", "2"]
    search = ["--search_epochs", "2", "--score_warmup", "1", "--score_batches", "4", "--round_to", "1"]
    return ["sweep", *arguments, *rest, *search, *more]


def one_line(capsys) -> str:
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith("robust-tickets")]
    assert len(said) == 1 and "--debug shows" not in said[0], said
    return said[0]


def files(out) -> list[str]:
    return sorted(path.name for path in out.rglob("*") if path.is_file()) if out.exists() else []


GRID = ["--sparsities", "0.25", "0.25:0.5", "--draw_steps", "3", "settled"]


def test_a_grid_is_trained_once_and_goes_on_where_it_was_cut_off(folder, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    trained = []
    train = sweep.train_cell

    def until_the_third(cell, *rest):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(cell.name)
        return train(cell, *rest)

    monkeypatch.setattr(sweep, "train_cell", until_the_third)
    assert main(line(folder, out, *GRID)) == 130
    assert "the same command goes on" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in out.rglob("cell.json")}
    assert len(before) == 2 and not (out / "sweep.md").exists()
    monkeypatch.setattr(sweep, "train_cell", lambda cell, *rest: trained.append(cell.name) or train(cell, *rest))
    assert main(line(folder, out, *GRID)) == 0
    said = capsys.readouterr().out
    assert len(trained) == 4 == len(set(trained)) and "4 of 4 cells" in said
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    cells = [json.loads(path.read_text()) for path in out.glob("*/cell.json")]
    assert {(cell["sparsity"], cell["draw"]) for cell in cells} == {
        (sparsity, draw) for sparsity in ("0.25", "0.25:0.5") for draw in ("3", "settled")
    }
    for path in out.glob("*/cell.json"):
        cell, model = json.loads(path.read_text()), load_pruned(path.parent)
        assert model.num_parameters() == cell["parameters"] and cell["attacks"] == {}
        assert cell["drawn_at_step"] == 3 or cell["draw"] != "3"
        assert sum(cell["neurons_kept"]) == (1 - float(cell["sparsity"].split(":")[-1])) * 128
    table = (out / "sweep.md").read_text()
    assert table.count("\n") == 6 and "0.25:0.5" in table and "settled" in table
    assert (out / "sweep.png").exists() == FIGURE


@WITH_TEXTATTACK
def test_the_grid_and_the_recipes_grow_and_what_is_there_stays(folder, tmp_path, capsys):
    out, first = tmp_path / "out", ["--sparsities", "0.5", "--draw_steps", "3"]
    assert main(line(folder, out, *first)) == 0
    attacked = ["--recipes", "deepwordbug", "--num_examples", "4", "--query_budget", "5"]
    more = ["--sparsities", "0.5", "--draw_steps", "3", "4", "--seeds", "42", "7", *attacked]
    assert main(line(folder, out, *more)) == 0
    assert "4 of 4 cells" in capsys.readouterr().out
    cells = {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/cell.json")}
    assert len(cells) == 4 and "heads0.5-neurons0.5-draw-3-seed42" in cells
    for cell in cells.values():
        found = cell["attacks"]["deepwordbug"]
        assert found["num_examples"] == 4 and 0 <= found["accuracy_under_attack"] <= found["clean_accuracy"]
    table = (out / "sweep.md").read_text()
    assert "deepwordbug" in table and "seed" in table
    # The attacks are settings of the sweep from here on, also where none is asked for.
    assert main(line(folder, out, *first)) == 0
    capsys.readouterr()
    assert main(line(folder, out, *first, *attacked, "--num_examples", "5")) == 2
    assert "num_examples=4, got 5" in one_line(capsys)


def test_another_sweep_or_another_training_in_the_folder_is_refused(folder, tmp_path, capsys):
    out, grid = tmp_path / "out", ["--sparsities", "0.5", "--draw_steps", "3"]
    assert main(line(folder, out, *grid)) == 0
    before = files(out)
    capsys.readouterr()
    assert main(line(folder, out, *grid, "--learning_rate", "1e-3")) == 2
    assert "holds a sweep with other settings: expected learning_rate=5e-05, got 0.001" in one_line(capsys)
    assert main(line(folder, out / "heads0.5-neurons0.5-draw-3-seed42", *grid)) == 2
    assert "expected an empty folder or a sweep" in one_line(capsys)
    assert files(out) == before
    assert main(line(folder, out, *grid, "--logging_steps", "1")) == 0


def test_a_cell_that_fails_is_named_and_the_others_are_made(folder, tmp_path, capsys, monkeypatch):
    train = sweep.train_cell

    def one_fails(cell, *rest):
        if cell.draw == "3":
            raise sweep.DataError("no such luck")
        return train(cell, *rest)

    monkeypatch.setattr(sweep, "train_cell", one_fails)
    assert main(line(folder, tmp_path / "out", "--sparsities", "0.5", "--draw_steps", "3", "4")) == 2
    assert "1 of 2 cells could not be made; heads0.5-neurons0.5-draw-3-seed42: no such luck" in one_line(capsys)
    assert len(list((tmp_path / "out").glob("*/cell.json"))) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--sparsities", "1"], "expected sparsities in [0, 1), got 1"),
        (["--sparsities", "0.5:-1"], "expected sparsities in [0, 1)"),
        (["--sparsities", "nan"], "expected sparsities in [0, 1)"),
        (["--sparsities", "a"], "0.25:0.4 of heads and neurons, got 'a'"),
        (["--sparsities", "1:2:3"], "got '1:2:3'"),
        (["--sparsities", "0.5", "0.50"], "expected each of sparsities once"),
        (["--sparsities", "0.5", "--draw_steps", "0"], "expected draw_steps from 1 on, or settled, got '0'"),
        (["--sparsities", "0.5", "--draw_steps", "3", "2"], "the cell of sparsity 0.5 and draw 2 cannot be"),
        (["--sparsities", "0.5", "--draw_steps", "6"], "must be within the 5 steps of the search"),
        (["--sparsities", "0.01", "--round_to", "64"], "expected round_to to leave something to cut"),
        (["--sparsities", "0.5", "--seeds", "1", "1"], "expected each of seeds once"),
        (["--sparsities", "0.5", "--search_epochs", "0.1"], "the score 'taylor' needs 5 steps"),
        (["--sparsities", "0.5", "--head_sparsity", "0.3"], "pass --sparsities"),
        (["--sparsities", "0.5", "--ticket_at_step", "3"], "pass --draw_steps"),
        (["--sparsities", "0.5", "--num_examples", "0"], "num_examples must be at least 1"),
        (["--sparsities", "0.5", "--recipes", "nothing"], "nothing"),
        (["--sparsities", "0.5", "--label_column", "stars"], "no column 'stars'"),
        ([], "--sparsities"),
    ],
    ids=" ".join,
)
def test_an_impossible_grid_is_refused_before_anything_is_written(folder, tmp_path, capsys, more, message):
    try:
        code = main(line(folder, tmp_path / "out", *more))
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and message in one_line(capsys)
    assert not files(tmp_path / "out")


@WITH_TEXTATTACK
def test_a_recipe_that_cannot_run_is_refused_before_training(folder, tmp_path, capsys):
    missing = ["--recipes", "textfooler", "--word_vectors", str(tmp_path / "none")]
    assert main(line(folder, tmp_path / "out", "--sparsities", "0.5", *missing)) == 1
    said = one_line(capsys)
    assert "the recipe textfooler needs" in said and "which is not here" in said
    assert not files(tmp_path / "out")
