"""Implicit representations: runs, their figures, and what is refused."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from leastcontrol import data, training
from leastcontrol.cli import main
from leastcontrol.experiments import represent
from leastcontrol.experiments.config import ConfigError
from leastcontrol.experiments.represent_config import NATURAL, TEXT, RepresentConfig

SMALL = RepresentConfig(
    images=("natural-1", "text-2"),
    size=4,
    hidden=24,
    frequency=5.0,
    steps=30,
    reports=3,
    learning_rate=1e-3,
)


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run, and its summary."""
    folder = tmp_path_factory.mktemp("represent") / "run"
    with jax.enable_x64(False):
        return folder, represent.run_representations(SMALL, folder, command="leastcontrol")


def test_the_built_in_pictures_have_their_names():
    assert (*NATURAL, *TEXT) == data.picture_names()


def test_the_ratio_is_that_of_a_known_error():
    assert represent.psnr(np.full((4, 3), 0.6), np.full((4, 3), 0.5)) == pytest.approx(20.0)
    assert represent.psnr(np.ones(2), np.ones(2)) == math.inf


def test_a_run_learns_its_pictures_and_leaves_its_files(run):
    folder, summary = run
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "config.json",
        "metrics.jsonl",
        "summary.json",
        "picture-1.eqx",
        "picture-2.eqx",
        "reconstructions.png",
        "psnr.png",
        "unfolding.png",
    }
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            image.verify()
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8")) == summary
    looks = list(map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()))
    assert [look["step"] for look in looks] == [10, 20, 30] * 2
    for own in (looks[:3], looks[3:]):
        assert own[-1]["psnr_train"] > own[0]["psnr_train"]
    for name in ("converged_fraction", "solve_steps"):
        assert summary[name] == pytest.approx(np.mean([look[name] for look in looks]))
    # Some of these solves need more than the paper's budget, and are told of.
    assert 0 < summary["converged_fraction"] < 1
    assert summary["solve_steps"] < SMALL.max_steps
    values = [own["psnr_test"] for own in summary["pictures"]]
    assert summary["psnr_test"]["all"]["mean"] == pytest.approx(np.mean(values))
    assert summary["psnr_test"]["natural"] == {"mean": values[0], "std": None, "count": 1}


def test_the_figures_of_a_picture_are_those_of_its_network(run):
    folder, summary = run
    picture = data.read_picture("natural-1", size=4)
    like = represent.build_network(SMALL, 3)
    system = training.RunFolder(folder).load_weights("picture-1", like)
    places, colours = picture.part(1)
    state = jnp.zeros((4, 24))
    drive = jax.vmap(system.drive)(jnp.asarray(places))
    for _ in range(200):
        state = state + jax.vmap(system.vector_field)(state, drive)
    found = represent.psnr(np.asarray(jax.vmap(system.readout)(state)), colours)
    assert found == pytest.approx(summary["pictures"][0]["psnr_test"], abs=1e-2)


def test_the_baseline_is_another_rule():
    rule = represent.build_rule(dataclasses.replace(SMALL, rule="recurrent-backpropagation"))
    assert type(rule).__name__ == "RecurrentBackpropagation"
    assert float(represent.build_rule(SMALL).output_control.leak) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": ()}, "--images is empty, but it must be one or more pictures"),
        ({"images": ("text-1", "text-1")}, "different from each other"),
        ({"size": 7}, "--size is 7, but it must be an even number"),
        ({"hidden": 0}, "--hidden is 0"),
        ({"frequency": 0.0}, "--frequency is 0.0"),
        ({"rule": "backpropagation"}, "--rule is 'backpropagation'.*recurrent-backpropagation"),
        ({"alpha": -1.0}, "--alpha is -1.0"),
        ({"tolerance": 0.0}, "--tolerance is 0.0"),
        ({"steps": 0}, "--steps is 0"),
        ({"learning_rate": math.nan}, "--learning-rate is nan"),
        ({"gradient_clip": 0.0}, "--gradient-clip is 0.0"),
        ({"seed": -1}, "--seed is -1"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SMALL, **options).check()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "run", "--images", "natrual-1"], "no picture is called 'natrual-1'"),
        (["--out", "run", "--images", "image:missing.png"], "missing.png: it cannot be read"),
        (["--out", "run", "--size", "500"], "fewer than 500"),
        ([], "name a new one with --out DIR"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["represent", *arguments])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
