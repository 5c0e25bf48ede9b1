from __future__ import annotations

import subprocess
import sys

import pytest
import torch

pytest.importorskip("matplotlib")

from hf_robust_tickets.errors import ConfigurationError, DataError, MissingDependencyError, TicketError
from hf_robust_tickets.reporting import _canvas, _distance_plots, _result_plots
from hf_robust_tickets.reporting.plots import (
    plot_accuracy,
    plot_cost,
    plot_distance_matrix,
    plot_distances,
    plot_speed,
    plot_sweep,
    plot_ticket,
    plot_tradeoff,
)
from hf_robust_tickets.tickets import RobustTicket

PNG = b"\x89PNG\r\n\x1a\n"


def ticket(seed: int, layers: int = 2, heads: int = 4, neurons: int = 8) -> RobustTicket:
    generator = torch.Generator().manual_seed(seed)

    def mask(size: int) -> torch.Tensor:
        kept = torch.rand(size, generator=generator) > 0.4
        kept[0] = True
        return kept

    return RobustTicket(
        heads=tuple(mask(heads) for _ in range(layers)), neurons=tuple(mask(neurons) for _ in range(layers))
    )


def record(i: int, **values) -> dict:
    return {"step": 10 * i, "epoch": 0.1 * i, "stop": False, **values}


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, for a look at what is on them."""
    saved = []

    def save(figure, path):
        saved.append(figure)
        return original(figure, path)

    original = _canvas.save
    monkeypatch.setattr(_canvas, "save", save)
    return saved


def texts(figure) -> list[str]:
    from matplotlib.text import Text

    return [artist.get_text() for artist in figure.findobj(Text) if artist.get_text()]


def is_picture(path) -> bool:
    return path.read_bytes().startswith(PNG)


def test_names_are_drawn_as_they_are(tmp_path):
    for name in ("a$b_c$ $\\frac{1$", "x\ud800y\x00"):
        assert plot_cost({name: {"train": 3.0}, "b": {name: 4.0}}, tmp_path / "cost.png").read_bytes().startswith(PNG)
        values = {name: {name: (0.5, 0.4, 0.6)}}
        assert plot_accuracy(values, tmp_path / "accuracy.png", title=name, subtitle=name).read_bytes().startswith(PNG)


def test_distance_matrix_shows_the_distances(tmp_path, figures):
    a = RobustTicket(heads=(torch.tensor([True, True]),), neurons=(torch.tensor([True, True, True, True]),))
    b = RobustTicket(heads=(torch.tensor([True, False]),), neurons=(torch.tensor([True, True, True, False]),))
    path = plot_distance_matrix([a, b], tmp_path / "new" / "matrix.png", epochs=[0.05, 0.1])
    assert is_picture(path)
    heads, neurons = (axes.images[0].get_array() for axes in figures[0].axes[:2])
    assert heads.tolist() == [[0, 50], [50, 0]]
    assert neurons.tolist() == [[0, 25], [25, 0]]
    assert "0.05" in texts(figures[0])


@pytest.mark.parametrize(("kind", "panels"), [("heads", 1), ("neurons", 1), ("both", 2)])
def test_distance_matrix_kinds(tmp_path, figures, kind, panels):
    plot_distance_matrix([ticket(i) for i in range(3)], tmp_path / "m.png", kind, early_bird=1)
    assert sum(bool(axes.images) for axes in figures[0].axes) == panels
    assert any("early-bird ticket" in text for text in texts(figures[0]))


def test_distance_matrix_of_a_single_ticket(tmp_path):
    assert is_picture(plot_distance_matrix([ticket(0)], tmp_path / "m.png"))


@pytest.mark.parametrize(
    ("tickets", "options", "error", "message"),
    [
        (1, {"kind": "layers"}, ConfigurationError, "one of heads, neurons, both; got 'layers'"),
        (0, {}, DataError, "at least one ticket"),
        (2, {"epochs": [0.1]}, DataError, "got 1 for 2 tickets"),
        (2, {"early_bird": 2}, DataError, "between 0 and 1, got 2"),
    ],
)
def test_distance_matrix_refuses(tmp_path, tickets, options, error, message):
    with pytest.raises(error, match=message):
        plot_distance_matrix([ticket(i) for i in range(tickets)], tmp_path / "m.png", **options)


def test_distance_matrix_refuses_tickets_of_different_models(tmp_path):
    with pytest.raises(TicketError):
        plot_distance_matrix([ticket(0), ticket(0, layers=3)], tmp_path / "m.png")


def test_distances_mark_tolerance_and_stop(tmp_path, figures):
    log = [record(1), record(2, head_distance=0.2, neuron_distance=0.3, head_distance_window=0.2)]
    log.append(record(3, head_distance=0.05, neuron_distance=0.04, neuron_distance_window=0.04) | {"stop": True})
    assert is_picture(plot_distances(log, 0.1, tmp_path / "d.png"))
    words = texts(figures[0])
    assert "The ticket settled at epoch 0.30" in words
    assert "stop\nstep 30" in words
    assert "tolerance\n10 %" in words


def test_distances_of_a_search_that_did_not_settle(tmp_path, figures):
    log = [record(1), *(record(i, head_distance=0.2, neuron_distance=0.1) for i in (2, 3))]
    plot_distances(log, 0.1, tmp_path / "d.png")
    assert "The search ran to its budget" in texts(figures[0])
    heads = figures[0].axes[0].lines[0]
    assert heads.get_ydata().tolist() == [0.2, 0.2]


def test_distances_say_when_there_are_none(tmp_path, figures):
    plot_distances([record(1, head_distance=None)], 0.1, tmp_path / "d.png")
    assert any("only one ticket" in text for text in texts(figures[0]))


def test_distances_refuse_an_empty_or_timeless_log(tmp_path):
    with pytest.raises(DataError, match="at least one record"):
        plot_distances([], 0.1, tmp_path / "d.png")
    with pytest.raises(DataError, match="none in record 1"):
        plot_distances([record(1), {"step": 2}], 0.1, tmp_path / "d.png")


@pytest.mark.parametrize(("layers", "heads", "neurons"), [(1, 2, 4), (6, 12, 1536), (24, 16, 64)])
def test_ticket_in_many_sizes(tmp_path, figures, layers, heads, neurons):
    drawn = ticket(0, layers, heads, neurons)
    assert is_picture(plot_ticket(drawn, tmp_path / "t.png"))
    kept, *gone = figures[0].axes[0].collections
    assert len(kept.get_offsets()) == sum(drawn.head_counts)
    assert sum(len(dots.get_offsets()) for dots in gone) == layers * heads - sum(drawn.head_counts)
    assert any(f"{sum(drawn.head_counts):,} of {layers * heads:,} heads" in text for text in texts(figures[0]))


def test_ticket_against_a_larger_dense_model(tmp_path, figures):
    whole = RobustTicket(heads=(torch.ones(3, dtype=torch.bool),), neurons=(torch.ones(5, dtype=torch.bool),))
    plot_ticket(whole, tmp_path / "t.png", dense=([4], [10]))
    assert "3 of 4 heads (75 %) and 5 of 10 neurons (50 %) in 1 layer." in texts(figures[0])
    with pytest.raises(DataError, match=r"expected dense neurons per layer of at least \[5\], got \[4\]"):
        plot_ticket(whole, tmp_path / "t.png", dense=([4], [4]))


def test_ticket_without_a_head(tmp_path, figures):
    empty = RobustTicket(heads=(torch.zeros(3) > 0,), neurons=(torch.zeros(5) > 0,))
    plot_ticket(empty, tmp_path / "t.png")
    assert "0 of 3 heads (0 %) and 0 of 5 neurons (0 %) in 1 layer." in texts(figures[0])


def test_speed_as_a_share_of_the_dense_model(tmp_path, figures):
    rows = [
        {"what": "latency, 1 x 32", "pruned": "6 ms", "dense": "10 ms", "ratio": "0.60", "operations": "0.50"},
        {"what": "throughput, 1 x 32", "pruned": "9 / s", "dense": "5 / s", "ratio": "1.80", "operations": None},
        {"what": "file size", "pruned": "11 MB", "dense": "10 MB", "ratio": "1.10", "operations": None},
    ]
    assert is_picture(plot_speed(rows, tmp_path / "s.png", subtitle="cpu"))
    assert {"60 %", "110 %", "6 ms  of  10 ms"} <= set(texts(figures[0]))
    assert not any("9 / s" in text for text in texts(figures[0]))
    with pytest.raises(DataError, match="got none"):
        plot_speed([], tmp_path / "s.png")


def test_cost_names_the_speed_up(tmp_path, figures):
    costs = {"dense": {"train": 600.0}, "ticket": {"search": 20.0, "finetune": 80.0}}
    assert is_picture(plot_cost(costs, tmp_path / "c.png"))
    assert {"10 min 00 s", "1 min 40 s", "6.0× faster"} <= set(texts(figures[0]))
    plot_cost(costs, tmp_path / "c.png", baseline="ticket")
    assert "6.0× slower" in texts(figures[1])


def test_cost_refuses(tmp_path):
    with pytest.raises(DataError, match="at least one measured duration"):
        plot_cost({}, tmp_path / "c.png")
    with pytest.raises(DataError, match="'a', phase 'train'; got nan"):
        plot_cost({"a": {"train": float("nan")}}, tmp_path / "c.png")
    with pytest.raises(DataError, match="one of a; got 'b'"):
        plot_cost({"a": {"train": 1.0}}, tmp_path / "c.png", baseline="b")


def test_phases_keep_their_colours():
    assert (
        _result_plots._phase_colors(["search", "finetune"])["finetune"]
        == (_result_plots._phase_colors(["other", "train", "finetune"])["finetune"])
    )
    assert len(set(_result_plots._phase_colors(["a", "search", "b", "train"]).values())) == 4


def test_accuracy(tmp_path, figures):
    results = {
        "plain": {"clean": (0.9, 0.88, 0.92), "TextFooler": (0.1, 0.05, 0.2)},
        "ticket": {"clean": (0.9, 0.9, 1)},
    }
    assert is_picture(plot_accuracy(results, tmp_path / "a.png"))
    assert texts(figures[0]).count("90.0") == 2
    with pytest.raises(DataError, match="at least one result"):
        plot_accuracy({}, tmp_path / "a.png")
    with pytest.raises(DataError, match="got value 90, low 88, high 92"):
        plot_accuracy({"plain": {"clean": (90, 88, 92)}}, tmp_path / "a.png")


def test_pictures_leave_the_callers_matplotlib_alone(tmp_path):
    code = (
        "import sys; from hf_robust_tickets.reporting import plots;"
        "assert 'matplotlib' not in sys.modules;"
        f"plots.plot_cost({{'a': {{'train': 1.0}}}}, {str(tmp_path / 'c.png')!r});"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"hf_robust_tickets\[plots\]"):
        plot_cost({"a": {"train": 1.0}}, tmp_path / "c.png")


@pytest.mark.parametrize("noise", [True, False])
@pytest.mark.parametrize("rule", ["halves", "window"])
def test_the_picture_of_a_search_draws_what_noise_gives(tmp_path, monkeypatch, rule, noise):
    lines = []
    monkeypatch.setattr(_distance_plots.canvas, "save", lambda figure, path: lines.append(figure) or path)
    shadow = "{}_distance_chance" if rule == "halves" else "shadow_{}_distance_window"
    log = [
        {"step": i, "epoch": i / 10, "stop": False}
        | {f"{kind}_distance": 0.2 for kind in ("head", "neuron")}
        | {f"{kind}_distance_{rule}": 0.3 for kind in ("head", "neuron")}
        | ({shadow.format(kind): 0.45 for kind in ("head", "neuron")} if noise else {})
        for i in (1, 2, 3)
    ]
    plot_distances(log, 0.1, tmp_path / "d.png")
    (figure,) = lines
    levels = [set(line.get_ydata()) for line in figure.axes[0].get_lines()]
    assert ({0.45} in levels) is noise and {0.3} in levels and {0.2} in levels
    assert figure.axes[0].get_ylim()[1] > (0.45 if noise else 0.3)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_cost_that_was_measured_once_is_drawn_without_a_warning(tmp_path, figures):
    methods = {"dense": [(100.0, 0.1), (100.0, 0.2)], "pruned": [(80.0, 0.25)]}
    assert is_picture(plot_tradeoff(methods, tmp_path / "t.png", anchors=["dense"]))
    across = [line.get_ydata() for line in figures[0].axes[0].get_lines() if list(line.get_xdata()) == [0, 1]]
    assert across == [pytest.approx([15.0, 15.0])]


def test_the_tradeoff_has_a_point_and_whiskers_for_each_method(tmp_path, figures):
    methods = {"dense": [(100.0, 0.1), (120.0, 0.2)], "pruned": [(80.0, 0.25)]}
    assert is_picture(plot_tradeoff(methods, tmp_path / "t.png", anchors=["dense"]))
    (axes,) = figures[0].axes
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.texts] == ["dense", "pruned"]
    assert [tuple(text.xy) for text in axes.texts] == [(110.0, pytest.approx(15.0)), (80.0, 25.0)]
    (line,) = [line for line in axes.lines if len(set(line.get_ydata())) == 1 and len(line.get_ydata()) == 2]
    assert line.get_ydata()[0] == pytest.approx(15.0)


@pytest.mark.parametrize(
    ("methods", "anchors", "message"),
    [
        ({}, [], "measure first"),
        ({"a": []}, [], "measure first"),
        ({"a": [(0.0, 0.5)]}, [], "positive cost"),
        ({"a": [(1.0, 1.5)]}, [], r"robustness in \[0, 1\]"),
        ({"a": [(1.0, float("nan"))]}, [], r"robustness in \[0, 1\]"),
        ({"a": [(1.0, 0.5)]}, ["b"], "anchors among the methods"),
    ],
)
def test_what_the_tradeoff_cannot_draw(tmp_path, methods, anchors, message):
    with pytest.raises(DataError, match=message):
        plot_tradeoff(methods, tmp_path / "t.png", anchors=anchors)
    assert not list(tmp_path.iterdir())


def swept(sparsity: str, draw: str, seed: int, accuracy: float, **attacks: float) -> dict:
    found = {name: {"accuracy_under_attack": value} for name, value in attacks.items()}
    return {"sparsity": sparsity, "draw": draw, "seed": seed, "accuracy": accuracy, "attacks": found}


def test_a_sweep_has_a_panel_per_recipe_and_a_line_per_draw(tmp_path, figures):
    cells = [swept("0.2", "40", 0, 0.9, fooler=0.3), swept("0.2", "40", 1, 0.8, fooler=0.1)]
    cells += [swept("0.4", "40", 0, 0.7), swept("0.2", "settled", 0, 0.6), swept("0.4", "settled", 0, 0.5)]
    assert is_picture(plot_sweep(cells, tmp_path / "s.png"))
    clean, attacked = figures[0].axes
    assert [text.get_text() for text in clean.get_xticklabels()] == ["0.2", "0.4"]
    lines = [axes.containers[0].lines[0] for axes in (clean, attacked)]
    assert [list(line.get_ydata()) for line in lines] == [[pytest.approx(85), pytest.approx(70)], [pytest.approx(20)]]
    assert [container.get_label() for container in clean.containers] == ["drawn at step 40", "drawn when settled"]
    # One sparsity alone: the step of the draw is the axis.
    plot_sweep([swept("0.2", "40", 0, 0.9), swept("0.2", "60", 0, 0.8)], tmp_path / "t.png")
    assert [text.get_text() for text in figures[1].axes[0].get_xticklabels()] == ["40", "60"]


def test_a_sweep_without_cells_is_refused(tmp_path):
    with pytest.raises(DataError, match="sweep first"):
        plot_sweep([], tmp_path / "s.png")
