"""Implicit representations: runs, their figures, and what is refused."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import stored_weights
from PIL import Image

import leastcontrol as lc
from leastcontrol import data, files, training
from leastcontrol.cli import main
from leastcontrol.runs import represent
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.represent_config import NATURAL, TEXT, RepresentConfig

SMALL = RepresentConfig.of(
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
    assert files.read_record(folder / "summary.json") == summary
    looks = list(map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()))
    assert [look["step"] for look in looks] == [10, 20, 30] * 2
    for series in (looks[:3], looks[3:]):
        assert series[-1]["psnr_train"] > series[0]["psnr_train"]
    for name in ("converged_fraction", "solve_steps"):
        assert summary[name] == pytest.approx(np.mean([look[name] for look in looks]))
    # Units on kinks come to rest within the paper's budget, because iterates are mixed.
    assert summary["converged_fraction"] == 1
    assert summary["solve_steps"] < SMALL.rule.max_steps
    values = [picture["psnr_test"] for picture in summary["pictures"]]
    assert summary["psnr_test"]["all"]["mean"] == pytest.approx(np.mean(values))
    assert summary["psnr_test"]["natural"] == {"mean": values[0], "std": None, "count": 1}


def test_the_figures_of_a_picture_are_those_of_its_network(run):
    folder, summary = run
    picture = data.read_picture("natural-1", size=4)
    like = SMALL.network.build(3, jax.random.key(0))
    system = stored_weights(folder, "picture-1", like)
    places, colours = picture.part(1)
    state = jnp.zeros((4, 24))
    drive = jax.vmap(system.drive)(jnp.asarray(places))
    for _ in range(200):
        state = state + jax.vmap(system.vector_field)(state, drive)
    ratio = represent.psnr(np.asarray(jax.vmap(system.readout)(state)), colours)
    assert ratio == pytest.approx(summary["pictures"][0]["psnr_test"], abs=1e-2)


class Stopped(Exception):
    """Ends a run after a picture, as a signal would."""


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A run of two seeds that was stopped after each of its pictures but the last, and went on."""
    out = tmp_path_factory.mktemp("represent") / "seeds"
    config = SMALL.with_options(seeds=(0, 5))
    seen = []

    def report(seed, look):
        seen.append((seed, look.image, look.step))
        if look.step == SMALL.optimiser.steps and len(seen) < 12:
            raise Stopped

    with jax.enable_x64(False):
        for _ in range(3):
            with pytest.raises(Stopped):
                represent.run_representations(config, out, resume=True, report=report, look=report)
        summary = represent.run_representations(
            config, out, resume=True, report=report, look=report
        )
    return out, seen, summary


@pytest.mark.slow
def test_a_stopped_run_goes_on_with_the_picture_where_it_was(seeded):
    _, seen, _ = seeded
    each = [(seed, image) for seed in (0, 5) for image in SMALL.pictures.images]
    assert seen == [(*pair, step) for pair in each for step in (10, 20, 30)]


def test_a_seed_of_several_is_the_run_of_that_seed_alone(run, seeded):
    folder, alone = run
    out, _, summary = seeded
    for number in (1, 2):
        name = f"checkpoints/picture-{number}.eqx"
        assert (out / "seed-0" / name).read_bytes() == (folder / name).read_bytes()
        assert (out / "seed-5" / name).read_bytes() != (folder / name).read_bytes()
    first, _ = summary["per_seed"]
    for picture, other in zip(first["pictures"], alone["pictures"], strict=True):
        assert {**picture, "step_ms": 0} == {**other, "step_ms": 0}
    # Drawn from the weights that were kept, of the pictures learned before a stop.
    for name in ("reconstructions.png", "unfolding.png"):
        assert (out / "seed-0" / name).read_bytes() == (folder / name).read_bytes()
    names = {path.name for path in (out / "seed-5").iterdir()}
    assert {"summary.json", "psnr.png", "reconstructions.png", "unfolding.png"} < names


def test_several_seeds_have_their_mean_and_deviation(seeded):
    out, _, summary = seeded
    assert files.read_record(out / "summary.json") == summary
    assert summary["seed"] == [figures["seed"] for figures in summary["per_seed"]] == [0, 5]
    pictures = np.array(
        [[picture["psnr_test"] for picture in seed["pictures"]] for seed in summary["per_seed"]]
    )
    for name, values in (
        ("all", pictures.mean(axis=1)),
        ("natural", pictures[:, 0]),
        ("text", pictures[:, 1]),
    ):
        assert summary["mean"][f"psnr_test_{name}"] == pytest.approx(np.mean(values))
        assert summary["std"][f"psnr_test_{name}"] == pytest.approx(np.std(values, ddof=1))
    shares = [
        json.loads((out / f"seed-{seed}" / "summary.json").read_text())["converged_fraction"]
        for seed in (0, 5)
    ]
    assert summary["mean"]["converged_fraction"] == pytest.approx(np.mean(shares))


def test_another_run_does_not_go_on_in_its_folder(seeded):
    out, *_ = seeded
    other = SMALL.with_options(seeds=(0, 5), frequency=6.0)
    with pytest.raises(ConfigError, match=r"holds a run with frequency = 5.0, and now it is 6.0"):
        represent.run_representations(other, out, resume=True)


@pytest.mark.parametrize("content", ["{", "[1]", '{"image": "text-1"}'])
def test_damaged_lines_are_told_of_where_a_run_goes_on(content, tmp_path):
    files.write_json(tmp_path / "config.json", SMALL.as_json())
    (tmp_path / "metrics.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(training.FolderError, match=r"metrics.jsonl does not hold what was seen"):
        represent.run_representations(SMALL, tmp_path, resume=True)


def test_a_configuration_is_read_as_it_is_written():
    for config in (SMALL, SMALL.with_options(seeds=(1, 2), gradient_clip=1.0)):
        values = json.loads(json.dumps(config.as_json()))
        assert RepresentConfig.from_json(values, "FILE") == config
    with pytest.raises(ConfigError, match="FILE holds no configuration"):
        RepresentConfig.from_json([], "FILE")
    for values in ({}, {"verb": "meta"}):
        with pytest.raises(ConfigError, match="FILE does not hold the configuration of implicit"):
            RepresentConfig.from_json(values, "FILE")
    with pytest.raises(ConfigError, match="FILE has images = 'text-1'"):
        RepresentConfig.from_json({**SMALL.as_json(), "images": "text-1"}, "FILE")


@pytest.mark.parametrize("name", ["least-control", "recurrent-backpropagation"])
def test_a_rule_is_what_its_configuration_says(name):
    options = {"unsolved": "raise", "tolerance": 1e-3, "max_steps": 7}
    options |= {"alpha": 0.5} if name == "least-control" else {}
    rule = SMALL.with_options(rule=name, **options).rule.build()
    if name == "least-control":
        assert isinstance(rule, lc.LeastControl)
        assert float(rule.output_control.leak) == 0.5
        assert float(SMALL.rule.build().output_control.leak) == 0
        solves = rule.controller
    else:
        assert isinstance(rule, lc.RecurrentBackpropagation)
        solves = rule
    assert isinstance(rule.unsolved, lc.RaiseError)
    assert (solves.tolerance.relative, solves.solver.max_steps) == (1e-3, 7)


def test_a_gradient_is_clipped_by_its_norm():
    places, colours = map(jnp.asarray, data.read_picture("text-2", size=4).part(0))
    moved = []
    for clip in (None, 1e-12):
        learner = represent.Learner(SMALL.with_options(gradient_clip=clip))
        start = learner.start(0)
        after, _, _ = learner.advance(start, lc.Batch(places, colours), 1)
        apart = jax.tree.map(lambda old, new: jnp.abs(new - old).max(), start[0], after[0])
        moved.append(max(map(float, jax.tree.leaves(apart))))
    # Adam's first step is the learning rate, but where the gradient is below its ε of 1e-8.
    assert moved[0] == pytest.approx(SMALL.optimiser.learning_rate, rel=0.01)
    assert moved[1] < 1e-3 * SMALL.optimiser.learning_rate


def test_a_number_that_was_not_finite_is_none_of_an_interrupted_run(run, tmp_path):
    _, summary = run
    row = {**summary["pictures"][0], "psnr_test": math.nan}
    del row["checksums"]
    folder = training.RunFolder(tmp_path)
    folder.write_metrics([row])
    ((look,),) = represent._kept(folder).values()
    assert math.isnan(look.psnr_test)
    assert look.psnr_train == row["psnr_train"]


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
        (
            {"seeds": (0, 2**32)},
            "--seeds is 0 4294967296, but it must be each at least 0 and below",
        ),
        ({"seeds": (0, 0)}, "--seeds is 0 0, but it must be different from each other"),
        ({"seed": 1, "seeds": (0, 1)}, "--seed and --seeds are both given"),
    ],
    ids=str,
)
def test_what_cannot_be_run_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        SMALL.with_options(**options).check()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "run", "--images", "natrual-1"], "no picture is called 'natrual-1'"),
        (["--out", "run", "--images", "image:missing.png"], "missing.png: it cannot be read"),
        (["--out", "run", "--images", "image:."], ". is a folder and no file"),
        (["--out", "run", "--images", "image:text.png"], "text.png cannot be read as an image"),
        (["--out", "run", "--images", "image:cut.png"], "cut.png cannot be read as an image"),
        (["--out", "run", "--images", "image:small.png"], "6×9 pixels, fewer than 64 of a side"),
        (["--out", "run", "--size", "500"], "fewer than 500"),
        (["--out", "run", "--size", "9"], "--size is 9, but it must be an even number"),
        (["--out", "run", "--seeds", "1", "1"], "--seeds is 1 1, but it must be different"),
        (["--out", "run", "--seed", "-1"], "--seed is -1, but it must be at least 0"),
        (["--out", "run", "--frequency", "nan"], "--frequency is nan, but it must be above 0"),
        (["--out", "run", "--results", "none/r.json"], "--results is none/r.json, but it must be"),
        ([], "name a new one with --out DIR"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("text", encoding="utf-8")
    Image.fromarray(np.zeros((9, 6), np.uint8)).save(tmp_path / "small.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "small.png").read_bytes()[:-30])
    before = set(tmp_path.iterdir())
    with pytest.raises(SystemExit) as caught:
        main(["represent", *arguments])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert set(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_the_verb_shows_its_figures_and_writes_them_into_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "--images text-1 --size 4 --hidden 4 --steps 2 --reports 1 --seeds 0 3"
    options = [*words.split(), "--out", "run", "--results", "results.json"]
    with pytest.raises(SystemExit) as caught:
        main(["represent", *options])
    assert not caught.value.code
    summary = files.read_record(tmp_path / "results.json")
    assert summary == files.read_record(tmp_path / "run" / "summary.json")
    assert summary["command"] == f"leastcontrol represent {' '.join(options)}"
    assert {"commit", "versions"} < set(summary)
    out, error = capsys.readouterr()
    mean, deviation = (summary[part]["psnr_test_text"] for part in ("mean", "std"))
    assert f"{mean:.2f} ± {deviation:.2f} dB" in out
    assert [line.split("  ")[0] for line in error.splitlines()] == ["seed 0", "seed 3"]
