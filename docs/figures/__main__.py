"""Draws all figures, or those that are named: `python docs/figures NAME ...`."""

import runpy
import sys

from themed import FIGURES

if __name__ == "__main__":
    drawn = sys.argv[1:] or [
        path.stem
        for path in sorted(FIGURES.glob("*.py"))
        if path.stem not in ("__main__", "themed", "gallery_data")
    ]
    for figure in drawn:
        print(figure, flush=True)
        runpy.run_path(str(FIGURES / f"{figure}.py"), run_name="__main__")
