"""Draws `growth.svg`: the time of a step against width, depth and batch size.

    python docs/figures/growth.py

From `results/bench-growth.json`, which `leastcontrol bench --grow` writes.
"""

import json

from themed import RESULTS, prepare, save

from leastcontrol.bench.growth import growth_figure


def main() -> None:
    """Reads the results and writes the figure."""
    rows = json.loads((RESULTS / "bench-growth.json").read_text(encoding="utf-8"))
    prepare("growth")
    save(growth_figure(rows), "growth")


if __name__ == "__main__":
    main()
