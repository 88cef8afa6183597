"""Fast weights and the rules that learn slow ones, against their definitions.

Derivatives are checked by finite differences of what the rule says that it descends, with the rest
points found again by a dense Newton method that knows of the package only f and the losses.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import KEY, flat
from jax.flatten_util import ravel_pytree

import leastcontrol as lc
from leastcontrol.equilibrium import minimum

TASKS = 3
PULL = 0.3


def squares(model, data):
    inputs, targets = data
    return 0.5 * jnp.mean(jnp.sum((model(inputs) - targets) ** 2, axis=-1))


def curved(model, data):
    """Neither quadratic nor with a Hessian that commutes with that of `squares`."""
    inputs, targets = data
    return jnp.mean(jnp.log(jnp.cosh(model(inputs) - targets)))


def sets(size, seed, inputs=2):
    keys = jax.random.split(jax.random.fold_in(KEY, 900 + seed), 2)
    x = jax.random.normal(keys[0], (TASKS, size, inputs))
    return x, jnp.sin(x[..., :1]) + 0.3 * jax.random.normal(keys[1], (TASKS, size, 1))


def tasks(inputs=2):
    return lc.Batch(sets(4, 0, inputs), sets(9, 1, inputs))


def fast_weights(hidden=(), *, per_weight=False, learn_pull=True):
    model = lc.meta.DenseLearner(2, hidden, 1, activation=jnp.tanh, key=KEY)
    pull = PULL
    if per_weight:
        weights, unravel = ravel_pytree(eqx.filter(model, eqx.is_inexact_array))
        pull = unravel(0.2 + 0.1 * jnp.arange(weights.size))
    return lc.meta.FastWeights(model, curved, squares, pull, learn_pull=learn_pull)


credit = eqx.filter_jit(lambda rule, system, batch: rule(system, None, batch))
EXACT = lc.Tolerance(1e-11)


def objective(of_task):
    """Returns θ ↦ the mean over tasks of `of_task(system, support, query, start)`, flat in θ."""

    def value(theta, unravel, fixed, batch, starts):
        system = eqx.combine(unravel(theta), fixed)
        return jnp.mean(jax.vmap(lambda s, q, z: of_task(system, s, q, z))(*batch[:2], starts))

    return value


def finite_differences(of_task, system, batch, starts=None, step=1e-5):
    learned, fixed = eqx.partition(system, eqx.is_inexact_array)
    theta, unravel = ravel_pytree(learned)
    starts = jnp.zeros((TASKS, 0)) if starts is None else starts
    value = jax.jit(lambda theta: objective(of_task)(theta, unravel, fixed, batch, starts))
    moves = step * jnp.eye(theta.size)
    up, down = (jnp.stack([value(theta + s * move) for move in moves]) for s in (1, -1))
    return np.asarray(up - down) / (2 * step)


def dense_minimum(function, start):
    """Returns where a function of a flat state is least, by Newton from close to it."""

    def newton(_, z):
        return z - jnp.linalg.solve(jax.hessian(function)(z), jax.grad(function)(z))

    return jax.lax.fori_loop(0, 6, newton, start)


def flat_tree(tree):
    return ravel_pytree(tree)[0]


def flat_states(solution):
    state = getattr(solution.value, "state", solution.value)
    return jax.vmap(lambda weights: ravel_pytree(weights)[0])(state)


def least_control(leak):
    """Returns min_φ ½‖f‖² + L_evaluate/α, and for α = 0 ½‖f‖² where L_evaluate is least."""

    def of_task(system, support, query, start):
        _, unravel = ravel_pytree(system.slow_weights)

        def effort(z):
            return 0.5 * jnp.sum(flat_tree(system.vector_field(unravel(z), support)) ** 2)

        loss = lambda z: system.evaluation(unravel(z), query)  # noqa: E731
        if leak == 0:
            return effort(dense_minimum(loss, start))
        energy = lambda z: effort(z) + loss(z) / leak  # noqa: E731
        return energy(dense_minimum(energy, start))

    return of_task


def assert_close(gradient, expected, tolerance=1e-5):
    gradient = flat(gradient)
    assert np.linalg.norm(expected) > 1e-3
    assert np.linalg.norm(gradient - expected) < tolerance * np.linalg.norm(expected)


class TestFastWeights:
    def test_the_field_is_the_definition(self):
        system = fast_weights(per_weight=True)
        state = jax.tree.map(lambda w: w + 0.5, system.slow_weights)
        support = jax.tree.map(lambda leaf: leaf[0], tasks().inputs)
        slope = jax.grad(lambda w: curved(eqx.combine(w, system.model), support))(state)
        expected = -flat(slope) - flat(system.pull()) * 0.5
        np.testing.assert_allclose(flat(system.vector_field(state, support)), expected, rtol=1e-12)
        np.testing.assert_allclose(
            -flat(jax.grad(system.potential)(state, support)), expected, rtol=1e-12
        )
        np.testing.assert_allclose(
            np.sort(flat(system.pull())), np.sort(0.2 + 0.1 * np.arange(3)), rtol=1e-12
        )

    def test_any_equinox_model_is_a_learner(self):
        mlp = eqx.nn.MLP(2, 1, 3, 1, key=KEY)
        loss = lambda model, data: squares(jax.vmap(model), data)  # noqa: E731
        system = lc.meta.FastWeights(mlp, loss, loss, 0.1)
        batch = tasks()
        result = credit(lc.meta.MetaLeastControl(), system, batch)
        assert np.isfinite(flat(result.gradient)).all()
        assert result.solution.stats.control_norm.shape == (TASKS,)

    def test_bad_learners_and_pulls_are_refused(self):
        with pytest.raises(ValueError, match=r"learner Identity has no weights"):
            lc.meta.FastWeights(eqx.nn.Identity(), squares, squares, 0.1)
        model = lc.meta.DenseLearner(2, (), 1, key=KEY)
        for pull in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=r"finite number above 0"):
                lc.meta.FastWeights(model, squares, squares, pull)
        with pytest.raises(ValueError, match=r"neither one number nor one for each weight"):
            lc.meta.FastWeights(model, squares, squares, jnp.ones(3))

    @pytest.mark.slow
    def test_the_convolutional_learner_is_its_definition(self):
        learner = lc.meta.ConvolutionalLearner((9, 8), 3, channels=4, modules=2, key=KEY)
        images = jax.random.normal(KEY, (5, 9, 8))
        x = images[:, None]
        for module in learner.modules:
            channels = x.shape[1]
            kernel = module.weight.reshape(4, 3, 3, channels).transpose(0, 3, 1, 2)
            x = jax.lax.conv(x, kernel, (1, 1), "SAME")
            mean = x.mean((0, 2, 3), keepdims=True)
            x = (x - mean) / jnp.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
            x = jax.lax.reduce_window(
                jnp.maximum(x, 0), 0.0, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID"
            )
        x = x.transpose(0, 2, 3, 1).reshape(5, -1)
        expected = x @ learner.decoder.weight.T + learner.decoder.bias[None]
        np.testing.assert_allclose(learner(images), expected, rtol=1e-9, atol=1e-9)
        with pytest.raises(ValueError, match=r"leave nothing: write modules="):
            lc.meta.ConvolutionalLearner((8, 8), 3, key=KEY)


class TestLeastControl:
    @pytest.mark.parametrize(
        ("control", "per_weight"), [(lc.meta.DirectControl, True), (lc.meta.OptimalControl, False)]
    )
    def test_without_leak_both_descend_the_least_control(self, control, per_weight):
        system, batch = fast_weights(per_weight=per_weight), tasks()
        rule = lc.meta.MetaLeastControl(0.0, control=control(EXACT))
        result = credit(rule, system, batch)
        assert lc.solved(result.solution).all()
        starts = flat_states(result.solution)
        expected = finite_differences(least_control(0.0), system, batch, starts)
        assert_close(result.gradient, expected)

    @pytest.mark.slow
    def test_optimal_control_descends_the_energy_at_any_leak(self):
        system, batch, leak = fast_weights((2,)), tasks(), 0.2
        rule = lc.meta.MetaLeastControl(leak, control=lc.meta.OptimalControl(EXACT))
        result = credit(rule, system, batch)
        assert lc.solved(result.solution).all()
        starts = flat_states(result.solution)
        expected = finite_differences(least_control(leak), system, batch, starts)
        assert_close(result.gradient, expected)

    @pytest.mark.slow
    def test_direct_control_rests_where_the_papers_dynamics_do(self):
        system, batch = fast_weights(), tasks()
        leak = 0.5
        result = credit(
            lc.meta.MetaLeastControl(leak, control=lc.meta.DirectControl(EXACT)), system, batch
        )
        euler = lc.meta.EulerControl(lc.Tolerance(1e-8), steps=3000, step_size=0.1)
        run = credit(lc.meta.MetaLeastControl(leak, control=euler), system, batch)
        assert lc.solved(result.solution).all()
        assert lc.solved(run.solution).all()
        np.testing.assert_allclose(
            flat(result.solution.value), flat(run.solution.value), rtol=1e-6, atol=1e-8
        )
        descent = lc.meta.DescentControl(lc.Tolerance(1e-9), steps=600, step_size=0.5, momentum=0.5)
        run = credit(lc.meta.MetaLeastControl(leak, control=descent), system, batch)
        assert lc.solved(run.solution).all()
        np.testing.assert_allclose(
            flat(result.solution.value), flat(run.solution.value), rtol=1e-6, atol=1e-8
        )
        # The papers' update: Δω = λu, Δλ = −Σ (φ − ω)u for one pull of all weights.
        u = jax.vmap(lambda v: ravel_pytree(v)[0])(result.solution.value.output_control)
        omega = ravel_pytree(system.slow_weights)[0]
        apart = flat_states(result.solution) - omega[None]
        np.testing.assert_allclose(flat(result.gradient.model), -PULL * u.mean(0), rtol=1e-7)
        np.testing.assert_allclose(
            result.gradient.log_pull, PULL * (apart * u).sum(1).mean(), rtol=1e-7
        )

    def test_the_papers_steps_are_its_equations(self):
        system, batch = fast_weights(), tasks()
        support, query = jax.tree.map(lambda leaf: leaf[0], batch[:2])
        solution = lc.meta.EulerControl(steps=4, step_size=0.03).equilibrium(
            system, 0.1, support, query
        )
        _, unravel = ravel_pytree(system.slow_weights)
        phi, u = ravel_pytree(system.slow_weights)[0], jnp.zeros(3)
        for _ in range(4):
            learn = ravel_pytree(jax.grad(system.learning)(unravel(phi), support))[0]
            evaluate = ravel_pytree(jax.grad(system.evaluation)(unravel(phi), query))[0]
            omega = ravel_pytree(system.slow_weights)[0]
            phi, u = (
                phi + 0.03 * (-learn - PULL * (phi - omega) + u),
                u + 0.03 * (-0.1 * u - evaluate),
            )
        np.testing.assert_allclose(flat(solution.value.state), phi, rtol=1e-12)
        np.testing.assert_allclose(flat(solution.value.control), u, rtol=1e-12)
        # Four steps do not arrive, and the certificate says so.
        assert not lc.solved(solution)
        assert float(solution.stats.error) > 1

    def test_a_descent_is_its_equations_and_says_how_far_it_is_from_rest(self):
        system, batch, leak = fast_weights(), tasks(), 0.5
        support, query = jax.tree.map(lambda leaf: leaf[0], batch[:2])
        solution = lc.meta.DescentControl(steps=3, step_size=0.1, momentum=0.6).equilibrium(
            system, leak, support, query
        )
        omega, unravel = ravel_pytree(system.slow_weights)
        field = lambda z: ravel_pytree(system.vector_field(unravel(z), support))[0]  # noqa: E731
        slope = lambda z: ravel_pytree(  # noqa: E731
            jax.grad(system.evaluation)(unravel(z), query)
        )[0]
        phi, v = omega, jnp.zeros(3)
        for _ in range(3):
            v = 0.6 * v + (leak * field(phi) - slope(phi)) / (1 + leak)
            phi = phi + 0.1 * v
        np.testing.assert_allclose(flat(solution.value.state), phi, rtol=1e-12)
        np.testing.assert_allclose(flat(solution.value.control), -slope(phi) / leak, rtol=1e-12)
        expected = jnp.linalg.norm(field(phi) - slope(phi) / leak)
        np.testing.assert_allclose(solution.stats.state_residual, expected, rtol=1e-10)
        assert not lc.solved(solution)
        with pytest.raises(ValueError, match=r"the leak α is 0: write MetaLeastControl\(0.1"):
            lc.meta.DescentControl().equilibrium(system, 0.0, support, query)

    def test_a_pull_that_does_not_learn_has_no_gradient(self):
        result = credit(lc.meta.MetaLeastControl(), fast_weights(learn_pull=False), tasks())
        assert flat(result.gradient.log_pull) == 0
        assert np.abs(flat(result.gradient.model)).min() > 0

    def test_a_task_does_not_see_the_others(self):
        system, batch = fast_weights(), tasks()
        rule = lc.meta.MetaLeastControl(0.1, control=lc.meta.DirectControl())
        broken = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), batch)
        together, alone = (
            credit(rule, system, samples).solution.value.state for samples in (broken, batch)
        )
        np.testing.assert_allclose(
            *(flat(jax.tree.map(lambda leaf: leaf[1:], states)) for states in (together, alone)),
            rtol=1e-12,
        )
        gradient = flat(credit(rule, system, broken).gradient)
        assert np.isfinite(gradient).all()

    def test_the_memory_does_not_grow_with_the_steps(self):
        system, batch = fast_weights((8,)), tasks()
        learned, fixed = eqx.partition(system, eqx.is_inexact_array)

        def temporary(rule):
            call = lambda learned, batch: rule(eqx.combine(learned, fixed), None, batch).gradient  # noqa: E731
            compiled = jax.jit(call).lower(learned, batch).compile()
            return compiled.memory_analysis().temp_size_in_bytes

        few, many = (
            temporary(lc.meta.MetaLeastControl(control=lc.meta.EulerControl(steps=n)))
            for n in (10, 1000)
        )
        assert many <= 1.01 * few
        unrolled = [temporary(lc.meta.MAML(lc.meta.GradientDescent(n, 0.01))) for n in (10, 1000)]
        assert unrolled[1] > 10 * unrolled[0]


class TestBaselines:
    def test_maml_is_the_derivative_through_its_steps(self):
        system, batch = fast_weights((3,)), tasks()
        adaptation = lc.meta.GradientDescent(3, 0.2)

        def after(system, support, query, _):
            _, unravel = ravel_pytree(system.slow_weights)
            phi = ravel_pytree(system.slow_weights)[0]
            for _ in range(3):
                phi -= 0.2 * jax.grad(lambda z: system.learning(unravel(z), support))(phi)
            return system.evaluation(unravel(phi), query)

        result = credit(lc.meta.MAML(adaptation), system, batch)
        assert_close(result.gradient, finite_differences(after, system, batch))

        # Without the derivative of the steps: that of L_evaluate alone.
        first = credit(lc.meta.FirstOrderMAML(adaptation), system, batch)
        states = first.solution.value
        slopes = jax.vmap(jax.grad(system.evaluation))(states, batch.targets)
        mean = jax.tree.map(lambda leaf: leaf.mean(0), slopes)
        np.testing.assert_allclose(flat(first.gradient.model), flat(mean), rtol=1e-12)
        np.testing.assert_allclose(first.loss, result.loss, rtol=1e-12)

        reptile = credit(lc.meta.Reptile(adaptation), system, batch)
        towards = jax.tree.map(lambda w, s: w - s.mean(0), system.slow_weights, states)
        np.testing.assert_allclose(flat(reptile.gradient.model), flat(towards), rtol=1e-10)
        assert flat(reptile.gradient.log_pull) == flat(first.gradient.log_pull) == 0

    def test_a_task_whose_gradient_is_not_finite_does_not_count(self):
        system, batch = fast_weights(), tasks()
        inputs, targets = batch.targets
        broken = lc.Batch(batch.inputs, (inputs, targets.at[1, 0].set(jnp.inf)))
        rule = lc.meta.ImplicitMAML(lc.meta.Relaxation(steps=5, step_size=0.1), products=3)
        result = credit(rule, system, broken)
        assert result.count == TASKS - 1
        np.testing.assert_array_equal(np.isinf(result.solution.stats.error), [False, True, False])
        # Learning is finite for all: it is the answer for the query set that is not.
        others = jax.tree.map(lambda leaf: leaf[jnp.array([0, 2])], batch)
        expected = credit(rule, system, others)
        np.testing.assert_allclose(flat(result.gradient), flat(expected.gradient), rtol=1e-12)
        np.testing.assert_allclose(result.loss, expected.loss, rtol=1e-12)

    def test_implicit_maml_is_the_derivative_at_the_free_equilibrium(self):
        system, batch = fast_weights(per_weight=True), tasks()
        rule = lc.meta.ImplicitMAML(lc.meta.Settled(EXACT), tolerance=EXACT, products=20)
        result = credit(rule, system, batch)

        def settled(system, support, query, start):
            _, unravel = ravel_pytree(system.slow_weights)
            rest = dense_minimum(lambda z: system.potential(unravel(z), support), start)
            return system.evaluation(unravel(rest), query)

        expected = finite_differences(settled, system, batch, flat_states(result.solution))
        assert lc.solved(result.solution).all()
        assert_close(result.gradient, expected)

        # The contrast of two close rest points tends to it.
        contrast = lc.meta.ContrastiveMeta(
            lc.meta.Settled(EXACT), tolerance=EXACT, strength=1e-5, steps=2000, step_size=0.2
        )
        assert_close(credit(contrast, system, batch).gradient, expected, 1e-3)

        # T1–T2 has λ∇L_evaluate in the place of λδ.
        first = credit(lc.meta.T1T2(lc.meta.Settled(EXACT)), system, batch)
        slopes = jax.vmap(jax.grad(system.evaluation))(first.solution.value, batch.targets)
        lam = flat(system.pull())
        np.testing.assert_allclose(
            flat(first.gradient.model),
            lam * flat(jax.tree.map(lambda leaf: leaf.mean(0), slopes)),
            rtol=1e-9,
        )

    def test_relaxation_steps_along_the_field(self):
        system, batch = fast_weights(), tasks()
        support = jax.tree.map(lambda leaf: leaf[0], batch.inputs)
        once, steps = lc.meta.Relaxation(1, 0.1).adapt(system, support)
        field = system.vector_field(system.slow_weights, support)
        np.testing.assert_allclose(
            flat(once), flat(system.slow_weights) + 0.1 * flat(field), rtol=1e-12
        )
        assert int(steps) == 1

        # With momentum the second step has some of the first in it.
        twice, _ = lc.meta.Relaxation(2, 0.1, 0.7).adapt(system, support)
        velocity = 0.7 * flat(field) + flat(system.vector_field(once, support))
        np.testing.assert_allclose(flat(twice), flat(once) + 0.1 * velocity, rtol=1e-12)

    def test_bad_options_are_refused(self):
        for build in (lc.meta.GradientDescent, lc.meta.Relaxation, lc.meta.EulerControl):
            with pytest.raises(ValueError, match=r"write \w+\(steps=100, step_size=0.03\)"):
                build(steps=0, step_size=0.1)
            with pytest.raises(ValueError, match=r"above 0 and finite"):
                build(steps=5, step_size=-0.1)
        for build in (
            lc.meta.GradientDescent,
            lc.meta.Relaxation,
            lc.meta.DescentControl,
            lc.meta.ContrastiveMeta,
        ):
            with pytest.raises(ValueError, match=r"momentum=1.0, but it is at least 0 and below 1"):
                build(momentum=1.0)
        with pytest.raises(ValueError, match=r"strength β of the second phase"):
            lc.meta.ContrastiveMeta(strength=0.0)
        with pytest.raises(ValueError, match=r"The leak is -1"):
            lc.meta.MetaLeastControl(-1.0)
        support, query = tasks()[:2]
        with pytest.raises(ValueError, match=r"same first axis"):
            lc.meta.MAML()(
                fast_weights(),
                None,
                lc.Batch(support, jax.tree.map(lambda leaf: leaf[:2], query)),
            )


class TestMinimum:
    @pytest.mark.parametrize(
        ("merit", "start", "expected"),
        [
            (lambda z: (1 - z[0]) ** 2 + 100 * (z[1] - z[0] ** 2) ** 2, [-1.2, 1.0], [1, 1]),
            (lambda z: jnp.sum(0.25 * z**4 - 0.5 * z**2), [0.1, -0.3], [1, -1]),
        ],
        ids=["valley", "negative-curvature"],
    )
    def test_it_goes_down_to_a_minimum(self, merit, start, expected):
        error = lambda state, slope: jnp.linalg.norm(slope) / 1e-9  # noqa: E731
        state, steps = minimum(merit, jnp.array(start), error, lc.TrustRegion(100, 10))
        np.testing.assert_allclose(state, expected, rtol=1e-8)
        assert 3 < int(steps) < 100
