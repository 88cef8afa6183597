"""Words and their options: every one has an effect, is refused where it has none, and is kept."""

import json
import math
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest

from leastcontrol import data, rules
from leastcontrol.runs import samples, trained
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.device_config import DeviceConfig
from leastcontrol.runs.meta_config import MetaConfig
from leastcontrol.runs.options import Choice, ConfigError, Option, everywhere
from leastcontrol.runs.represent_config import RepresentConfig
from leastcontrol.runs.train import run_training

CONFIGS = (RunConfig, MetaConfig, RepresentConfig, DeviceConfig)
# A value of every option of a training that differs from its default, and fits the words it is of.
CHANGED = {
    "data_dir": Path("somewhere"),
    "preprocessing": "standardise",
    "augment": "flip",
    "validation_fraction": 0.2,
    "split_seed": 1,
    "hidden": (5,),
    "activation": "relu",
    "initialisation": "orthogonal",
    "convolutions": "strided",
    "depth": 3,
    "cell": "nodes",
    "channels": 16,
    "inner": 8,
    "groups": 4,
    "pool": 4,
    "encoder_stride": 2,
    "alpha": 1.0,
    "alpha_convention": "batch-mean",
    "strength": "0.5",
    "strength_course": "linear",
    "strength_samples": "by-error",
    "output_control": "proportional",
    "label_smoothing": 0.1,
    "tolerance": 1e-4,
    "max_steps": 7,
    "unsolved": "keep",
    "start": "warm",
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "final_learning_rate": 2e-4,
    "gradient_clip": 1.0,
    "weight_decay": 1e-6,
    "feedback_learning_rate": 1e-2,
    "jacobian_penalty": 0.1,
    "nudge": 0.2,
    "controller_leak": 0.1,
    "feedback": "weight-product",
    "feedback_noise": 0.3,
    "quasi_static_leak": 0.5,
    "direct_feedback_decay": 0.01,
    "feedback_samples": 2,
    "feedback_start": 20,
    "filter_time_constant": 0.7,
    "difference": "voltage",
    "conventions": "published",
    "time_step": 0.01,
    "points": 50,
    "voltage_time_constant": 0.3,
    "apical_time_constant": 0.2,
    "proportional_gain": 2.0,
    "transmission": "delayed",
    "control_timing": "reactive",
    "noise": 0.2,
    "output_noise": 0.3,
    "noise_time_constant": 0.4,
    "noise_increments": "two-point",
    "update_noise": 0.2,
    "update_start": 10,
    "reach": 0.5,
    "noise_steps": 50,
    "noise_samples": 4,
    "feedback_decay": 0.1,
    "diagnose": 2,
    "accumulation_steps": 2,
    "seed": 5,
    "seeds": (5, 6),
}
# What else has to be given for a word or an option to be possible and to have an effect.
NEEDED = {
    "single-phase": {"phase": "continuous", "noise": 0.1},
    "strong": {"label_smoothing": 0.1},
    "label-difference": {"label_smoothing": 0.1},
    "noise_time_constant": {"noise": 0.1},
    "noise_increments": {"noise": 0.1},
    "feedback_samples": {"quasi_static_leak": 1.0},
    "filter_time_constant": {"label_smoothing": 0.1, "teaching": "strong"},
    "strength_course": {"strength": "0.1:0.9"},
    "strength_samples": {"strength": "0.5"},
    # A state of half as many rows has to be divided too.
    "encoder_stride": {"pool": 4},
    "backpropagation-through-time": {"system": "rnn"},
    "paper": {"data": "cifar10"},
    "deep-equilibrium": {"rule": "least-control"},
}
# Words whose phase is simulated, where a noise has a meaning.
SIMULATED = ("continuous", "simulated-steady-state")
SMALL = {"feedforward": (4,), "rnn": (4,), "convolutional": (4,), "residual": (4,)}


def options_of(kind, sort):
    """Returns what a class declares, with one place for each word: a word is the same in all."""
    options = {}
    for each, place in everywhere(kind):
        if isinstance(each, sort):
            options.setdefault((each.name, *[*place.values()][-1:]), (each, place))
    return list(options.values())


def identifier(value):
    if isinstance(value, Option | Choice):
        return value.name
    return "-".join(value.values()) if isinstance(value, dict) else str(value)


def start_of(place, name):
    """Returns options with which a place is chosen, and an option of it has an effect."""
    options = dict(place)
    for key in (*place.values(), name):
        needed = NEEDED.get(key, {})
        if "noise" in needed and place.get("phase") not in (*SIMULATED, None):
            continue
        if "noise" in needed and "feedback_learning" in place and key != "single-phase":
            # Learning in a phase with a noise of its own.
            continue
        options = {**needed, **options}
    system = options.get("system", "feedforward")
    if system in SMALL:
        options["hidden"] = SMALL[system]
    config = RunConfig.of(**options)
    config.check()
    return config


# The digits, once they are read.
SPLITS = []


def colour_images():
    """Returns two images of 3 × 32 × 32 pixels, as every part of a data set."""
    part = data.Dataset(
        "colour",
        np.zeros((2, 3 * 32 * 32), np.float32),
        np.arange(2, dtype=np.int32),
        10,
        (3, 32, 32),
        data.Provenance("", "", "", {}),
    )
    return data.Splits(part, part, part)


def built(config, monkeypatch):
    """Returns everything that a configuration is turned into."""
    asked = {}
    digits = data.load("digits") if not SPLITS else SPLITS[0]
    SPLITS[:] = [digits]
    large = config.value("convolutions") == "paper"
    splits = colour_images() if large else digits

    def load(name, **options):
        asked.update(name=name, **options)
        return splits

    def teach(**options):
        asked.update(name="student-teacher", **options)
        return splits

    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(data, "student_teacher", teach)
    if config.data.regression:
        monkeypatch.setattr(
            data, "autoencoding", lambda images: asked.update(given_back=True) or images
        )
    try:
        samples.load_splits(config)
    finally:
        monkeypatch.undo()
    # Of large systems only the shapes, for that is where their options show.
    build = trained.build_system
    if large:
        build = lambda *args: eqx.filter_eval_shape(trained.build_system, *args)  # noqa: E731
    systems = [build(config, splits, seed) for seed in config.all_seeds()]
    return asked, systems, config.build_rule(), config.build_training(), config.run.diagnose


def equal(first, second):
    asked, systems, rule, loop, diagnose = first
    others = second[1]
    return (
        asked == second[0]
        and len(systems) == len(others)
        and all(bool(eqx.tree_equal(a, b)) for a, b in zip(systems, others, strict=True))
        and bool(eqx.tree_equal(rule, second[2]))
        and loop == second[3]
        and diagnose == second[4]
    )


def test_the_same_configuration_builds_the_same(monkeypatch):
    config = RunConfig.of(hidden=(4,))
    assert equal(built(config, monkeypatch), built(config, monkeypatch))


@pytest.fixture(scope="module", autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield


@pytest.mark.slow
@pytest.mark.parametrize(("option", "place"), options_of(RunConfig, Option), ids=identifier)
def test_no_option_of_any_word_is_ignored(option, place, monkeypatch):
    start = start_of(place, option.name)
    changed = start.with_options(**{option.name: CHANGED[option.name]})
    changed.check()
    assert not equal(built(start, monkeypatch), built(changed, monkeypatch))


@pytest.mark.parametrize(("choice", "place"), options_of(RunConfig, Choice), ids=identifier)
def test_no_two_words_of_a_choice_are_the_same(choice, place, monkeypatch):
    made = [
        built(start_of({**place, choice.name: kind.word}, choice.name), monkeypatch)
        for kind in choice.words
    ]
    for number, first in enumerate(made):
        assert not any(equal(first, second) for second in made[:number])


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_declaration_is_whole(kind):
    for each, place in everywhere(kind):
        assert len(each.help) > 3, (each.name, place)
        if isinstance(each, Choice):
            words = [word.word for word in each.words]
            assert len(set(words)) == len(words)
            assert type(each.default) in each.words
            assert all(word.__doc__ and word.__doc__.endswith(".") for word in each.words)
        else:
            # A default can be given, and what stands in the sentence of a refusal too.
            each.check(each.default)


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_option_without_a_place_is_refused_by_the_words_that_have_it(kind):
    # Of the words that are not the default, for what the default has can always be given.
    name = "device" if kind is DeviceConfig else "rule"
    first = next(each for each, _ in options_of(kind, Choice) if each.name == name).words[-1]
    chosen = kind.of(**{name: first.word})
    checked = 0
    for each, place in everywhere(kind):
        if chosen.has(each.name):
            continue
        value = each.default.word if isinstance(each, Choice) else each.default
        with pytest.raises(ConfigError, match=rf"--{each.flag[2:]} is .* has no effect") as caught:
            chosen.with_options(**{each.name: value})
        # The sentence is right: with what it names the option has a place.
        words = str(caught.value).split("without ")[1].split(": add")[0].split()
        named = dict(zip(words[::2], words[1::2], strict=True))
        named = {name[2:].replace("-", "_"): word for name, word in named.items()}
        assert chosen.with_options(**named, **{each.name: value}).has(each.name)
        checked += place != {}
    assert checked


def test_a_replaced_word_takes_its_options_with_it():
    config = RunConfig.of(rule="least-control", controller="linear-feedback", noise_steps=7)
    other = config.with_options(rule="recurrent-backpropagation", system="rnn")
    assert not other.has("noise_steps")
    assert other.with_options(rule="least-control").value("noise_steps") is None
    kept = config.with_options(controller="kolen-pollack", tolerance=1e-3)
    assert (kept.value("tolerance"), kept.value("noise_steps")) == (1e-3, None)
    with pytest.raises(ConfigError, match="no effect without --controller linear-feedback"):
        kept.with_options(noise_steps=7)


def test_an_option_that_two_words_share_is_given_to_both():
    config = RunConfig.of(
        rule="deep-feedback-control",
        phase="continuous",
        feedback_learning="two-phase",
        points=60,
        time_step=0.01,
    )
    rule = config.build_rule()
    assert rule.phase.dynamics.points == rule.feedback_learning.dynamics.points == 60


DEEP = {"rule": "deep-feedback-control", "label_smoothing": 0.1, "hidden": (4,)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"system": "rnn"}, "--system is rnn"),
        ({"label_smoothing": 0.0, "teaching": "strong"}, "--label-smoothing 0.01"),
        ({"feedback": "jacobian", "feedback_learning": "two-phase"}, "has no weights"),
        ({"feedback": "jacobian"}, "least-control"),
        ({"phase": "continuous", "feedback_learning": "quasi-static"}, "--phase steady-state"),
        ({"phase": "continuous", "feedback_learning": "single-phase"}, "--noise 0.1"),
        ({"phase": "analytic-steady-state", "teaching": "strong"}, "--teaching nudged"),
        ({"phase": "continuous", "noise_time_constant": 0.2}, "no effect without --noise 0.1"),
        (
            {"feedback_learning": "quasi-static", "feedback_samples": 3},
            "no effect without --quasi-static-leak 1",
        ),
        (
            {"feedback_learning": "two-phase", "filter_time_constant": 0.7},
            "no effect without --teaching strong",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_in_deep_feedback_control_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        RunConfig.of(**{**DEEP, **options}).check()


def test_a_step_above_a_time_constant_is_refused(tmp_path):
    coarse = RunConfig.of(**DEEP, phase="continuous", time_step=0.2)
    with pytest.raises(ConfigError, match="cannot follow it"):
        run_training(coarse, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"controller": "kolen-pollack", "rule": "equilibrium-propagation"},
            "--controller is .*one of automatic",
        ),
        ({"controller": "exact", "rule": "predictive-coding"}, "without --rule least-control"),
        ({"rule": "centred-equilibrium-propagation", "alpha": 0.0}, "strength 1/α: write --alpha"),
        (
            {"controller": "linear-feedback", "noise_steps": 4},
            "--noise-steps is 4, but .* 5 ",
        ),
        ({"controller": "linear-feedback", "noise_samples": 0}, "--noise-samples is 0, but"),
        ({"controller": "linear-feedback", "feedback_decay": -1.0}, "--feedback-decay is -1.0"),
        ({"rule": "predictive-coding", "alpha": 0.0}, "asks for infinite control"),
        ({"strength": "1.0"}, "--strength is 1.0, but it must be a share .*: write --strength 0.5"),
        ({"strength": "0.1:"}, "--strength is 0.1:, but it must be a share"),
        ({"strength": "half"}, "--strength is half, but it must be a share"),
        ({"strength": "0.5", "alpha": 1.0}, "--alpha is 1, but one of them .*leave the other out"),
        ({"strength": "0.5", "output_control": "proportional"}, "--output-control is proportional"),
        ({"strength": "0.5", "controller": "linear-feedback"}, "write --alpha 6.4 in its place"),
        ({"strength_course": "linear"}, "no effect without --strength: add --strength 0.5"),
        ({"strength": "0.5", "rule": "backpropagation"}, "has no effect without --rule"),
        ({"rule": "equilibrium-propagation", "start": "warm"}, "without --rule least-control"),
        ({"controller": "exact", "start": "warm"}, "--start warm is for .*--controller automatic"),
        (
            {"rule": "direct-feedback-alignment", "system": "residual", "hidden": (4,)},
            "choose another rule",
        ),
    ],
    ids=str,
)
def test_what_a_controller_or_a_baseline_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.of(**options).check()


@pytest.mark.parametrize(
    ("options", "leak"),
    [
        ({"alpha": 0.1}, 0.1),
        ({"alpha": 6.4}, 6.4),
        ({"alpha": 640.0}, 640.0),
        # Of the mean of a batch, and so 64 times as much of a sample.
        ({"alpha": 0.5, "alpha_convention": "batch-mean", "batch_size": 64}, 32.0),
    ],
)
def test_the_simulation_of_noise_follows_any_leak(options, leak):
    config = RunConfig.of(controller="linear-feedback", noise_steps=5, **options)
    config.check()
    noise = config.build_rule().controller.noise
    noise.check_leak(leak)
    # The paper's τ_u is 1 with a leak of 6.4 a sample, and no faster with a smaller one.
    assert noise.output_time_constant == pytest.approx(max(1, leak / 6.4))
    # A step of 0.04 follows τ_u/α down to 0.04.
    with pytest.raises(ValueError, match="time constant"):
        noise.check_leak(1.01 * 25 * noise.output_time_constant)


def test_the_batch_mean_convention_multiplies_the_leak_by_the_batch_size():
    config = RunConfig.of(alpha=0.1, alpha_convention="batch-mean", batch_size=64)
    assert float(config.build_rule().output_control.leak) == pytest.approx(6.4)


def test_proportional_control_has_the_same_leak():
    config = RunConfig.of(alpha=4.0, output_control="proportional")
    assert float(config.build_rule().output_control.leak) == pytest.approx(4.0)


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_word_survives_json(kind):
    for each, place in [({}, {}), *options_of(kind, Choice)]:
        for word in [None] if each == {} else each.words:
            chosen = {} if word is None else {**place, each.name: word.word}
            config = kind.of(**chosen)
            values = json.loads(json.dumps(config.as_json(), allow_nan=False))
            try:
                config.check()
            except ConfigError:
                # Needs more than its own default.
                continue
            assert kind.from_json(values, "here") == config


def test_whole_numbers_in_json_become_real_ones_where_those_are_meant():
    values = {**RunConfig.of().as_json(), "alpha": 6, "gradient_clip": 1, "epochs": 2}
    config = RunConfig.from_json(values, "here")
    converted = [config.value(name) for name in ("alpha", "gradient_clip", "epochs")]
    assert [type(value) for value in converted] == [float, float, int]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "here holds no configuration"),
        ({"alhpa": 1.0}, "unknown option 'alhpa'; the nearest is alpha"),
        ({"epochs": 1.5}, "epochs = 1.5, which is not of its kind"),
        ({"epochs": True}, "epochs = True, which"),
        ({"alpha": "6.4"}, "alpha = '6.4', which"),
        ({"alpha": 10**400}, "alpha = 1000"),
        ({"alpha": None}, "alpha = None, which"),
        ({"hidden": 5}, "hidden = 5, which"),
        ({"hidden": [5.0]}, r"hidden = \[5.0\], which"),
        ({"data_dir": 5}, "data_dir = 5, which"),
        ({"gradient_clip": "a"}, "gradient_clip = 'a', which"),
        ({"seed": [1]}, r"seed = \[1\], which"),
        ({"system": 1}, "system = 1, which"),
        ({"epochs": 0}, "here cannot be run: --epochs is 0"),
        ({"alpha": math.nan}, "here cannot be run: --alpha is nan"),
        ({"system": "rnn", "jacobian_penalty": 0.0}, "cannot be run: --jacobian-penalty is 0.0"),
        ({"jacobian_penalty": 1.0}, "cannot be run: --jacobian-penalty is 1.0.* --system rnn"),
        ({"format": 3}, "has the format 3, and this version reads 2"),
        ({"verb": "meta"}, "does not hold the configuration of a training"),
    ],
)
def test_json_that_is_no_configuration_is_refused(values, message):
    if isinstance(values, dict):
        values = {"format": 2, "verb": "train", **values}
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_json(values, "here")


def test_words_of_version_1_are_read():
    old = {
        "softness": 0.01,
        "accumulate": 2,
        "hidden": [4],
        "jacobian_penalty": None,
        # Options of other words had their defaults.
        "noise_steps": 100,
        "phase": "steady-state",
        "depth": 50,
    }
    config = RunConfig.from_json(old, "here")
    assert config == RunConfig.of(label_smoothing=0.01, accumulation_steps=2, hidden=(4,))
    with pytest.raises(ConfigError, match="--depth is 3, but it has no effect"):
        RunConfig.from_json({**old, "depth": 3}, "here")
    meta = MetaConfig.from_json({"verb": "meta", "pull": 0.1, "shots": None}, "here")
    assert meta == MetaConfig.of(proximal_strength=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 0.0, "label_smoothing": 0.01},
        {"system": "rnn", "hidden": (4,)},
        {"seeds": (0, 2**32 - 1)},
        {"final_learning_rate": 0.0},
        {"hidden": (2**15,)},
    ],
    ids=str,
)
def test_the_edge_of_a_range_is_inside(options):
    RunConfig.of(**options).check()


def test_every_rule_is_built_for_some_system():
    kinds = {}
    for word in next(e for e, _ in options_of(RunConfig, Choice) if e.name == "rule").words:
        options = {"rule": word.word, **NEEDED.get(word.word, {})}
        kinds[word.word] = RunConfig.of(**options).build_rule()
    assert all(isinstance(rule, rules.AbstractRule) for rule in kinds.values())
