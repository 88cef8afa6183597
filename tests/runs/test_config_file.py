"""Options in TOML files: what is read, what overrides it, and what is refused with a sentence."""

import tomllib
from pathlib import Path

import pytest

from leastcontrol.cli import main
from leastcontrol.cli.verbs.train import Train
from leastcontrol.runs import train
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.config_file import as_toml, read_options
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.sweep_config import Choices, Range, read_sweep


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_gives_the_options_that_the_command_line_does_not(tmp_path):
    text = '[train]\nrule = "backpropagation"\nhidden = [8, 9]\nlearning-rate = 1e-2\nepochs = 7\n'
    file = written(tmp_path / "train.toml", text)
    words = ["train", "--config", str(file), "--epochs", "2", "--out", str(tmp_path / "run")]
    assert Train.parse(words[1:]).config == RunConfig.of(
        rule="backpropagation", hidden=(8, 9), learning_rate=1e-2, epochs=2
    )
    # And the other way round.
    assert Train.parse([*words[3:], *words[1:3]]).config == Train.parse(words[1:]).config


def test_train_runs_a_file(tmp_path, monkeypatch):
    seen = []

    def run(config, *_, **__):
        seen.append(config)
        raise ConfigError("Seen.")

    monkeypatch.setattr(train, "run_training", run)
    file = written(tmp_path / "train.toml", "[train]\nhidden = [8]\n")
    with pytest.raises(SystemExit):
        main(["train", "--config", str(file), "--out", str(tmp_path / "run")])
    assert seen == [RunConfig.of(hidden=(8,))]


def test_every_option_is_read_as_it_was_written(tmp_path):
    config = RunConfig.of(
        data="mnist",
        data_dir=Path('a "folder"\\é'),
        hidden=(3, 4),
        learning_rate=1e-5,
        alpha=1e22,
        gradient_clip=10.0,
        max_steps=7,
        seeds=(0, 1),
    )
    text = as_toml(config.flat(), "All of them.")
    assert RunConfig.of(**read_options(written(tmp_path / "all.toml", text))) == config
    assert "max_steps" not in tomllib.loads(as_toml({"max_steps": None}, "None of them."))["train"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nhiden = [8]", "the nearest is hidden"),
        ("[train]\nhidden = 8", "hidden = 8, which is not of its kind"),
        ("[train]\nepochs = 1.5", "epochs = 1.5, which is not of its kind"),
        ("[train]\nepochs = true", "epochs = True, which is not of its kind"),
        ("[train]\nepochs = 2020-01-01", "which is not of its kind"),
        ("[train]\nbatch-size = 3\nbatch_size = 3", "twice"),
        ("[train]\nepochs = 0", "--epochs is 0"),
        ("[trian]\nepochs = 1", "the nearest is train"),
        ("epochs = 1", "A table of"),
        ("train = 1", "train is a table of options"),
        ("", "write them in a table [train]"),
        ("[train", "cannot be read as TOML"),
        ("\x00", "cannot be read as TOML"),
    ],
)
def test_a_file_that_is_none_is_refused(text, said, tmp_path, capsys):
    file = written(tmp_path / "train.toml", text)
    with pytest.raises(SystemExit) as caught:
        main(["train", "--config", str(file), "--out", str(tmp_path / "run")])
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith("leastcontrol: ")
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_what_cannot_be_read_is_refused(content, tmp_path):
    file = tmp_path / "train.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_options(file)


# --- sweeps ---------------------------------------------------------------------------------------


def test_a_sweep_is_read(tmp_path):
    text = """
        [train]
        data = "mnist"
        epochs = 3
        [search]
        learning-rate = { low = 1e-4, high = 1, log = true }
        batch-size = { low = 16, high = 64 }
        hidden = [[8], [8, 8]]
        gradient-clip = [1, 2.5]
    """
    config = read_sweep(written(tmp_path / "sweep.toml", text))
    assert config.train == {"data": "mnist", "epochs": 3}
    assert config.search == {
        "learning_rate": Range(1e-4, 1.0, True),
        "batch_size": Range(16, 64, False),
        "hidden": Choices(((8,), (8, 8))),
        "gradient_clip": Choices((1.0, 2.5)),
    }
    assert config.configuration({"batch_size": 17}) == RunConfig.of(
        data="mnist", epochs=3, batch_size=17
    )


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("", "searches nothing"),
        ("learning-rat = [1e-2, 1e-3]", "the nearest is learning_rate"),
        ("rule = ['backpropagation', 'bakcpropagation']", "the nearest is backpropagation"),
        ("rule = ['backpropagation', 3]", "which is not of its kind"),
        ("learning-rate = 1e-2", "write a fixed value in [train]"),
        ("learning-rate = [1e-2]", "at least two different values"),
        ("learning-rate = [1e-2, 0.01]", "at least two different values"),
        ("learning-rate = { low = 1e-3 }", "which is not of its kind"),
        ("gradient-clip = { low = 1.0 }", "with low and high"),
        ("learning-rate = { low = 1e-2, high = 1e-3 }", "low is less than high"),
        ("learning-rate = { low = 1e-3, high = inf }", "both are finite"),
        ("alpha = { low = 0.0, high = 1.0, log = true }", "both above 0 where log is true"),
        ("learning-rate = { low = 1e-3, high = 1e-2, log = 1 }", "log = true"),
        ("learning-rate = { low = 1e-3, hihg = 1e-2 }", "the nearest is high"),
        ("batch-size = { low = 1.5, high = 3 }", "which is not of its kind"),
        ("rule = { low = 'a', high = 'b' }", "is one of"),
        ("hidden = { low = [3], high = [4] }", "a range is of numbers"),
        ("seed = [1, 2]", "is not searched"),
        ("split-seed = [1, 2]", "is not searched"),
        ("data = ['digits', 'mnist']", "is not searched"),
        ("epochs = [1, 2]", "in [train] and in [search]"),
        ("batch-size = [0, 1]", "--batch-size is 0"),
    ],
)
def test_a_search_that_is_none_is_refused(search, said, tmp_path, capsys):
    file = written(tmp_path / "sweep.toml", f"[train]\nepochs = 1\n[search]\n{search}\n")
    with pytest.raises(SystemExit) as caught:
        main(["sweep", str(file), "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith("leastcontrol: ")
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "out").exists()
