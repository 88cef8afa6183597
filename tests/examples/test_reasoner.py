"""The study of a recursive reasoner: its puzzles, its gradients and its files."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from reasoner import arms, measures, model, study, sudoku

import leastcontrol as lc

EVERY = sudoku.all_grids()
TIGHT = lc.Tolerance(1e-10)
LONG = lc.FixedPoint(max_steps=400)


def is_latin_with_boxes(grid: np.ndarray) -> bool:
    boxes = grid.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    square = grid.reshape(4, 4)
    return all(sorted(unit) == [1, 2, 3, 4] for part in (square, square.T, boxes) for unit in part)


def test_all_grids_are_the_288_grids():
    assert len(np.unique(EVERY, axis=0)) == len(EVERY) == 288
    assert all(is_latin_with_boxes(grid) for grid in EVERY)


def test_rearrangements_are_a_group_of_128_that_keeps_grids():
    turns = sudoku.rearrangements()
    known = {tuple(turn) for turn in turns}
    assert len(known) == 128
    assert all(tuple(turns[1][turn]) in known and tuple(turns[-1][turn]) in known for turn in turns)
    assert all(is_latin_with_boxes(EVERY[5][turn]) for turn in turns)


def test_there_are_two_classes_and_twelve_orbits():
    under_all, orbits = sudoku.classes(EVERY)
    assert sorted(np.bincount(under_all)) == [96, 192]
    assert np.bincount(orbits).tolist() == 12 * [24]
    # No symmetry leads out of a class, and no relabelling out of an orbit.
    place = {tuple(grid): at for at, grid in enumerate(EVERY)}
    names = np.array([0, 3, 1, 4, 2])
    for turn in sudoku.rearrangements()[::17]:
        turned = [place[tuple(names[grid[turn]])] for grid in EVERY]
        assert (under_all[turned] == under_all).all()
    assert (orbits[[place[tuple(names[grid])] for grid in EVERY]] == orbits).all()


def test_no_relabelling_of_a_held_grid_is_in_training():
    parts = sudoku.split(EVERY, np.random.default_rng(3))
    assert [len(part) for part in parts] == [144, 72, 72]
    firsts = [{tuple(grid) for grid in sudoku.relabelled(part)} for part in parts]
    assert len(set.union(*firsts)) == sum(map(len, firsts)) == 12
    # Both classes in the ratio of their sizes.
    names = {tuple(grid): name for grid, name in zip(EVERY, sudoku.classes(EVERY)[0], strict=True)}
    for part in parts:
        smaller, larger = sorted(np.bincount([names[tuple(grid)] for grid in part]))
        assert larger == 2 * smaller


def solutions_of(given: np.ndarray) -> int:
    """Counts the solutions by trying digits cell by cell, without a list of grids."""
    if (given != 0).all():
        return int(is_latin_with_boxes(given))
    cell = int(np.argmin(given))
    row, column = divmod(cell, 4)
    square = given.reshape(4, 4)
    top, left = row // 2 * 2, column // 2 * 2
    box = square[top : top + 2, left : left + 2]
    count = 0
    for digit in {1, 2, 3, 4} - {*square[row], *square[:, column], *box.ravel()}:
        tried = given.copy()
        tried[cell] = digit
        count += solutions_of(tried)
    return count


def test_puzzles_have_one_solution_and_no_given_too_many():
    puzzles = sudoku.draw_puzzles(EVERY[::48], EVERY, 2, np.random.default_rng(0))
    assert len(np.unique(puzzles.given, axis=0)) == len(puzzles.given)
    for given, solution in zip(*puzzles, strict=True):
        shown = given > 0
        assert (given[shown] == solution[shown]).all()
        assert solutions_of(given) == 1
        for cell in np.flatnonzero(shown):
            fewer = given.copy()
            fewer[cell] = 0
            assert solutions_of(fewer) > 1


@pytest.fixture(scope="module")
def tiny() -> tuple[model.Reasoner, arms.Batch]:
    """Return a reasoner that contracts, and a batch, in double precision."""
    reasoner = model.Reasoner(3, 4, 1, key=jax.random.key(0))
    puzzles = sudoku.draw_puzzles(EVERY[::144], EVERY, 1, np.random.default_rng(0))
    return reasoner, arms.Batch(*map(jnp.asarray, puzzles))


def loss_after(reasoner: model.Reasoner, batch: arms.Batch, applications: int) -> float:
    """Compute the loss after so many applications, written out once more."""
    total = 0.0
    for given, solution in zip(*batch, strict=True):
        state = jnp.zeros((16, 3))
        drive = jax.nn.one_hot(given, 5) @ reasoner.embedding + reasoner.inner_bias[None]
        for _ in range(applications):
            mixed = [jnp.einsum("ij,jk->ik", mixer, state) for mixer in reasoner.mixing]
            inner = jax.nn.gelu(jnp.concatenate([state, *mixed], axis=1) @ reasoner.inward + drive)
            state = jnp.tanh(inner @ reasoner.outward + reasoner.state_bias[None])
        logits = state @ reasoner.answer + reasoner.answer_bias[None]
        shares = jax.nn.softmax(logits, axis=1)
        total -= jnp.mean(jnp.log(shares[jnp.arange(16), solution - 1]))
    return total / len(batch.given)


def slope(function, reasoner: model.Reasoner, direction: model.Reasoner) -> float:
    """Compute a directional derivative by central differences."""
    step = 1e-5

    def at(sign: int) -> float:
        return float(function(jax.tree.map(lambda w, d: w + sign * step * d, reasoner, direction)))

    return (at(1) - at(-1)) / (2 * step)


def along(gradient: model.Reasoner, direction: model.Reasoner) -> float:
    return float(jnp.vdot(ravel_pytree(gradient)[0], ravel_pytree(direction)[0]))


def some_direction(reasoner: model.Reasoner) -> model.Reasoner:
    flat, restore = ravel_pytree(reasoner)
    return restore(jax.random.normal(jax.random.key(1), flat.shape))


@pytest.mark.slow
def test_backpropagation_through_all_steps_is_the_gradient_of_the_unrolled_loss(tiny):
    reasoner, batch = tiny
    direction = some_direction(reasoner)
    estimate = jax.jit(arms.Truncated(3, 3).__call__)(reasoner, batch)
    unrolled = jax.jit(lambda weights: loss_after(weights, batch, 3))
    np.testing.assert_allclose(estimate.objective, unrolled(reasoner), rtol=1e-12)
    expected = slope(unrolled, reasoner, direction)
    np.testing.assert_allclose(along(estimate.gradient, direction), expected, rtol=1e-7)


def test_a_truncated_gradient_is_that_of_the_last_steps_from_a_fixed_state(tiny):
    reasoner, batch = tiny
    direction = some_direction(reasoner)
    estimate = jax.jit(arms.Truncated(5, 2).__call__)(reasoner, batch)
    states = [
        model.iterated(reasoner, jnp.asarray(reasoner.start), reasoner.drive(given), 3)
        for given in batch.given
    ]

    @jax.jit
    def last_steps(weights: model.Reasoner) -> jax.Array:
        losses = []
        for state, given, solution in zip(states, *batch, strict=True):
            state = model.iterated(weights, state, weights.drive(given), 2)
            losses.append(model.loss(model.readout(weights, state), solution))
        return jnp.mean(jnp.stack(losses))

    expected = slope(last_steps, reasoner, direction)
    np.testing.assert_allclose(along(estimate.gradient, direction), expected, rtol=1e-7)


@pytest.mark.slow
def test_the_implicit_gradient_is_that_of_a_long_unrolling(tiny):
    reasoner, batch = tiny
    direction = some_direction(reasoner)
    estimate = jax.jit(arms.Implicit(LONG, TIGHT, lc.Drop()).__call__)(reasoner, batch)
    long = jax.jit(arms.Truncated(200, 200).__call__)(reasoner, batch)
    assert estimate.solved.all()
    np.testing.assert_allclose(
        along(estimate.gradient, direction), along(long.gradient, direction), rtol=1e-7
    )


@pytest.mark.slow
def test_the_gradient_of_least_control_is_that_of_its_value(tiny):
    reasoner, batch = tiny
    direction = some_direction(reasoner)
    estimate = jax.jit(arms.LeastControl(4.0, LONG, TIGHT).__call__)
    assert estimate(reasoner, batch).solved.all()
    expected = slope(lambda weights: estimate(weights, batch).objective, reasoner, direction)
    np.testing.assert_allclose(
        along(estimate(reasoner, batch).gradient, direction), expected, rtol=1e-6
    )


def test_a_mean_without_samples_is_not_a_number():
    values, none = jnp.array([1.0, jnp.nan]), jnp.zeros(2, bool)
    assert jnp.isnan(arms.mean_of(values, none))
    assert arms.mean_of(values, jnp.array([True, False])) == 1


def test_a_trace_follows_the_applications(tiny):
    reasoner, batch = tiny
    puzzles = sudoku.Puzzles(*map(np.asarray, batch))
    followed = measures.trace(reasoner, puzzles, 3)
    state = model.iterated(reasoner, jnp.asarray(reasoner.start), reasoner.drive(batch.given[1]), 2)
    change = model.vector_field(reasoner, state, reasoner.drive(batch.given[1]))
    expected = jnp.linalg.norm(change) / jnp.linalg.norm(state)
    np.testing.assert_allclose(followed.residual[1, 1], expected)
    digits = jnp.argmax(model.readout(reasoner, state), axis=1) + 1
    np.testing.assert_allclose(followed.right[1, 1], (digits == batch.solution[1]).mean())


# Two applications of four puzzles; the third never rests, and is wrong, as is the fourth.
FOLLOWED = measures.Trace(
    np.array([[0.1, 0.5, 0.9, 0.6], [0.1, 0.1, 0.9, 0.2]]),
    np.array([[1.0, 0.5, 0.5, 1.0], [1.0, 1.0, 0.5, 0.5]]),
)


def test_the_residual_is_set_against_the_answer():
    measured = measures.residual_against_accuracy(FOLLOWED, 2, 0.15)
    assert measured["solved"] == 0.5
    assert (measured["exact_of_solved"], measured["exact_of_unsolved"]) == (1, 0)
    assert measured["auroc"] == 1
    assert measured["quarters"] == [1, 1, 0, 0]
    # Of the four pairs of a right and a wrong answer one has the larger residual on the right one.
    assert measures.residual_against_accuracy(FOLLOWED, 1, 0.01)["auroc"] == 0.75


def test_a_batch_stops_with_its_last_sample():
    stops = measures.stopping(FOLLOWED, 0.55, 2)
    assert stops["per_sample"] == {"applications": 1.5, "stopped": 0.75, "exact": 0.25}
    assert stops["batch_maximum"] == {"applications": 1.5, "stopped": 0.5, "exact": 0.25}


def test_a_study_runs_what_is_missing_and_tests_the_best_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ran = []

    def run(trial: study.Trial, data: dict) -> dict:
        ran.append((trial.arm, trial.seed, trial.rate, trial.tested))
        # The second rate of three is the best.
        return {**dataclasses.asdict(trial), "validation_exact": -abs(trial.rate - study.RATES[1])}

    monkeypatch.setattr(study.Trial, "run", run)
    monkeypatch.setattr(study, "load_data", dict)
    folder, results = tmp_path / "out", tmp_path / "results.json"
    arguments = ["--out", str(folder), "--results", str(results), "--seeds"]
    assert study.main([*arguments, "0"]) == 0
    arms = len(study.ARMS)
    tuned = [(trial[1], trial[3]) for trial in ran[: arms * len(study.RATES)]]
    assert tuned == len(tuned) * [(study.TUNING_SEED, False)]
    assert ran[len(tuned) :] == [(arm, 0, study.RATES[1], True) for arm in study.ARMS]
    # One file is lost, and a seed is added.
    next(folder.glob("implicit-seed-0-*")).unlink()
    ran.clear()
    assert study.main([*arguments, "0", "1"]) == 0
    assert sorted(ran) == sorted(
        (arm, seed, study.RATES[1], True)
        for arm, seed in [("implicit", 0), *((arm, 1) for arm in study.ARMS)]
    )
    arm = json.loads(results.read_text())["arms"][0]
    assert [trial["seed"] for trial in arm["per_seed"]] == [0, 1]
    assert (arm["arm"], arm["rate"]) == ("one-step", study.RATES[1])


@pytest.mark.slow
def test_a_trial_measures_along_and_after_its_training(monkeypatch: pytest.MonkeyPatch):
    # The other arms would only have to be compiled.
    monkeypatch.setattr(study, "ARMS", {"implicit": study.ARMS["implicit"]})
    trial = study.Trial("implicit", 0, 1e-2, 4, study.Size(3, 4, 1), tested=True)
    outcome = trial.run(study.load_data())
    assert [measured["step"] for measured in outcome["along"]] == [0, 1, 2, 4]
    assert all(measured["cosines"]["implicit"] > 0.999 for measured in outcome["along"])
    assert outcome["test"]["after"].keys() == {str(n) for n in study.READ_AFTER}
    assert outcome["solved"] == 1
    assert outcome["updates_refused"] == 0


@pytest.mark.slow
def test_a_file_of_another_trial_is_refused(tmp_path: Path):
    trial = study.Trial("one-step", 0, 1e-3, 2, study.Size(3, 4, 1), tested=True)
    assert study.finished(trial, tmp_path) is None
    (tmp_path / trial.file).write_text('{"arm": "one-step", "seed": 1}')
    with pytest.raises(study.StudyError, match=r"holds another trial than .*: remove it"):
        study.finished(trial, tmp_path)
    (tmp_path / trial.file).write_text("{")
    with pytest.raises(study.StudyError, match="damaged"):
        study.finished(trial, tmp_path)
