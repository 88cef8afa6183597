"""Draws `device_settles.svg`: accuracy of devices against the settles that they took.

    python docs/figures/device_settles.py

Of `results/devices.json`: validation samples, the mean over five devices, without and with drift.
"""

import json

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from themed import RESULTS, prepare, save

STYLES = ("C0-", "C1-", "C2-", "C3-", "C3--", "C4-", "C5-", "C5--")
DRIFT = " with drift"


def draw(axes: Axes, runs: list[dict], names: list[str], ending: str) -> None:
    """Draws a curve for every way."""
    for name, style in zip(names, STYLES, strict=True):
        curves = [run["curve"] for run in runs if run["arm"] == name + ending]
        settles = [point["settles"] for point in curves[0]]
        accuracy = 100 * np.mean(
            [[point["validation_accuracy"] for point in curve] for curve in curves], axis=0
        )
        axes.plot(settles, accuracy, style, label=name, linewidth=1.2)
    axes.set(xlabel="settles of a batch", ylim=(0, 100))


def main() -> None:
    """Reads the results and writes the figure."""
    document = json.loads((RESULTS / "devices.json").read_text(encoding="utf-8"))
    runs = document["runs"]
    names = [name for name in document["arms"] if name + DRIFT in document["arms"]]
    names.remove("programmed")
    prepare("device_settles", font_size=9)
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4.4), sharey=True, layout="constrained")
    draw(axes[0], runs, names, "")
    draw(axes[1], runs, names, DRIFT)
    axes[0].set(ylabel="accuracy on validation samples, %", title="mismatch and noise")
    axes[1].set(title="with drift and two dead neurons")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    save(figure, "device_settles")


if __name__ == "__main__":
    main()
