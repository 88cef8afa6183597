"""A model of the time and the memory of a step, checked here, and what it says of large networks.

    python benchmarks/scale.py --json results/scale.json

The time of a step is P/R + E/Q: its products P at the rate R of a large matrix product, and its
operations on numbers one by one, E, at a rate Q. Both are counted (`_counting`) for the passes that
a solve takes. R is measured, and Q is calibrated for each kind of network and each rule by a step
of one size. With the passes of that size, other sizes are predicted. The memory of a step is that
of its arguments and results, six times the weights with Adam's averages, and c numbers for each one
that the products of a forward pass result in, or one gradient if that is more; c is calibrated like
Q. Times are processor time on one core, the least of calls in turn.

What the model says of other machines rests on `ASSUMED`: published peaks, and guesses marked so.
"""

import argparse
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from _counting import SampleWork, Work
from _origin import origin
from _profile import on_one_core
from _scale_cases import CASES, CONVOLUTIONAL, KEY, TRANSFORMER, Case, example, transformer

from leastcontrol.bench.timing import Spread, Step, compile_step
from leastcontrol.files import write_json

ROUNDS, LARGE = 31, 1024
NUMBER, MEGABYTE, GIGABYTE = 4, 1e6, 1e9
GROWTH = Path(__file__).parents[1] / "results" / "bench-growth.json"
LEAST = "least control"
ASSUMED = {
    "float32_tflops": 67.0,
    "tf32_tflops": 494.7,
    "memory_gb_per_s": 3350.0,
    "link_gb_per_s": 450.0,
    "network_gb_per_s": 50.0,
    "utilisation": 0.4,
    "bytes_an_operation": 2.0,
    "devices_of_a_machine": 8,
}
"""The published peaks of an NVIDIA H100 SXM: dense products as floating-point operations, two for
each product, and bandwidths of memory, of NVLink in one direction and of a network of 400 Gb/s. Two
are guesses: the share of the peak that products reach, and the bytes moved for an operation on a
number, many of which are fused into one pass over the memory."""
IMAGES, TEXTS = 64, 32
WIDTH, LENGTH, VOCABULARY = 2560, 512, 8192
DEVICES = (1, 8, 64)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The model's numbers for one kind of network and one rule.

    * `passes`: of a solve; `wait`: the largest number of passes of a sample over the mean.
    * `seconds_an_operation`: 1/Q.
    * `numbers`: c.
    """

    passes: float
    wait: float
    seconds_an_operation: float
    numbers: float

    @staticmethod
    def of(row: dict[str, Any], work: SampleWork, rate: float) -> "Calibration":
        """Calibrates by a measured step."""
        each = work.step(row["rule"], row["passes"])
        left = row["ms"]["least"] / 1e3 / row["batch"] - each.products / rate
        numbers = row["temporary_mb"] * MEGABYTE / NUMBER / row["batch"] / work.made
        wait = row["passes_max"] / row["passes"]
        return Calibration(row["passes"], wait, left / each.elements, numbers)

    def milliseconds(self, work: SampleWork, rule: str, batch: int, rate: float) -> float:
        """Predicts the time of a step."""
        each = work.step(rule, self.passes)
        seconds = each.products / rate + each.elements * self.seconds_an_operation
        return 1e3 * batch * seconds

    def working_mb(self, made: float, weights: int, batch: int) -> float:
        """Predicts the working memory of a step."""
        return max(self.numbers * made * batch, weights) * NUMBER / MEGABYTE


def large_product_rate() -> float:
    """Measures the products a second of a large matrix product, the best of some calls."""
    square = jnp.ones((LARGE, LARGE))
    product = jax.jit(jnp.matmul)
    product(square, square).block_until_ready()
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        product(square, square).block_until_ready()
        best = min(best, time.process_time() - began)
    return LARGE**3 / best


def measured() -> Iterator[tuple[dict[str, Any], SampleWork]]:
    """Measures a step of every case and rule; yields a row and the counted work of a sample."""
    cases: list[tuple[Case, SampleWork, str, Step]] = []
    for make in CASES:
        case = make()
        work = SampleWork.of(case.system, example(case))
        for rule, kind in case.rules.items():
            cases.append((case, work, rule, compile_step(case.system, kind, case.batches, KEY)))
            print(case.kind, case.size, rule, cases[-1][3].steps_mean, flush=True)
    times: list[list[float]] = [[] for _ in cases]
    for _ in range(ROUNDS):
        for (*_, step), milliseconds in zip(cases, times, strict=True):
            began = time.process_time()
            step.call()
            milliseconds.append(1e3 * (time.process_time() - began) / step.steps)
    for (case, work, rule, step), milliseconds in zip(cases, times, strict=True):
        assert step.temporary_mb is not None
        assert step.peak_mb is not None
        yield (
            {
                "kind": case.kind,
                "size": case.size,
                "calibrates": case.calibrates,
                "rule": rule,
                "batch": case.batches.targets.shape[1],
                "weights": work.weights,
                "passes": step.steps_mean,
                "passes_max": step.steps_max,
                "converged_fraction": step.converged_fraction,
                "ms": {"least": min(milliseconds), **Spread.of(milliseconds)._asdict()},
                "temporary_mb": step.temporary_mb,
                "lasting_weights": (step.peak_mb - step.temporary_mb)
                * MEGABYTE
                / NUMBER
                / work.weights,
            },
            work,
        )


def checked(rate: float) -> tuple[list[dict[str, Any]], dict[tuple[str, str], Calibration]]:
    """Measures and predicts; returns the rows, and the calibrations by kind and rule."""
    calibrations: dict[tuple[str, str], Calibration] = {}
    rows = []
    for row, work in measured():
        kind = row["kind"], row["rule"]
        if row["calibrates"]:
            calibrations[kind] = Calibration.of(row, work, rate)
        model = calibrations[kind]
        ms = model.milliseconds(work, row["rule"], row["batch"], rate)
        mb = model.working_mb(work.made, work.weights, row["batch"])
        each = work.step(row["rule"], model.passes)
        # The first try: every product of a kind and a rule costs the same.
        first = next((r for r in rows if (r["kind"], r["rule"]) == kind), None)
        products = each.products * row["batch"]
        by_products = (
            row["ms"]["least"]
            if first is None
            else first["ms"]["least"] * products / first["products"]
        )
        row |= {
            "products": products,
            "predicted_ms": ms,
            "ratio": ms / row["ms"]["least"],
            "ratio_by_products": by_products / row["ms"]["least"],
            "predicted_mb": mb,
            "memory_ratio": mb / row["temporary_mb"],
        }
        print(f"{row['size']:45s} {row['rule']:26s} {row['ratio']:.2f} {row['memory_ratio']:.2f}")
        rows.append(row)
    return rows, calibrations


@dataclasses.dataclass(frozen=True)
class Network:
    """A large network.

    * `kind`: that of the cases by which its rules are calibrated.
    * `work`: of a sample.
    * `samples`: how many each device takes.
    * `sums`: numbers of a sample that devices which hold one copy exchange in a pass.
    """

    name: str
    kind: str
    work: SampleWork
    samples: int
    sums: float


def residual_network() -> Network:
    """Counts ResNet-50 for images of 3 × 224 × 224 and 1000 classes (He et al. 2016, table 1).

    The stride lies in the 3 × 3 convolutions. Norms, activations and pools are counted as four
    operations for each number that a convolution makes, forward and in each way back. Zeros between
    the pixels of a strided convolution are not multiplied.
    """
    layers = [(7 * 7 * 3, 64, 112**2)]
    inputs = 64
    for width, blocks, side in ((64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7)):
        for block in range(blocks):
            before = side * 2 if block == 0 and width > 64 else side
            layers += [
                (inputs, width, before**2),
                (9 * width, width, side**2),
                (width, 4 * width, side**2),
            ]
            if block == 0:
                layers.append((inputs, 4 * width, side**2))
            inputs = 4 * width
    layers.append((inputs, 1000, 1))
    first, *later = [
        Work(rows * maps * pixels, 4 * maps * pixels, maps * pixels)
        for rows, maps, pixels in layers
    ]
    total = Work()
    for work in later:
        total += work
    weights = sum(rows * maps for rows, maps, _ in layers)
    work = SampleWork(first, total, total, first + total, weights, ordered=True)
    return Network("ResNet-50", CONVOLUTIONAL, work, IMAGES, 0.0)


def large_transformer() -> Network:
    """Counts a deep equilibrium transformer of 100 million weights."""
    system = transformer(WIDTH, LENGTH, VOCABULARY)
    work = SampleWork.of(system, jax.ShapeDtypeStruct((LENGTH,), jnp.int32))
    # Two sums of a state's size forward, and two back.
    return Network(TRANSFORMER, TRANSFORMER, work, TEXTS, 4.0 * LENGTH * WIDTH)


def sweeps_of_depth() -> dict[str, float]:
    """Reads the measured sweeps of a solve in 50 and 100 residual layers."""
    rows = json.loads(GROWTH.read_text(encoding="utf-8"))
    return {
        str(row["size"]): row["steps"]
        for row in rows
        if row["grown"] == "depth" and row["rule"] == "dynamic-inversion" and row["size"] >= 50
    }


@dataclasses.dataclass(frozen=True)
class Layout:
    """Devices, and those of them that hold one copy of the weights."""

    devices: int
    per_copy: int


def extrapolated(
    network: Network,
    rule: str,
    passes: float,
    model: Calibration,
    layout: Layout,
    tflops: str,
) -> dict[str, Any]:
    """Predicts a step on assumed devices, part by part.

    Every copy takes `network.samples` samples for each of its devices. Of several copies the
    slowest is waited for: at most `wait` times the mean passes.
    """
    a = ASSUMED
    copies = layout.devices // layout.per_copy
    rate = a["utilisation"] * a[tflops] * 1e12 / 2
    memory = a["memory_gb_per_s"] * GIGABYTE
    samples = network.samples
    work, solve = network.work, network.work.solve(rule, passes)
    within = 2 * (layout.per_copy - 1) / layout.per_copy
    between = 2 * (copies - 1) / copies
    alone = layout.devices <= a["devices_of_a_machine"]
    wire = a["link_gb_per_s" if alone else "network_gb_per_s"] * GIGABYTE
    numbers = work.weights / layout.per_copy
    # A pass is forward and back, of which recurrent backpropagation's steps do one.
    pairs = passes / 2 if rule == "recurrent backpropagation" else passes
    exchanged = within * network.sums * pairs * samples * layout.per_copy * NUMBER
    products = samples * solve.products / rate
    operations = samples * solve.elements * a["bytes_an_operation"] / memory
    seconds = {
        "solve_products": products,
        "solve_operations": operations,
        "waiting": (model.wait - 1) * (products + operations) if copies > 1 else 0.0,
        "rest": samples
        * (work.rest.products / rate + work.rest.elements * a["bytes_an_operation"] / memory)
        # Adam reads weights, averages and gradient, and writes all but the last.
        + 7 * numbers * NUMBER / memory,
        "sums_of_states": exchanged / (a["link_gb_per_s"] * GIGABYTE),
        "sums_of_gradients": between * numbers * NUMBER / wire,
    }
    total = sum(seconds.values())
    working = max(model.numbers * work.made * samples, numbers) * NUMBER / GIGABYTE
    return {
        "network": network.name,
        "rule": rule,
        "passes": passes,
        "products": "TF32" if tflops.startswith("tf32") else "float32",
        "devices": layout.devices,
        "per_copy": layout.per_copy,
        "samples_a_device": samples,
        "step_ms": 1e3 * total,
        "samples_a_second": samples * layout.devices / total,
        "shares": {name: part / total for name, part in seconds.items()},
        "weights_gb": 6 * numbers * NUMBER / GIGABYTE,
        "working_gb": working,
    }


def said(calibrations: dict[tuple[str, str], Calibration]) -> list[dict[str, Any]]:
    """Returns what the model says of the large networks, with the cost beside the baseline."""
    rows = []
    sweeps = sweeps_of_depth()["50"]
    for network, baseline in (
        (residual_network(), "backpropagation"),
        (large_transformer(), "recurrent backpropagation"),
    ):
        base, least = (calibrations[network.kind, rule] for rule in (baseline, LEAST))
        layouts = [Layout(devices, 1) for devices in DEVICES]
        if network.sums:
            layouts += [Layout(devices, 8) for devices in DEVICES[1:]]
        passes = sweeps if network.kind == CONVOLUTIONAL else least.passes
        for layout in layouts:
            beside = extrapolated(network, baseline, base.passes, base, layout, "tf32_tflops")
            for rule, number, model, tflops in (
                (baseline, base.passes, base, "tf32_tflops"),
                (LEAST, passes, least, "tf32_tflops"),
                (LEAST, passes, least, "float32_tflops"),
            ):
                row = extrapolated(network, rule, number, model, layout, tflops)
                rows.append({**row, "times_baseline": row["step_ms"] / beside["step_ms"]})
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    given = parser.parse_args()
    on_one_core()
    rate = large_product_rate()
    rows, calibrations = checked(rate)
    networks = [
        {
            "network": network.name,
            "weights": network.work.weights,
            "forward_products": (network.work.drive + network.work.field).products,
            "numbers_made": network.work.made,
            "samples": network.samples,
        }
        for network in (residual_network(), large_transformer())
    ]
    document = {
        "checks": rows,
        "calibrations": [
            {"kind": kind, "rule": rule, **dataclasses.asdict(model)}
            for (kind, rule), model in calibrations.items()
        ],
        "products_a_second": rate,
        "networks": networks,
        "sweeps_by_depth": sweeps_of_depth(),
        "assumed": ASSUMED,
        "said": said(calibrations),
        "load": os.getloadavg()[0],
    }
    if given.json is not None:
        write_json(given.json, {**document, **origin()})


if __name__ == "__main__":
    main()
