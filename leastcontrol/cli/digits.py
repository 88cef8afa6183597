"""`make train`: the comparison on handwritten digits, as it looks in a terminal."""

import sys
from pathlib import Path

from ..runs.digits import LEAST_CONTROL, compare, next_folder
from ._console import complain, prepare, say
from ._display import Table


def main() -> None:
    """Runs the comparison into a new folder under `runs/` and prints its table."""
    from ..training import FolderError

    prepare()
    out = next_folder(Path("runs"))
    seeds = len(LEAST_CONTROL.all_seeds())
    say(
        f"Training a 64-256-256-10 network on digits, {seeds} seeds, by least control and by\n"
        "backpropagation; this takes about a minute."
    )
    try:
        summaries = compare(out, say)
    except FolderError as error:
        complain(error)
        sys.exit(2)
    table = Table(
        *("rule", "test, %", "NLL, nats", "solved, %", "steps/solve", "ms/step", "ratio"),
        title=f"digits: test accuracy and negative log-likelihood, mean ± standard deviation over "
        f"{seeds} seeds; steps of a solve; time of a training step, and its ratio",
        numbers=True,
    )
    base = summaries["backpropagation"]["mean"]["step_ms_median"]
    for name, summary in summaries.items():
        mean, std, solve = summary["mean"], summary["std"], summary["solve"]
        table.add_row(
            name,
            f"{100 * mean['test_accuracy']:.2f} ± {100 * std['test_accuracy']:.2f}",
            f"{mean['test_nll']:.3f} ± {std['test_nll']:.3f}",
            f"{100 * solve['converged_fraction']:.2f}",
            f"{solve['steps_mean']:.1f}",
            f"{mean['step_ms_median']:.2f}",
            f"{mean['step_ms_median'] / base:.1f}",
        )
    table.show()
    say(f"The runs are in {out}; `leastcontrol evaluate {out}/least-control` reads one.")


if __name__ == "__main__":
    main()
