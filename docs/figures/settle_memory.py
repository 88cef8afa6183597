"""Draws `settle_memory.svg`: the memory that a gradient through an equilibrium takes.

    python docs/figures/settle_memory.py

From `results/settle-memory.json`, which `benchmarks/settle_memory.py` writes: the temporary arrays
of the compiled gradient against the iterations that a solve may take.
"""

import json

from matplotlib import pyplot
from themed import RESULTS, prepare, save

WAYS = {
    "unrolled": ("unrolled", "C1", "-"),
    "Optimistix": ("Optimistix, default adjoint", "C2", "-"),
    "Optimistix, GMRES": ("Optimistix, GMRES", "C2", "--"),
    "settle": ("settle", "C0", "-"),
    "hand-written `custom_vjp`": ("by hand, nothing certified", "C4", "--"),
}


def main() -> None:
    """Reads the results and writes the figure."""
    rows = json.loads((RESULTS / "settle-memory.json").read_text(encoding="utf-8"))["rows"]
    memory = {row["way"]: row["temporary_mb"] for row in rows}
    prepare("settle_memory", font_size=11)
    figure, axes = pyplot.subplots(figsize=(7.2, 3), layout="constrained")
    for way, (label, colour, line) in WAYS.items():
        steps, sizes = zip(*((int(n), mb) for n, mb in memory[way].items()), strict=True)
        axes.loglog(steps, sizes, line, marker="o", color=colour, linewidth=2)
        offset = -12 if way == "hand-written `custom_vjp`" else -3
        axes.annotate(
            f"{label}, {sizes[-1]:.2g} MB" if sizes[-1] < 100 else f"{label}, {sizes[-1]:.0f} MB",
            (steps[-1], sizes[-1]),
            (10, offset),
            textcoords="offset points",
            color=colour,
        )
    axes.set(xlim=(8, 2e4), ylim=(0.12, 400), xticks=[10, 100, 1000])
    axes.set_xlabel("iterations that a solve may take")
    axes.set_ylabel("memory, MB")
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "settle_memory")


if __name__ == "__main__":
    main()
