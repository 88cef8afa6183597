"""The table of implicit representations.

A row is one rule at one factor Ω of the activities. A picture's figure is its mean over the seeds;
a cell is the mean over the pictures of a kind with their deviation. Both rules begin with the same
weights: the row below the two of an Ω is their difference picture by picture, with its standard
error.
"""

import statistics
from collections.abc import Iterator
from typing import Any

from .description import SPREAD, Column, File, Row, Table, check_alike, lead, share, words

# The baseline first.
RULES = ("recurrent-backpropagation", "least-control")
FREQUENCIES = (15, 30)
KINDS = ("natural", "text")
# What the two rules may have apart.
APART = ("rule", "gradient_clip")


def _with_pictures(summary: Any) -> list[Any]:
    figures = {kind: _of_kind(summary, kind) for kind in KINDS}
    shown = {
        kind: SPREAD(statistics.fmean(values), statistics.stdev(values))
        for kind, values in figures.items()
    }
    return [{**summary, "figures": figures, "shown": shown}]


def _of_kind(summary: Any, kind: str) -> list[float]:
    """Returns the figures of the pictures of a kind, each the mean over the seeds."""
    every = []
    for seed in summary["per_seed"]:
        if [picture["image"] for picture in seed["pictures"]] != summary["config"]["images"]:
            raise ValueError("the pictures of a seed are not those of the configuration")
        pictures = [
            picture for picture in seed["pictures"] if picture["image"].startswith(f"{kind}-")
        ]
        every.append([picture["psnr_test"] for picture in pictures])
    return [statistics.fmean(values) for values in zip(*every, strict=True)]


def _with_differences(rows: list[Row]) -> Iterator[Row]:
    for frequency in FREQUENCIES:
        pair = [row for row in rows if row["config.frequency"] == frequency]
        check_alike(pair, _shared)
        yield from pair
        if len(pair) == 2:
            baseline, second = pair
            leads = {
                kind: lead(second[f"figures.{kind}"], baseline[f"figures.{kind}"]) for kind in KINDS
            }
            shown = {kind: f"{mean:+.2f} ± {error:.2f}" for kind, (mean, error) in leads.items()}
            yield second.plus(
                label="the second less the first", shown=shown, config=None, mean=None
            )


def _shared(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row["config"].items() if name not in APART}


TABLES = (
    Table(
        "docs/depth-and-space.md",
        "pictures",
        "leastcontrol represent --seeds 0 1 2 --results FILE",
        [
            File(
                f"represent-{rule}-{frequency}.json",
                {"config.rule": rule, "config.frequency": frequency},
                {"label": rule.replace("-", " ")},
            )
            for frequency in FREQUENCIES
            for rule in RULES
        ],
        (
            Column("Ω", "config.frequency", "{:g}".format, absent=" "),
            words("rule", "label"),
            *(Column(f"{kind}, dB", f"shown.{kind}") for kind in KINDS),
            Column("solved, %", "mean.converged_fraction", share, absent=" "),
            Column("steps a solve", "mean.solve_steps", "{:.1f}".format, absent=" "),
            Column("ms a step", "mean.step_ms_median", "{:.1f}".format, absent=" "),
        ),
        _with_pictures,
        _with_differences,
    ),
)
