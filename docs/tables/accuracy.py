"""The tables of test accuracy: a row is one training of several seeds, beside the paper's number.

A file holds the run that its name promises: its network's options, and those of its rule here. What
a paper reports is the registry's.
"""

import dataclasses
from typing import Any

from leastcontrol.papers.registry import (
    DEEP_TABLE,
    FASHION_TABLE,
    FEEDFORWARD_TABLE,
    RECURRENT_TABLE,
    Experiment,
)

from .description import ACCURACY, DASH, SPREAD_OF_3, Column, File, Table, share, words


def _least(controller: str, **options: Any) -> dict[str, Any]:
    return {"rule": "least-control", "controller": controller, **options}


def _deep(teaching: str, **options: Any) -> dict[str, Any]:
    return {"rule": "deep-feedback-control", "teaching": teaching, **options}


BACKPROPAGATION = ("backpropagation", {"rule": "backpropagation"})
# By the end of a file's name: the rule for the reader, and its options.
RULES = {
    "backpropagation": BACKPROPAGATION,
    "recurrent-backpropagation": (
        "recurrent backpropagation",
        {"rule": "recurrent-backpropagation"},
    ),
    "automatic": ("least control, automatic", _least("automatic")),
    "dynamic-inversion": ("least control, dynamic inversion", _least("dynamic-inversion")),
    "energy": ("least control, energy", _least("energy")),
    "kolen-pollack": ("least control, Kolen–Pollack feedback", _least("kolen-pollack")),
    "linear-feedback": ("least control, linear feedback", _least("linear-feedback")),
    # So small a leak brings targets to a probability of 0.97 at rest under first weights.
    "strong-control": (
        "least control, strong",
        _least("automatic", alpha=1e-4, alpha_convention="batch-mean"),
    ),
    "dfc-backpropagation": BACKPROPAGATION,
    "dfc-nudged": ("deep feedback control, nudged", _deep("nudged", phase="steady-state")),
    "dfc-strong": ("strong feedback that learns", _deep("strong", phase="steady-state")),
    "single-phase": (
        "strong feedback, simulated single phase",
        _deep("strong", feedback_learning="single-phase"),
    ),
    "dfc-direct-feedback-alignment": (
        "direct feedback alignment",
        {"rule": "direct-feedback-alignment"},
    ),
}
INVERSIONS = ("dynamic-inversion", "energy", "kolen-pollack", "linear-feedback")
# The registry's rows that are not named like the files.
REGISTERED = {
    "dfc-backpropagation": "backpropagation",
    "dfc-nudged": "nudged",
    "dfc-strong": "strong-two-phases",
    "single-phase": "strong-single-phase",
}


def _runs(
    name: str, system: str, /, *ends: str, paper: Experiment | None = None, **network: Any
) -> list[File]:
    """Returns the files NAME-END of one network, whose rows may be those of an experiment."""
    published = {row.name: row.expectations[0] for row in paper.rows} if paper else {}
    files = []
    for end in ends:
        rule, options = RULES[end]
        holds = {f"config.{option}": value for option, value in {**network, **options}.items()}
        known = _shown(published.get(REGISTERED.get(end, end)))
        files.append(
            File(f"{name}-{end}.json", holds, {"system": system, "rule": rule, "paper": known})
        )
    return files


def _shown(published: Any) -> str:
    if published is None:
        return "–"
    spread = "" if published.spread is None else f" ± {published.spread:.2f}"
    return f"{published.value:.2f}{spread}"


FEEDFORWARD = {"data": "mnist", "system": "feedforward", "hidden": [256, 256]}
DEEP = {"system": "feedforward", "hidden": [256, 256, 256]}
FEEDBACK = (*REGISTERED, "dfc-direct-feedback-alignment")

SYSTEM = words("system", "system")
RULE = words("rule", "rule")
SEEDS = Column("seeds", "per_seed", lambda seeds: f"{len(seeds)}")
EPOCHS = Column("epochs", "epochs", "{:d}".format)
SOLVED = Column("solved, %", "solve.converged_fraction", share)
STEPS = Column("steps a solve", "solve.steps_mean", "{:.1f}".format)
TIME = Column("ms a step", "mean.step_ms_median", "{:.2f}".format)

RESULTS = Table(
    "docs/results.md",
    "results",
    "leastcontrol train --seeds 0 1 2 --results FILE",
    [
        *_runs(
            *("mnist-feedforward", "feedforward 2×256", "backpropagation", *INVERSIONS),
            paper=FEEDFORWARD_TABLE,
            **FEEDFORWARD,
        ),
        *_runs(
            *("mnist-rnn", "RNN 256", "recurrent-backpropagation", *INVERSIONS),
            paper=RECURRENT_TABLE,
            **{"data": "mnist", "system": "rnn", "hidden": [256]},
        ),
        *_runs("mnist-feedforward", "feedforward 2×256", "strong-control", **FEEDFORWARD),
    ],
    [SYSTEM, RULE, ACCURACY, SEEDS, Column("the paper, %", "paper"), SOLVED, STEPS, TIME],
)
TABLES = (
    dataclasses.replace(RESULTS, page="README.md", commands=False),
    RESULTS,
    dataclasses.replace(
        RESULTS,
        marker="feedback-control",
        files=[
            *_runs("mnist", "MNIST", *FEEDBACK, paper=DEEP_TABLE, data="mnist", **DEEP),
            *_runs(
                *("fashion-mnist", "Fashion-MNIST", *FEEDBACK),
                paper=FASHION_TABLE,
                data="fashion-mnist",
                **DEEP,
            ),
        ],
        columns=[
            words("data", "system"),
            *(RULE, ACCURACY, SEEDS, EPOCHS),
            Column("the authors, %", "paper"),
            Column("‖e_end‖/‖e_0‖", "diagnostics.error_ratio.all", "{:.3f}".format, absent=DASH),
            Column(
                "condition (at random)",
                "diagnostics.condition.all diagnostics.condition.random",
                "{:.2f} ({:.2f})".format,
                absent=DASH,
            ),
            *(SOLVED, TIME),
        ],
    ),
    dataclasses.replace(
        RESULTS,
        page="docs/depth-and-space.md",
        marker="depth",
        files=[
            file
            for system, name, cell, *ends in (
                ("convolutional", "convolutional", {}, "backpropagation", "dynamic-inversion"),
                ("residual", "residual", {}, "backpropagation", "automatic"),
                (
                    "deep-equilibrium",
                    "deep equilibrium, swapped cell",
                    {"cell": "swapped"},
                    "recurrent-backpropagation",
                    "dynamic-inversion",
                ),
            )
            for file in _runs(
                f"fashion-mnist-{system}", name, *ends, data="fashion-mnist", system=system, **cell
            )
        ],
        columns=[
            *(SYSTEM, RULE, ACCURACY),
            Column("training loss, nats", "mean.train_nll std.train_nll", SPREAD_OF_3, absent=DASH),
            *(SEEDS, EPOCHS, SOLVED, STEPS, TIME),
        ],
    ),
)
