"""One-line faults that the tests have to see.

Each changes numbers and nothing else: a sign, a transposed weight, a dropped factor or term. They
are spread over the rooms of the library, one for every learning rule. A fault names no file of the
package, for files move: its old text stands exactly once in the whole package, which
`test_faults.py` checks. Likewise it names the tests that are likely to see it by file name alone.
"""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Fault:
    """A change of one line of the package.

    **Arguments:**

    * `name`: what is wrong.
    * `room`: the part of the package that it is in.
    * `old`, `new`: the text that is replaced, which stands once in the package, and its
      replacement.
    * `tests`: names of the test files that are likely to see it, the likeliest first.
    """

    name: str
    room: str
    old: str
    new: str
    tests: tuple[str, ...]

    def places(self, package: Path) -> list[Path]:
        """Lists the files of a package that the old text stands in, once for each time."""
        return [
            path
            for path in sorted(package.rglob("*.py"))
            for _ in range(path.read_text(encoding="utf-8").count(self.old))
        ]

    def files(self, tests: Path) -> list[Path]:
        """Lists the test files that are likely to see it, wherever they are in a folder."""
        return [path for name in self.tests for path in sorted(tests.rglob(name))]


FAULTS = (
    # Systems.
    Fault(
        "residual: the control of a block enters without the block's scale",
        "systems",
        "self.scale * (eqx.combine(block, fixed)(before) + block_control)",
        "self.scale * eqx.combine(block, fixed)(before) + block_control",
        ("test_deep_systems.py",),
    ),
    Fault(
        "kinks: the stiffness counts every unit as active",
        "systems",
        "kappa = 0.5 * square @ before",
        "kappa = square @ before",
        ("test_kinks.py",),
    ),
    Fault(
        "kinks inside f: the shares of units that their signals raise follow",
        "equilibrium",
        "stiffness * estimate * jnp.maximum(-signal, 0)",
        "stiffness * estimate * jnp.maximum(signal, 0)",
        ("test_inner_kinks.py",),
    ),
    Fault(
        "kinks inside f: the distances from the kinks are not measured",
        "equilibrium",
        "norm((state_change, now.off_kinks)), norm(control_change), norm(state), norm(control)",
        "norm(state_change), norm(control_change), norm(state), norm(control)",
        ("test_inner_kinks.py",),
    ),
    Fault(
        "kinks inside f: the weights of a unit on its kink have a slope of 0 or 1",
        "rules",
        "held = on_kinks(system, shares)",
        "held = on_kinks(system, None)",
        ("test_inner_kinks.py",),
    ),
    Fault(
        "recurrent: the weights are transposed",
        "systems",
        "return self.recurrent @ rectify(state) + drive - state",
        "return self.recurrent.T @ rectify(state) + drive - state",
        ("test_systems.py",),
    ),
    Fault(
        "tanh: the addition theorem has the wrong sign",
        "systems",
        "return (1 - rate) * (1 + rate) * moved / (1 + rate * moved)",
        "return (1 - rate) * (1 + rate) * moved / (1 - rate * moved)",
        ("test_deep_feedback_control.py",),
    ),
    # Losses.
    Fault(
        "cross-entropy: the Hessian lacks its second term",
        "losses",
        "return p * (change - jnp.sum(p * change))",
        "return p * change",
        ("test_losses.py",),
    ),
    Fault(
        "cross-entropy: a step of the response lacks the gain",
        "losses",
        "change = first + gain * second * jnp.sum(p * first)",
        "change = first + second * jnp.sum(p * first)",
        ("test_losses.py",),
    ),
    # Equilibrium.
    Fault(
        "recurrent backpropagation: the error has the wrong sign",
        "equilibrium",
        "return pull(state, error)",
        "return pull(state, -error)",
        ("test_equilibrium.py", "test_rules.py"),
    ),
    Fault(
        "energy: the output control costs nothing",
        "equilibrium",
        "square = control_square + self.own_gain * jnp.sum(output_control**2)",
        "square = control_square",
        ("test_trust_region.py", "test_rules.py", "test_controllers.py"),
    ),
    Fault(
        "certificate: the allowance of the leak's residual lacks the leak",
        "equilibrium",
        "_ratio(leak_residual, leak * scale + output_floor),",
        "_ratio(leak_residual, scale + output_floor),",
        ("test_equilibrium.py", "test_controllers.py"),
    ),
    Fault(
        "simulation: the leak has the wrong sign",
        "equilibrium",
        "step_size * (slope - dynamics.leak * moment.control)",
        "step_size * (slope + dynamics.leak * moment.control)",
        ("test_deep_feedback_control.py",),
    ),
    # Controllers.
    Fault(
        "Kolen-Pollack: the mirror learns with the wrong sign",
        "controllers",
        "weigh = lambda leaf: -weights.reshape",
        "weigh = lambda leaf: weights.reshape",
        ("test_learned_feedback.py",),
    ),
    Fault(
        "linear feedback: the decay has the wrong sign",
        "controllers",
        "lambda c, q: c + noise.decay * q",
        "lambda c, q: c - noise.decay * q",
        ("test_learned_feedback.py",),
    ),
    Fault(
        "direct feedback: the output's response lacks the slope of the activation",
        "controllers",
        "answers = (answers * slope[None, :]) @ layer.weight.T + weight.T",
        "answers = answers @ layer.weight.T + weight.T",
        ("test_deep_feedback_control.py",),
    ),
    # Rules.
    Fault(
        "least control: the readout learns with the wrong sign",
        "rules",
        "*jax.tree.map(jnp.negative, scaled.weighted((signal, point.output_control))),",
        "*counted.weighted((jax.tree.map(jnp.negative, signal), point.output_control)),",
        ("test_rules.py",),
    ),
    Fault(
        "backpropagation: the sum over the batch for the mean",
        "rules",
        "adjoint, errors = counted.weighted((pull(errors)[0], errors))",
        "adjoint, errors = counted.weighted((pull(len(errors) * errors)[0], len(errors) * errors))",
        ("test_rules.py",),
    ),
    Fault(
        "backpropagation through time: one step is missing",
        "rules",
        "jax.lax.scan(forward, first, length=self.steps)",
        "jax.lax.scan(forward, first, length=self.steps - 1)",
        ("test_rules.py",),
    ),
    Fault(
        "equilibrium propagation: the centred contrast is divided by half its width",
        "rules",
        "width = 2 * self.strength",
        "width = self.strength",
        ("test_baselines.py",),
    ),
    Fault(
        "feedback alignment: the way back has the system's own weights",
        "rules",
        "return adjoint_of(mirror_of(system, feedback), self.tolerance, self.solver)",
        "return adjoint_of(system, self.tolerance, self.solver)",
        ("test_baselines.py",),
    ),
    Fault(
        "gradient certificate: the cotangent stays as it is on the way to the root",
        "rules",
        "along_root, followed = solve(adjoints, tree_add(bent, turned))",
        "along_root, followed = solve(adjoints, bent)",
        ("test_gradient_certificate.py",),
    ),
    Fault(
        "losses: the response of a function takes full Newton steps",
        "losses",
        "return ~lower & (halvings < _HALVINGS)",
        "return ~lower & (halvings < 0)",
        ("test_losses.py",),
    ),
    Fault(
        "least control: the value's slope in the inputs has the wrong sign",
        "rules",
        "work = dot(signal, field) + jnp.sum(point.output_control * read)",
        "work = -dot(signal, field) + jnp.sum(point.output_control * read)",
        ("test_least_control_value.py",),
    ),
    Fault(
        "settle: the way back solves the equation of the tangents",
        "rules",
        "return with_probe(*solve(AdjointSystem(system=system), force[:, :-1]))",
        "return with_probe(*solve(TangentSystem(system=system), force[:, :-1]))",
        ("test_settle.py",),
    ),
    Fault(
        "settle: a sample that was not solved on the way back counts",
        "rules",
        "value = jnp.where(kept[:, None], flat(rest.value), 0)",
        "value = flat(rest.value)",
        ("test_settle.py",),
    ),
    Fault(
        "direct feedback alignment: the slope of the activation is missing",
        "rules",
        "return tree_slope(system, state, path.carry(sample, point))",
        "return path.carry(sample, point)",
        ("test_baselines.py",),
    ),
    Fault(
        "phantom gradient: the damping is missing",
        "rules",
        "lambda a, c: a + self.damping * c, adjoint, change",
        "lambda a, c: a + c, adjoint, change",
        ("test_jacobian_free.py",),
    ),
    Fault(
        "Jacobian penalty: the identity is missing from the Jacobian of a step",
        "rules",
        "return jnp.sum((pulled + direction) ** 2) / flat.size",
        "return jnp.sum(pulled**2) / flat.size",
        ("test_jacobian_penalty.py",),
    ),
    Fault(
        "parts of a batch: their means are added without their counts",
        "rules",
        "return jnp.where(count > 0, count.astype(leaf.dtype) * leaf, 0)",
        "return jnp.where(count > 0, leaf, 0)",
        ("test_parts.py",),
    ),
    Fault(
        "batch statistics: the gradient does not go through them",
        "rules",
        "(gradient,) = pull(credit.gradient)",
        "gradient = credit.gradient",
        ("test_deep_systems.py",),
    ),
    Fault(
        "predictive coding: the output is nudged and not clamped",
        "rules",
        "leak: float | AbstractOutputControl = 0.0,",
        "leak: float | AbstractOutputControl = 1.0,",
        ("test_baselines.py",),
    ),
    Fault(
        "deep feedback control: half the update",
        "rules",
        "factor = -2.0",
        "factor = -1.0",
        ("test_deep_feedback_control.py",),
    ),
    Fault(
        "feedback learning: the amplitude of the noise is not squared",
        "rules",
        "max(amplitude, SMALLEST_AMPLITUDE) ** 2 / terms",
        "max(amplitude, SMALLEST_AMPLITUDE) / terms",
        ("test_deep_feedback_control.py", "test_feedback_vectors.py"),
    ),
    Fault(
        "quasi-static feedback learning: the decay is missing",
        "rules",
        "scale * (voltage.T @ moved) + self.decay * weight",
        "scale * (voltage.T @ moved)",
        ("test_deep_feedback_control.py", "test_feedback_vectors.py"),
    ),
    Fault(
        "least control of slow weights: the control has the wrong sign",
        "rules",
        "gradient = pulled_back(system, state, support, tree_scale(-1.0, control))",
        "gradient = pulled_back(system, state, support, control)",
        ("test_meta.py",),
    ),
    Fault(
        "first-order MAML: the gradient is that before the adaptation",
        "rules",
        "return for_slow(system, jax.grad(system.evaluation)(state, query))",
        "return for_slow(system, jax.grad(system.evaluation)(system.slow_weights, query))",
        ("test_meta.py",),
    ),
    Fault(
        "MAML: nothing is differentiated through the adaptation",
        "rules",
        "state, steps = self.adaptation.adapt(system, support)",
        "state, steps = jax.lax.stop_gradient(self.adaptation.adapt(system, support))",
        ("test_meta.py",),
    ),
    Fault(
        "Reptile: the slow weights move away from the fast ones",
        "rules",
        "for_slow(system, tree_subtract(system.slow_weights, state))",
        "for_slow(system, tree_subtract(state, system.slow_weights))",
        ("test_meta.py",),
    ),
    Fault(
        "T1-T2: the loss is that of the support set",
        "rules",
        "return pulled_back(system, state, support, jax.grad(system.evaluation)(state, query))",
        "return pulled_back(system, state, support, jax.grad(system.learning)(state, support))",
        ("test_meta.py",),
    ),
    Fault(
        "implicit MAML: the pull is missing from the Hessian",
        "rules",
        "slope_of = jax.grad(lambda state: system.potential(state, support))",
        "slope_of = jax.grad(lambda state: system.learning(state, support))",
        ("test_meta.py",),
    ),
    Fault(
        "contrastive meta-learning: the contrast is not divided by the strength",
        "rules",
        "return tree_scale(1 / self.strength, jax.grad(contrast)(learned))",
        "return jax.grad(contrast)(learned)",
        ("test_meta.py",),
    ),
    # Diagnostics.
    Fault(
        "Gauss-Newton: the biases are no parameters",
        "diagnostics",
        "size = jnp.sum(rate**2, axis=1) + 1",
        "size = jnp.sum(rate**2, axis=1)",
        ("test_feedback_diagnostics.py",),
    ),
    # Training.
    Fault(
        "training: biases decay as weights do",
        "training",
        "lambda after, before: after - decay * before if before.ndim >= 2 else after, moved",
        "lambda after, before: after - decay * before, moved",
        ("test_training.py",),
    ),
    Fault(
        "evaluation: a sample that was not solved counts as right",
        "training",
        "answers = jnp.where(solved(solution), jnp.argmax(outputs, axis=1), -1)",
        "answers = jnp.argmax(outputs, axis=1)",
        ("test_training.py",),
    ),
    # Devices.
    Fault(
        "devices: a reading that is not finite is not named",
        "devices",
        "self._missing += np.sum(~finite, axis=0)",
        "self._missing += np.sum(0 * ~finite, axis=0)",
        ("test_device_certificates.py",),
    ),
    Fault(
        "devices: a frozen output is not named",
        "devices",
        "frozen = (spread <= FROZEN * floors) & ~moved & (self._missing == 0)",
        "frozen = (spread < 0 * floors) & ~moved & (self._missing == 0)",
        ("test_device_certificates.py",),
    ),
    Fault(
        "devices: a swapped line is not named",
        "devices",
        "elif not certain and moved_most.any():",
        "elif certain and moved_most.any():",
        ("test_device_certificates.py",),
    ),
    Fault(
        "devices: a line of the wrong sign is not named",
        "devices",
        "if certain and state[line, line] < 0:",
        "if certain and state[line, line] < -1e9:",
        ("test_device_certificates.py",),
    ),
    Fault(
        "devices: a line of the wrong sign is not turned round",
        "devices",
        "return np.where(response < -CERTAIN * deviation, -1.0, 1.0)",
        "return np.where(response < -CERTAIN * deviation, 1.0, 1.0)",
        ("test_device_learning.py",),
    ),
    Fault(
        "devices: noise of unequal samples counts as drift",
        "devices",
        "return float(np.exp(middle + FENCE * deviation))",
        "return float(np.exp(middle))",
        ("test_device_certificates.py",),
    ),
    Fault(
        "devices: samples that are on the way to rest count as noise",
        "devices",
        "return middle + factor * apart",
        "return middle + 0 * factor * apart",
        ("test_delays.py",),
    ),
    Fault(
        "devices: a late reading is that of now",
        "devices",
        "chain, read = reached, reached.line[0]",
        "chain, read = reached, reached.line[-1]",
        ("test_delays.py",),
    ),
    Fault(
        "devices: balanced feedback keeps the gains of the lines",
        "devices",
        "return (response * inverse).T * (description.outputs / trace if trace > 0 else 0.0)",
        "return response.T * (description.outputs / trace if trace > 0 else 0.0)",
        ("test_device_feedback.py",),
    ),
    Fault(
        "devices: two phases compare with the activity under control",
        "devices",
        "return outer_products(description, batch.inputs, finite(free.state), behind)",
        "return outer_products(description, batch.inputs, finite(driven.measured.state), behind)",
        ("test_device_rules.py",),
    ),
    Fault(
        "devices: a twin forgets the slope of the neurons between",
        "devices",
        "behind[:, part] *= slopes[:, part]",
        "behind[:, part] *= 1 + 0 * slopes[:, part]",
        ("test_device_rules.py",),
    ),
    Fault(
        "devices: a perturbation of both signs counts as one",
        "devices",
        "return _scaled(signs, -rise / (2 * self.perturbation)), free",
        "return _scaled(signs, -rise / self.perturbation), free",
        ("test_device_rules.py",),
    ),
    Fault(
        "devices: a perturbed node climbs",
        "devices",
        "behind = -_rise(plus, minus, batch)[:, None] / (2 * control)",
        "behind = _rise(plus, minus, batch)[:, None] / (2 * control)",
        ("test_device_rules.py",),
    ),
    Fault(
        "devices: the drift of a device that goes on begins again",
        "devices",
        'self._factors[name] = memory[f"factors of {name}"].copy()',
        "self._factors[name] = self._factors[name].copy()",
        ("test_simulated_device.py",),
    ),
    # Data.
    Fault(
        "tasks: the query set holds the images of the support set",
        "data",
        "return part(slice(self.shots)), part(slice(self.shots, None))",
        "return part(slice(self.shots)), part(slice(self.queries))",
        ("test_tasks.py",),
    ),
    # Runs.
    Fault(
        "comparison: the standard error lacks the root",
        "runs",
        "statistics.stdev(known) / math.sqrt(len(known))",
        "statistics.stdev(known) / len(known)",
        ("test_comparison.py",),
    ),
    Fault(
        "runs: a penalty is multiplied by the leak",
        "runs",
        "JacobianPenalty(rule, self.jacobian_penalty / unit)",
        "JacobianPenalty(rule, self.jacobian_penalty * unit)",
        ("test_running.py",),
    ),
)
