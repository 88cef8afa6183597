"""Settings for meta-learning of sinusoids: the same trials for every rule, by validation tasks.

    python benchmarks/meta_search.py --json results/search-meta-sinusoid.json

Every rule is trained with every combination of a few ways to learn a task and of learning rates,
from one seed on the same tasks. What it has learned is then judged on validation tasks, which are
adapted to in as many steps for every rule, of each of a few sizes. No test task is looked at. The
file is written after every trial.
"""

import argparse
import dataclasses
import itertools
import sys
import time
from pathlib import Path
from typing import Any

import jax
from _origin import origin

from leastcontrol.experiments.meta import (
    build_rule,
    build_system,
    build_tasks,
    evaluation_adaptation,
)
from leastcontrol.experiments.meta_config import MetaConfig
from leastcontrol.training import (
    MetaTrainingConfig,
    MetaTrainingError,
    meta_evaluate,
    meta_train,
    write_json,
)

RULES = {"least-control": {"alpha": 1.0}, "reptile": {}, "first-order-maml": {}}
# Steps to learn a task, and their size.
ADAPTATIONS = ((30, 0.01), (100, 0.005), (100, 0.02))
LEARNING_RATES = (0.03, 0.01)
EVALUATION_STEPS = 100
EVALUATION_STEP_SIZES = (0.01, 0.02)
# Apart from those of any training, of its validation and of the test.
VALIDATION_KEY = 1_000_000


def judged(config: MetaConfig) -> list[dict[str, Any]]:
    """Returns what a trained configuration does on validation tasks, by evaluation step size."""
    parts = build_tasks(config)
    rule = build_rule(config)
    judges = [
        evaluation_adaptation(dataclasses.replace(config, evaluation_step_size=size), rule)
        for size in EVALUATION_STEP_SIZES
    ]
    loop = MetaTrainingConfig(
        steps=config.steps(),
        task_batch=config.task_batch,
        learning_rate=config.learning_rate,
        report_every=config.steps(),
        validation_tasks=2,
    )
    try:
        trained = meta_train(
            build_system(config, parts[0], 0),
            rule,
            parts[0],
            parts[1],
            loop,
            seed=0,
            adaptation=judges[0],
        )
    except MetaTrainingError:
        return []
    key = jax.random.key(VALIDATION_KEY)
    rows = []
    for size, judge in zip(EVALUATION_STEP_SIZES, judges, strict=True):
        figures = meta_evaluate(trained.system, judge, parts[1], config.validation_tasks, key=key)
        rows.append(
            {
                "evaluation_step_size": size,
                # What is not a number has no place in JSON; no loss says as much.
                "loss": figures.loss if figures.not_finite_fraction == 0 else None,
                "loss_interval": figures.loss_interval
                if figures.not_finite_fraction == 0
                else None,
            }
        )
    return rows


def main() -> int:
    """Runs the search and returns its exit status."""
    parser = argparse.ArgumentParser(description="Search settings of rules on sinusoids.")
    parser.add_argument("--total-tasks", type=int, default=4000)
    parser.add_argument("--validation-tasks", type=int, default=500)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.total_tasks < 16 or options.validation_tasks < 2:
        parser.error("--total-tasks takes at least 16, and --validation-tasks at least 2.")
    result: dict[str, Any] = {
        **origin(),
        "seed": 0,
        "total_tasks": options.total_tasks,
        "validation_tasks": options.validation_tasks,
        "evaluation_steps": EVALUATION_STEPS,
        "best": {},
        "trials": [],
    }
    settings = itertools.product(LEARNING_RATES, ADAPTATIONS, RULES.items())
    for rate, (steps, size), (rule, own) in settings:
        chosen = {"rule": rule, **own, "inner_steps": steps, "step_size": size}
        chosen["learning_rate"] = rate
        config = MetaConfig(
            tasks="sinusoid",
            evaluation_steps=EVALUATION_STEPS,
            total_tasks=options.total_tasks,
            validation_tasks=options.validation_tasks,
            **chosen,
        )
        config.check()
        began = time.perf_counter()
        validation = judged(config)
        seconds = time.perf_counter() - began
        result["trials"].append({**chosen, "validation": validation, "seconds": seconds})
        for row in validation:
            best = result["best"].get(rule)
            if row["loss"] is not None and (best is None or row["loss"] < best["loss"]):
                result["best"][rule] = {**chosen, **row}
        told = ", ".join(f"{row['loss']} at {row['evaluation_step_size']}" for row in validation)
        print(f"{rule:18} {steps:4} steps of {size}, {rate}: {told or 'not finite'}", flush=True)
        if options.json is not None:
            write_json(options.json, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
