"""`make train`: the comparison on handwritten digits, as it looks in a terminal."""

import sys
from pathlib import Path
from typing import Any

from ..runs.comparison import SHARES
from ..runs.digits import LEAST_CONTROL, RULES, compare, folder_name, next_folder
from ._console import complain, prepare, program, say
from ._display import Table, Work


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
    configs = list(RULES.values())
    epochs = configs[0].optimiser.epochs
    try:
        with Work(len(RULES) * seeds * epochs, "epochs") as work:

            def report(name: str, seed: int, metrics: Any) -> None:
                value = f"{100 * metrics.validation.accuracy:.2f} %"
                before = list(RULES).index(name) * seeds + configs[0].all_seeds().index(seed)
                work.at(
                    f"{name}, seed {seed}: validation {value} after {metrics.epoch} epochs",
                    before * epochs + metrics.epoch,
                    short=f"{name}: {value}",
                    last=metrics.epoch == epochs,
                )

            summaries = compare(out, report)
    except FolderError as error:
        complain(error)
        sys.exit(2)
    print_summaries(summaries, seeds)
    say(
        f"The runs are in {out}. Look at them: "
        f"{program()} report {' '.join(f'{out}/{folder_name(name)}' for name in RULES)}"
    )


def print_summaries(summaries: dict[str, dict[str, Any]], seeds: int) -> None:
    """Prints the table of the rules' summaries."""
    table = Table(
        *("rule", "test, %", "loss removed, mean / end, %", "solved, %", "ms a step", "ratio"),
        *("NLL, nats", "steps a solve"),
        title=f"digits: test accuracy and NLL, mean ± standard deviation over {seeds} seeds; share "
        "of the loss that control removed over the training and in its last epoch",
        numbers=True,
        kept=3,
    )
    base = summaries["backpropagation"]["mean"]["step_ms_median"]
    for name, summary in summaries.items():
        mean, std, solve = summary["mean"], summary["std"], summary["solve"]
        strength = summary.get("strength")
        table.add_row(
            name,
            f"{100 * mean['test_accuracy']:.2f} ± {100 * std['test_accuracy']:.2f}",
            " / ".join(f"{100 * strength[name]:.1f}" for name in SHARES) if strength else "–",
            f"{100 * solve['converged_fraction']:.2f}",
            f"{mean['step_ms_median']:.2f}",
            f"{mean['step_ms_median'] / base:.1f}",
            f"{mean['test_nll']:.3f} ± {std['test_nll']:.3f}",
            f"{solve['steps_mean']:.1f}",
        )
    table.show()


if __name__ == "__main__":
    main()
