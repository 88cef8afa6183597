"""The command line: words, exit statuses, and sentences in place of tracebacks."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from leastcontrol import files
from leastcontrol.cli import main
from leastcontrol.runs import train
from leastcontrol.verify import properties

TRAIN = ["train", "--hidden", "8", "--epochs", "1", "--rule", "backpropagation"]


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


@pytest.fixture
def call(capsys):
    """Calls the command line; returns exit status, standard output and standard error."""

    def calling(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        code = caught.value.code
        return (0 if code is None else code, *capsys.readouterr())

    return calling


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli")
    with jax.enable_x64(False), pytest.raises(SystemExit) as caught:
        main([*TRAIN, "--out", str(root / "run"), "--results", str(root / "results.json")])
    assert caught.value.code == 0
    return root


def is_one_sentence(error):
    return error.startswith("leastcontrol: ") and error.endswith(".\n") and error.count("\n") == 1


def load(path):
    return files.read_record(path)


# --- parsing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "usage: leastcontrol VERB"),
        (["train", "--help"], 0, "--alpha-convention"),
        (["train", "--alpha", "nan", "--out", "never"], 2, "--alpha is nan"),
        (["trian"], 2, "the nearest is train"),
    ],
)
def test_help_and_mistakes_are_answered_without_jax(arguments, status, said):
    code = (
        "import sys\n"
        "from leastcontrol.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "finally:\n"
        "    heavy = {'jax', 'jaxlib', 'numpy', 'equinox', 'rich', 'sklearn'} & set(sys.modules)\n"
        "    print('heavy:', *sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert done.stdout.endswith("heavy:\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian", "--out", "never"], "the nearest is train"),
        (["verfy"], "the nearest is verify"),
        (["train", "--hiden", "5"], "--hidden"),
        (["train", "--epoch", "5"], "--epochs"),
        (["evaluate", "x", "--data-dri", "y"], "--data-dir"),
        (["train", "--alpha", "much"], "--alpha"),
        (["train", "--epochs", "1.5"], "--epochs"),
        (["train", "--hidden", "a"], "--hidden"),
        (["train", "--seed", "1e3"], "--seed"),
        (["evaluate"], "Folder that"),
        ([], "train"),
    ],
)
def test_unknown_words_and_numbers_that_are_none_end_with_status_2(arguments, said, call):
    status, out, error = call(*arguments)
    assert status == 2
    assert out == ""
    assert said in error
    assert "Traceback" not in error


def test_a_name_that_would_break_the_line_is_escaped(call):
    status, _, error = call("report", "a\nb\x1b[2J ψ")
    assert status == 2
    assert is_one_sentence(error)
    assert r"a\nb\x1b[2J ψ is not a run folder" in error


BAD = [
    (["--data", "mnits"], "the nearest is mnist"),
    (["--system", "feedfoward"], "the nearest is feedforward"),
    (["--activation", "tan"], "the nearest is tanh"),
    (["--initialisation", "xavier"], "--initialisation is 'xavier'"),
    (["--rule", "least-contrl"], "the nearest is least-control"),
    (["--controller", "enrgy"], "the nearest is energy"),
    (["--alpha-convention", "mean"], "--alpha-convention is 'mean'"),
    (["--output-control", "proportion"], "the nearest is proportional"),
    (["--unsolved", "drpo"], "the nearest is drop"),
    (["--preprocessing", "standardize"], "the nearest is standardise"),
    (["--hidden", "0"], "--hidden is 0"),
    (["--hidden", "5", "-1"], "--hidden is 5 -1"),
    (["--hidden", "1000000000000"], "--hidden is 1000000000000"),
    (["--hidden"], "--hidden"),
    (["--system", "rnn", "--hidden", "4", "4"], "one size for an rnn"),
    (["--system", "rnn", "--hidden", "4", "--rule", "backpropagation"], "recurrent-backprop"),
    (["--alpha", "-1"], "--alpha is -1.0"),
    (["--alpha", "nan"], "--alpha is nan"),
    (["--alpha", "inf"], "--alpha is inf"),
    (["--alpha", "0"], "the targets are hard"),
    (
        ["--alpha", "0", "--label-smoothing", "0.1", "--output-control", "proportional"],
        "strength 1/α",
    ),
    (["--label-smoothing", "1"], "--label-smoothing is 1.0"),
    (["--label-smoothing", "nan"], "--label-smoothing is nan"),
    (["--tolerance", "0"], "--tolerance is 0.0"),
    (["--tolerance", "nan"], "--tolerance is nan"),
    (["--max-steps", "0"], "--max-steps is 0"),
    (["--validation-fraction", "0"], "--validation-fraction is 0.0"),
    (["--validation-fraction", "1"], "--validation-fraction is 1.0"),
    (["--validation-fraction", "nan"], "--validation-fraction is nan"),
    (["--epochs", "0"], "--epochs is 0"),
    (["--batch-size", "0"], "--batch-size is 0"),
    (["--batch-size", "5000"], "--batch-size is 5000"),
    (["--learning-rate", "0"], "--learning-rate is 0.0"),
    (["--learning-rate", "nan"], "--learning-rate is nan"),
    (["--learning-rate", "1e-5"], "--final-learning-rate is 0.0001"),
    (["--final-learning-rate", "nan"], "--final-learning-rate is nan"),
    (["--gradient-clip", "0"], "--gradient-clip is 0.0"),
    (["--gradient-clip", "nan"], "--gradient-clip is nan"),
    (["--seed", "-1"], "--seed is -1"),
    (["--seed", "4294967296"], "--seed is 4294967296"),
    (["--split-seed", "-1"], "--split-seed is -1"),
    (["--seeds", "1", "-1"], "--seeds is 1 -1"),
    (["--seeds", "1", "1"], "--seeds is 1 1"),
    (["--seeds", "1", "2", "--seed", "1"], "--seed and --seeds"),
    (["--data-dir", "somewhere"], "--data-dir is somewhere, but it has no effect without --data"),
    (["--data", "mnist", "--data-dir", "no-such-folder"], "no such folder"),
    (["--data", "glyphs"], "tasks to be learned fast and no data set: write leastcontrol meta"),
    (["--results", "no-such-folder/results.json"], "--results is no-such-folder"),
    (["--results", "x" * 300], "--results cannot be the name of a file"),
]


@pytest.mark.parametrize(
    ("options", "said"), BAD, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_value_that_cannot_be_run_ends_with_one_sentence(options, said, call, tmp_path):
    status, out, error = call("train", *options, "--out", tmp_path / "run")
    assert status == 2
    assert is_one_sentence(error), error
    assert said in error
    assert out == ""
    assert not (tmp_path / "run").exists()


def test_a_run_needs_a_folder(call):
    status, _, error = call(*TRAIN)
    assert status == 2
    assert is_one_sentence(error)
    assert "--out DIR" in error


@pytest.mark.slow
def test_a_run_needs_a_new_folder(call, trained, tmp_path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    summary = (trained / "run" / "summary.json").read_bytes()
    for out in (trained / "run", tmp_path / "file", tmp_path / "file" / "below"):
        status, _, error = call(*TRAIN, "--out", out)
        assert status == 2
        assert error.splitlines()[-1].startswith("leastcontrol: The run folder")
        assert "Traceback" not in error
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"
    assert (trained / "run" / "summary.json").read_bytes() == summary


# --- verbs ----------------------------------------------------------------------------------------


def test_train_writes_the_folder_and_the_results(trained):
    summary = load(trained / "run" / "summary.json")
    assert summary == load(trained / "results.json")
    assert summary["command"].startswith("leastcontrol train --hidden 8 --epochs 1 --rule back")
    assert summary["config"]["hidden"] == [8]
    assert summary["config"]["rule"] == "backpropagation"
    assert summary["seed"] == 0


def test_evaluate_finds_the_summarys_figures_again(trained, call, tmp_path):
    status, out, _ = call("evaluate", trained / "run", "--json", tmp_path / "figures.json")
    assert status == 0
    (row,) = load(tmp_path / "figures.json")["seeds"]
    summary = load(trained / "run" / "summary.json")
    assert row["test_accuracy"] == summary["test_accuracy"]
    assert row["test_nll"] == summary["test_nll"]
    assert f"{100 * summary['test_accuracy']:.2f} %" in out
    assert row["confusion"] == summary["confusion"] == load(tmp_path / "figures.json")["confusion"]


def test_evaluate_shows_a_matrix_of_the_answers(trained, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = call("evaluate", trained / "run")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    counts = load(trained / "run" / "summary.json")["confusion"]["counts"]
    top = lines.index(next(line for line in lines if line.split() == list("0123456789")))
    assert "Per cent of the test samples" in lines[top - 2]
    for number, row in enumerate(counts):
        name, *cells = lines[top + 1 + number].split()
        assert name == str(number)
        # A share is rounded to per cent, and one that is none is a point.
        shares = [0.0 if cell == "·" else float(cell) for cell in cells]
        np.testing.assert_allclose(shares, 100 * np.asarray(row) / sum(row), atol=0.5)
    wrong = sum(map(sum, counts)) - sum(counts[k][k] for k in range(10))
    assert f"{wrong} of {sum(map(sum, counts))} answers are wrong" in lines[top + 11]


def test_a_training_that_fails_ends_with_status_1(call, tmp_path):
    rates = ["--learning-rate", "1e38", "--final-learning-rate", "1e38"]
    status, _, error = call(*TRAIN, *rates, "--out", tmp_path / "run")
    assert status == 1
    assert error.splitlines()[-1].startswith("leastcontrol: Epoch 1 met a loss or a weight")
    assert "Traceback" not in error
    assert not (tmp_path / "run" / "summary.json").exists()
    assert (tmp_path / "run" / "checkpoints" / "last.eqx").is_file()


@pytest.mark.parametrize("damage", ["missing", "no weights", "config", "checkpoint", "foreign"])
def test_evaluate_refuses_a_folder_that_is_no_run(damage, trained, call, tmp_path):
    folder = tmp_path / "run"
    if damage != "missing":
        (folder / "checkpoints").mkdir(parents=True)
        config = (trained / "run" / "config.json").read_text(encoding="utf-8")
        if damage == "config":
            config = config[:-10]
        if damage == "foreign":
            config = json.dumps({**json.loads(config), "hidden": [9]})
        (folder / "config.json").write_text(config, encoding="utf-8")
        weights = (trained / "run" / "checkpoints" / "last.eqx").read_bytes()
        if damage == "checkpoint":
            weights = weights[:-100]
        if damage != "no weights":
            (folder / "checkpoints" / "last.eqx").write_bytes(weights)
    status, out, error = call("evaluate", folder, "--json", tmp_path / "figures.json")
    assert status == 2
    assert is_one_sentence(error), error
    assert out == ""
    assert not (tmp_path / "figures.json").exists()


def test_data_describes_a_set(call, tmp_path):
    status, out, _ = call("data", "digits", "--json", tmp_path / "digits.json")
    assert status == 0
    described = json.loads(out)
    assert described == load(tmp_path / "digits.json")
    assert sum(part["count"] for part in described["splits"].values()) == 1797


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mnits"], "The data set is 'mnits'"),
        (["digits", "--validation-fraction", "2"], "--validation-fraction is 2.0"),
        (["digits", "--validation-fraction", "1e-9"], "validation_fraction=1e-09"),
        (["digits", "--json", "no-such-folder/x.json"], "--json is no-such-folder"),
        (["mnist", "--data-dir", "no-such-folder"], "no such folder"),
    ],
)
def test_data_refuses_what_it_cannot_load(arguments, said, call):
    status, out, error = call("data", *arguments)
    assert status == 2
    assert is_one_sentence(error), error
    assert said in error
    assert out == ""


@pytest.mark.parametrize("content", [b"", b"\x00\x00\x08\x03\x00\x00", b"text"])
def test_damaged_data_ends_with_one_sentence(content, call, tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    status, _, error = call("data", "mnist", "--data-dir", tmp_path)
    assert status == 2
    assert error.startswith("leastcontrol: ")
    assert error.count("\n") == 1


def row(name, ok):
    error = None if ok is None else 0.5
    status = {True: "passed", False: "failed", None: "unsupported"}[ok]
    return {
        "name": name,
        "error": error,
        "tolerance": None if ok is None else 1.0,
        "ok": ok,
        "status": status,
        "detail": "A check.",
    }


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([row("one", True), row("two", None)], 0),
        ([row("one", True), row("two", False), row("three", None)], 1),
    ],
)
def test_verify_fails_where_a_row_fails(rows, status, call, tmp_path, monkeypatch):
    def verify(vectors, report):
        assert [str(path) for path in vectors] == ["a", "b"]
        for one in rows:
            report(one)
        return rows

    monkeypatch.setattr(properties, "verify", verify)
    returned, out, _ = call("verify", "--vectors", "a", "b", "--json", tmp_path / "rows.json")
    assert returned == status
    assert load(tmp_path / "rows.json") == rows
    assert all(one["name"] in out for one in rows)
    assert f"1 passed, {status} failed, 1 unsupported" in out


def test_verify_refuses_a_vector_that_does_not_exist(call, tmp_path):
    status, out, error = call("verify", "--vectors", tmp_path / "none.npz")
    assert status == 2
    assert is_one_sentence(error), error
    assert out == ""


def test_an_interruption_is_no_traceback(call, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run_training", interrupted)
    status, _, error = call(*TRAIN, "--out", tmp_path / "run")
    assert status == 130
    assert error.splitlines()[-1] == "leastcontrol: Interrupted."
