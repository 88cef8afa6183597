"""Settings for meta-learning: the same trials for every rule, judged on validation tasks.

    python benchmarks/meta_search.py --tasks sinusoid --json results/search-meta-sinusoid.json
    python benchmarks/meta_search.py --tasks glyphs --ways 20 --json FILE
    python benchmarks/meta_search.py --tasks omniglot --data-dir FOLDER --json FILE

A trial is one combination of the values in `RULES` and `TRIED`, of which every rule has as many.
Every rule is trained with each of them, from the same seeds on the same tasks, and what it has
learned is judged on validation tasks that are the same for all, by the mean over the seeds: of the
loss of sinusoids, which are adapted to in as many steps for every rule, of each of a few sizes, and
of the accuracy of letters and characters. No test task is looked at. Several seeds matter for
sinusoids, where the rate that is best from one seed is lost from the next. The file is written
after every trial, and the same command goes on with those that it does not hold yet; its `best` are
the options with which the runs of `docs/meta-learning.md` are made.
"""

import argparse
import functools
import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from _origin import origin

from leastcontrol.files import write_json
from leastcontrol.runs.meta import (
    build_system,
    evaluation_adaptation,
)
from leastcontrol.runs.meta_config import MetaConfig
from leastcontrol.runs.options import ConfigError
from leastcontrol.training import (
    MetaEvaluation,
    MetaTrainingConfig,
    MetaTrainingError,
    meta_evaluate,
    meta_train,
)

# What is tried of the options that a rule has of its own, and of those that all have. What is
# compiled anew comes first, for one program serves several learning rates.
RULES: dict[str, dict[str, dict[str, tuple[Any, ...]]]] = {
    "sinusoid": {
        "least-control": {"alpha": (1.0,), "inner_steps": (30,), "step_size": (0.01, 0.015)},
        # It learns from longer adaptations, which the others do not.
        "reptile": {"inner_steps": (100,), "step_size": (0.02, 0.03)},
        "first-order-maml": {"inner_steps": (30,), "step_size": (0.01, 0.02)},
    },
    "glyphs": {
        "least-control": {"step_size": (0.1,), "alpha": (0.1, 1.0)},
        "first-order-maml": {"step_size": (0.1, 0.05)},
        "t1-t2": {"step_size": (0.1, 0.05)},
        "reptile": {"step_size": (0.1, 0.05)},
        # Its Hessian has to be positive (see `leastcontrol reproduce omniglot`).
        "implicit-maml": {"step_size": (0.1,), "proximal_strength": (2.0, 0.5)},
        "contrastive": {"step_size": (0.1,), "strength": (0.1, 1.0)},
    },
}
RULES["omniglot"] = RULES["glyphs"]
TRIED: dict[str, dict[str, tuple[Any, ...]]] = {
    "sinusoid": {"task_batch": (4, 16), "learning_rate": (0.01, 0.03)},
    "glyphs": {"learning_rate": (0.001, 0.003, 0.01)},
    "omniglot": {"learning_rate": (0.001, 0.003, 0.01)},
}
COMMON: dict[str, dict[str, Any]] = {
    "sinusoid": {"evaluation_steps": 100},
    "glyphs": {
        "shots": 1,
        "image_size": 14,
        "modules": 3,
        "channels": 16,
        "inner_steps": 10,
    },
    "omniglot": {"shots": 1, "channels": 16, "inner_steps": 10},
}
# Sizes of the steps of an evaluation; as in training where there is none.
EVALUATION_STEP_SIZES: dict[str, tuple[float | None, ...]] = {
    "sinusoid": (0.01, 0.02),
    "glyphs": (None,),
    "omniglot": (None,),
}
# What a search that goes on takes over, the command being the last one's.
DONE = ("best", "trials")
# Apart from those of any training, of its validation and of the test.
VALIDATION_KEY = 1_000_000


def judged(config: MetaConfig) -> list[dict[str, Any]]:
    """Returns what a configuration's seeds do on validation tasks, by evaluation step size."""
    parts = config.tasks.build()
    rule = config.rule.build(config)
    sizes = EVALUATION_STEP_SIZES[config.tasks.word]
    judges = [
        evaluation_adaptation(config.with_options(evaluation_step_size=size), rule)
        for size in sizes
    ]
    loop = MetaTrainingConfig(
        steps=config.steps(),
        task_batch=config.optimiser.task_batch,
        learning_rate=config.optimiser.learning_rate,
        report_every=config.steps(),
        validation_tasks=config.run.validation_tasks,
    )
    key, count = jax.random.key(VALIDATION_KEY), config.run.validation_tasks
    # Looked at as it is judged, so that one compiled program serves both.
    train = functools.partial(meta_train, adaptation=judges[0])
    figures: list[list[MetaEvaluation]] = []
    for seed in config.all_seeds():
        first = build_system(config, parts[0], seed)
        try:
            system = train(first, rule, parts[0], parts[1], loop, seed=seed).system
        except MetaTrainingError:
            return []
        figures.append([meta_evaluate(system, judge, parts[1], count, key=key) for judge in judges])
    return [
        {**({} if size is None else {"evaluation_step_size": size}), **of_numbers(seeds)}
        for size, seeds in zip(sizes, zip(*figures, strict=True), strict=True)
    ]


def of_numbers(seeds: Sequence[MetaEvaluation]) -> dict[str, Any]:
    """Returns every seed's figure and their mean; what is not a number has no place in JSON."""
    finite = all(evaluation.not_finite_fraction == 0 for evaluation in seeds)
    numbers: dict[str, Any] = {}
    for name in ("loss", "accuracy"):
        values = [getattr(evaluation, name) for evaluation in seeds]
        if values[0] is not None:
            numbers[name] = statistics.fmean(values) if finite else None
            numbers[f"{name}_per_seed"] = values if finite else None
    return numbers


def better(row: dict[str, Any], best: dict[str, Any] | None) -> bool:
    """Returns whether a trial's row is better than the best so far, by accuracy or else by loss."""
    if row["loss"] is None:
        return False
    if best is None:
        return True
    if "accuracy" in row:
        return row["accuracy"] > best["accuracy"]
    return row["loss"] < best["loss"]


def main() -> int:
    """Runs the search and returns its exit status."""
    parser = argparse.ArgumentParser(description="Search settings of meta-learning rules.")
    parser.add_argument("--tasks", choices=tuple(RULES), default="sinusoid")
    parser.add_argument("--data-dir", type=Path, help="of Omniglot")
    parser.add_argument("--rules", nargs="+", help="these rules alone; all by default")
    parser.add_argument("--ways", type=int, default=5)
    parser.add_argument("--queries", type=int)
    parser.add_argument("--task-batch", type=int)
    parser.add_argument("--total-tasks", type=int, default=4000)
    parser.add_argument("--validation-tasks", type=int, default=200)
    parser.add_argument("--at-most", type=int, help="stop after so many trials, to go on later")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.total_tasks < 16 or options.validation_tasks < 2:
        parser.error("--total-tasks takes at least 16, and --validation-tasks at least 2.")
    known = RULES[options.tasks]
    chosen_rules = options.rules or list(known)
    if unknown := [rule for rule in chosen_rules if rule not in known]:
        parser.error(f"--rules has {unknown[0]}, but takes some of {', '.join(known)}.")
    common = dict(COMMON[options.tasks])
    for name in ("queries", "task_batch"):
        if getattr(options, name) is not None:
            common[name] = getattr(options, name)
    # Where the drawings lie is no setting of the search.
    place = {} if options.data_dir is None else {"data_dir": options.data_dir}
    result: dict[str, Any] = {
        **origin(),
        "seeds": options.seeds,
        "tasks": options.tasks,
        "ways": options.ways,
        "total_tasks": options.total_tasks,
        "validation_tasks": options.validation_tasks,
        "common": common,
        "best": {},
        "trials": [],
    }
    if options.json is not None and options.json.is_file():
        before = json.loads(options.json.read_text())
        changed = [
            name
            for name in result
            if name not in (*DONE, "command") and before.get(name) != result[name]
        ]
        if changed:
            parser.error(f"{options.json} is of another search, by its {changed[0]}.")
        result.update({name: before[name] for name in DONE})
    left = math.inf if options.at_most is None else options.at_most
    for rule in chosen_rules:
        tried = {**known[rule], **TRIED[options.tasks]}
        for values in itertools.product(*tried.values()):
            chosen = {"rule": rule, **dict(zip(tried, values, strict=True))}
            try:
                config = MetaConfig.of(
                    tasks=options.tasks,
                    ways=options.ways,
                    total_tasks=options.total_tasks,
                    validation_tasks=options.validation_tasks,
                    seeds=tuple(options.seeds),
                    **common,
                    **chosen,
                    **place,
                )
                config.check()
            except ConfigError as error:
                parser.error(str(error))
            held = [trial for trial in result["trials"] if chosen.items() <= trial.items()]
            if held or left < 1:
                continue
            left -= 1
            began = time.process_time()
            validation = judged(config)
            seconds = time.process_time() - began
            result["trials"].append({**chosen, "validation": validation, "cpu_seconds": seconds})
            for row in validation:
                if better(row, result["best"].get(rule)):
                    result["best"][rule] = {**chosen, **row}
            print(f"{chosen}: {validation or 'not finite'}, {seconds:.0f} s", flush=True)
            if options.json is not None:
                write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
