"""The regimes: what is streamed, how arms are tuned and paired, and what is said of differences."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from leastcontrol.cli import main
from leastcontrol.papers.regimes import experiment, running, verdicts
from leastcontrol.papers.regimes.arms import ARMS
from leastcontrol.papers.regimes.measures import Asked, LastAccuracy, MeanAccuracy, StepsToLoss
from leastcontrol.papers.regimes.regimes import REGIMES, Regime, Setting
from leastcontrol.papers.regimes.running import Plan, Unit
from leastcontrol.papers.regimes.streams import CHUNK, NOT_ASKED, Drift, Passes, Turns
from leastcontrol.papers.regimes.verdicts import DOES_NOT, HELPS, UNCLEAR, Difference
from leastcontrol.runs.options import ConfigError

LABELS = np.tile(np.arange(10), 100)


def generator(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


# --- streams --------------------------------------------------------------------------------------


def test_a_pass_shows_every_image_once_before_one_comes_again():
    stream = Passes(48, 2, 24, every=CHUNK).stream(LABELS, generator())
    for first in range(0, 48, 12):
        images = stream.images[first : first + 12].ravel()
        assert len(set(images)) == 24
        assert set(images) == set(stream.images[:12].ravel())
    np.testing.assert_array_equal(stream.labels, LABELS[stream.images])
    assert stream.asked == (16, 32, 48)
    np.testing.assert_array_equal(stream.answers, np.tile(np.arange(10), (3, 1)))


def test_a_stream_without_questions_along_the_way_is_asked_at_its_end():
    assert Passes(32, 2, 24).stream(LABELS, generator()).asked == (32,)


def test_five_classes_exchange_their_labels_at_each_change():
    stream = Drift(96, 10, 32).stream(LABELS, generator())
    assert stream.asked == (32, 64, 96)
    assert len(set(stream.images.ravel())) == 960
    np.testing.assert_array_equal(stream.answers[0], np.arange(10))
    for before, after in zip(stream.answers, stream.answers[1:], strict=False):
        assert sorted(after) == list(range(10))
        assert np.sum(before != after) == 5
    for period, meaning in enumerate(stream.answers):
        steps = slice(32 * period, 32 * (period + 1))
        np.testing.assert_array_equal(stream.labels[steps], meaning[LABELS[stream.images[steps]]])


def test_a_turn_holds_the_classes_of_its_group():
    halves = (tuple(range(5)), tuple(range(5, 10)))
    protocol = Turns(64, 10, halves, 16, tuple(each % 5 for each in range(10)))
    stream = protocol.stream(LABELS, generator())
    assert stream.asked == (16, 32, 48, 64)
    for turn in range(4):
        classes = LABELS[stream.images[16 * turn : 16 * (turn + 1)]]
        assert set(classes.ravel()) == set(halves[turn % 2])
    np.testing.assert_array_equal(stream.labels, LABELS[stream.images] % 5)
    np.testing.assert_array_equal(stream.answers[-1], np.arange(10) % 5)


def test_classes_of_no_group_are_not_asked_for():
    stream = Turns(16, 10, ((5, 6),), 16).stream(LABELS, generator())
    assert [place for place in range(10) if stream.answers[0, place] != NOT_ASKED] == [5, 6]


def test_a_length_between_chunks_is_refused():
    with pytest.raises(ValueError, match=r"40 steps .* write steps=32"):
        Passes(40, 1, 40)


# --- measures -------------------------------------------------------------------------------------


def test_figures_are_read_from_the_answers():
    accuracy = np.array([[0.2, 0.4], [0.6, 0.5]])
    loss = np.array([[0.3, 0.3], [0.1, 0.25]])
    asked = Asked((16, 32), accuracy, loss, np.array([2.0, 3.0]))
    np.testing.assert_allclose(LastAccuracy().values(asked), [[0.6, 0.5]])
    np.testing.assert_allclose(MeanAccuracy().values(asked), [[0.4, 0.45]])
    # The second training does not reach the loss, and counts as if it had at the next question.
    np.testing.assert_allclose(StepsToLoss(0.2).values(asked), [[32, 48], [64, 144]])
    np.testing.assert_allclose(StepsToLoss(0.3).values(asked)[0], [16, 16])


# --- verdicts -------------------------------------------------------------------------------------


def test_differences_are_taken_seed_by_seed():
    difference = Difference.paired([3.0, 5.0, 7.0], [1.0, 1.0, 1.0])
    # Of 2, 4 and 6 the mean is 4, the deviation 2.
    assert (difference.mean, difference.pairs) == (4.0, 3)
    assert difference.error == pytest.approx(2 / math.sqrt(3))
    assert Difference.paired([3.0, 5.0], [4.0, 7.0], -1).mean == 1.5
    with pytest.raises(ValueError, match="shorter"):
        Difference.paired([1.0, 2.0], [1.0])


def test_the_probability_is_that_of_students_distribution():
    # With two pairs it is Cauchy's, whose tail beyond t = 1 is a quarter.
    difference = Difference(1.0, 1.0, 2)
    assert difference.probability == pytest.approx(0.5)
    assert Difference(-1.0, 1.0, 2).probability == pytest.approx(0.5)
    # Its quantile of 0.975 is tan(0.475 π).
    assert difference.upper == pytest.approx(1 + math.tan(0.475 * math.pi))
    assert Difference(0.0, 0.0, 9).probability == 1
    assert Difference(0.1, 0.0, 9).probability == 0


@pytest.mark.parametrize(
    ("probabilities", "rejected"),
    [
        # 0.05 / 3 and 0.05 / 2 are passed, 0.05 is not.
        ([0.06, 0.016, 0.024], [False, True, True]),
        # The second fails, so the third, smaller than 0.05, is not looked at.
        ([0.01, 0.03, 0.04], [True, False, False]),
        ([0.02], [True]),
        ([], []),
    ],
)
def test_a_family_is_corrected_by_holm(probabilities, rejected):
    assert verdicts.significant(probabilities) == rejected


@pytest.mark.parametrize(
    ("mean", "error", "verdict"),
    [
        (2.0, 0.1, HELPS),
        (0.3, 0.01, HELPS),
        (-2.0, 0.1, DOES_NOT),
        # The interval ends below the point that matters.
        (0.1, 0.2, DOES_NOT),
        (0.1, 1.0, UNCLEAR),
        (-0.5, 1.0, UNCLEAR),
        (math.nan, math.nan, UNCLEAR),
    ],
)
def test_a_difference_is_judged_by_its_sign_and_its_interval(mean, error, verdict):
    assert verdicts.judged([(Difference(mean, error, 10), 1.0)]) == [verdict]


# --- tuning, running and going on -----------------------------------------------------------------

BACKPROPAGATION, GRADIENT_DESCENT, *_, ALIGNMENT = ARMS
SETTING = Setting("few", Passes(16, 2, 16), LastAccuracy())
PLAN = Plan(
    (Regime("small", "Small", "two images", (SETTING,)),),
    tuple(
        dataclasses.replace(arm, rates=(0.1, 0.2))
        for arm in (BACKPROPAGATION, GRADIENT_DESCENT, ALIGNMENT)
    ),
    (0, 1),
    (9,),
)


class Laboratory:
    """Answers with an accuracy of half the learning rate, in place of trainings."""

    def __init__(self):
        self.calls = []

    def trials(self, setting, arm, seeds, rates, *, tuning):
        from leastcontrol.papers.regimes.training import Trials

        self.calls.append((arm.name, tuple(seeds), tuple(rates), tuning))
        gain = 0.1 if arm is PLAN.arms[-1] and not tuning else 0.0
        pairs = zip(seeds, rates, strict=True)
        accuracy = np.array([[rate / 2 + gain + seed / 1000 for seed, rate in pairs]])
        ones = np.ones(len(seeds))
        return Trials(Asked((16,), accuracy, 1 - accuracy, 2 * ones), ones, np.nan * ones)


def run(folder, laboratory, plan=PLAN, report=lambda *_: None):
    running.finish(plan, folder, lambda: laboratory, "the command", report)


def test_learning_rates_are_chosen_on_validation_and_by_other_seeds(tmp_path):
    laboratory = Laboratory()
    run(tmp_path, laboratory)
    assert laboratory.calls == [
        call
        for arm in PLAN.arms
        for call in (
            (arm.name, (9, 9), (0.1, 0.2), True),
            (arm.name, (0, 1), (0.2, 0.2), False),
        )
    ]
    with pytest.raises(ValueError, match="different"):
        dataclasses.replace(PLAN, tuning_seeds=(1,))


def test_all_arms_have_equally_many_trials():
    for plan in (experiment.FULL, experiment._reduced(experiment.FULL)):
        assert len({len(arm.rates) for arm in plan.arms}) == 1
    assert len(experiment.FULL.seeds) >= 8


def test_what_is_finished_is_not_run_again(tmp_path):
    class Stopped(Exception):
        pass

    def stop(name, place, share):
        assert (place, share) == ("the last trial", 1.0)
        raise Stopped

    first, second, third = Laboratory(), Laboratory(), Laboratory()
    with pytest.raises(Stopped):
        run(tmp_path, first, report=stop)
    run(tmp_path, second)
    assert [call[0] for call in second.calls[::2]] == [arm.name for arm in PLAN.arms[1:]]
    run(tmp_path, third)
    assert third.calls == []


def test_trials_of_other_options_and_damaged_files_are_refused(tmp_path):
    run(tmp_path, Laboratory())
    with pytest.raises(
        ConfigError, match=r"is of trials with seeds = \[0, 1\], and it is \[0, 2\]"
    ):
        run(tmp_path, Laboratory(), dataclasses.replace(PLAN, seeds=(0, 2)))
    path = Unit(PLAN.regimes[0], SETTING, PLAN.arms[0]).path(tmp_path)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="not the file of finished trials"):
        run(tmp_path, Laboratory())


def test_arms_are_compared_with_the_better_baseline_and_with_each(tmp_path):
    run(tmp_path, Laboratory())
    # The better baseline by validation, whatever the test says.
    for arm, better in ((PLAN.arms[0], 0.3), (PLAN.arms[1], 0.4)):
        path = Unit(PLAN.regimes[0], SETTING, arm).path(tmp_path)
        stored = running.files.read_record(path) | {"tuning_scores": [better, 0.1]}
        running.files.write_json(path, running.files.with_checksum(stored))
    ((entry,),) = (regime["settings"] for regime in running.compared(PLAN, tmp_path))
    assert entry["better_baseline"] == GRADIENT_DESCENT.name
    *_, alignment = entry["arms"]
    assert alignment["mean"] == pytest.approx(20.05)
    for mean, error in (*alignment["differences"].values(), alignment["difference"]):
        assert (mean, error) == (pytest.approx(10.0), pytest.approx(0.0, abs=1e-9))
    assert alignment["verdict"] == HELPS
    assert [arm["verdict"] for arm in entry["arms"][:2]] == [None, None]
    assert alignment["removed"] is None


def test_the_smaller_of_equally_good_learning_rates_is_chosen():
    (figure,) = LastAccuracy.figures
    assert running.chosen((0.1, 0.2, 0.3), [0.5, 0.9, 0.9], figure) == 0.2
    steps, _ = StepsToLoss.figures
    assert running.chosen((0.1, 0.2, 0.3), [5.0, 4.0, 9.0], steps) == 0.2


# --- trainings ------------------------------------------------------------------------------------


@pytest.fixture
def laboratory(monkeypatch):
    """A laboratory whose images are of ten pixels that say their class."""
    from leastcontrol.papers.regimes import training

    def parts(name, data_dir):
        assert name == "fashion-mnist"
        images = training.Images(np.eye(10, dtype=np.float32)[LABELS], LABELS)
        # Of the test images the labels are wrong, so that it shows which are asked about.
        return training.Parts(images, images, images._replace(labels=(LABELS + 1) % 10))

    monkeypatch.setattr(training, "load_parts", parts)
    with jax.enable_x64(False):
        yield training.Laboratory()


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS, ids=lambda each: each.name)
def test_every_arm_learns_and_is_tuned_without_test_images(laboratory, arm):
    setting = Setting("small", Passes(160, 10, 500), LastAccuracy(), hidden=(12, 12))
    rates = (arm.rates[-1] if arm.adam else 0.2,) * 2
    tuned, tested = (
        laboratory.trials(setting, arm, (0, 1), rates, tuning=tuning) for tuning in (True, False)
    )
    assert (tuned.asked.accuracy > 0.5).all()
    assert (tested.asked.accuracy < 0.3).all()
    if arm.removed == 0.85:
        # Once twelve units have learned, batches are left of which the strongest control solves
        # nothing: that is counted, and the share that it removed is not known.
        assert (tuned.solved < 1).all()
        assert np.isnan(tuned.removed).all()
        return
    assert (tuned.solved > 0.98).all()
    if arm.removed is not None:
        np.testing.assert_allclose(tuned.removed, arm.removed, atol=0.05)


@pytest.mark.slow
def test_trials_of_a_seed_are_the_same_beside_others(laboratory):
    setting = Setting("small", Passes(16, 2, 16), LastAccuracy(), hidden=(5,))
    together, alone = (
        laboratory.trials(setting, BACKPROPAGATION, seeds, [0.01] * len(seeds), tuning=True)
        for seeds in ((3, 4), (4,))
    )
    np.testing.assert_allclose(together.asked.loss[:, 1], alone.asked.loss[:, 0], rtol=1e-5)
    assert together.asked.loss[0, 0] != pytest.approx(together.asked.loss[0, 1], rel=1e-4)


# --- the list and the command ---------------------------------------------------------------------


def test_names_are_different_and_settings_can_be_reduced():
    units = [unit.name for unit in experiment.FULL.units()]
    assert len(set(units)) == len(units)
    assert [regime.name for regime in REGIMES] == [
        "online", "few-data", "drift", "forgetting", "noise", "narrow-and-deep", "fast-learning",
    ]  # fmt: skip
    for regime in REGIMES:
        for setting in regime.settings:
            assert setting.protocol.steps % CHUNK == 0
            assert setting.reduced().protocol.steps <= 80
            json.dumps(setting.identity(), allow_nan=False)


def status(words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code or 0


def test_the_list_describes_the_regimes(capsys):
    assert status(["reproduce", "--list"]) == 0
    listed = capsys.readouterr().out
    for regime in REGIMES:
        assert f"    {regime.name}" in listed
    assert "least control, 85 %" in listed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["regime"], "There is no experiment 'regime', and the nearest are regimes"),
        (["regimes", "--list"], "write one of them"),
        (["regimes", "--data-dir", "nowhere", "--quick"], "no such folder"),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(options, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert status(["reproduce", *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
