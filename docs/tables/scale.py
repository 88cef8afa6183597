"""The tables of what several devices hold, and of the model of large networks: of benchmarks/."""

from collections.abc import Iterable
from typing import Any

from .description import Column, File, Row, Table, under, words

PAGE = "docs/scale.md"
FILES = [File("scale.json")]
WRITER = "python benchmarks/scale.py --json FILE"

# Of each assumption: what it is, its unit, and where it comes from.
PUBLISHED, GUESSED = "published peak of an H100 SXM", "guess"
ASSUMED = {
    "float32_tflops": ("float32 operations", "10¹² a second", PUBLISHED),
    "tf32_tflops": ("TF32 operations of dense products", "10¹² a second", PUBLISHED),
    "memory_gb_per_s": ("bandwidth of the memory", "10⁹ bytes a second", PUBLISHED),
    "link_gb_per_s": ("NVLink, one direction", "10⁹ bytes a second", PUBLISHED),
    "network_gb_per_s": ("network, for each device", "10⁹ bytes a second", "400 Gb/s"),
    "utilisation": ("share of the peak that products reach", "", GUESSED),
    "bytes_an_operation": ("moved for an operation on a number", "bytes", GUESSED),
    "devices_of_a_machine": ("devices joined by NVLink", "", "8, as usually sold"),
}
PARTS = {
    "solve_products": "products of the solve, %",
    "solve_operations": "its other operations, %",
    "waiting": "waiting, at most, %",
    "rest": "drive, gradient and Adam, %",
    "sums_of_states": "sums of states, %",
    "sums_of_gradients": "sums of gradients, %",
}


def _assumptions(document: Any) -> Iterable[Any]:
    for name, value in document["assumed"].items():
        what, unit, source = ASSUMED[name]
        yield {**document, "what": what, "value": value, "unit": unit, "source": source}


def _beyond(document: Any) -> list[Any]:
    """Returns the rows of what was predicted and not calibrated."""
    return [row for row in under("checks")(document) if not row["calibrates"]]


def _within(rows: list[Row]) -> list[Row]:
    ratios = [row["ratio"] for row in rows]
    close = sum(1 / 1.25 <= ratio <= 1.25 for ratio in ratios)
    firsts = sum(1 / 1.25 <= row["ratio_by_products"] <= 1.25 for row in rows)
    memory = [row["memory_ratio"] for row in rows]
    said = (
        f"Of {len(rows)} times, {close} are within 25 %; by products alone, {firsts} would be. The "
        f"predicted memory is {min(memory):.2f} to {max(memory):.2f} of the planned one."
    )
    return [row.plus(said=said) for row in rows]


LAYOUT = [
    words("network", "network"),
    words("rule", "rule"),
    words("products", "products"),
    Column("devices", "devices", "{:d}".format),
    Column("for one copy", "per_copy", "{:d}".format),
]
TABLES = (
    Table(
        "docs/gpus-and-hosts.md",
        "sharding",
        "python benchmarks/sharding.py --json FILE",
        [File("sharding.json", {"precision": "float64"})],
        [
            words("network", "network"),
            Column("devices", "devices", "{:d}".format),
            Column("for one copy", "per_copy", "{:d}".format),
            Column("weights, MiB", "weights_mib", "{:.1f}".format),
            Column("Adam's averages, MiB", "averages_mib", "{:.1f}".format),
            Column("working memory, MiB", "working_mib", "{:.1f}".format),
            Column("peak, MiB", "peak_mib", "{:.1f}".format),
            Column("of one device's, %", "share_of_one", "{:.1f}".format, 100),
            Column("weights differ by", "difference", "{:.0e}".format),
        ],
        under("rows"),
    ),
    Table(
        PAGE,
        "scale-calibrations",
        WRITER,
        FILES,
        [
            words("kind", "kind"),
            words("rule", "rule"),
            Column("passes", "passes", "{:.2f}".format),
            Column("the last sample's, × the mean", "wait", "{:.2f}".format),
            Column("1/Q, ns", "seconds_an_operation", "{:.3f}".format, 1e9),
            Column("c", "numbers", "{:.2f}".format),
        ],
        under("calibrations"),
        above=lambda row: (
            f"R is {row['products_a_second'] / 1e9:.0f} · 10⁹ products a second, on one core."
        ),
        commands=False,
    ),
    Table(
        PAGE,
        "scale-checks",
        WRITER,
        FILES,
        [
            words("kind", "kind"),
            words("size", "size"),
            words("rule", "rule"),
            Column("passes", "passes", "{:.2f}".format),
            Column("measured, ms", "ms.least", "{:.1f}".format),
            Column("predicted, ms", "predicted_ms", "{:.1f}".format),
            Column("ratio", "ratio", "{:.2f}".format),
            Column("ratio by products alone", "ratio_by_products", "{:.2f}".format),
            Column("working memory, MB", "temporary_mb", "{:.1f}".format),
            Column("predicted, MB", "predicted_mb", "{:.1f}".format),
        ],
        _beyond,
        _within,
        above=lambda row: row["said"],
    ),
    Table(
        PAGE,
        "scale-networks",
        WRITER,
        FILES,
        [
            words("network", "network"),
            Column("weights, 10⁶", "weights", "{:.1f}".format, 1e-6),
            Column("products forward, 10⁹", "forward_products", "{:.1f}".format, 1e-9),
            Column("numbers they make, 10⁶", "numbers_made", "{:.1f}".format, 1e-6),
            Column("samples a device", "samples", "{:d}".format),
        ],
        under("networks"),
        commands=False,
    ),
    Table(
        PAGE,
        "scale-assumed",
        WRITER,
        FILES,
        [
            words("assumed", "what"),
            Column("value", "value", "{:g}".format),
            words("unit", "unit"),
            words("from", "source"),
        ],
        _assumptions,
        commands=False,
    ),
    Table(
        PAGE,
        "scale-said",
        WRITER,
        FILES,
        [
            *LAYOUT,
            Column("a step, ms", "step_ms", "{:.0f}".format),
            Column("samples a second", "samples_a_second", "{:.0f}".format),
            Column("× the baseline", "times_baseline", "{:.2f}".format),
            Column("weights and averages, GB", "weights_gb", "{:.2f}".format),
            Column("working memory, GB", "working_gb", "{:.1f}".format),
        ],
        under("said"),
        commands=False,
    ),
    Table(
        PAGE,
        "scale-shares",
        WRITER,
        FILES,
        [
            *LAYOUT,
            *(
                Column(heading, f"shares.{name}", "{:.1f}".format, 100)
                for name, heading in PARTS.items()
            ),
        ],
        under("said"),
        commands=False,
    ),
)
