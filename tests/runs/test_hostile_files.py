"""A pickle bomb in every format that is read: refused with one sentence, and it never goes off."""

import gzip
import hashlib
import io
import json
import pickle
import shutil
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

from leastcontrol import data, files, training
from leastcontrol.cli import main
from leastcontrol.runs import model_files, models, samples, trained
from leastcontrol.runs.config import RunConfig

CONFIG = RunConfig.of(rule="backpropagation", hidden=(4,))
TRAIN = ("train", "--rule", "backpropagation", "--hidden", "4", "--resume", "--out", "run")


class Bomb:
    """Unpickling it writes a file."""

    def __reduce__(self):
        return open, ("went-off", "w")


PLAIN = pickle.dumps(Bomb())


def array_of_objects():
    stream = io.BytesIO()
    np.save(stream, np.array([Bomb()], dtype=object), allow_pickle=True)
    return stream.getvalue()


def archive_of_objects():
    stream = io.BytesIO()
    np.savez(stream, meta=np.array([Bomb()], dtype=object))
    return stream.getvalue()


BOMBS = {
    "pickle": PLAIN,
    "array": array_of_objects(),
    "archive": archive_of_objects(),
    "packed": gzip.compress(PLAIN),
}


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A run folder as its first epoch leaves it, and a model, without any training."""
    root = tmp_path_factory.mktemp("good")
    with jax.enable_x64(False):
        splits, rule = samples.load_splits(CONFIG), CONFIG.build_rule()
        system = trained.build_system(CONFIG, splits, 0)
        folder = training.RunFolder.create(root / "run")
        files.write_json(root / "run" / "config.json", CONFIG.as_json())
        folder.save_weights("last", (system, None), CONFIG.identity())
        start = training.untrained(system, rule, splits.train, CONFIG.build_training(), seed=0)
        measured = training.Evaluation(0.5, 1.0, 1.0)
        row = training.EpochMetrics(1, *[1.0] * 7, 3, 1.0, 1.0, measured)
        checkpoints = training.Checkpoints(folder, CONFIG.identity())
        checkpoints.save(training.Trained(system, None, (row,), start.optimiser_states), 1.0)
        models.export(root / "run", root / "model")
        header = model_files.read_model(root / "model").header
        training.write_sealed(root / "old-model", "model", header, system)
    np.save(root / "rows.npy", np.zeros((2, 64)))
    return root


@pytest.fixture
def place(good, tmp_path, monkeypatch):
    """The good files in a folder of the test's own, where it works."""
    folder = tmp_path / "work"
    shutil.copytree(good, folder)
    monkeypatch.chdir(folder)
    return folder


def refused(capsys, *command):
    with pytest.raises(SystemExit) as caught:
        main(list(command))
    error = capsys.readouterr().err
    assert caught.value.code == 2, error
    assert error.startswith("leastcontrol: ")
    assert error.count("\n") == 1, error


def unharmed(place):
    assert not [path for path in place.parent.rglob("*") if path.name == "went-off"]


def test_the_bombs_go_off_where_they_are_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in (PLAIN, gzip.decompress(BOMBS["packed"])):
        pickle.loads(content).close()
        (tmp_path / "went-off").unlink()
    for name in ("array", "archive"):
        loaded = np.load(io.BytesIO(BOMBS[name]), allow_pickle=True)
        (loaded if name == "array" else loaded["meta"])[0].close()
        (tmp_path / "went-off").unlink()


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("run/config.json", ("evaluate", "run")),
        ("run/checkpoints/last.eqx", ("evaluate", "run")),
        ("run/checkpoints/last.eqx", ("export", "run", "--out", "other")),
        ("run/checkpoints/state-000001.eqx", TRAIN),
        ("run/summary.json", TRAIN),
        ("run/config.json", ("report", "run")),
        ("run/metrics.jsonl", ("report", "run")),
        ("pairs/comparison.json", ("report", "pairs")),
        ("model", ("predict", "model", "rows.npy")),
        ("old-model", ("predict", "old-model", "rows.npy")),
        ("rows.npy", ("predict", "model", "rows.npy")),
        ("rows.csv", ("predict", "model", "rows.csv")),
        ("image.png", ("predict", "model", "image.png")),
        ("vector.npz", ("verify", "--vectors", "vector.npz")),
        ("mnist/train-images-idx3-ubyte", ("data", "mnist", "--data-dir", ".")),
        ("mnist/train-images-idx3-ubyte.gz", ("data", "mnist", "--data-dir", ".")),
        (
            "omniglot/images_background.zip",
            ("meta", "--tasks", "omniglot", "--data-dir", ".", "--out", "out"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_bomb_in_place_of_a_file_is_refused(file, command, bomb, place, capsys):
    path = place / file
    path.parent.mkdir(exist_ok=True)
    # A line of figures is one only with its end.
    path.write_bytes(BOMBS[bomb] + b"\n")
    refused(capsys, *command)
    unharmed(place)


def sealed_with(content):
    """Returns a file with a right header and checksum around arrays that are none."""
    checksum = hashlib.sha256(content).hexdigest().encode()
    return checksum + b"\n" + content


@pytest.mark.parametrize("bomb", ["pickle", "array", "archive"])
@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("old-model", ("predict", "old-model", "rows.npy")),
        ("run/checkpoints/state-000001.eqx", TRAIN),
    ],
)
def test_a_bomb_behind_a_right_header_is_refused(file, command, bomb, place, capsys):
    path = place / file
    header = path.read_bytes().split(b"\n", 2)[1]
    path.write_bytes(sealed_with(header + b"\n" + BOMBS[bomb]))
    refused(capsys, *command)
    unharmed(place)


@pytest.mark.parametrize("bomb", ["array", "archive"])
def test_a_bomb_behind_good_leaves_is_refused(bomb, place, capsys):
    path = place / "run" / "checkpoints" / "last.eqx"
    content = path.read_bytes()
    last = content.rindex(b"\x93NUMPY")
    path.write_bytes(content[:last] + BOMBS[bomb])
    refused(capsys, "evaluate", "run")
    unharmed(place)


def test_members_that_climb_out_of_an_archive_are_not_unpacked(place, capsys):
    drawing = io.BytesIO()
    Image.new("1", (105, 105), 1).save(drawing, "PNG")
    (place / "omniglot").mkdir()
    with zipfile.ZipFile(place / "omniglot" / "images_background.zip", "w") as archive:
        archive.writestr("A/character01/0001_01.png", drawing.getvalue())
        for member in ("../went-off", "../../went-off", str(place / "went-off")):
            archive.writestr(member, PLAIN)
    refused(capsys, "meta", "--tasks", "omniglot", "--data-dir", ".", "--out", "out")
    unharmed(place)


def test_words_in_a_configuration_are_words(place, capsys):
    config = json.loads((place / "run" / "config.json").read_text(encoding="utf-8"))
    for word in ("!!python/object/apply:open ['went-off', 'w']", "__import__('os')", "${HOME}"):
        (place / "run" / "config.json").write_text(json.dumps({**config, "rule": word}))
        refused(capsys, "evaluate", "run")
    unharmed(place)


def test_a_data_set_of_pickles_is_refused(place):
    """The digits come from scikit-learn; no name of a data set leads to a file of pickles."""
    for name in ("went-off", "../model", "digits.pkl"):
        with pytest.raises(data.DataError):
            data.load(name, data_dir=place)
    unharmed(place)
