"""Draws `gradient_certificate.svg`: what a certificate predicts of gradients that are wrong.

    python docs/figures/gradient_certificate.py

From `results/gradient-certificate.json`, which `benchmarks/gradient_certificate.py` writes: for
each way to make a gradient wrong the range of predicted over true error, and how often the
certificate blamed what was at fault.
"""

import json

from matplotlib import pyplot
from matplotlib.ticker import NullFormatter
from themed import MUTED, RESULTS, prepare, save


def main() -> None:
    """Reads the results and writes the figure."""
    path = RESULTS / "gradient-certificate.json"
    faults = json.loads(path.read_text(encoding="utf-8"))["faults"]
    prepare("gradient_certificate", font_size=11)
    figure, axes = pyplot.subplots(figsize=(7.2, 2.6), layout="constrained")
    axes.axvline(1, color=MUTED, linewidth=1, linestyle="--", zorder=0)
    for height, fault in enumerate(reversed(faults)):
        ends = (fault["least_ratio"], fault["largest_ratio"])
        axes.plot(ends, (height, height), color="C0", linewidth=7, solid_capstyle="round")
        named = f"blamed in {fault['named']:.0%} of {fault['samples']}"
        axes.annotate(named, (2.3, height), (0, -4), textcoords="offset points")
        label = f"{fault['fault']}\nerror {fault['median_error']:.0%}"
        axes.annotate(label, (0.4, height), (-6, -9), textcoords="offset points", ha="right")
    axes.set(xscale="log", xlim=(0.4, 8), ylim=(-0.6, 3.6), yticks=[])
    axes.set_xticks([0.5, 1, 2], ["½", "1", "2"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)
    axes.set_xlabel("predicted error over true error, all samples")
    axes.spines[["top", "right", "left"]].set_visible(False)
    save(figure, "gradient_certificate")


if __name__ == "__main__":
    main()
