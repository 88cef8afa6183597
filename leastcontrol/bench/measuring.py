"""The benchmark: what a step of every rule costs beside backpropagation's, and how that grows.

A **case** is a system with its weights and a strength of control. Its rules are compiled, and timed
interleaved with its baseline (`timing`); each gives one row. **Growth** measures one case again at
rising sizes, and fits t ∝ sizeᵖ by least squares of log t in log size (`growth`).

A row is a flat JSON object that says by itself what it is of:

* `case`, `weights`, `data`, `batch_size`, `rule`: what was measured. `weights` are those at
  initialisation or of a run.
* `strength`: β = 1/α for one sample's loss; `null` for rules without one. `target_probability`: the
  mean probability of the targets at the controlled rest points of that strength.
* `ms`, `ms_quartiles`: wall time of a step, the median over `repeats` calls and its quartiles.
* `ratio_to`, `ratio`, `ratio_quartiles`: the baseline, and the median and the quartiles of the
  ratios of neighbouring calls.
* `residual`: the largest residual of a solved sample, relative to the control as `Tolerance` has
  it; `steps`, `steps_max`: iterations of a sample's solve; `converged_fraction`: share of samples
  solved.
* `peak_mb`, `temporary_mb`: memory of the compiled step by XLA's own analysis, in 10⁶ bytes.
* `grown`, `size`, `exponent`, `exponent_error`: in growth, what grew and how fast the time did.
* `command`, `commit`, `jax`, `device`: where the row comes from.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..controllers import Automatic
from ..data import Splits
from ..equilibrium import ControlProblem, Sample, Tolerance
from ..losses import CrossEntropy
from ..rules import AbstractRule, Batch
from ..runs.config import RunConfig
from ..runs.folders import read_config, seed_folders
from ..runs.options import ConfigError
from ..runs.origin import commit
from ..runs.samples import load_splits
from ..runs.trained import build_system, load_trained
from ..runs.words.controllers import CONTROLLERS
from ..systems import AbstractSystem, dense_residual_network, tanh
from .config import (
    GROWN_RULES,
    RULES,
    SIZES,
    WITHOUT_STRENGTH,
    BenchConfig,
    rules_of,
)
from .growth import growth_exponent
from .timing import Spread, Step, Timing, compile_step, interleaved

# The paper's α = 0.1 for the mean of a batch of 64.
LEAK = 6.4
STRONG_PROBABILITY = 0.97
# Strengths are tried in powers of two, up to about 2.6e6.
DOUBLINGS = 24
GROWN_WIDTH = 128

Row = dict[str, Any]
Report = Callable[[Row], None]


@dataclasses.dataclass(frozen=True)
class _Case:
    """What is measured: a system with its word, batches and leak, and what its rows say of it."""

    kind: str
    system: AbstractSystem
    batches: Batch
    leak: float
    said: Row


def bench(
    config: BenchConfig,
    *,
    command: str | None = None,
    report: Report | None = None,
    note: Callable[[str], None] | None = None,
) -> list[Row]:
    """Measures what a configuration asks for and returns the rows.

    **Arguments:**

    * `command`: that the rows come from.
    * `report`: called with every row of the table as soon as it is measured.
    * `note`: called with a sentence for what was left out.

    **Raises:** `ConfigError`, `DataError`, `FolderError` for what cannot be measured.
    """
    config.check()
    origin = {
        "command": command,
        "commit": commit(),
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }
    note = (lambda _: None) if note is None else note
    measured = _growth(config, note) if config.grow else _table(config)
    rows = []
    for row in measured:
        rows.append({**row, **origin})
        if report is not None:
            report(rows[-1])
    return rows


def _table(config: BenchConfig) -> Iterator[Row]:
    for case in _cases(config):
        yield from _measured(case, config.rules or RULES, config)


def _cases(config: BenchConfig) -> Iterator[_Case]:
    trained = [_trained(folder, config) for folder in config.weights]
    for kind in config.systems():
        words = _words(kind, config.hidden).with_options(**_data_words(config))
        splits = _labelled(words)
        first = build_system(words, splits, config.seed)
        batches = _batches(splits, config.batches, config.batch_size)
        said = {"weights": "initialisation", "data": config.data}
        sources = [(first, batches, said)]
        sources += [source for own, source in trained if own == kind]
        for name in (kind, f"{kind}-strong"):
            if name not in config.cases:
                continue
            # The strength is that of the first weights for all: training has one strength.
            leak = LEAK if name == kind else strong_leak(first, batches)
            for own, own_batches, own_said in sources:
                probability = target_probability(own, own_batches, jnp.asarray(leak))
                said = {"case": name, **own_said, "batch_size": config.batch_size}
                said["target_probability"] = float(probability)
                yield _Case(kind, own, own_batches, leak, said)


def _trained(folder: Path, config: BenchConfig) -> tuple[str, tuple[AbstractSystem, Batch, Row]]:
    """Returns the system of a run by its word, with its last weights and what was measured on it.

    Of a run of several seeds it is the first one's.
    """
    words = read_config(folder)
    kind = words.system.word
    if kind not in config.systems():
        raise ConfigError(
            f"{folder} holds weights of the system {kind}, which none of the cases "
            f"{' '.join(config.cases)} has: leave it out, or add --cases {kind}."
        )
    seed, own = next(iter(seed_folders(words, folder).items()))
    splits = _labelled(words)
    system, _ = load_trained(words, splits, own, seed)
    said = {
        "weights": f"{words.optimiser.epochs} epochs ({folder.name})",
        "data": words.data.word,
    }
    return kind, (system, _batches(splits, config.batches, config.batch_size), said)


def _words(kind: str, hidden: int) -> RunConfig:
    widths = (hidden, hidden) if kind == "feedforward" else (hidden,)
    return RunConfig.of(system=kind, hidden=widths)


def _data_words(config: BenchConfig) -> dict[str, Any]:
    words: dict[str, Any] = {"data": config.data}
    return words if config.data_dir is None else {**words, "data_dir": config.data_dir}


def _labelled(words: RunConfig) -> Splits:
    splits = load_splits(words)
    if not isinstance(splits, Splits):
        raise ConfigError(
            f"--weights has a run on {words.data.word}, whose targets are vectors, and the cases "
            "learn from labels: leave it out."
        )
    return splits


def _batches(splits: Splits, count: int, size: int) -> Batch:
    """Returns training samples in their order, from the first again where they end."""
    indices = np.arange(count * size).reshape(count, size) % len(splits.train)
    return Batch(
        jnp.asarray(splits.train.inputs[indices]), jnp.asarray(splits.train.targets[indices])
    )


@eqx.filter_jit
def target_probability(
    system: AbstractSystem, batches: Batch, leak: Float[Array, ""]
) -> Float[Array, ""]:
    """Returns the mean probability of the targets at the controlled rest points of a leak."""
    loss = CrossEntropy()
    inputs, targets, _ = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batches)
    samples = Sample(jax.vmap(system.drive)(inputs), targets)
    point = Automatic().equilibrium(ControlProblem(system, loss, leak), samples).value
    outputs = jax.vmap(system.readout)(point.state)
    if system.output_neurons:
        outputs = outputs + point.output_control
    return jnp.mean(jnp.exp(-jax.vmap(loss)(outputs, targets)))


def strong_leak(system: AbstractSystem, batches: Batch) -> float:
    """Returns the first of the leaks 6.4, 3.2, 1.6, … that brings targets to 0.97 on average.

    **Raises:** `ConfigError` where none does.
    """
    for leak in (LEAK / 2**doublings for doublings in range(DOUBLINGS + 1)):
        if target_probability(system, batches, jnp.asarray(leak)) >= STRONG_PROBABILITY:
            return leak
    raise ConfigError(
        f"No strength up to {2**DOUBLINGS / LEAK:.1e} brings the mean probability of the targets "
        f"to {STRONG_PROBABILITY}: leave out the strong cases, or write another --hidden or --seed."
    )


def _measured(case: _Case, rules: Sequence[str], config: BenchConfig) -> list[Row]:
    """Returns the rows of a case: its baseline's, and those of the rules that it can have."""
    baseline, *others = rules_of(case.said["case"])
    names = [baseline, *(rule for rule in others if rule in rules)]
    key = jax.random.key(config.seed)
    steps = [
        compile_step(case.system, _rule(name, case.kind, case.leak), case.batches, key)
        for name in names
    ]
    timings = interleaved(steps[0], steps[1:], repeats=config.repeats, seconds=config.seconds)
    return [
        _row(name, names[0], step, timing, case)
        for name, step, timing in zip(names, steps, timings, strict=True)
    ]


def _rule(name: str, kind: str, leak: float) -> AbstractRule:
    strength = {} if name in WITHOUT_STRENGTH else {"alpha": leak}
    least_control = name in [kind.word for kind in CONTROLLERS]
    words = {"controller": name} if least_control else {"rule": name}
    return RunConfig.of(system=kind, hidden=(1,), **words, **strength).build_rule()


def _row(name: str, baseline: str, step: Step, timing: Timing, case: _Case) -> Row:
    return {
        **case.said,
        "rule": name,
        "strength": None if name in WITHOUT_STRENGTH else 1 / case.leak,
        "ms": timing.ms.median,
        "ms_quartiles": _quartiles(timing.ms),
        "ratio_to": baseline,
        "ratio": timing.ratio.median,
        "ratio_quartiles": _quartiles(timing.ratio),
        "repeats": timing.repeats,
        "residual": None if step.error is None else step.error * Tolerance().relative,
        "steps": step.steps_mean,
        "steps_max": step.steps_max,
        "converged_fraction": step.converged_fraction,
        "peak_mb": step.peak_mb,
        "temporary_mb": step.temporary_mb,
    }


def _quartiles(spread: Spread) -> list[float]:
    return [spread.lower, spread.upper]


def _growth(config: BenchConfig, note: Callable[[str], None]) -> Iterator[Row]:
    splits = _labelled(RunConfig.of(**_data_words(config)))
    for grown in config.grow:
        for kind in config.systems():
            if (grown, kind) != ("depth", "rnn"):
                yield from _curves(grown, kind, splits, config, note)


def _curves(
    grown: str, kind: str, splits: Splits, config: BenchConfig, note: Callable[[str], None]
) -> list[Row]:
    """Returns the rows of one growth, with the exponent of each rule's curve."""
    began = last = time.perf_counter()
    rows: list[Row] = []
    for size in SIZES[grown]:
        now = time.perf_counter()
        # The next size takes at least as long as the last one did.
        if now - began + (now - last) > config.seconds:
            note(
                f"{kind} stops growing in {grown} below {size}, for the next size would pass "
                f"--seconds {config.seconds:g}."
            )
            break
        last = now
        case = _grown_case(grown, kind, size, splits, config)
        within = dataclasses.replace(config, seconds=config.seconds / len(SIZES[grown]))
        rows += _measured(case, config.rules or GROWN_RULES, within)
    for row in rows:
        curve = [own for own in rows if own["rule"] == row["rule"]]
        slope, error = growth_exponent([own["size"] for own in curve], [own["ms"] for own in curve])
        row.update(exponent=slope, exponent_error=error)
    return rows


def _grown_case(grown: str, kind: str, size: int, splits: Splits, config: BenchConfig) -> _Case:
    batch_size = size if grown == "batch" else config.batch_size
    if grown == "depth":
        inputs, outputs = splits.train.inputs.shape[1], splits.train.classes
        system = dense_residual_network(
            inputs,
            GROWN_WIDTH,
            size,
            outputs,
            activation=tanh,
            key=jax.random.key(config.seed),
        )
    else:
        words = _words(kind, size if grown == "width" else config.hidden)
        system = build_system(words, splits, config.seed)
    said = {
        "case": kind,
        "weights": "initialisation",
        "data": config.data,
        "batch_size": batch_size,
        "grown": grown,
        "size": size,
    }
    return _Case(kind, system, _batches(splits, config.batches, batch_size), LEAK, said)
