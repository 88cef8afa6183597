"""Draws a picture of each example, `gallery_NAME.svg`, from `results/gallery.json`.

    python docs/figures/gallery.py

`gallery_data.py` ran the examples and stored what is shown.
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from themed import MUTED, RESULTS, prepare, save

Entry = dict[str, Any]


def bilevel(axes: Axes, entry: Entry) -> None:
    """Draws the learned penalties beside the best common one."""
    groups = ("means", "errors", "worst", "noise")
    axes.barh(groups, entry["learned"], color="C0", alpha=0.6)
    axes.axvline(entry["common"], color="C1", linestyle="--")
    axes.set(xscale="log", xlabel="learned penalty of a group of features")
    axes.invert_yaxis()
    axes.set_title("dashed: the best common penalty", fontsize=10, color=MUTED)


def steps(axes: Axes, entry: Entry) -> None:
    """Draws how many steps the samples took to their rest."""
    counts = np.asarray(entry["steps"])
    edges = np.arange(counts.min(), counts.max() + 2) - 0.5
    axes.hist(counts, edges, color="C0", alpha=0.6)
    axes.set(xlabel="steps to rest, of each unseen sample", ylabel="samples")


def two_gradients(axes: Axes, entry: Entry) -> None:
    """Draws the accuracy of two gradients of one model."""
    names = ("by the loss,\nthrough settle", "by the control,\nleast_control")
    values = (100 * entry["loss"], 100 * entry["control"])
    bars = axes.bar(names, values, color=["C0", "C1"], alpha=0.6, width=0.5)
    axes.bar_label(bars, fmt="%.1f %%")
    axes.set(ylim=(0, 115), ylabel="unseen digits right, %", yticks=[0, 50, 100])


def pictures(axes: Axes, entry: Entry) -> None:
    """Draws digits with noise, at the minimum of the energy, and as they were."""
    rows = [np.asarray(entry[name]) for name in ("noisy", "cleaned", "unseen")]
    padded = [[np.pad(digit, 1, constant_values=0.5) for digit in row] for row in rows]
    axes.imshow(np.vstack([np.hstack(row) for row in padded]), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[5, 15, 25])
    axes.set_yticklabels(["noisy", "minimum", "true"])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def disagreement(axes: Axes, entry: Entry) -> None:
    """Draws how far the members disagree where the ensemble is right and where it is wrong."""
    amount, right = np.asarray(entry["disagreement"]), np.asarray(entry["right"], bool)
    edges = np.linspace(0, amount.max(), 16)
    for chosen, label, colour in ((right, "right", "C0"), (~right, "wrong", "C1")):
        weights = np.full(chosen.sum(), 100 / chosen.sum())
        axes.hist(amount[chosen], edges, weights=weights, color=colour, alpha=0.55, label=label)
    axes.set(xlabel="disagreement of the members, nats", ylabel="of such digits, %")
    axes.legend(title="the ensemble is", frameon=False)


def competition(axes: Axes, entry: Entry) -> None:
    """Draws learned against true competition between species."""
    axes.plot(entry["true"], entry["learned"], "o", color="C0", alpha=0.6, markersize=5)
    ends = (0, max(entry["true"]))
    axes.plot(ends, ends, "--", color=MUTED, linewidth=1)
    axes.set(xlabel="true competition of two species", ylabel="learned")


def chains(axes: Axes, entry: Entry) -> None:
    """Draws a hanging chain in a wind that turns."""
    shown = np.asarray(entry["chains"])[::3]
    for number, chain in enumerate(shown):
        x, y = np.vstack([[0.0, 0.0], chain]).T
        axes.plot(x, y, "o-", color="C0", alpha=0.25 + 0.6 * number / len(shown), markersize=3)
    axes.plot(0, 0, "s", color="C1")
    axes.set(xlabel="a chain of springs in a turning wind", xticks=[], yticks=[], aspect="equal")


DRAWN: dict[str, Callable[[Axes, Entry], None]] = {
    "bilevel": bilevel,
    "deq_transformer": steps,
    "encoder_equilibrium_decoder": two_gradients,
    "energy_model": pictures,
    "ensemble": disagreement,
    "flax_nnx_cell": steps,
    "lotka_volterra": competition,
    "warm_starts": chains,
}


def main() -> None:
    """Reads the results and writes the figures."""
    examples = json.loads((RESULTS / "gallery.json").read_text(encoding="utf-8"))["examples"]
    for name, draw in DRAWN.items():
        prepare(f"gallery_{name}", font_size=11)
        figure, axes = pyplot.subplots(figsize=(4.8, 3.0), layout="constrained")
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, examples[name])
        save(figure, f"gallery_{name}")
        pyplot.close(figure)


if __name__ == "__main__":
    main()
