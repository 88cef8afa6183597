"""Draws what every arm gains over backpropagation in each regime, `regimes_*.svg`.

    python docs/figures/regimes.py

From `results/regimes.json`, which `leastcontrol reproduce regimes` writes: the mean of the paired
differences to the better of the two backpropagations, and two standard errors to either side. The
axis is linear up to the smallest difference that matters and logarithmic beyond.
"""

import json

from matplotlib import pyplot
from themed import GRID, INK, MUTED, RESULTS, prepare, save

COLOURS = ("C0", "C2", "C4", "C1", "C3", "C5", MUTED)
TICKS = (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30, 100)


def draw(regimes: dict, name: str) -> None:
    """Draws one regime."""
    regime = regimes[name.removeprefix("regimes_").replace("_", "-")]
    # Of fast learning the steps are drawn; the products stand in the table.
    settings = [each for each in regime["settings"] if each["figure"] != "products"]
    prepare(name)
    figure, axes = pyplot.subplots(figsize=(7.2, 1.6 + 0.62 * len(settings)), layout="constrained")
    for place, setting in enumerate(settings):
        arms = [arm for arm in setting["arms"] if arm["verdict"] is not None]
        for number, (arm, colour) in enumerate(zip(arms, COLOURS, strict=True)):
            mean, error = arm["difference"]
            height = -place + 0.33 - 0.11 * number
            filled = arm["verdict"] == "helps"
            axes.errorbar(
                mean,
                height,
                xerr=2 * error,
                fmt="o",
                color=colour,
                markersize=4.5,
                elinewidth=1,
                markerfacecolor=colour if filled else "#ffffff",
                label=arm["arm"] if place == 0 else None,
            )
    steps = settings[0]["figure"] == "steps"
    axes.axvline(0, color=INK, linewidth=0.8, zorder=0)
    axes.set_xscale("symlog", linthresh=16 if steps else 1)
    low, high = axes.get_xlim()
    ticks = [tick * (16 if steps else 1) for tick in TICKS]
    ticks = [tick for tick in ticks if min(low, -1) <= tick <= max(high, 1)]
    axes.set_xticks(ticks, [f"{tick:+g}" if tick else "0" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_yticks(
        [-place for place in range(len(settings))], [each["setting"] for each in settings]
    )
    axes.set_ylim(0.55 - len(settings), 0.55)
    axes.tick_params(axis="y", length=0)
    unit = "steps saved" if steps else "points gained"
    axes.set_xlabel(f"{unit} over the better backpropagation; filled where it helps")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    save(figure, name)
    pyplot.close(figure)


def main() -> None:
    """Reads the results and draws every regime."""
    document = json.loads((RESULTS / "regimes.json").read_text(encoding="utf-8"))
    (experiment,) = document["experiments"]
    regimes = {regime["name"]: regime for regime in experiment["regimes"]}
    draw(regimes, "regimes_online")
    draw(regimes, "regimes_few_data")
    draw(regimes, "regimes_drift")
    draw(regimes, "regimes_forgetting")
    draw(regimes, "regimes_noise")
    draw(regimes, "regimes_narrow_and_deep")
    draw(regimes, "regimes_fast_learning")


if __name__ == "__main__":
    main()
