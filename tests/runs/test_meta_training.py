"""Meta-training and its command: on small learners, with what it reports checked by hand."""

import json
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import flat, stored_weights

import leastcontrol as lc
from leastcontrol import data, files, training
from leastcontrol.cli import main
from leastcontrol.runs.meta import (
    build_system,
    evaluate_meta,
    evaluation_adaptation,
    mean_loss,
    run_meta,
)
from leastcontrol.runs.meta_config import MetaConfig
from leastcontrol.runs.options import ConfigError
from leastcontrol.runs.words.meta.controls import CONTROLS
from leastcontrol.runs.words.meta.rules import META_RULES

SMALL = MetaConfig.of(hidden=(4,), total_tasks=64, task_batch=8, reports=2)
TASKS = data.SinusoidTasks(5, 5)


def build_rule(**options):
    config = MetaConfig.of(**options)
    return config.rule.build(config)


def system():
    return build_system(SMALL, TASKS, 0)


class Recorded(lc.meta.AbstractMetaRule):
    """Sees the tasks and does not learn; its objective tells them apart."""

    adaptation: lc.meta.AbstractAdaptation = lc.meta.GradientDescent(steps=1)
    unsolved: lc.AbstractUnsolved = lc.Keep()

    def of_task(self, system, support, query):
        credit = lc.meta.Reptile(self.adaptation).of_task(system, support, query)
        none = jax.tree.map(jnp.zeros_like, credit.gradient)
        total = jnp.sum(support.targets) + jnp.sum(query.targets)
        return eqx.tree_at(lambda o: (o.gradient, o.objective), credit, (none, total))


def trained(rule, *, seed=0, steps=4):
    config = training.MetaTrainingConfig(
        steps=steps, task_batch=8, report_every=2, validation_tasks=10
    )
    return training.meta_train(system(), rule, TASKS, TASKS, config, seed=seed)


@pytest.mark.slow
def test_the_tasks_depend_on_the_seed_alone():
    first, again, other = (trained(Recorded(), seed=seed).metrics for seed in (1, 1, 2))
    objectives = [[row.objective for row in metrics] for metrics in (first, again, other)]
    assert objectives[0] == objectives[1]
    assert not set(objectives[0]) & set(objectives[2])
    # And differ from step to step.
    assert objectives[0][0] != objectives[0][1]
    assert [row.step for row in first] == [2, 4]
    # Weights that do not change do as well on the same validation tasks again.
    assert first[0].validation == first[1].validation


@pytest.mark.slow
def test_the_metrics_say_how_far_the_control_is_from_its_equilibrium():
    leak = 0.1
    rule = lc.meta.MetaLeastControl(leak, control=lc.meta.EulerControl(steps=5, step_size=0.01))
    config = training.MetaTrainingConfig(steps=1, task_batch=3, validation_tasks=2)
    weights = system()
    row = training.meta_train(weights, rule, TASKS, TASKS, config, seed=6).metrics[0]
    # The tasks of the first step, and the same five steps of each of them.
    key = jax.random.fold_in(jax.random.split(jax.random.key(6))[0], 0)
    away = []
    for index in range(3):
        support, query = jax.tree.map(lambda leaf, i=index: leaf[i], TASKS.batch(key, 3))
        state, _, control = rule.control.equilibrium(weights, leak, support, query).value
        slope = jax.grad(weights.evaluation)(state, query)
        away.append(np.linalg.norm(leak * flat(control) + flat(slope)))
    assert row.leak_residual_median == pytest.approx(np.median(away), rel=1e-5)


@pytest.mark.slow
def test_training_moves_the_slow_weights_to_easier_adaptation():
    rule = lc.meta.MetaLeastControl(0.1, control=lc.meta.EulerControl(steps=30), unsolved=lc.Keep())
    before, after = system(), trained(rule, steps=150)
    assert np.linalg.norm(flat(after.system.model) - flat(before.model)) > 0.1
    key = jax.random.key(3)
    scores = [
        training.meta_evaluate(weights, rule.adaptation, TASKS, 200, key=key).loss
        for weights in (before, after.system)
    ]
    assert scores[1] < scores[0]
    assert after.metrics[-1].step_bytes > 0
    assert after.metrics[-1].control_norm > 0
    assert after.metrics[-1].not_finite_fraction == 0


def test_every_training_has_its_own_learning_rate():
    """What was compiled for one rate serves another: of Adam, a first step is as long as it is."""
    for rate in (0.01, 0.002):
        config = training.MetaTrainingConfig(
            steps=1, task_batch=2, learning_rate=rate, validation_tasks=2
        )
        before = system()
        after = training.meta_train(before, lc.meta.Reptile(), TASKS, TASKS, config, seed=0).system
        moved = np.abs(flat(after.model) - flat(before.model))
        # Of a weight that no sample reaches there is no gradient.
        np.testing.assert_allclose(moved[moved > 0], rate, rtol=1e-2)


@pytest.mark.slow
def test_the_evaluation_is_mean_and_interval_over_tasks():
    weights, adaptation, key = system(), lc.meta.Relaxation(steps=5), jax.random.key(4)
    evaluation = training.meta_evaluate(weights, adaptation, TASKS, 12, key=key, task_batch=5)
    losses = []
    for part in jax.random.split(key, 3):
        support, query = TASKS.batch(part, 5)
        for index in range(5):
            one = jax.tree.map(lambda leaf, index=index: leaf[index], (support, query))
            losses.append(float(weights.evaluation(adaptation.adapt(weights, one[0])[0], one[1])))
    losses = np.array(losses[:12])
    assert evaluation.loss == pytest.approx(losses.mean(), rel=1e-6)
    width = 1.96 * losses.std(ddof=1) / math.sqrt(12)
    assert evaluation.loss_interval == pytest.approx(width, rel=1e-4)
    assert evaluation.accuracy is None
    with pytest.raises(ValueError, match=r"an interval takes at least 2 tasks"):
        training.meta_evaluate(weights, adaptation, TASKS, 1, key=key)


@pytest.mark.slow
def test_the_accuracy_of_classification_is_counted():
    images = jnp.asarray(np.random.default_rng(0).integers(0, 255, (6, 4, 4, 4), dtype=np.uint8))
    tasks = data.ImageTasks(images, 3, 1, 2)
    model = lc.meta.DenseLearner(16, (), 3, key=jax.random.key(0))
    loss = mean_loss(lc.CrossEntropy())
    weights = lc.meta.FastWeights(model, loss, loss, 0.1)
    adaptation, key = lc.meta.Relaxation(steps=2), jax.random.key(5)
    evaluation = training.meta_evaluate(weights, adaptation, tasks, 4, key=key, task_batch=4)
    support, query = tasks.batch(jax.random.split(key, 1)[0], 4)
    hits = []
    for index in range(4):
        one = jax.tree.map(lambda leaf, index=index: leaf[index], (support, query))
        outputs = weights.learner(adaptation.adapt(weights, one[0])[0])(one[1].inputs)
        hits.append(np.mean(np.argmax(outputs, axis=1) == one[1].targets))
    assert evaluation.accuracy == pytest.approx(np.mean(hits))
    assert evaluation.accuracy_interval == pytest.approx(1.96 * np.std(hits, ddof=1) / 2, rel=1e-4)


def test_a_weight_that_is_not_finite_stops_the_training():
    weights = eqx.tree_at(lambda s: s.model.layers[0].bias, system(), jnp.full(4, jnp.nan))
    config = training.MetaTrainingConfig(steps=2, task_batch=2, validation_tasks=2)
    with pytest.raises(training.MetaTrainingError, match=r"not finite; .* lower the learning rate"):
        training.meta_train(weights, lc.meta.Reptile(), TASKS, TASKS, config, seed=0)


def test_bad_training_options_are_refused():
    with pytest.raises(ValueError, match=r"`steps` is 0"):
        training.MetaTrainingConfig(steps=0)
    with pytest.raises(ValueError, match=r"`learning_rate` is -1"):
        training.MetaTrainingConfig(steps=1, learning_rate=-1.0)


def test_the_command_leaves_a_run_folder(tmp_path, capsys):
    out, results = tmp_path / "run", tmp_path / "results.json"
    words = (
        "meta --tasks sinusoid --rule first-order-maml --hidden 4 --total-tasks 16 --task-batch 4"
        " --reports 2 --validation-tasks 4 --evaluation-tasks 6"
    ).split()
    with pytest.raises(SystemExit) as end:
        main([*words, "--out", str(out), "--results", str(results)])
    assert end.value.code == 0
    summary = json.loads(results.read_text())
    assert summary == files.read_record(out / "summary.json")
    assert summary["test"]["tasks"] == 6
    assert summary["total_tasks"] == 16
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    config = json.loads((out / "config.json").read_text())
    assert config["rule"] == "first-order-maml"
    folder = training.RunFolder(out)
    weights = stored_weights(
        folder.path, "last", build_system(MetaConfig.of(hidden=(4,)), TASKS, 0)
    )
    assert np.isfinite(flat(weights.model)).all()
    assert "test loss" in capsys.readouterr().out

    # A run that is finished is not run again, and another one does not go on with it.
    before = (out / "metrics.jsonl").read_bytes()
    with pytest.raises(SystemExit) as end:
        main([*words, "--out", str(out), "--resume"])
    assert end.value.code == 0
    assert (out / "metrics.jsonl").read_bytes() == before
    with pytest.raises(SystemExit) as end:
        main([*words, "--out", str(out), "--resume", "--rule", "maml"])
    assert end.value.code == 2
    refused = capsys.readouterr().err
    assert "a run with rule = first-order-maml, and now it is maml: repeat the options" in refused

    # The kept weights again, on the same tasks.
    again = tmp_path / "again.json"
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(out), "--json", str(again)])
    assert end.value.code == 0
    (row,) = json.loads(again.read_text())["seeds"]
    assert row == {"seed": 0, "test": summary["test"]}
    with pytest.raises(SystemExit) as end:
        main(["export", str(out), "--out", str(tmp_path / "model")])
    assert end.value.code == 2
    assert "holds a meta-training, which has no classifier" in capsys.readouterr().err


class Stopped(Exception):
    """Ends a run after a stretch, as a signal would."""


def timeless(value):
    if isinstance(value, dict):
        times = ("step_ms", "step_ms_median", "seconds")
        return {name: timeless(entry) for name, entry in value.items() if name not in times}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


def results(folder):
    """Returns all that a run leaves, its times apart."""
    kept = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".json":
            kept[name] = timeless(files.read_record(path))
        elif path.suffix == ".jsonl":
            kept[name] = [
                timeless(files.parse_record(line, path)) for line in path.read_text().splitlines()
            ]
        elif path.name.startswith("state-"):
            kept[name] = training.read_sealed(path, "training state").content
        elif path.is_file():
            kept[name] = path.read_bytes()
    return kept


@pytest.mark.slow
def test_several_seeds_go_on_with_the_one_that_was_interrupted(tmp_path):
    config = MetaConfig.of(
        rule="reptile",
        hidden=(4,),
        total_tasks=16,
        task_batch=4,
        reports=2,
        seeds=(3, 4),
        validation_tasks=4,
        evaluation_tasks=4,
        evaluation_steps=7,
    )
    whole = run_meta(config, tmp_path / "whole")
    reports = []

    def report(seed, metrics):
        reports.append((seed, metrics.step))
        if (seed, metrics.step) == (4, 2) and len(reports) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        run_meta(config, tmp_path / "run", report=report)
    summary = run_meta(config, tmp_path / "run", resume=True, report=report)
    assert reports == [(3, 2), (3, 4), (4, 2), (4, 4)]
    assert timeless(summary) == timeless(whole)
    assert results(tmp_path / "run") == results(tmp_path / "whole")

    losses = [figures["test"]["loss"] for figures in summary["per_seed"]]
    assert losses[0] != losses[1]
    assert summary["test_loss"] == pytest.approx(np.mean(losses))
    assert summary["std"]["test_loss"] == pytest.approx(np.std(losses, ddof=1))
    # Tasks are learned in the steps that were asked for, and judged by them.
    seeds = evaluate_meta(tmp_path / "run")["seeds"]
    assert [row["test"] for row in seeds] == [figures["test"] for figures in summary["per_seed"]]


def test_a_task_of_the_evaluation_is_learned_in_steps_of_its_own():
    config = MetaConfig.of(rule="reptile")
    rule = config.rule.build(config)
    assert (
        evaluation_adaptation(config, rule) == rule.adaptation == lc.meta.GradientDescent(5, 0.01)
    )
    longer = config.with_options(evaluation_steps=7)
    assert evaluation_adaptation(longer, rule) == lc.meta.GradientDescent(7, 0.01)
    larger = config.with_options(evaluation_step_size=0.5)
    assert evaluation_adaptation(larger, rule) == lc.meta.GradientDescent(5, 0.5)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--proximal-strength 0",
            "--proximal-strength is 0.0, but it must be above 0 and finite: write --prox",
        ),
        ("--proximal-strength -1", "--proximal-strength is -1.0, but it must be above 0"),
        ("--tasks glyph", "--tasks is 'glyph', but it is one of sinusoid, glyphs, omniglot; the"),
        ("--rule mamml", "the nearest is maml."),
        ("--ways 20", "--ways is 20, but it has no effect without --tasks glyphs"),
        ("--rule maml --proximal-strength 0.1", "0.1, but it has no effect without --rule least-c"),
        ("--tasks glyphs --ways 0", "--ways is 0, but it must be at least 1"),
        ("--shots 0", "--shots is 0, but it must be at least 1"),
        ("--alpha -1", "--alpha is -1.0, but it must be at least 0 and finite"),
        ("--total-tasks 3", "--total-tasks is 3, but it must be at least 16"),
        ("--seed -1", "--seed is -1, but it must be at least 0"),
        ("--momentum 0.9", "--momentum is 0.9, but it has no effect without --control descent"),
        (
            "--control descent --momentum 1",
            "--momentum is 1.0, but it must be at least 0 and below",
        ),
        ("--control descent --alpha 0", "--control descent divides by the leak, and --alpha is 0"),
        ("--image-size 14", "--image-size is 14, but it has no effect without --tasks glyphs"),
        ("--tasks glyphs --image-size 13", "--image-size is 13, but it must be a divisor of 28"),
        ("--tasks glyphs --image-size 14", "--modules is 4, but it must be few enough to halve"),
        ("--seed 1 --seeds 2 3", "--seed and --seeds are both given"),
        ("--evaluation-steps 0", "--evaluation-steps is 0, but it must be at least 1"),
        ("--evaluation-step-size 0", "--evaluation-step-size is 0.0, but it must be above 0 and"),
        ("--keep-last 0", "--keep-last is 0, but it must be at least 1"),
        ("--tasks glyphs --ways 100", "ways=100: there are 6 classes, 24 with their rotations;"),
        ("--tasks glyphs --shots 20", "more than the 24 images of a class"),
        ("--tasks omniglot --data-dir /nowhere", "holds an archive of Omniglot; put images_backg"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(words, sentence, tmp_path, capsys, monkeypatch):
    few = data.read_glyphs(10)
    monkeypatch.setattr(data, "read_glyphs", lambda: few)
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as end:
        main(["meta", *words.split(), "--out", str(out)])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("leastcontrol: ")
    assert sentence in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.slow
def test_the_papers_learner_of_omniglot_is_built_by_default():
    """arXiv 2207.01332, table 3 and section S4.5; traced at full size, and not run."""
    config = MetaConfig.of(tasks="omniglot", ways=20)
    config.check()
    images = jnp.zeros((30, 20, 28, 28), jnp.uint8)
    tasks = data.ImageTasks(images, config.tasks.ways, config.tasks.shots, config.tasks.queries)
    fast, rule = build_system(config, tasks, 0), config.rule.build(config)
    sizes = [module.weight.shape for module in fast.model.modules]
    assert sizes == [(64, 9), (64, 576), (64, 576), (64, 576)]
    assert fast.model.decoder.weight.shape == (20, 64)
    assert float(fast.pull().decoder.bias) == pytest.approx(0.001)
    batch = config.optimiser.task_batch
    step = lambda: rule(fast, None, lc.Batch(*tasks.batch(jax.random.key(0), batch)))  # noqa: E731
    shapes = eqx.filter_eval_shape(step)
    assert shapes.solution.stats.error.shape == (16,)
    assert shapes.gradient.model.modules[3].weight.shape == (64, 576)
    support, query = jax.eval_shape(lambda: tasks.batch(jax.random.key(0), 16))
    assert (support.inputs.shape, query.inputs.shape) == ((16, 20, 28, 28), (16, 300, 28, 28))
    values = [config.value(name) for name in ("total_tasks", "learning_rate", "alpha")]
    assert values == [100_000, 1e-3, 0.1]
    assert (rule.control.steps, rule.control.step_size) == (100, 0.03)


def test_every_word_builds_a_rule():
    for rule in [kind.word for kind in META_RULES]:
        assert isinstance(build_rule(rule=rule), lc.meta.AbstractMetaRule)
    kinds = [type(build_rule(control=c).control) for c in [kind.word for kind in CONTROLS]]
    assert kinds == [
        lc.meta.EulerControl,
        lc.meta.DescentControl,
        lc.meta.DirectControl,
        lc.meta.OptimalControl,
    ]
    assert build_rule().control.step_size == 0.01
    paper = build_rule(tasks="omniglot", ways=20)
    assert (paper.control.steps, paper.control.step_size) == (100, 0.03)
    assert paper.output_control.leak == 0.1
    per_weight = build_system(MetaConfig.of(proximal_learning="per-weight"), TASKS, 0)
    assert per_weight.learn_pull
    assert flat(per_weight.log_pull).size == flat(per_weight.slow_weights).size
    assert MetaConfig.of(shots=3).tasks.build()[0].shots == 3
    with pytest.raises(ConfigError, match=r"--strength is 0.2, but it has no effect"):
        MetaConfig.of(strength=0.2).check()
