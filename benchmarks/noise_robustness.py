"""Accuracy against the noise in the neurons that a rule learns under.

    python benchmarks/noise_robustness.py --json results/noise-robustness.json

Small feedforward networks learn MNIST (or digits, `--data digits`) by rules that all learn in the
same simulated dynamics: every neuron's apical voltage has an Ornstein–Uhlenbeck noise of the same
standard deviation, in the output too, while the weights learn. The test is without noise. What the
rules differ in is what they are taught with: a nudge, of deep feedback control and of equilibrium
propagation, asks for a control far smaller than the noise; strong feedback and strong least control
ask for one that is not.

Least control and equilibrium propagation run in those dynamics with the Jacobian for feedback,
whose rest point is theirs (`JacobianFeedback`); equilibrium propagation contrasts it with a second,
free phase with noise of its own.

The file is written after every run, and runs that it holds already are not made again.
`docs/figures/noise_robustness.py` draws them.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
from _origin import origin

import leastcontrol as lc
from leastcontrol import data, files, training
from leastcontrol import feedback_control as fc

TIME_STEP, VOLTAGE, NOISE_TIME = 0.1, 0.2, 0.2
# A nudge of about the size of the published ones.
LEAK, SOFTNESS, NUDGE = 0.01, 0.01, 0.02
# Strengths 1/α of least control, and β of equilibrium propagation's nudge.
LEAST_CONTROL = {"least control, α = 0.01": 0.01, "least control, α = 1": 1.0}
NUDGE_STRENGTH = 0.02


class SimulatedEquilibriumPropagation(lc.rules.AbstractRuleWithoutFeedback):
    """The contrast of a nudged with a free phase, each simulated with noise of its own, over β."""

    nudged: fc.DeepFeedbackControl
    free: fc.DeepFeedbackControl
    loss: lc.AbstractLoss
    strength: float = eqx.field(static=True)

    @property
    def aspects(self):
        return lc.rules.Aspects(self)

    def __call__(self, system, feedback, batch, *, key=None):
        del feedback
        first, second = jax.random.split(key)
        near = self.nudged(system, None, batch, key=first)
        silent = tuple(
            jnp.zeros((layer.bias.size, system.layers[-1].bias.size)) for layer in system.layers
        )
        far = self.free(system, silent, batch, key=second)
        gradient = jax.tree.map(
            lambda a, b: (a - b) / (2 * self.strength), near.gradient, far.gradient
        )
        return lc.Credit(gradient, None, near.objective, near.loss, near.count, near.solution)


def dynamics(points, deviation, leak, *, gain=1.0, slowness=1.0):
    """Returns what every rule is simulated in.

    Times are in units of the controller's time constant: a controller that is slower by a factor
    leaves the neurons and their noise, step for step, as they are.
    """
    noise = None
    if deviation > 0:
        noise = fc.FilteredNoise(deviation, deviation, NOISE_TIME / slowness)
    return fc.Dynamics(TIME_STEP / slowness, points, VOLTAGE / slowness, leak, gain, noise=noise)


def rules(points, deviation):
    """Returns the rules by name."""
    loss, soft = lc.CrossEntropy(), lc.CrossEntropy(softness=SOFTNESS)
    phase = fc.Continuous(dynamics(points, deviation, LEAK))
    # Feedback learns from noise; where the neurons have none of it, from this.
    sleep = dynamics(points, 0.1, 1.0)
    product = fc.WeightProductFeedback()
    # So large a leak settles within two steps of a controller that is this slow otherwise.
    leak = 1 / NUDGE_STRENGTH
    quick = dynamics(points, deviation, leak, gain=0.0, slowness=2 * TIME_STEP * leak)

    def ideal(constants):
        return fc.DeepFeedbackControl(
            fc.Continuous(constants),
            fc.Strong(),
            loss=soft,
            path=fc.JacobianFeedback(),
            difference=fc.VoltageDifference(),
        )

    by_name = {
        "nudged DFC, two-phase": fc.DeepFeedbackControl(
            phase,
            fc.Nudged(NUDGE),
            loss=loss,
            path=product,
            feedback_learning=fc.TwoPhase(sleep),
        ),
        "Strong-DFC, two-phase": fc.DeepFeedbackControl(
            phase,
            fc.Strong(),
            loss=soft,
            path=product,
            feedback_learning=fc.TwoPhase(sleep, fc.Strong(), filter_time_constant=0.5),
        ),
        f"equilibrium propagation, β = {NUDGE_STRENGTH}": SimulatedEquilibriumPropagation(
            nudged=ideal(quick),
            free=fc.DeepFeedbackControl(
                fc.Continuous(quick),
                fc.Nudged(0.0),
                loss=loss,
                difference=fc.VoltageDifference(),
            ),
            loss=soft,
            strength=NUDGE_STRENGTH,
        ),
    }
    # Single-phase feedback has nothing but the neurons' own noise to learn from.
    single = None
    if deviation > 0:
        single = fc.SinglePhase(0.5, start=points // 2, decay=0.01)
    by_name["Strong-DFC, single-phase"] = fc.DeepFeedbackControl(
        phase, fc.Strong(), loss=soft, path=product, feedback_learning=single
    )
    for name, leak in LEAST_CONTROL.items():
        by_name[name] = ideal(dynamics(points, deviation, leak))
    return by_name


def one_run(rule, splits, options, seed):
    """Trains one network and returns its figures."""
    system = lc.Feedforward(
        splits.train.inputs.shape[1],
        tuple(options.hidden),
        splits.train.classes,
        initialisation=lc.XavierNormal(),
        key=jax.random.key(seed),
    )
    config = training.TrainingConfig(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        final_learning_rate=options.learning_rate / 100,
        feedback_learning_rate=options.feedback_learning_rate,
    )
    began = time.perf_counter()
    try:
        trained = training.train(system, rule, splits.train, splits.validation, config, seed=seed)
    except training.TrainingError as error:
        return {"seed": seed, "test_accuracy": None, "stopped": str(error)}
    return {
        "seed": seed,
        "test_accuracy": training.evaluate(trained.system, splits.test).accuracy,
        "validation_accuracy": trained.metrics[-1].validation.accuracy,
        "control_norm": trained.metrics[-1].control_norm,
        "seconds": time.perf_counter() - began,
    }


def settings(options):
    """Returns what the runs of one file have in common."""
    names = ("data", "hidden", "points", "epochs", "batch_size", "learning_rate")
    return {
        **{name: getattr(options, name) for name in (*names, "feedback_learning_rate")},
        "constants": {
            "time_step": TIME_STEP,
            "voltage_time_constant": VOLTAGE,
            "noise_time_constant": NOISE_TIME,
            "leak": LEAK,
            "softness": SOFTNESS,
            "nudge": NUDGE,
        },
    }


def opened(path, options):
    """Returns the results of a file, or those of none."""
    fresh = {"settings": settings(options), "runs": []}
    if path is None or not path.is_file():
        return fresh
    results = json.loads(path.read_text(encoding="utf-8"))
    if results["settings"] != fresh["settings"]:
        sys.exit(f"{path} holds runs with other settings: name another file with --json.")
    return results


def main():
    """Makes the runs that are missing."""
    parser = argparse.ArgumentParser(description="Train under noise, rule by rule.")
    parser.add_argument("--levels", type=float, nargs="+", default=[0.1, 0.3, 0.03, 0.0])
    parser.add_argument("--rules", nargs="+", help="parts of the names of the rules; all of them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", default="mnist", choices=("mnist", "digits"))
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64])
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--feedback-learning-rate", type=float, default=1e-4)
    parser.add_argument("--json", type=Path, help="file of the results")
    options = parser.parse_args()
    results = opened(options.json, options)
    done = {(row["rule"], row["noise"], row["seed"]) for row in results["runs"]}
    cells = [
        (name, level, seed)
        for level in options.levels
        for name in rules(options.points, level)
        for seed in options.seeds
        if options.rules is None or any(part in name for part in options.rules)
    ]
    missing = [cell for cell in cells if cell not in done]
    splits, made = None, origin()
    for name, level, seed in missing:
        if splits is None:
            scale = data.MNIST_STANDARDISATION if options.data == "mnist" else None
            splits = data.load(options.data, preprocessing=scale)
        rule = rules(options.points, level)[name]
        run = {"rule": name, "noise": level, **one_run(rule, splits, options, seed), **made}
        print(json.dumps(run, ensure_ascii=False), flush=True)
        results["runs"].append(run)
        if options.json is not None:
            files.write_json(options.json, results)


if __name__ == "__main__":
    main()
