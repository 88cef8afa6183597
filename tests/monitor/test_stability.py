"""The stability of simulated control: its margin, and a training that stops where it is none."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import leastcontrol as lc
from leastcontrol import diagnostics
from leastcontrol import feedback_control as fc
from leastcontrol.cli import main
from leastcontrol.equilibrium import simulate
from leastcontrol.monitor.stability import WATCHED, stability_watch
from leastcontrol.runs import samples, trained
from leastcontrol.runs.config import RunConfig
from leastcontrol.training import TrainingError, UnfitError

LINEAR = lc.Feedforward(3, (4, 3), 2, activation=lc.systems.identity, key=jax.random.key(0))
BATCH = lc.Batch(jnp.asarray([[0.3, -0.2, 0.5]]), jnp.asarray([[1.0, -1.0]]))
DYNAMICS = fc.Dynamics(0.02, 400, 0.1, 0.01, 0.5)


def opposed(network):
    """Returns feedback that drives the output away from its target: minus the forward weights."""
    path = lc.controllers.WeightProductFeedback()
    return jax.tree.map(jnp.negative, path.init(network, key=jax.random.key(1)))


def task(network, feedback, teaching=fc.Strong(), batch=BATCH):  # noqa: B008
    rule = fc.DeepFeedbackControl(fc.Continuous(DYNAMICS), teaching, loss=lc.SquaredError())
    return rule.task(network, feedback, batch)


def arguments(problem):
    return {
        "error": lambda output, pair: problem.error(pair[0], output - pair[0], pair[1]),
        "feedback": lambda soma, u: problem.path.drive(problem.network, problem.weights, soma, u),
    }


def margin(problem, dynamics):
    references = (problem.free.soma[-1], problem.references)
    return diagnostics.simulated_margin(
        problem.network, dynamics, problem.drives, references, problem.free, **arguments(problem)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"delayed": True},
        {"proactive": False},
        {"apical_time_constant": 0.05},
        {"control_filter": 0.1},
        {"proportional_gain": 0.0, "points": 2000},
    ],
    ids=str,
)
def test_the_margin_is_the_rate_at_which_a_simulation_runs_away(options):
    """Of a linear network every change from step to step ends up growing by the same factor."""
    problem = task(LINEAR, opposed(LINEAR))
    dynamics = dataclasses.replace(DYNAMICS, **options)
    simulation = simulate(
        LINEAR,
        dynamics,
        problem.drives,
        (problem.free.soma[-1], problem.references),
        record=lambda moment: moment.control,
        **arguments(problem),
    )
    sizes = np.linalg.norm(np.diff(simulation.recorded[:, 0], axis=0), axis=1)
    growth = np.log(sizes[-1] / sizes[-21]) / 20 / dynamics.time_step
    assert growth > 0.1
    assert margin(problem, dynamics)[0] == pytest.approx(-growth, rel=1e-3)


def test_noise_has_no_part_in_the_margin():
    problem = task(LINEAR, opposed(LINEAR))
    noisy = dataclasses.replace(DYNAMICS, noise=fc.FilteredNoise(0.1, 0.1, time_constant=0.1))
    assert margin(problem, noisy) == pytest.approx(margin(problem, DYNAMICS))


def test_for_short_steps_it_is_the_margin_of_continuous_time():
    network = lc.Feedforward(3, (4, 3), 2, key=jax.random.key(0))
    problem = task(network, fc.DirectFeedback().init(network, key=jax.random.key(2)))
    dynamics = fc.Dynamics(1e-5, 400, 0.1, 0.3, 0.5)
    continuous = diagnostics.stability_margin(
        network, problem.free.soma, problem.weights, dynamics, jnp.eye(2)[None]
    )
    assert margin(problem, dynamics) == pytest.approx(continuous, rel=1e-3)


@pytest.mark.parametrize(("constant", "stable"), [(0.01, False), (0.1, True)])
def test_a_step_may_be_too_coarse_for_the_controller(constant, stable):
    """Where control reaches the output alone, the step is one of (v, s, u) for each output."""
    network = lc.Feedforward(3, (4,), 2, key=jax.random.key(0))
    problem = task(network, (jnp.zeros((4, 2)), jnp.eye(2)))
    length, gain = 0.01, 3.0
    dynamics = fc.Dynamics(length, 10, constant, 0.0, gain, proactive=False)
    follow = length / constant
    step = [[1 - follow, 0, follow], [-length, 1, 0], [-(length + gain), 1, 0]]
    expected = -np.log(np.abs(np.linalg.eigvals(step)).max()) / length
    assert (expected > 0) == stable
    assert margin(problem, dynamics)[0] == pytest.approx(expected, rel=1e-5)


# --- trainings ------------------------------------------------------------------------------------

SIMULATED = RunConfig.of(
    rule="deep-feedback-control",
    phase="continuous",
    teaching="strong",
    label_smoothing=0.1,
    hidden=(6,),
    epochs=1,
    batch_size=256,
    points=60,
    time_step=0.05,
    voltage_time_constant=0.05,
)


@pytest.mark.slow
def test_a_training_stops_before_it_learns_from_unstable_dynamics(tmp_path, capsys):
    unstable = SIMULATED.with_options(proportional_gain=40.0)
    words = (
        "--rule deep-feedback-control --phase continuous --teaching strong --label-smoothing 0.1 "
    )
    words += "--hidden 6 --epochs 1 --batch-size 256 --points 60 --time-step 0.05 "
    words += "--voltage-time-constant 0.05 --proportional-gain 40 --out"
    with jax.enable_x64(False), pytest.raises(SystemExit) as caught:
        main(["train", *words.split(), str(tmp_path / "run")])
    assert caught.value.code == 1
    said = capsys.readouterr().err
    sentence = re.search(
        r"stability margin is (-[\d.e+-]+) in units of the controller's rate", said
    )
    assert sentence is not None, said
    assert "Epoch 1 was stopped" in said
    with jax.enable_x64(False):
        splits = samples.load_splits(unstable)
        system = trained.build_system(unstable, splits, 0)
        rule = unstable.build_rule()
        # As training draws them.
        feedback = rule.init(system, key=jax.random.split(jax.random.key(0), 3)[1])
        batch = samples.first_samples(splits, WATCHED)
        problem = rule.task(system, feedback, batch)
        margins = diagnostics.simulated_margin(
            system,
            rule.phase.dynamics,
            problem.drives,
            (problem.free.soma[-1], problem.references),
            problem.free,
            **arguments(problem),
        )
    assert float(sentence[1]) == pytest.approx(margins.min(), rel=1e-2)


def test_both_phases_are_watched_and_only_what_is_simulated():
    network = lc.Feedforward(3, (4, 3), 2, key=jax.random.key(0))
    held = fc.Nudged(0.0)
    noisy = dataclasses.replace(DYNAMICS, noise=fc.WhiteNoise(0.1, 0.1))
    sleep = fc.TwoPhase(noisy, held)
    steady = fc.SteadyState(0.1)
    loss = lc.SquaredError()
    two = fc.DeepFeedbackControl(steady, fc.Nudged(0.1), loss=loss, feedback_learning=sleep)
    watch = stability_watch(two, BATCH)
    assert watch is not None
    with pytest.raises(UnfitError, match="the feedback learning's dynamics are unstable at 1 of 1"):
        watch(network, opposed(network))
    watch(network, jax.tree.map(jnp.negative, opposed(network)))
    # A rule around it changes nothing.
    simulated = fc.DeepFeedbackControl(fc.Continuous(DYNAMICS), fc.Strong(), loss=loss)
    around = stability_watch(lc.InParts(simulated, 1), BATCH)
    assert around is not None
    with pytest.raises(UnfitError, match="controlled dynamics"):
        around(network, opposed(network))
    for rule in (fc.DeepFeedbackControl(steady, fc.Nudged(0.1)), lc.Backpropagation()):
        assert stability_watch(rule, BATCH) is None


def test_what_grows_too_slowly_to_be_seen_is_let_through():
    network = lc.Feedforward(3, (4, 3), 2, key=jax.random.key(0))
    brief = dataclasses.replace(DYNAMICS, points=5)
    rule = fc.DeepFeedbackControl(fc.Continuous(brief), fc.Strong(), loss=lc.SquaredError())
    watch = stability_watch(rule, BATCH)
    assert watch is not None
    watch(network, opposed(network))


def test_the_weights_before_it_are_kept(tmp_path):
    """A watch that has enough after one epoch leaves what that epoch had learned."""
    splits = samples.load_splits(SIMULATED)
    with jax.enable_x64(False):
        system = lc.Feedforward(64, (4,), 10, key=jax.random.key(0))
    calls = []

    def watch(network, feedback):
        calls.append(network)
        if len(calls) == 2:
            raise UnfitError("enough.")

    config = lc.training.TrainingConfig(epochs=3, batch_size=256)
    with jax.enable_x64(False), pytest.raises(TrainingError, match=r"Epoch 2 .* enough") as caught:
        lc.training.train(
            system,
            lc.Backpropagation(),
            splits.train,
            splits.validation,
            config,
            seed=0,
            watch=watch,
        )
    assert len(caught.value.trained.metrics) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--label-smoothing 0.1 --points 2", "`points` is 2, but a simulation has at least 3"),
        (
            "--label-smoothing 0.1 --time-step 0.2 --voltage-time-constant 0.1",
            "`voltage_time_constant` is 0.1 and the time step 0.2",
        ),
        (
            "",
            "no finite output has the probability 1 of a hard label: write --label-smoothing 0.01",
        ),
        (
            "--label-smoothing 0.1 --noise 0.1 --feedback-learning single-phase --points 20 "
            "--feedback-start 19",
            "`start` is 19, but the simulation has 20 time points",
        ),
    ],
    ids=["points", "time step", "label_smoothing", "start"],
)
def test_constants_that_cannot_control_are_one_sentence(words, said, tmp_path, capsys):
    start = "train --rule deep-feedback-control --phase continuous --teaching strong"
    with pytest.raises(SystemExit) as caught:
        main([*f"{start} {words}".split(), "--out", str(tmp_path / "run")])
    assert caught.value.code == 2
    sentence = capsys.readouterr().err
    assert said in sentence
    assert sentence.count("\n") == 1
    assert not (tmp_path / "run").exists()
