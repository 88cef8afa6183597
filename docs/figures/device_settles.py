"""Draws `device_settles.svg`: accuracy of devices against the settles that they took.

    python docs/figures/device_settles.py

Of `results/devices.json`: validation samples, the mean over five devices, without and with drift.
"""

import json
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parents[2]
DRIFT = " with drift"


def draw(axes: Axes, runs: list[dict], names: list[str], ending: str) -> None:
    """Draws a curve for every way."""
    for name in names:
        curves = [run["curve"] for run in runs if run["arm"] == name + ending]
        settles = [point["settles"] for point in curves[0]]
        accuracy = 100 * np.mean(
            [[point["validation_accuracy"] for point in curve] for curve in curves], axis=0
        )
        axes.plot(settles, accuracy, label=name, linewidth=1.2)
    axes.set(xlabel="settles of a batch", ylim=(0, 100))
    axes.grid(alpha=0.3)


def main() -> None:
    """Reads the results and writes the figure."""
    document = json.loads((ROOT / "results" / "devices.json").read_text(encoding="utf-8"))
    runs = document["runs"]
    names = [name for name in document["arms"] if name + DRIFT in document["arms"]]
    names.remove("programmed")
    matplotlib.rcParams.update({"svg.hashsalt": "device_settles", "font.size": 9})
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4.4), sharey=True, layout="constrained")
    draw(axes[0], runs, names, "")
    draw(axes[1], runs, names, DRIFT)
    axes[0].set(ylabel="accuracy on validation samples, %", title="mismatch and noise")
    axes[1].set(title="with drift and two dead neurons")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
