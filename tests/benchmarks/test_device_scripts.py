"""The trainings that fill a quarter of an hour of an accelerator run on a CPU at a tiny size, and go on."""

from __future__ import annotations

import json

import pytest

from benchmarks import device_images, device_sentences
from benchmarks.device.race import epochs_that_fit, open_race, run_arms, tell

QUICK = ["--device", "cpu", "--quick"]


def test_images(tmp_path, capsys):
    file = tmp_path / "out.json"
    options = [*QUICK, "--budget", "3600", "--output", str(file)]
    device_images.main([*options, "--arms", "dense"])
    found = json.loads(file.read_text())
    assert list(found["arms"]) == ["dense"] and found["epochs"] > 0
    device_images.main([*options, "--arms", "dense", "flying-bird"])
    printed = capsys.readouterr().out
    again = json.loads(file.read_text())
    assert again["arms"]["dense"] == found["arms"]["dense"] and again["epochs"] == found["epochs"]
    for arm, result in again["arms"].items():
        assert result["steps"] >= 2 and 0 <= result["robust"] <= result["standard"] <= 1, arm
        assert arm == "dense" or result["density"] < 0.3
    assert "51.10 / 43.61" in printed and "in full, 200 epochs of 2 arms, it would take" in printed


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["flying-bird+", "robust-bird"])
def test_sparse_arms(arm, tmp_path):
    file = tmp_path / "out.json"
    device_images.main([*QUICK, "--budget", "3600", "--output", str(file), "--arms", arm])
    assert json.loads(file.read_text())["arms"][arm]["density"] < 0.3


@pytest.mark.slow
def test_sentences(tmp_path, capsys):
    pytest.importorskip("nltk")
    file = tmp_path / "out.json"
    device_sentences.main([*QUICK, "--budget", "3600", "--output", str(file), "--seeds", "0", "1"])
    arms = json.loads(file.read_text())["arms"]
    assert set(arms) == {"dense", "freelb-5", "recipe"}
    assert all(len(result["by seed"]) == 2 for result in arms.values())
    assert arms["recipe"]["parameters"] < arms["dense"]["parameters"] == arms["freelb-5"]["parameters"]
    assert "in full, 10 epochs of 3 arms, it would take" in capsys.readouterr().out


def test_what_fits_is_chosen_once_and_what_does_not_is_left_out(tmp_path, capsys):
    file, costs = tmp_path / "out.json", {"first": 1.0, "second": 4.0}
    found = open_race(file, {"seed": 0}, fresh=False)
    # 70 % of 100 s for five epochs of 7 s each.
    assert epochs_that_fit(found, file, 100.0, costs, lambda: 7.0, 9.0) == pytest.approx(2.0)
    found = open_race(file, {"seed": 0}, fresh=False)
    assert epochs_that_fit(found, file, 100.0, costs, lambda: pytest.fail("measured again"), 9.0) == pytest.approx(2.0)
    run_arms(found, file, 20.0, costs, lambda arm: {"clean": 0.5})
    assert list(json.loads(file.read_text())["arms"]) == ["first"]
    assert "second: left out, it takes about 56 s and" in capsys.readouterr().out
    assert "10 epochs of 2 arms, it would take 0.097 hours" in tell(found, costs, 10, ["clean"])
    short = {"protocol": {}, "arms": {}}
    assert epochs_that_fit(short, file.with_name("b"), 1e6, costs, lambda: 7.0, 9.0) == 9.0
    with pytest.raises(SystemExit, match="another seed: name another --output, or begin anew with --fresh"):
        open_race(file, {"seed": 1}, fresh=False)
    assert open_race(file, {"seed": 1}, fresh=True)["arms"] == {}
