"""The benchmark of accelerators runs on a CPU: what it writes, where it goes on, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.accelerator import all_groups, main, measure
from benchmarks.device.passes import captured
from benchmarks.device.profile import WatchOperations
from benchmarks.device.setting import Setting, add_ratios
from benchmarks.device.timing import Times, in_turn
from tests.testing.recorded_graph import graphs_on

CPU = torch.device("cpu")


def run(file: Path, *options: str) -> None:
    main(["--device", "cpu", "--quick", "--rounds", "2", "--output", str(file), *options])


def test_a_table_and_a_file_which_a_second_run_completes(tmp_path, capsys):
    file, forward, step = tmp_path / "out.json", "forward, eager, 32 x 32", "step, eager, 32 x 32"
    run(file, "--only", forward, "2:4", "attacked step, graph")
    printed = capsys.readouterr().out
    assert "attacked step, graph, 32 x 32: not measured, graphs are captured on CUDA devices alone" in printed
    assert "2:4, forward, 128 x 128: not measured, 2:4 weights are multiplied on CUDA devices alone" in printed
    assert "- 50 + 50 %, rounded to 64" in printed
    found = json.loads(file.read_text())
    assert list(found["groups"]) == [forward] and found["about"]["model"] == "tiny"
    sides = found["groups"][forward]["sides"]
    assert len(sides) == 7 and sides["dense"]["wall_ratio"] == 1.0 and sides["dense"]["device_ms"] is None
    # A pruned model asks for as many operations as the dense one.
    assert len({side["launches"] for side in sides.values()}) == 1
    run(file, "--only", forward, step, "attacks", "masked")
    assert f"{forward}: " not in capsys.readouterr().out.split("\n\n")[0], "what was there is not measured again"
    groups = json.loads(file.read_text())["groups"]
    assert groups[forward] == found["groups"][forward]
    by_width = groups["attacks side by side"]["sides"]
    assert 0 < by_width["16 side by side"]["launches"] < by_width["1 side by side"]["launches"]
    assert groups["masked step, 32 x 128"]["sides"]["masked step"]["kernels"] > 0


@pytest.mark.slow
def test_captured_steps_stand_beside_those_that_run_as_they_are():
    """With the stand-in for graphs: what a device will be asked to do."""
    with graphs_on("cpu") as made:
        sides = captured(Setting(CPU, quick=True, rounds=2), (32, 32))
    assert list(sides)[:3] == ["plain step", "plain step, graph", "FreeLB-3"]
    assert len(made) == 3 * 2
    # Three timed steps, the first that was captured, and the one whose operations are counted.
    assert all(graph.replays == 5 for graph in made)
    assert all(side["wall_ms"] > 0 and side["wall_ratio"] > 0 for side in sides.values())


@pytest.mark.slow
def test_attacked_steps_are_held_against_as_many_plain_ones(tmp_path):
    run(tmp_path / "out.json", "--only", "attacked step, 32 x 32")
    sides = json.loads((tmp_path / "out.json").read_text())["groups"]["attacked step, 32 x 32"]["sides"]
    assert sides["FreeLB-5"]["plain_steps"] == 5
    assert sides["FreeLB-5"]["launches"] > 4 * sides["plain step"]["launches"]
    assert sides["PGD, 3 steps"]["plain_steps"] == pytest.approx(2 * 2 / 3 + 1)
    ratio = sides["FreeLB-5"]["wall_ms"] / sides["plain step"]["wall_ms"] / 5
    assert sides["FreeLB-5"]["wall_ratio"] == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "cuda:7"], "expected the device cuda:7, got a machine with"),
        (["--device", "abacus"], "expected --device auto, cuda, cuda:<number> or cpu, got 'abacus'"),
        (["--only", "nothing"], "expected --only to name groups among step, eager, 128 x 128;"),
    ],
)
def test_what_is_not_there_is_one_line(options, message, tmp_path):
    with pytest.raises(SystemExit, match=message) as refused:
        run(tmp_path / "out.json", *options)
    assert "\n" not in str(refused.value)


def test_figures_of_another_machine_are_not_mixed(tmp_path):
    (tmp_path / "out.json").write_text(json.dumps({"about": {"device": "an abacus"}, "groups": {}}))
    with pytest.raises(SystemExit, match=r"got 'an abacus' .*--fresh"):
        run(tmp_path / "out.json", "--only", "2:4")
    run(tmp_path / "out.json", "--only", "2:4", "--fresh")


def test_what_does_not_fit_into_the_budget_is_left_out_and_the_best_comes_first(tmp_path, capsys):
    groups = all_groups()
    assert len({group.key for group in groups}) == len(groups)
    assert [group.key for group in groups[:3]] == [
        "step, eager, 128 x 128", "forward, eager, 128 x 128", "attacked step, 32 x 128",
    ]  # fmt: skip
    found = {"groups": {}}
    measure(Setting(CPU), groups, 0.0, tmp_path / "out.json", found)
    assert not found["groups"] and capsys.readouterr().out.count("left out") == len(groups)


def test_spread_and_ratios_by_hand():
    times = Times(wall=[0.001, 0.002, 0.003, 0.004, 0.005])
    summary = times.summary()
    assert summary["wall_ms"] == pytest.approx(3.0) and summary["wall_spread"] == pytest.approx(1 / 3)
    assert summary["device_ms"] is None
    two = {"a": {"wall_ms": 2.0, "device_ms": 4.0}, "b": {"wall_ms": 3.0, "device_ms": None}}
    assert add_ratios(two)["b"] == {"wall_ms": 3.0, "device_ms": None, "wall_ratio": 1.5, "device_ratio": None}


def test_sides_take_turns():
    heard = []
    in_turn({"a": lambda: heard.append("a"), "b": lambda: heard.append("b")}, CPU, rounds=2, warm=1)
    runs = "".join(heard)[4:]  # after a warm-up and a trial of each
    assert runs.lstrip("a").lstrip("b").lstrip("a") == "" and runs[0] == runs[-1] == "a"


def count_operations(step) -> int:
    with WatchOperations() as watch:
        step()
    return watch.count


def test_views_and_allocations_are_no_launches():
    x = torch.ones(3, 3)
    assert count_operations(lambda: x.t().reshape(3, 3)[0]) == 0
    assert count_operations(lambda: torch.empty(3)) == 0
    assert count_operations(lambda: (x @ x + 1).add_(2)) == 3
    y = torch.ones(3, 3, requires_grad=True)
    with WatchOperations() as watch:
        (y @ x).sum().backward()
    summary = watch.summary()
    assert summary["kernels"] == watch.count >= 4 and 0 < summary["products"] < 1
