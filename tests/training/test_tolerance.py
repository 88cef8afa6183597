"""Tolerances that are chosen by the noise of the gradient."""

import contextlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import stored_weights

import leastcontrol as lc
from leastcontrol import files, training
from leastcontrol.rules import GradientNoise, gradient_noise
from leastcontrol.rules._gradient_noise import with_tolerance
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.samples import load_splits
from leastcontrol.runs.train import run_training
from leastcontrol.runs.trained import build_system
from leastcontrol.training import _step
from leastcontrol.training._tolerance import HIGHEST, LOWEST


def measured(standard_error=1.0, effect=0.01, error=0.5, parts=8):
    return GradientNoise(*map(jnp.asarray, (standard_error, effect, error, 3.0, float(parts))))


def test_the_largest_tolerance_within_a_share_of_the_noise_is_chosen():
    choose, now = training.ToleranceFromNoise(share=0.01), jnp.asarray(1e-3)
    # Residuals of half of what is allowed change the gradient by a share of 0.01; all of it, by
    # twice as much.
    np.testing.assert_allclose(choose.adjusted(now, measured()), 0.5e-3)
    np.testing.assert_allclose(choose.adjusted(now, measured(standard_error=4.0)), 2e-3)
    # One measurement changes it by a factor of at most 8, and never beyond the bounds.
    np.testing.assert_allclose(choose.adjusted(now, measured(effect=0.0)), 8e-3)
    np.testing.assert_allclose(choose.adjusted(now, measured(standard_error=0.0)), 1e-3 / 8)
    for effect, bound in ((0.0, HIGHEST), (1e3, LOWEST)):
        tolerance = now
        for _ in range(12):
            tolerance = choose.adjusted(tolerance, measured(effect=effect))
        np.testing.assert_allclose(tolerance, bound)


@pytest.mark.parametrize(
    "unknown",
    [
        {"parts": 1},
        {"standard_error": np.nan},
        {"effect": np.inf},
        {"error": np.nan},
        {"parts": 0},
    ],
)
def test_what_was_not_measured_changes_nothing(unknown):
    now = jnp.asarray(2e-3)
    assert training.ToleranceFromNoise().adjusted(now, measured(**unknown)) == now


def test_parts_divide_a_batch():
    parts = training.ToleranceFromNoise().parts
    assert [parts(size, 1) for size in (2, 7, 8, 50, 64, 61)] == [2, 7, 8, 10, 8, 61]
    with pytest.raises(ValueError, match="write batch_size=64"):
        parts(1, 1)


@pytest.mark.parametrize(
    ("size", "accumulation_steps", "expected"),
    [(64, 4, 8), (64, 16, 16), (48, 3, 12), (50, 25, 25), (6, 2, 6), (18, 3, 9)],
)
def test_a_measurement_needs_no_more_memory_than_a_step(size, accumulation_steps, expected):
    parts = training.ToleranceFromNoise().parts(size, accumulation_steps)
    assert parts == expected
    # Each of them lies within a part of a step.
    assert parts % accumulation_steps == size % parts == 0


@pytest.mark.slow
def test_a_training_measures_in_parts_of_its_accumulated_steps(monkeypatch):
    splits, asked = load_splits(SMALL), []

    def noted(*arguments, parts, **options):
        asked.append(parts)
        return gradient_noise(*arguments, parts=parts, **options)

    monkeypatch.setattr(_step, "gradient_noise", noted)
    training.train(
        build_system(SMALL, splits, 0),
        SMALL.build_rule(),
        splits.train,
        splits.validation,
        SMALL.with_options(accumulation_steps=20, epochs=1).build_training(),
        seed=0,
    )
    assert set(asked) == {20}


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"first": 0.5}, {"every": 0}])
def test_values_out_of_range_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"`{name}` is .*: write {name}="):
        training.ToleranceFromNoise(**wrong)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rule": "backpropagation"}, "has no effect without"),
        (
            {"rule": "backpropagation-through-time", "system": "rnn"},
            "solves nothing that a tolerance could end: leave it out",
        ),
        ({"batch_size": 1}, "is the spread between the samples of a batch"),
    ],
)
def test_wrong_uses_are_refused_by_one_sentence(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        RunConfig.of(tolerance="auto", **options).check()
    with pytest.raises(ConfigError, match="is no number, and not auto"):
        RunConfig.of(tolerance="automatic")


SMALL = RunConfig.of(tolerance="auto", hidden=(8,), epochs=3, batch_size=20, learning_rate=1e-2)


@pytest.mark.slow
def test_a_rule_without_a_solve_is_refused_by_training():
    splits = load_splits(SMALL)
    system = build_system(SMALL, splits, 0)
    with pytest.raises(ValueError, match="Backpropagation solves for no equilibrium"):
        training.train(
            system,
            lc.Backpropagation(),
            splits.train,
            splits.validation,
            SMALL.build_training(),
            seed=0,
        )


@pytest.mark.slow
def test_a_training_goes_on_only_with_what_it_followed():
    splits, rule = load_splits(SMALL), SMALL.build_rule()
    system = build_system(SMALL, splits, 0)
    fixed = SMALL.with_options(tolerance=1e-5)
    for before, now, words in ((fixed, SMALL, "without a tol"), (SMALL, fixed, "with a tol")):
        start = training.untrained(system, rule, splits.train, before.build_training(), seed=0)
        with pytest.raises(ValueError, match=f"`start` is of a training {words}.*leave `start`"):
            training.train(
                system,
                rule,
                splits.train,
                splits.validation,
                now.build_training(),
                seed=0,
                start=start,
            )


@pytest.mark.slow
def test_a_run_says_what_was_chosen_and_goes_on_with_the_same_bits(tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with jax.enable_x64(False):
        summary = run_training(SMALL, tmp_path / "whole")
        with contextlib.suppress(KeyboardInterrupt):
            run_training(SMALL, tmp_path / "resumed", report=stop)
        resumed = run_training(SMALL, tmp_path / "resumed", resume=True)
        splits = load_splits(SMALL)
        like = (build_system(SMALL, splits, 0), None)
        each = [stored_weights(tmp_path / name, "last", like)[0] for name in ("whole", "resumed")]
    rows = [
        files.parse_record(line, "line")
        for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    ]
    assert all(LOWEST <= row["tolerance"] <= HIGHEST for row in rows)
    assert summary["tolerance"]["largest"] == max(row["tolerance"] for row in rows)
    assert summary["tolerance"]["end"] <= rows[-1]["tolerance"]
    assert summary["solve"]["residual_max"] <= summary["tolerance"]["largest"]
    assert summary["tolerance"] == resumed["tolerance"]
    for one, other in zip(*map(jax.tree.leaves, each), strict=True):
        np.testing.assert_array_equal(one, other)


def flat(gradient):
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"hidden": (32, 32)},
        # With a smaller penalty some samples have several rest points under control.
        {"system": "rnn", "hidden": (32,), "jacobian_penalty": 6.0},
        {"system": "convolutional", "hidden": (16,), "activation": "relu"},
    ],
    ids=["digits", "rnn", "convolutional"],
)
def test_the_effect_stays_below_a_share_of_the_noise_in_a_trained_network(options):
    with jax.enable_x64(False):
        config = RunConfig.of(
            tolerance="auto", epochs=3, batch_size=50, learning_rate=3e-3, **options
        )
        config.check()
        splits, rule = load_splits(config), config.build_rule()
        trained = training.train(
            build_system(config, splits, 0),
            rule,
            splits.train,
            splits.validation,
            config.build_training(),
            seed=0,
        )
        chosen = trained.tolerance

        @eqx.filter_jit
        def gradient(batch, relative):
            credit = with_tolerance(rule, relative)(
                trained.system, None, batch, key=jax.random.key(0)
            )
            return flat(credit.gradient), credit.count

        shares = []
        for number in range(4):
            places = slice(50 * number, 50 * (number + 1))
            batch = lc.Batch(
                jnp.asarray(splits.train.inputs[places], chosen.dtype),
                jnp.asarray(splits.train.targets[places]),
            )
            (loose, solved), (exact, _) = (gradient(batch, t) for t in (chosen, jnp.asarray(1e-7)))
            assert solved == 50
            alone = jnp.stack(
                [
                    gradient(jax.tree.map(lambda leaf, n=n: leaf[n : n + 1], batch), 1e-6)[0]
                    for n in range(50)
                ]
            )
            spread = jnp.sum(jnp.var(alone, axis=0, ddof=1))
            shares.append(jnp.linalg.norm(loose - exact) / jnp.sqrt(spread / 50))
        assert max(shares) <= 0.01
        # It is not far below either, so that solves are not more exact than they need be.
        assert chosen == HIGHEST or max(shares) > 2e-4
