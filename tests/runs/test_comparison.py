"""Paired trials: what the arms share, what is told of them, and what is no pair."""

import csv
import itertools
import json
import math
import statistics

import equinox as eqx
import jax
import pytest

from leastcontrol import training
from leastcontrol.cli import main
from leastcontrol.runs import comparison
from leastcontrol.runs.comparison import Arm
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.train import run_training

BASE = RunConfig.of(hidden=(8,), epochs=2, learning_rate=1e-2, seeds=(3, 4), rule="backpropagation")
ALIGNMENT = BASE.with_options(rule="direct-feedback-alignment")


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder of a comparison from the command line."""
    folder = tmp_path_factory.mktemp("comparisons") / "one"
    words = "compare --hidden 8 --epochs 2 --learning-rate 1e-2 --seeds 3 4 --target 0.5 --rules"
    rules = ["backpropagation", "direct-feedback-alignment --epochs 3"]
    with jax.enable_x64(False), pytest.raises(SystemExit) as caught:
        main([*words.split(), *rules, "--out", str(folder)])
    assert caught.value.code == 0
    return folder


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_an_arm_is_the_run_that_train_makes(compared, tmp_path):
    run_training(BASE.with_options(seeds=(), seed=3), tmp_path / "alone")
    for name in ("checkpoints/last.eqx",):
        checkpoint = compared / "feedforward-backpropagation" / "seed-3" / name
        assert checkpoint.read_bytes() == (tmp_path / "alone" / name).read_bytes()


@pytest.mark.slow
def test_options_of_a_rule_are_its_own(compared):
    epochs = {
        name: load(compared / name / "config.json")["epochs"]
        for name in (
            "feedforward-backpropagation",
            "feedforward-direct-feedback-alignment-epochs-3",
        )
    }
    assert list(epochs.values()) == [2, 3]


def test_arms_start_from_the_same_weights(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        training, "train", lambda system, *_, **__: (_ for _ in ()).throw(Seen(system))
    )
    for config in (BASE, ALIGNMENT):
        with pytest.raises(Seen) as caught:
            run_training(config.with_options(seeds=(), seed=3), tmp_path / config.rule.word)
        seen.append(caught.value.system)
    assert eqx.tree_equal(*seen)


class Seen(Exception):
    def __init__(self, system):
        super().__init__()
        self.system = system


def test_the_figures_are_those_of_the_runs(compared):
    written = load(compared / "comparison.json")
    assert [row["rule"] for row in written["arms"]] == [
        "backpropagation",
        "direct-feedback-alignment --epochs 3",
    ]
    accuracies = []
    for row in written["arms"]:
        for trial in row["seeds"]:
            folder = compared / row["folder"] / f"seed-{trial['seed']}"
            summary = load(folder / "summary.json")
            lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            epochs = [json.loads(line) for line in lines]
            assert trial["test_accuracy"] == summary["test_accuracy"]
            assert trial["control_norm"] == epochs[-1]["control_norm"]
            assert trial["training_seconds"] == sum(epoch["seconds"] for epoch in epochs)
            # 20 whole batches of 64 are in the 1 318 samples.
            assert [epoch["updates"] for epoch in trial["epochs"]] == [20, 40, 60][: len(epochs)]
            assert trial["step_bytes"] == epochs[-1]["step_bytes"] > 0
            reached = [epoch["epoch"] for epoch in epochs if epoch["validation"]["accuracy"] >= 0.5]
            assert trial["epochs_to_target"] == (reached[0] if reached else None)
            accuracies.append(trial["test_accuracy"])
    (difference,) = written["differences"]
    each = [accuracies[2] - accuracies[0], accuracies[3] - accuracies[1]]
    assert difference["less"] == "backpropagation"
    assert difference["test_accuracy"]["mean"] == pytest.approx(sum(each) / 2)
    assert difference["test_accuracy"]["standard_error"] == pytest.approx(
        abs(each[0] - each[1]) / 2
    )
    assert difference["test_accuracy"]["pairs"] == 2


def test_the_csv_has_a_row_for_each_epoch(compared):
    with (compared / "comparison.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 + 2 * 3
    assert [row["epoch"] for row in rows[:4]] == ["1", "2", "1", "2"]
    for before, after in itertools.pairwise(rows):
        if int(after["epoch"]) > 1:
            assert float(after["seconds"]) > float(before["seconds"]) > 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 6.0], (3.0, statistics.stdev([1, 2, 6]) / math.sqrt(3))),
        ([5.0], (5.0, None)),
        ([5.0, None], (None, None)),
        ([5.0, math.nan], (None, None)),
        ([], (None, None)),
    ],
)
def test_mean_and_standard_error(values, expected):
    computed = comparison.mean_and_error(values)
    assert computed == tuple(None if value is None else pytest.approx(value) for value in expected)


def test_a_comparison_goes_on(compared, tmp_path, monkeypatch):
    arms = [Arm("one", "net", BASE)]
    comparison.compare(arms, tmp_path / "out")
    first = load(tmp_path / "out" / "comparison.json")
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trained again"))
    comparison.compare(arms, tmp_path / "out", resume=True)
    assert load(tmp_path / "out" / "comparison.json") == first
    with pytest.raises(training.FolderError, match="holds files already"):
        comparison.compare(arms, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 32}, "--batch-size is 32 for b on net and 64 for a on net"),
        ({"seeds": (3,)}, "--seeds is"),
        ({"split_seed": 1}, "paired trials share it"),
        ({"hidden": (9,)}, "--hidden is"),
        ({"epochs": 0}, "The rule b on net cannot run: --epochs is 0"),
    ],
)
def test_what_is_no_pair_is_refused(options, message, tmp_path):
    arms = [Arm("a", "net", BASE), Arm("b", "net", BASE.with_options(**options))]
    with pytest.raises(ConfigError, match=message):
        comparison.compare(arms, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_arm_twice_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="net-a is given twice"):
        comparison.compare([Arm("a", "net", BASE), Arm("a", "net", BASE)], tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rules", "bakcpropagation"], "the nearest is backpropagation"),
        (["--rules", "least-control --controler energy"], "--controller"),
        (["--rules", "'"], "--rules has"),
        (["--systems", "rnn --hidden 4 4"], "one size for an rnn"),
        (["--systems", "rnn --hidden 4"], "recurrent-backpropagation"),
        (["--rule", "backpropagation"], "write --rules backpropagation"),
        (["--system", "rnn", "--hidden", "4", "--systems", "feedforward"], "--systems is given"),
        (["--target", "95"], "--target is 95.0"),
        (["--rules", "backpropagation", "backpropagation --batch-size 3"], "paired trials"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(words, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["compare", *words, "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
