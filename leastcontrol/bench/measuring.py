"""The benchmark: the cost of a step of each rule relative to backpropagation, and its growth.

A **case** is a system with its weights and a control strength. The rules of a case are compiled and
timed in alternation with its baseline (`timing`), and so are the baseline's peers, which are
written without this library (`peers`); each gives one row. **Growth** measures one case
at increasing sizes and fits t ∝ sizeᵖ by least squares of log t in log size (`growth`).

A row is a flat JSON object that needs no context:

* `case`, `weights`, `data`, `batch_size`, `rule`: the system, its weights (at initialisation or
  from a run), the samples and the rule that were measured.
* `strength`: β = 1/α for one sample's loss; `null` for rules without one. `target_probability`: the
  mean probability of the targets at the controlled equilibria of that strength.
* `ms`, `ms_quartiles`: wall time of a step, the median over `repeats` calls and its quartiles.
* `ratio_to`, `ratio`, `ratio_quartiles`: the baseline, and the median and the quartiles of the
  ratios of successive calls.
* `residual`: the largest residual of a solved sample, relative to the control as in `Tolerance`;
  `steps`, `steps_max`: the mean and the largest number of iterations of a sample's solve;
  `converged_fraction`: the share of the samples that were solved. `null` for peers, which judge no
  sample.
* `difference`: the relative distance of a peer's gradient from the baseline's.
* `peak_mb`, `temporary_mb`: memory of the compiled step, as analysed by XLA, in 10⁶ bytes.
* `grown`, `size`, `exponent`, `exponent_error`: for growth, the kind of size, its value, and the
  fitted exponent with its standard error.
* `command`, `commit`, `jax`, `device`: the origin of the row.
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
from ..runs.words.strength import PAPER_LEAK
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
from .peers import PEERS
from .timing import (
    Spread,
    Step,
    Timing,
    compile_peer_step,
    compile_step,
    interleaved,
)

STRONG_PROBABILITY = 0.97
# `strong_leak` doubles the strength up to this many times, to about 2.6e6.
DOUBLINGS = 24
GROWN_WIDTH = 128

Row = dict[str, Any]
Report = Callable[[Row], None]


@dataclasses.dataclass(frozen=True)
class _Case:
    """A system to be measured, with its word, its batches, its leak and the labels of its rows."""

    kind: str
    system: AbstractSystem
    batches: Batch
    leak: float
    labels: Row


def bench(
    config: BenchConfig,
    *,
    command: str | None = None,
    report: Report | None = None,
    note: Callable[[str], None] | None = None,
) -> list[Row]:
    """Measures all cases or growths of a configuration, and returns the rows.

    **Arguments:**

    * `command`: the command line, for the rows.
    * `report`: called with each row as soon as it is measured.
    * `note`: called with a sentence on each size that is left out.

    **Raises:** `ConfigError`, `DataError` or `FolderError` if something cannot be measured.
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
        labels = {"weights": "initialisation", "data": config.data}
        sources = [(first, batches, labels)]
        sources += [source for trained_kind, source in trained if trained_kind == kind]
        for name in (kind, f"{kind}-strong"):
            if name not in config.cases:
                continue
            # All weights of a case have the strength that is found at initialisation, because the
            # strength of a training is constant.
            leak = PAPER_LEAK if name == kind else strong_leak(first, batches)
            for system, system_batches, source_labels in sources:
                probability = target_probability(system, system_batches, jnp.asarray(leak))
                labels = {"case": name, **source_labels, "batch_size": config.batch_size}
                labels["target_probability"] = float(probability)
                yield _Case(kind, system, system_batches, leak, labels)


def _trained(folder: Path, config: BenchConfig) -> tuple[str, tuple[AbstractSystem, Batch, Row]]:
    """Loads the last weights of a run, of its first seed.

    Returns the word of the system, and the system with its batches and the labels of its rows.
    """
    words = read_config(folder)
    kind = words.system.word
    if kind not in config.systems():
        raise ConfigError(
            f"{folder} holds weights of the system {kind}, which none of the cases "
            f"{' '.join(config.cases)} has: leave it out, or add --cases {kind}."
        )
    seed, seed_folder = next(iter(seed_folders(words, folder).items()))
    splits = _labelled(words)
    system, _ = load_trained(words, splits, seed_folder, seed)
    labels = {
        "weights": f"{words.optimiser.epochs} epochs ({folder.name})",
        "data": words.data.word,
    }
    return kind, (system, _batches(splits, config.batches, config.batch_size), labels)


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
    """Takes training samples in their order, and begins again with the first after the last."""
    indices = np.arange(count * size).reshape(count, size) % len(splits.train)
    return Batch(
        jnp.asarray(splits.train.inputs[indices]), jnp.asarray(splits.train.targets[indices])
    )


@eqx.filter_jit
def target_probability(
    system: AbstractSystem, batches: Batch, leak: Float[Array, ""]
) -> Float[Array, ""]:
    """Computes the mean probability of the targets at the controlled equilibria for a leak."""
    loss = CrossEntropy()
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batches)
    inputs, targets = flat.inputs, flat.targets
    samples = Sample(jax.vmap(system.drive)(inputs), targets)
    point = Automatic().equilibrium(ControlProblem(system, loss, leak), samples).value
    outputs = jax.vmap(system.readout)(point.state)
    if system.output_neurons:
        outputs = outputs + point.output_control
    return jnp.mean(jnp.exp(-jax.vmap(loss)(outputs, targets)))


def strong_leak(system: AbstractSystem, batches: Batch) -> float:
    """Finds the first of the leaks 6.4, 3.2, 1.6, … with a mean target probability of 0.97.

    **Raises:** `ConfigError` if none has it.
    """
    for leak in (PAPER_LEAK / 2**doublings for doublings in range(DOUBLINGS + 1)):
        if target_probability(system, batches, jnp.asarray(leak)) >= STRONG_PROBABILITY:
            return leak
    raise ConfigError(
        f"No strength up to {2**DOUBLINGS / PAPER_LEAK:.1e} brings the mean probability of the "
        f"targets to {STRONG_PROBABILITY}: leave out the strong cases, or write another --hidden "
        "or --seed."
    )


def _measured(case: _Case, rules: Sequence[str], config: BenchConfig) -> list[Row]:
    """Measures the baseline of a case and those of the given rules that it can have."""
    baseline, *others = rules_of(case.labels["case"])
    names = [baseline, *(rule for rule in others if rule in rules)]
    key = jax.random.key(config.seed)
    steps = [
        compile_step(case.system, _rule(name, case.kind, case.leak), case.batches, key)
        for name in names
    ]
    strengths = [None if name in WITHOUT_STRENGTH else 1 / case.leak for name in names]
    if config.peers and case.labels["case"] == case.kind:
        peers = PEERS[case.kind](case.system)
        names += [peer.name for peer in peers]
        strengths += [None for _ in peers]
        steps += [compile_peer_step(peer, case.batches) for peer in peers]
    timings = interleaved(steps[0], steps[1:], repeats=config.repeats, seconds=config.seconds)
    return [
        {
            **case.labels,
            "rule": name,
            "strength": strength,
            "ratio_to": baseline,
            **_row(step, timing, steps[0]),
        }
        for name, strength, step, timing in zip(names, strengths, steps, timings, strict=True)
    ]


def _rule(name: str, kind: str, leak: float) -> AbstractRule:
    strength = {} if name in WITHOUT_STRENGTH else {"alpha": leak}
    least_control = name in [kind.word for kind in CONTROLLERS]
    words = {"controller": name} if least_control else {"rule": name}
    return RunConfig.of(system=kind, hidden=(1,), **words, **strength).build_rule()


def _row(step: Step, timing: Timing, baseline: Step) -> Row:
    solves = step.solves
    row: Row = {
        "ms": timing.ms.median,
        "ms_quartiles": _quartiles(timing.ms),
        "ratio": timing.ratio.median,
        "ratio_quartiles": _quartiles(timing.ratio),
        "repeats": timing.repeats,
        "peak_mb": step.peak_mb,
        "temporary_mb": step.temporary_mb,
    }
    if solves is None:
        unknown = dict.fromkeys(("residual", "steps", "steps_max", "converged_fraction"))
        return {**row, **unknown, "difference": _distance(step.gradient, baseline.gradient)}
    return {
        **row,
        "residual": None if solves.error is None else solves.error * Tolerance().relative,
        "steps": solves.steps_mean,
        "steps_max": solves.steps_max,
        "converged_fraction": solves.converged_fraction,
    }


def _distance(gradient: Sequence[Array], other: Sequence[Array]) -> float:
    """Computes the norm of the difference of two gradients relative to the second one."""
    leaves = [
        (np.asarray(mine), np.asarray(theirs)) for mine, theirs in zip(gradient, other, strict=True)
    ]
    squares = [(np.sum((mine - theirs) ** 2), np.sum(theirs**2)) for mine, theirs in leaves]
    apart, whole = np.sqrt(np.sum(squares, axis=0))
    return float(apart / whole)


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
    """Measures one growth, and fits the exponent of each rule's curve."""
    began = last = time.perf_counter()
    rows: list[Row] = []
    for size in SIZES[grown]:
        now = time.perf_counter()
        # The next size takes at least as long as the last one.
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
        curve = [other for other in rows if other["rule"] == row["rule"]]
        sizes, times = ([point[name] for point in curve] for name in ("size", "ms"))
        slope, error = growth_exponent(sizes, times)
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
    labels = {
        "case": kind,
        "weights": "initialisation",
        "data": config.data,
        "batch_size": batch_size,
        "grown": grown,
        "size": size,
    }
    return _Case(kind, system, _batches(splits, config.batches, batch_size), PAPER_LEAK, labels)
