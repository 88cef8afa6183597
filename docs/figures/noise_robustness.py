"""Draws `noise_robustness.svg`: what is learned while every neuron is noisy.

    python docs/figures/noise_robustness.py

From `results/noise-robustness.json`, which `benchmarks/noise_robustness.py` writes: the test
accuracy of small networks on MNIST after learning at a noise of 0.2, a dot for each seed.
"""

import json
import statistics

from matplotlib import pyplot
from themed import GRID, INK, RESULTS, prepare, save

NOISE = 0.2
# The rules, in their order from below, with their names and colours.
RULES = {
    "nudged DFC, two-phase": ("nudged feedback", "C1"),
    "equilibrium propagation, β = 0.02": ("equilibrium propagation", "C1"),
    "Strong-DFC, two-phase": ("strong feedback, two phases", "C0"),
    "Strong-DFC, single-phase": ("strong feedback, one phase", "C0"),
    "least control, α = 1": ("least control, α = 1", "C0"),
    "least control, α = 0.01": ("least control, α = 0.01", "C0"),
}


def main() -> None:
    """Reads the results and writes the figure."""
    runs = json.loads((RESULTS / "noise-robustness.json").read_text(encoding="utf-8"))["runs"]
    prepare("noise_robustness", font_size=11)
    figure, axes = pyplot.subplots(figsize=(7.2, 3), layout="constrained")
    for height, (rule, (label, colour)) in enumerate(RULES.items()):
        accuracies = [
            100 * run["test_accuracy"]
            for run in runs
            if run["rule"] == rule and run["noise"] == NOISE
        ]
        mean = statistics.fmean(accuracies)
        axes.barh(height, mean, color=colour, height=0.62, alpha=0.35)
        axes.plot(accuracies, [height] * len(accuracies), "o", color=colour, markersize=5)
        axes.annotate(
            f"{mean:.1f} %", (max(accuracies), height), (8, -4), textcoords="offset points"
        )
        axes.annotate(label, (0, height), (-6, -4), textcoords="offset points", ha="right")
    axes.axvline(10, color=GRID, zorder=0)
    axes.annotate("chance", (10, 5.45), color=INK, fontsize=9, ha="center")
    axes.set(xlim=(0, 110), ylim=(-0.6, 5.9), yticks=[], xticks=[0, 25, 50, 75, 100])
    axes.set_xlabel("test accuracy after learning under noise, %")
    axes.spines[["top", "right", "left"]].set_visible(False)
    save(figure, "noise_robustness")


if __name__ == "__main__":
    main()
