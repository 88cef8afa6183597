"""What a step of meta-learning costs: its time and its memory, rule by rule.

    python benchmarks/meta_cost.py --inner-steps 10 100 --json results/meta-cost.json

It takes one step of every rule on the same tasks (sinusoids of 10 shots, 16 tasks, a 40-40 learner)
with different numbers of inner steps. The time is that of the process, summed over its threads,
the median of several calls, because a machine that others use gives no steady wall time. The memory
is the working memory that XLA has planned for the compiled step, weights and tasks not counted.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
from _origin import origin

import leastcontrol as lc
from leastcontrol.files import write_json
from leastcontrol.runs.meta import build_system
from leastcontrol.runs.meta_config import MetaConfig
from leastcontrol.runs.words.meta.rules import META_RULES


def cases(inner_steps: list[int]) -> list[tuple[str, int, MetaConfig]]:
    """Returns rule, inner steps and configuration of what is measured."""
    rules = [(kind.word, {}) for kind in META_RULES]
    rules.insert(1, ("least-control", {"control": "descent"}))
    return [
        (
            " ".join([rule, *options.values()]),
            steps,
            MetaConfig.of(rule=rule, inner_steps=steps, step_size=0.01, **options),
        )
        for rule, options in rules
        for steps in inner_steps
    ]


def measured(config: MetaConfig, repeats: int) -> dict[str, Any]:
    """Returns the milliseconds and the bytes of one step of a configuration."""
    tasks = config.tasks.build()[0]
    system, rule = build_system(config, tasks, 0), config.rule.build(config)
    batch = lc.Batch(*tasks.batch(jax.random.key(0), config.optimiser.task_batch))
    learned, fixed = eqx.partition(system, eqx.is_inexact_array)

    def step(learned: Any, batch: lc.Batch) -> Any:
        credit = rule(eqx.combine(learned, fixed), None, batch)
        return credit.gradient, credit.loss, credit.solution.stats.error

    compiled = jax.jit(step).lower(learned, batch).compile()
    memory = compiled.memory_analysis()
    times = []
    for _ in range(repeats + 1):
        began = time.process_time()
        jax.block_until_ready(compiled(learned, batch))
        times.append(1e3 * (time.process_time() - began))
    # The first call also touches memory for the first time.
    lower, middle, upper = statistics.quantiles(times[1:], n=4)
    return {
        "cpu_ms": middle,
        "cpu_ms_quartiles": [lower, upper],
        "bytes": None if memory is None else int(memory.temp_size_in_bytes),
    }


def main() -> int:
    """Runs the benchmark and returns its exit status."""
    parser = argparse.ArgumentParser(description="Time a step of every meta-learning rule.")
    parser.add_argument("--inner-steps", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if min(options.inner_steps) < 1 or options.repeats < 2:
        parser.error("--inner-steps takes at least 1, and --repeats at least 2.")
    made, rows = origin(), []
    for name, steps, config in cases(options.inner_steps):
        row = {"rule": name, "inner_steps": steps, **measured(config, options.repeats)}
        rows.append({**row, **made})
        size = "" if row["bytes"] is None else f"{row['bytes'] / 2**20:8.2f} MiB"
        print(f"{name:24} {steps:5} steps {row['cpu_ms']:9.2f} ms {size}", flush=True)
    if options.json is not None:
        write_json(options.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
