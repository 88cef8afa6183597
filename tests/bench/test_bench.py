"""The benchmark: what is timed, how ratios and exponents are taken, and what is refused."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import BATCH, credit, feedforward, inputs, labels, recurrent, samples

import leastcontrol as lc
from leastcontrol.bench import config as bench_config
from leastcontrol.bench import measuring as bench
from leastcontrol.bench import timing
from leastcontrol.bench.config import BenchConfig
from leastcontrol.bench.growth import growth_exponent
from leastcontrol.bench.peers import PEERS, layer_by_hand, layer_by_optimistix
from leastcontrol.cli import main
from leastcontrol.runs.config import RunConfig
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.samples import load_splits
from leastcontrol.runs.train import run_training

TINY = {"hidden": 4, "batch_size": 6, "batches": 2, "repeats": 3}
OPTIONS = ["--hidden", "4", "--batch-size", "6", "--batches", "2", "--repeats", "3"]
KEYS = {
    *("case", "rule", "strength", "ms", "ratio_to", "ratio", "residual", "steps"),
    *("converged_fraction", "peak_mb"),
}


def batches(count=2):
    x, targets = inputs(count * BATCH), labels(count * BATCH)
    return lc.Batch(x.reshape(count, BATCH, -1), targets.reshape(count, BATCH))


# --- timing ---------------------------------------------------------------------------------------


class Machine:
    """A machine whose calls take known times, and which is slower in each round than before."""

    def __init__(self, monkeypatch, calls_a_round):
        self.now, self.calls = 0.0, []
        self.calls_a_round = calls_a_round
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def step(self, name, ms):
        def call():
            slower = 10.0 ** (len(self.calls) // self.calls_a_round)
            self.calls.append(name)
            self.now += slower * 4 * ms / 1e3

        return timing.Step(call, 4, [], None, 1.0, 0.5)


def test_a_ratio_is_that_of_neighbours_and_a_spread_the_quartiles(monkeypatch):
    machine = Machine(monkeypatch, 5)
    base, slow, fast = machine.step("base", 2.0), machine.step("slow", 6.0), machine.step("f", 1.0)
    timings = timing.interleaved(base, [slow, fast], repeats=5, seconds=math.inf)
    for measured, ms, ratio in zip(timings, (2.0, 6.0, 1.0), (1.0, 3.0, 0.5), strict=True):
        # The rounds take 1, 10, 100, … times as long; neighbours are of one round.
        assert measured.ms == pytest.approx((100 * ms, 10 * ms, 1000 * ms))
        assert measured.ratio == pytest.approx((ratio,) * 3)
    assert [timing.repeats for timing in timings] == [15, 5, 5]
    # Neither always before nor always after.
    assert machine.calls[:10] == [
        *("base", "base", "slow", "base", "f"),
        *("base", "slow", "base", "f", "base"),
    ]


def test_rounds_end_with_the_time_but_not_before_three(monkeypatch):
    for seconds, rounds in ((1e-3, 3), (1e9, 5)):
        machine = Machine(monkeypatch, 3)
        steps = machine.step("base", 1.0), machine.step("slow", 2.0)
        timings = timing.interleaved(steps[0], steps[1:], repeats=5, seconds=seconds)
        assert timings[1].repeats == rounds


@pytest.mark.slow
def test_a_step_is_credit_and_adam_at_weights_that_stay():
    system, rule = feedforward(), lc.LeastControl(lc.DynamicInversion(), 1.0)
    stacked = batches()
    step = timing.compile_step(system, rule, stacked, jax.random.key(0))
    ((learned, state), _), _ = step.call()
    for after, before in zip(jax.tree.leaves(learned), jax.tree.leaves(system), strict=True):
        assert jnp.array_equal(after, before)
    # Adam's own average of the same two batches' gradients.
    parts = [lc.Batch(*part) for part in zip(stacked.inputs, stacked.targets, strict=True)]
    credits = [credit(rule, system, part) for part in parts]
    first, second = (jax.tree.leaves(one.gradient) for one in credits)
    averages = jax.tree.leaves(state.mu)
    for mean, kept, one, other in zip(averages, step.gradient, first, second, strict=True):
        assert jnp.allclose(mean, 0.09 * one + 0.1 * other, atol=1e-12)
        assert jnp.array_equal(mean, kept)
    stats = [one.solution.stats for one in credits]
    assert step.steps == 2
    solves = step.solves
    assert solves.converged_fraction == 1.0
    assert solves.error == pytest.approx(max(float(stat.error.max()) for stat in stats))
    assert solves.steps_mean == pytest.approx(float(np.mean([stat.steps for stat in stats])))
    assert solves.steps_max == max(int(stat.steps.max()) for stat in stats)
    assert step.peak_mb > step.temporary_mb > 0


def test_a_step_without_any_solved_sample_has_no_residual():
    controller = lc.DynamicInversion(solver=lc.FixedPoint(max_steps=1))
    rule = lc.LeastControl(controller, 0.1)
    step = timing.compile_step(feedforward(), rule, batches(), jax.random.key(0))
    assert step.solves.error is None
    assert step.solves.converged_fraction == 0.0


def test_feedback_weights_learn_in_the_step():
    rule = lc.LeastControl(lc.KolenPollack(), 1.0)
    step = timing.compile_step(feedforward(), rule, batches(), jax.random.key(0))
    (_, (weights, state)), _ = step.call()
    assert jax.tree.leaves(weights)
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(state.mu))


# --- peers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [layer_by_hand, layer_by_optimistix])
def test_the_gradient_of_a_layer_is_that_of_its_linear_equations(layer):
    # φ = Aφ + x rests at (1 − A)⁻¹ x, which closed form differentiates by itself.
    matrix = 0.3 * jax.random.orthogonal(jax.random.key(0), 3)
    weights, samples = (jax.random.normal(jax.random.key(k), (2, 3)) for k in (1, 2))
    rest = layer(lambda matrix, sample, state: matrix @ state + sample, 1e-12)

    def iterated(matrix, samples):
        return jnp.sum(weights * rest(matrix, samples, jnp.zeros_like(samples)))

    def solved_exactly(matrix, samples):
        return jnp.sum(weights * jnp.linalg.solve(jnp.eye(3) - matrix, samples.T).T)

    given = jax.value_and_grad(iterated, (0, 1))(matrix, samples)
    expected = jax.value_and_grad(solved_exactly, (0, 1))(matrix, samples)
    for mine, theirs in zip(jax.tree.leaves(given), jax.tree.leaves(expected), strict=True):
        assert jnp.allclose(mine, theirs, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "system", "rule"),
    [
        ("feedforward", feedforward(), lc.Backpropagation()),
        ("rnn", recurrent(), lc.RecurrentBackpropagation()),
    ],
)
def test_a_peer_has_the_gradient_of_the_baseline(kind, system, rule):
    parts = batches()
    batch = lc.Batch(parts.inputs[0], parts.targets[0])
    expected = jax.tree.leaves(credit(rule, system, batch).gradient)
    for peer in PEERS[kind](system):
        gradient = jax.tree.leaves(jax.grad(peer.loss)(peer.weights, batch))
        for mine, theirs in zip(gradient, expected, strict=True):
            assert jnp.allclose(mine, theirs, atol=1e-5 if kind == "rnn" else 1e-12)


def test_the_distance_of_gradients_is_relative_to_the_second():
    assert (
        bench._distance([jnp.array([3.0]), jnp.array([0.0])], [jnp.array([3.0]), jnp.array([4.0])])
        == 0.8
    )


@pytest.mark.slow
def test_peers_stand_beside_their_baselines(call, tmp_path):
    path = tmp_path / "rows.json"
    asked = ["--cases", "feedforward", "rnn", "rnn-strong", "--rules", "dynamic-inversion"]
    status, out, _ = call("bench", *OPTIONS, *asked, "--peers", "--json", path)
    assert status == 0
    rows = json.loads(path.read_text(encoding="utf-8"))
    peers = [row for row in rows if row["converged_fraction"] is None]
    assert [(row["case"], row["rule"], row["ratio_to"]) for row in peers] == [
        ("feedforward", "by hand", "backpropagation"),
        ("rnn", "by hand", "recurrent-backpropagation"),
        ("rnn", "Optimistix, GMRES", "recurrent-backpropagation"),
    ]
    assert all(0 < row["difference"] < 1e-3 for row in peers)
    assert all(set(row) >= KEYS for row in rows)
    assert out.count("gradient within") == 3


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("controller", "steps_of"),
    [
        (lc.DynamicInversion, lc.FixedPoint),
        (lc.Energy, lc.FixedPoint),
        (lc.Exact, lc.TrustRegion),
    ],
)
@pytest.mark.parametrize("system", [feedforward(), recurrent()], ids=["feedforward", "rnn"])
def test_the_memory_of_a_controlled_solve_does_not_grow_with_its_steps(
    controller, steps_of, system
):
    batch = samples(system, inputs(), labels())
    problem = lc.ControlProblem(system, lc.CrossEntropy(), 1.0)

    def temporary(steps):
        solver = steps_of(max_steps=steps)
        solve = jax.jit(lambda sample: controller(solver=solver).equilibrium(problem, sample))
        return solve.lower(batch).compile().memory_analysis().temp_size_in_bytes

    assert temporary(10) == temporary(1000) > 0


# --- strength and growth --------------------------------------------------------------------------


@pytest.mark.slow
def test_strong_control_is_the_first_strength_that_brings_targets_to_their_probability():
    system, stacked = feedforward(), batches()
    leak = bench.strong_leak(system, stacked)
    flat = lc.Batch(stacked.inputs.reshape(-1, 3), stacked.targets.reshape(-1))

    def probability(leak):
        solution = credit(lc.LeastControl(lc.Energy(), leak), system, flat).solution
        assert lc.solved(solution).all()
        outputs = jax.vmap(system.readout)(solution.value.state) + solution.value.output_control
        chosen = jax.nn.softmax(outputs)[jnp.arange(len(flat.targets)), flat.targets]
        return float(chosen.mean())

    assert leak < bench.PAPER_LEAK
    assert probability(leak) >= bench.STRONG_PROBABILITY > probability(2 * leak)
    measured = bench.target_probability(system, stacked, jnp.asarray(leak))
    assert float(measured) == pytest.approx(probability(leak), rel=1e-6)


@pytest.mark.slow
def test_a_strength_that_does_not_exist_is_no_number(monkeypatch):
    monkeypatch.setattr(bench, "DOUBLINGS", 1)
    with pytest.raises(ConfigError, match=r"No strength up to 3\.1e-01 brings"):
        bench.strong_leak(feedforward(), batches())


def test_an_exponent_is_that_of_a_power_law():
    sizes = [1, 4, 16, 64]
    slope, error = growth_exponent(sizes, [3 * size**1.7 for size in sizes])
    assert slope == pytest.approx(1.7)
    assert error == pytest.approx(0, abs=1e-7)
    times = [1.0, 2.0, 9.0, 20.0]
    (expected, _), covariance = np.polyfit(np.log(sizes), np.log(times), 1, cov=True)
    slope, error = growth_exponent(sizes, times)
    assert slope == pytest.approx(expected)
    assert error == pytest.approx(math.sqrt(covariance[0, 0]))
    assert math.isnan(growth_exponent([1, 2], [1.0, 2.0])[1])
    assert math.isnan(growth_exponent([1], [1.0])[0])


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def single_precision():
    with jax.enable_x64(False):
        yield


@pytest.fixture
def call(capsys, single_precision):
    """Calls the command line; returns exit status, standard output and standard error."""

    def calling(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        return (caught.value.code or 0, *capsys.readouterr())

    return calling


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "run"
    config = RunConfig.of(hidden=(5,), epochs=1, batch_size=512, rule="backpropagation")
    with jax.enable_x64(False):
        run_training(config, folder)
    return folder


@pytest.mark.slow
def test_the_command_measures_first_and_trained_weights(call, trained, tmp_path):
    path = tmp_path / "rows.json"
    asked = ["--cases", "feedforward", "--rules", "dynamic-inversion", "--weights"]
    status, out, _ = call("bench", *OPTIONS, *asked, trained, "--json", path)
    assert status == 0
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert [(row["weights"], row["rule"]) for row in rows] == [
        ("initialisation", "backpropagation"),
        ("initialisation", "dynamic-inversion"),
        ("1 epochs (run)", "backpropagation"),
        ("1 epochs (run)", "dynamic-inversion"),
    ]
    for row in rows:
        assert set(row) >= KEYS
        assert row["case"] == "feedforward"
        assert row["command"].startswith("leastcontrol bench --hidden 4")
        assert row["ms_quartiles"][0] <= row["ms"] <= row["ms_quartiles"][1]
        assert row["converged_fraction"] == 1.0
        assert 0 <= row["residual"] <= 1e-5
        assert 0 < row["target_probability"] < 1
    assert [row["strength"] for row in rows[:2]] == [None, 1 / 6.4]
    assert rows[0]["ratio"] == 1.0
    assert out.count("ms a step") == 4


def test_every_rule_of_every_case_can_be_built():
    for case in bench_config.CASES:
        system = case.partition("-")[0]
        for name in bench_config.rules_of(case):
            rule = bench._rule(name, system, 6.4)
            assert isinstance(rule, lc.AbstractRule)
    assert bench._rule("energy", "rnn", 0.1).output_control.leak == 0.1


@pytest.mark.slow
def test_growth_gives_curves_with_exponents_and_a_plot(call, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "SIZES", {"depth": (2, 3)})
    monkeypatch.setattr(bench, "GROWN_WIDTH", 3)
    path, plot = tmp_path / "rows.json", tmp_path / "growth.svg"
    asked = ["--seconds", "1e9", "--grow", "depth", "--cases", "feedforward"]
    asked += ["--rules", "dynamic-inversion"]
    status, out, error = call("bench", *OPTIONS, *asked, "--json", path, "--plot", plot)
    assert (status, error) == (0, "")
    rows = json.loads(path.read_text(encoding="utf-8"))
    rules = ("backpropagation", "dynamic-inversion")
    assert [(row["grown"], row["size"], row["rule"]) for row in rows] == [
        ("depth", size, rule) for size in (2, 3) for rule in rules
    ]
    for first, second in zip(rows[:2], rows[2:], strict=True):
        expected = math.log(second["ms"] / first["ms"]) / math.log(3 / 2)
        assert first["exponent"] == second["exponent"] == pytest.approx(expected)
        assert first["exponent_error"] is None
    assert out.count("time ∝ depth^") == 4
    assert plot.read_text(encoding="utf-8").startswith("<?xml")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["growth.svg", "rows.json"]


@pytest.mark.usefixtures("single_precision")
def test_one_size_grows_at_a_time():
    config = BenchConfig(**TINY)
    splits = load_splits(RunConfig.of())
    wide = bench._grown_case("width", "feedforward", 7, splits, config)
    assert [layer.weight.shape[0] for layer in wide.system.layers] == [7, 7, 10]
    assert wide.batches.inputs.shape == (2, 6, 64)
    assert wide.leak == bench.PAPER_LEAK
    recurrent = bench._grown_case("width", "rnn", 7, splits, config)
    assert recurrent.system.recurrent.shape == (7, 7)
    deep = bench._grown_case("depth", "feedforward", 3, splits, config)
    assert deep.system.depth == 3
    assert deep.system.blocks.affine.weight.shape == (3, bench.GROWN_WIDTH, bench.GROWN_WIDTH)
    # More than the data have: they begin again.
    large = bench._grown_case("batch", "feedforward", 1000, splits, config)
    assert large.batches.inputs.shape == (2, 1000, 64)
    assert large.labels["batch_size"] == 1000
    count = len(splits.train)
    flat = large.batches.inputs.reshape(-1, 64)
    assert count < 2000
    assert jnp.array_equal(flat[count:], flat[: 2000 - count])


@pytest.mark.usefixtures("single_precision")
def test_growth_stops_before_its_time_is_up_and_says_so(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(now)))
    monkeypatch.setattr(bench, "_measured", lambda *_: [])
    notes = []
    config = BenchConfig(**TINY, grow=("width",), cases=("feedforward",), seconds=4.5)
    assert bench.bench(config, note=notes.append) == []
    # Began at 0; sizes at 1, 2 and 3, and at 4 the next would end at 5.
    assert notes == [
        "feedforward stops growing in width below 512, for the next size would pass --seconds 4.5."
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cases", "feedfoward"], "the nearest is feedforward"),
        (["--cases"], "--cases names nothing"),
        (["--cases", "rnn", "rnn"], "--cases is rnn rnn"),
        (["--rules", "enrgy"], "the nearest is energy"),
        (["--cases", "rnn", "--rules", "deep-feedback-control"], "none of the cases rnn can have"),
        (["--cases", "rnn-strong", "--rules", "feedback-alignment"], "none of the cases"),
        (["--grow", "hight"], "--grow is 'hight'"),
        (["--grow", "depth", "--cases", "rnn"], "--grow depth grows feedforward"),
        (["--grow", "width", "--weights", "runs"], "--grow measures weights at initialisation"),
        (["--peers", "--grow", "width"], "peers stand beside the baselines"),
        (["--peers", "--cases", "rnn-strong"], "peers stand beside the baselines"),
        (["--data", "mnits"], "the nearest is mnist"),
        (["--data-dir", "somewhere"], "--data-dir is given"),
        (["--hidden", "0"], "--hidden is 0"),
        (["--batch-size", "0"], "--batch-size is 0"),
        (["--batches", "0"], "--batches is 0"),
        (["--repeats", "2"], "--repeats is 2"),
        (["--seconds", "0"], "--seconds is 0.0"),
        (["--seconds", "nan"], "--seconds is nan"),
        (["--seed", "-1"], "--seed is -1"),
        (["--plot", "growth.svg"], "nothing grows"),
        (["--grow", "width", "--plot", "growth.txt"], "its suffix is one of"),
        (["--json", "no-such-folder/rows.json"], "--json is no-such-folder"),
        (["--weights", "no-such-run"], "no-such-run is not a run folder"),
    ],
)
def test_what_cannot_be_measured_ends_with_one_sentence(options, said, call):
    status, out, error = call("bench", *options)
    assert status == 2
    assert out == ""
    assert error.startswith("leastcontrol: ")
    assert error.endswith(".\n")
    assert error.count("\n") == 1
    assert said in error


@pytest.mark.slow
def test_weights_of_a_system_that_no_case_has_are_refused(call, trained):
    status, _, error = call("bench", *OPTIONS, "--cases", "rnn", "--weights", trained)
    assert status == 2
    assert "holds weights of the system feedforward, which none of the cases rnn has" in error
