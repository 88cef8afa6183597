"""Runs examples and stores what their pictures show, in `results/gallery.json`.

    python docs/figures/gallery_data.py [NAME ...]

Each example is run as it stands, in a process of its own, and a few of its arrays are kept, with
the checksum of the script. `gallery.py` draws them.
"""

import contextlib
import io
import json
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from themed import RESULTS

ROOT = RESULTS.parent
sys.path.insert(0, str(ROOT / "docs"))
COMMAND = "python docs/figures/gallery_data.py"
FILE = RESULTS / "gallery.json"
# What is taken from the names of each example when it has run.
TAKEN = {
    "bilevel": lambda values: {
        "common": np.exp(values["common"]),
        "learned": np.exp(values["eta"]),
    },
    "deq_transformer": lambda values: {"steps": values["solution"].stats.steps},
    "encoder_equilibrium_decoder": lambda values: {
        "loss": values["accuracy_by_loss"],
        "control": values["accuracy_by_control"],
    },
    "energy_model": lambda values: {
        name: values[name][:5] for name in ("noisy", "cleaned", "unseen")
    },
    "ensemble": lambda values: {name: values[name] for name in ("disagreement", "right")},
    "flax_nnx_cell": lambda values: {"steps": values["solution"].stats.steps},
    "lotka_volterra": lambda values: {
        "learned": values["competition"][values["pairs"]],
        "true": values["truth"][values["pairs"]],
    },
    "warm_starts": lambda values: {"chains": values["seen"][:, -1]},
}


def taken(name: str) -> dict[str, Any]:
    """Runs an example and returns what is stored of it."""
    from notebooks.script import read_script

    path = ROOT / "examples" / f"{name}.py"
    space: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)
    arrays = {
        key: np.round(np.asarray(value, float), 3).tolist()
        for key, value in TAKEN[name](space).items()
    }
    return {"sha256": read_script(path).digest, **arrays}


def main() -> None:
    """Runs the examples that are named, or all of them."""
    from leastcontrol.files import write_json
    from leastcontrol.runs.origin import commit, versions

    stored = json.loads(FILE.read_text(encoding="utf-8"))["examples"] if FILE.exists() else {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as processes:
        for name in sys.argv[1:] or TAKEN:
            print(name, flush=True)
            entry = processes.submit(taken, name).result()
            stored[name] = {**entry, "commit": commit(), "versions": versions()}
            kept = {name: stored[name] for name in sorted(stored)}
            write_json(FILE, {"examples": kept, "command": COMMAND})


if __name__ == "__main__":
    main()
