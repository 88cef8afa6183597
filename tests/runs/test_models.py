"""A model as one file: what comes back, what it says of samples, and what is refused."""

import csv
import json
import pickle

import equinox as eqx
import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from leastcontrol import files, training
from leastcontrol.cli import main
from leastcontrol.runs import model_files, models, trained
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.samples import load_splits
from leastcontrol.runs.train import run_training

SMALL = RunConfig.of(
    rule="backpropagation", hidden=(8,), epochs=3, learning_rate=1e-2, preprocessing="standardise"
)
SHAPE = (8, 8)


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of a run, and its model."""
    root = tmp_path_factory.mktemp("models")
    with jax.enable_x64(False):
        run_training(SMALL, root / "run")
        models.export(root / "run", root / "model")
    return root / "run", root / "model"


@pytest.fixture(scope="module")
def pixels():
    """The test samples without preprocessing, as whole pixels from 0 to 16, and their labels."""
    test = load_splits(SMALL.with_options(preprocessing="none")).test
    return np.round(16 * test.inputs).astype(int), test.targets


def call(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return 0 if caught.value.code is None else caught.value.code


@pytest.mark.slow
def test_a_model_is_as_good_as_its_run(exported, pixels):
    folder, path = exported
    model, (values, targets) = models.load_model(path), pixels
    assert model.shape == SHAPE
    predictions = models.predict(model, (values / 16).astype(np.float32), batch_size=100)
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    right = [
        prediction.label == target for prediction, target in zip(predictions, targets, strict=True)
    ]
    assert np.mean(right) == pytest.approx(summary["test_accuracy"])
    nll = [
        -np.log(prediction.probabilities[t])
        for prediction, t in zip(predictions, targets, strict=True)
    ]
    assert np.mean(nll) == pytest.approx(summary["test_nll"], rel=1e-4)
    assert all(
        prediction.solved and sum(prediction.probabilities) == pytest.approx(1, abs=1e-5)
        for prediction in predictions
    )


def test_the_best_weights_can_be_exported(exported, tmp_path):
    folder, _ = exported
    run = training.RunFolder(folder)
    splits = load_splits(SMALL)
    like = (trained.build_system(SMALL, splits, 1), None)
    run.save_weights("best", like, SMALL.identity())
    models.export(folder, tmp_path / "model", weights="best")
    system = models.load_model(tmp_path / "model").system
    for leaf, expected in zip(jax.tree.leaves(system), jax.tree.leaves(like[0]), strict=True):
        assert np.array_equal(leaf, expected)


def test_every_kind_of_file_says_the_same(pixels, tmp_path):
    values = pixels[0][:3]
    grey = (15 * values).astype(np.uint8)
    np.save(tmp_path / "whole.npy", values / 16)
    np.save(tmp_path / "square.npy", (values / 16).reshape(3, *SHAPE))
    np.save(tmp_path / "one.npy", values[0].reshape(SHAPE))
    np.savetxt(tmp_path / "rows.csv", values, delimiter=",")
    Image.fromarray(grey[0].reshape(SHAPE)).save(tmp_path / "image.png")
    np.save(tmp_path / "bytes.npy", grey)
    expected = np.float32(values / 16)
    for name, full, samples in (
        ("whole.npy", None, expected),
        ("square.npy", None, expected),
        ("one.npy", 16.0, expected[:1]),
        ("rows.csv", 16.0, expected),
        ("image.png", 240.0, expected[:1]),
        ("image.png", None, np.float32(grey[:1] / 255)),
        ("bytes.npy", None, np.float32(grey / 255)),
    ):
        np.testing.assert_array_equal(models.read_samples(tmp_path / name, SHAPE, full), samples)


def test_the_command_line_exports_and_predicts(exported, pixels, tmp_path, capsys):
    folder, _ = exported
    assert call("export", folder, "--out", tmp_path / "model") == 0
    assert "takes samples of 8 x 8 to one of 10 classes" in capsys.readouterr().out
    np.savetxt(tmp_path / "rows.csv", pixels[0][:4], delimiter=",")
    outputs = ("--json", tmp_path / "out.json", "--csv", tmp_path / "out.csv")
    assert call("predict", tmp_path / "model", tmp_path / "rows.csv", "--full", 16, *outputs) == 0
    rows = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    predictions = models.predict(
        models.load_model(tmp_path / "model"), (pixels[0][:4] / 16).astype(np.float32)
    )
    assert [row["label"] for row in rows] == [prediction.label for prediction in predictions]
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(row["label"]) for row in table] == [prediction.label for prediction in predictions]
    for row, prediction in zip(table, predictions, strict=True):
        assert [float(row[f"probability_{n}"]) for n in range(10)] == list(prediction.probabilities)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "none", "--out", "model"], "is not a run folder"),
        (["export", "none", "--out", "no-such-folder/model"], "--out is no-such-folder/model"),
        (["export", "none", "--out", "model", "--weights", "bets"], "the nearest is best"),
        (["predict", "none", "x.csv"], "none cannot be read: No such file"),
        (["predict", "none", "x.csv", "--full", "0"], "--full is 0.0"),
    ],
)
def test_mistakes_are_one_sentence(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("leastcontrol: ")
    assert error.count("\n") == 1
    assert said in error


def test_a_run_of_several_seeds_is_no_model(tmp_path):
    folder = training.RunFolder.create(tmp_path / "run")
    config = SMALL.with_options(seeds=(3, 4))
    files.write_json(folder.path / "config.json", config.as_json())
    with pytest.raises(ConfigError, match=r"holds 2 seeds, .*: write .*seed-3\."):
        models.export(folder.path, tmp_path / "model")


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def hostile(marker):
    array = np.empty(1, dtype=object)
    array[0] = Bomb(marker)
    return array


def test_no_file_runs_code(tmp_path):
    marker = tmp_path / "marker"
    np.save(tmp_path / "bomb.npy", hostile(marker), allow_pickle=True)
    for name in ("bomb.csv", "bomb.png", "bomb"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(marker)))
    for name in ("bomb.npy", "bomb.csv", "bomb.png"):
        with pytest.raises(ConfigError, match=f"{name} cannot be read"):
            models.read_samples(tmp_path / name, SHAPE)
    with pytest.raises(training.FolderError, match="is no model"):
        models.load_model(tmp_path / "bomb")
    assert not marker.exists()


def test_a_damaged_model_is_refused(exported, tmp_path):
    content = exported[1].read_bytes()
    for damaged in (b"", b"text\ntext", content[:-1], content + b"x", content[:70]):
        (tmp_path / "model").write_bytes(damaged)
        with pytest.raises(training.FolderError, match="is no model of leastcontrol, or is dam"):
            models.load_model(tmp_path / "model")


def test_other_libraries_read_the_weights(exported):
    arrays = safetensors.numpy.load_file(exported[1])
    system = models.load_model(exported[1]).system
    assert {name: array.shape for name, array in arrays.items()} == {
        "layers.0.weight": (8, 64),
        "layers.0.bias": (8,),
        "layers.1.weight": (10, 8),
        "layers.1.bias": (10,),
    }
    np.testing.assert_array_equal(arrays["layers.0.weight"], system.layers[0].weight)


def test_every_changed_byte_is_noticed(exported, tmp_path):
    content = exported[1].read_bytes()
    rng = np.random.default_rng(0)
    for place in (*range(0, 16), *rng.integers(16, len(content), 60)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "model").write_bytes(damaged)
        with pytest.raises(training.FolderError, match="is no model of leastcontrol, or is dam"):
            models.load_model(tmp_path / "model")


def test_weights_of_another_library_are_no_model(tmp_path):
    metadata = [None, {}, {"leastcontrol": "{}"}, {"leastcontrol": "[]", "sha256": ""}]
    for each in metadata:
        path = tmp_path / "model"
        safetensors.numpy.save_file({"a": np.zeros(2)}, path, metadata=each)
        with pytest.raises(training.FolderError, match="is no model of leastcontrol") as caught:
            models.load_model(path)
        assert "\n" not in str(caught.value)


def test_a_model_of_before_is_read(exported, tmp_path):
    model, path = models.load_model(exported[1]), tmp_path / "model"
    header = model_files.read_model(exported[1]).header
    training.write_sealed(path, "model", header, model.system)
    assert eqx.tree_equal(models.load_model(path).system, model.system)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(training.FolderError, match="is no model of leastcontrol, or is damaged"):
        models.load_model(path)


def test_a_model_of_another_precision_says_so(exported):
    with jax.enable_x64(True), pytest.raises(training.PrecisionError, match="JAX_ENABLE_X64=0"):
        models.load_model(exported[1])


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"config": {"hidden": [9]}}, "of other shapes"),
        ({"config": {"hiden": [8]}}, "the nearest is hidden"),
        ({"config": None}, "holds no configuration"),
        ({"shape": None}, "does not say which samples"),
        ({"shape": [8, 9]}, "of other shapes"),
        ({"classes": -1}, "does not say which samples"),
        ({"classes": 2**30}, "of other shapes"),
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_is_refused(header, message, exported, tmp_path):
    model = model_files.read_model(exported[1])
    system = models.load_model(exported[1]).system
    model_files.write_model(tmp_path / "model", {**model.header, **header}, system)
    with pytest.raises((ConfigError, training.FolderError), match=message):
        models.load_model(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "1,2\n3,4\n", "has the shape 2 x 2, but a sample of this model is 8 x 8"),
        ("x.csv", "1,2\n3\n", "cannot be read as rows"),
        ("x.csv", "a,b\n", "cannot be read as rows"),
        ("x.csv", "", "cannot be read as rows"),
        ("x.csv", ",".join(["2"] * 64), "has values from 2 to 2.*--full 255"),
        ("x.csv", ",".join(["nan"] * 64), "has values from nan"),
        ("x.csv", ",".join(["-1"] * 64), "has values from -1"),
        ("x.png", "text", "cannot be read as an image"),
        ("x.npy", "text", "cannot be read as an array"),
        ("x.txt", "text", "is not of a kind that is read"),
        ("none.csv", None, "cannot be read"),
        ("none.npy", None, "cannot be read"),
    ],
)
def test_samples_that_do_not_fit_are_refused(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        models.read_samples(tmp_path / name, SHAPE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["a"]), "does not hold one array of real numbers"),
        (np.array(1.0), "has the shape one number"),
        (np.zeros((0, 64)), "has the shape 0 x 64"),
        (np.zeros((2, 8, 9)), "has the shape 2 x 8 x 9"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(array, message, tmp_path):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ConfigError, match=message):
        models.read_samples(tmp_path / "x.npy", SHAPE)


def test_an_image_of_another_size_is_refused(tmp_path):
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(ConfigError, match="has the shape 9 x 8"):
        models.read_samples(tmp_path / "x.png", SHAPE)
    with pytest.raises(ConfigError, match=r"a sample of this model is 64: give a \.csv"):
        models.read_samples(tmp_path / "x.png", (64,))
