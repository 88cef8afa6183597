"""Draws `device_training.svg`: devices that are trained from measurements alone.

    python docs/figures/device_training.py

From `results/devices.json`, which `benchmarks/devices.py` writes: the test accuracy on digits of
five simulated devices, each with its own mismatch, programmed with the weights of an ideal network,
or trained in the loop with feedback that is learned or random; and of ideal devices.
"""

import json
import statistics

from matplotlib import pyplot
from themed import RESULTS, prepare, save

ARMS = {
    "programmed": ("weights copied to the device", "C1"),
    "random": ("in the loop, random feedback", "C0"),
    "learned": ("in the loop, learned feedback", "C0"),
    "ideal": ("a device without mismatch", "C5"),
}


def main() -> None:
    """Reads the results and writes the figure."""
    runs = json.loads((RESULTS / "devices.json").read_text(encoding="utf-8"))["runs"]
    prepare("device_training", font_size=11)
    figure, axes = pyplot.subplots(figsize=(7.2, 2.4), layout="constrained")
    for height, (arm, (label, colour)) in enumerate(ARMS.items()):
        accuracies = [100 * run["test_accuracy"] for run in runs if run["arm"] == arm]
        mean = statistics.fmean(accuracies)
        axes.barh(height, mean, color=colour, height=0.62, alpha=0.35)
        axes.plot(accuracies, [height] * len(accuracies), "o", color=colour, markersize=5)
        edge = max(accuracies)
        axes.annotate(f"{mean:.1f} %", (edge, height), (8, -4), textcoords="offset points")
        axes.annotate(label, (0, height), (-6, -4), textcoords="offset points", ha="right")
    axes.set(xlim=(0, 112), ylim=(-0.6, 3.6), yticks=[], xticks=[0, 25, 50, 75, 100])
    axes.set_xlabel("accuracy on the device, %")
    axes.spines[["top", "right", "left"]].set_visible(False)
    save(figure, "device_training")


if __name__ == "__main__":
    main()
