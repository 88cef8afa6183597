"""The safeguarded Newton descent: at the minimum whatever the strength, and honest where it is not.

What is least is known from the oracle of `helpers`, from closed forms, or from the definition of a
stationary point; strong control is where plain iterations fail, and here none does.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    BATCH,
    KEY,
    SIZE,
    Oracle,
    feedforward,
    flat,
    function_system,
    inputs,
    labels,
    naive_cross_entropy,
    recurrent,
    samples,
    soft,
    solve,
    vectors,
)

import leastcontrol as lc
from leastcontrol.equilibrium import (
    ErrorLandscape,
    StateLandscape,
    TrustRegionProblem,
    for_the_rest,
    run,
)

TIGHT = lc.Tolerance(relative=1e-9)
EXACT = lc.Exact(TIGHT)
SYSTEMS = {
    "feedforward": lambda: feedforward(factor=3.0),
    "recurrent": lambda: recurrent(factor=3.0),
    "function": lambda: function_system(),
    "without output neurons": lambda: function_system(output_neurons=False),
}


def landscape(problem):
    if isinstance(problem.system, lc.AbstractOrderedSystem):
        return ErrorLandscape(problem=problem, system=problem.system, tolerance=TIGHT)
    return StateLandscape(problem=problem, tolerance=TIGHT)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_gradient_and_the_curvature_are_derivatives_of_the_energy(name):
    system = SYSTEMS[name]()
    problem = lc.ControlProblem(system, lc.CrossEntropy(), 0.3)
    surface = landscape(problem)
    sample = jax.tree.map(lambda leaf: leaf[0], samples(system, inputs(), labels()))
    place, guess = surface.start_from(surface.initial(sample))
    leaves, structure = jax.tree.flatten(place)
    keys = jax.random.split(KEY, 2 * len(leaves))
    draw = lambda keys: jax.tree.unflatten(  # noqa: E731
        structure,
        [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)],
    )
    place, direction = draw(keys[: len(leaves)]), draw(keys[len(leaves) :])
    move = lambda step: jax.tree.map(lambda a, b: a + step * b, place, direction)  # noqa: E731
    height = eqx.filter_jit(surface.height)
    # The first answer starts from afar.
    for _ in range(5):
        guess = height(sample, place, guess)[1]

    @eqx.filter_jit
    def seen(place):
        view = surface.look(sample, place, guess)
        return view.energy, view.gradient, view.curvature(direction)

    energy, gradient, (bent, turn) = seen(place)
    step = 1e-5
    above, below = (height(sample, move(sign * step), guess) for sign in (1, -1))
    assert energy == pytest.approx(float(height(sample, place, guess)[0]), rel=1e-12)
    slope = float(above[0] - below[0]) / (2 * step)
    assert flat(gradient) @ flat(direction) == pytest.approx(slope, rel=1e-7)
    gradients = [seen(move(sign * step))[1] for sign in (1, -1)]
    change = (flat(gradients[0]) - flat(gradients[1])) / (2 * step)
    np.testing.assert_allclose(flat(bent), change, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(turn, (above[1] - below[1]) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("leak", [1e3, 1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_sample_is_solved_at_any_strength(name, leak):
    system = SYSTEMS[name]()
    problem = lc.ControlProblem(system, lc.CrossEntropy(), jnp.asarray(leak))
    solution = solve(EXACT, problem, samples(system, inputs(), labels()))
    assert bool(lc.solved(solution).all())


@pytest.mark.parametrize("make", [feedforward, recurrent])
def test_the_minimum_is_the_oracles(make):
    system, x = make(), inputs()
    oracle = Oracle(system, naive_cross_entropy, x, soft(labels(), 0.0), 0.05)
    problem = lc.ControlProblem(system, lc.CrossEntropy(), jnp.asarray(0.05))
    solution = solve(EXACT, problem, samples(system, x, labels()))
    assert bool(lc.solved(solution).all())
    for part, truth in zip(solution.value, oracle.points(), strict=True):
        part = np.stack([flat(jax.tree.map(lambda leaf, i=i: leaf[i], part)) for i in range(BATCH)])
        np.testing.assert_allclose(part, truth, rtol=1e-7, atol=1e-9)


def test_no_leak_with_soft_targets_is_solved():
    system = feedforward()
    problem = lc.ControlProblem(system, lc.CrossEntropy(softness=0.01), 0.0)
    solution = solve(EXACT, problem, samples(system, inputs(), labels()))
    assert bool(lc.solved(solution).all())
    output = jax.vmap(system.readout)(solution.value.state) + solution.value.output_control
    np.testing.assert_allclose(jax.nn.softmax(output), soft(labels(), 0.01), atol=1e-8)


def test_the_energy_never_rises():
    system = recurrent(factor=6.0)
    problem = lc.ControlProblem(system, lc.CrossEntropy(), 1e-4)
    iteration = TrustRegionProblem(landscape(problem))
    sample = jax.tree.map(lambda leaf: leaf[0], samples(system, inputs(), labels()))
    step = eqx.filter_jit(lambda z: iteration.iterate(sample, z))
    height = eqx.filter_jit(
        lambda z: iteration.landscape.height(sample, z.place, z.output_control)[0]
    )
    z = eqx.filter_jit(iteration.initial)(sample)
    energies = [float(height(z))]
    while float(step(z)[2]) > 1:
        z = step(z)[0]
        energies.append(float(height(z)))
        assert len(energies) < 60
    assert len(energies) > 5
    assert (np.diff(energies) <= 1e-12 * energies[0]).all()


def test_a_budget_that_is_too_small_says_so():
    system = recurrent(factor=4.0)
    problem = lc.ControlProblem(system, lc.CrossEntropy(), 1e-3)
    few = lc.Exact(solver=lc.TrustRegion(max_steps=2))
    solution = solve(few, problem, samples(system, inputs(), labels()))
    assert not bool(lc.solved(solution).any())
    assert (solution.stats.steps == 2).all()
    assert "residual" in lc.RESULTS[jax.tree.map(lambda leaf: leaf[0], solution.result)]


def test_free_equilibria_need_no_contraction():
    # A unit step triples every difference; the rest point is −drive/4.
    system = lc.FunctionSystem(
        lambda params, state, x: params * state + x,
        lambda params, state: state,
        jnp.asarray(4.0),
        jnp.zeros(SIZE),
    )
    x = vectors()
    plain = lc.free_equilibrium(system, x)
    assert not bool(lc.solved(plain).any())
    assert bool((plain.result == lc.RESULTS.not_contracting).all())
    settled = lc.free_equilibrium(system, x, solver=lc.TrustRegion(), tolerance=TIGHT)
    assert bool(lc.solved(settled).all())
    np.testing.assert_allclose(settled.value, -x / 4, rtol=1e-7)


def test_dynamics_without_a_rest_point_do_not_contract():
    system = lc.FunctionSystem(
        lambda params, state, x: params + state**2 + x,
        lambda params, state: state,
        jnp.asarray(1.0),
        jnp.zeros(SIZE),
    )
    lost = lc.free_equilibrium(system, jnp.zeros((BATCH, SIZE)), solver=lc.TrustRegion())
    assert not bool(lc.solved(lost).any())
    assert bool((lost.result == lc.RESULTS.not_contracting).all())


@pytest.mark.parametrize("solver", [{"max_steps": 0}, {"linear_steps": -1}])
def test_a_descent_of_no_steps_is_refused(solver):
    with pytest.raises(ValueError, match="both are at least 1"):
        lc.TrustRegion(**solver)


@pytest.mark.parametrize("make", [pytest.param(feedforward, marks=pytest.mark.slow), recurrent])
def test_automatic_solves_what_dynamic_inversion_leaves(make):
    system, leak = make(factor=5.0), 1e-3
    problem = lc.ControlProblem(system, lc.CrossEntropy(), leak)
    everyone = samples(system, inputs(batch=20), labels(batch=20))
    few = lc.equilibrium.Budget(20)
    first = solve(lc.DynamicInversion(solver=few), problem, everyone)
    assert not bool(lc.solved(first).all())
    both = solve(lc.Automatic(solver=few), problem, everyone)
    assert bool(lc.solved(both).all())
    # There may be several minima; what was found is one by the definition.
    measured = lc.equilibrium.certify(
        problem, everyone, both.value, both.stats.steps, lc.Tolerance()
    )
    assert bool(lc.solved(measured).all())


@pytest.mark.slow
def test_automatic_leaves_alone_what_is_solved():
    system = feedforward()
    problem = lc.ControlProblem(system, lc.CrossEntropy(), 6.4)
    everyone = samples(system, inputs(), labels())
    first = solve(lc.DynamicInversion(), problem, everyone)
    assert bool(lc.solved(first).all())
    assert bool(eqx.tree_equal(first, solve(lc.Automatic(), problem, everyone)))


@pytest.mark.parametrize("left", [0, 1, 5, 13])
def test_the_rest_is_solved_and_nothing_else(left):
    done = jnp.ones(13, bool).at[jnp.arange(left) * 3 % 13].set(False)
    values = jnp.arange(13.0)
    result = for_the_rest(lambda added, old: old + added, done, 100.0 * jnp.ones(13), values)
    np.testing.assert_array_equal(result, jnp.where(done, values, values + 100))


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_the_rest_is_gathered_in_order(groups):
    # Every group takes as long as its slowest: here each sample learns how long that is.
    length, done = jax.random.permutation(KEY, jnp.arange(1.0, 33)), jnp.arange(32) % 4 == 1
    slowest = lambda lengths, _: jnp.full_like(lengths, jnp.max(lengths))  # noqa: E731
    result = for_the_rest(slowest, done, length, jnp.zeros(32), groups, length)
    expected = np.zeros(32)
    left = sorted(np.flatnonzero(~done), key=lambda i: length[i])
    for first in range(0, len(left), 32 // groups):
        group = left[first : first + 32 // groups]
        expected[group] = max(length[i] for i in group)
    # The last group is filled up with samples that are done, which may be the slowest.
    full = len(left) - len(left) % (32 // groups)
    np.testing.assert_array_equal(result[np.array(left[:full])], expected[left[:full]])
    np.testing.assert_array_equal(result[done], 0)


class Shrinking(lc.equilibrium.AbstractProblem):
    """z ← rz from ones until |z| ≤ 1.1e-6: 6 digits at a rate r take 6/log₁₀(1/r) steps.

    A sample is its rate and a multiple of the error after every third step. It has so many numbers
    that a batch of 64 is divided.
    """

    def initial(self, sample):
        return jnp.ones(32), jnp.zeros((), int)

    def iterate(self, sample, z):
        (rate, rise), (value, count) = sample, z
        error = value[0] * jnp.where(count % 3 == 2, rise, 1) / 1.1e-6
        return (rate * value, count + 1), z, error

    def mixed(self, z):
        return (z[0],)

    def with_mixed(self, z, blocks):
        return blocks[0], z[1]


@pytest.mark.parametrize(("first_share", "groups"), [(2, 8), (4, 2), (2, 16)])
def test_a_sample_ends_in_the_same_step_in_any_group(first_share, groups):
    rates = jax.random.permutation(KEY, jnp.linspace(0.1, 0.9, 64))
    samples = rates, jnp.ones(64)
    solver = lc.FixedPoint(200, first_share=first_share, groups=groups)
    (value, _), steps, error = jax.jit(lambda batch: run(Shrinking(), solver, batch))(samples)
    expected = np.ceil(np.log(1.1e-6) / np.log(np.asarray(rates)))
    np.testing.assert_array_equal(steps, expected + 1)
    np.testing.assert_allclose(value[:, 0], np.asarray(rates) ** expected, rtol=1e-10)
    assert bool((error <= 1).all())


@pytest.mark.parametrize("given", [{"first_share": 1}, {"groups": 1}])
def test_a_part_of_a_batch_is_at_most_its_half(given):
    with pytest.raises(ValueError, match="write FixedPoint\\(first_share=4, groups=8\\)"):
        lc.FixedPoint(**given)
