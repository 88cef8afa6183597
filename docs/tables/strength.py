"""The tables of strengths of control: of benchmarks/strength.py, strength_price.py and kinks.py.

A row of the first is a case at one share, over the seeds that its best learning rate has: the rate
of the highest mean validation accuracy, chosen in the same way for backpropagation. A row of the
second is a case and a solver, with and without kinks, over the shares that control removes.
"""

import statistics
from collections.abc import Callable, Sequence

from .description import DASH, Column, File, Row, Table, share, spread, under, words

PAGE = "docs/strength.md"
WRITER = "python benchmarks/strength.py --json FILE"
FILES = [File("strength.json")]
KINKS_WRITER = "python benchmarks/kinks.py --json FILE"
KINKS_FILES = [File("kinks.json")]
PRICE_WRITER = "python benchmarks/strength_price.py --json FILE"
PRICE_FILES = [File("strength-price.json")]


def _mean(rows: Sequence[Row], name: str) -> float:
    return statistics.fmean(row[name] for row in rows)


def _groups(rows: Sequence[Row], of: Callable[[Row], tuple]) -> dict[tuple, list[Row]]:
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(of(row), []).append(row)
    return groups


def _epochs_to(row: Row, loss: float) -> float | None:
    """Returns after how many epochs the training loss is at most another; part of one counts."""
    before = None
    for epoch, now in enumerate(row["train_nll_epochs"], start=1):
        if now <= loss:
            return epoch if before is None else epoch - 1 + (before - loss) / (before - now)
        before = now
    return None


def _asked(asked: float | str) -> str:
    """Shows a share in percent, or where a course of shares begins and ends."""
    if isinstance(asked, str):
        return " to ".join(f"{100 * float(share):g}" for share in asked.split(":"))
    return f"{100 * asked:g}"


def best(rows: list[Row]) -> list[Row]:
    """Returns a row for each case and share, with the figures of its best learning rate."""
    shown = []
    finals: dict[str, float] = {}
    for (case, asked), group in _groups(rows, lambda row: (row["case"], row["share"])).items():
        rates = _groups(group, lambda row: (row["learning_rate"],))
        most = max(map(len, rates.values()))
        # A rate whose seeds are not all there yet is not compared with the others.
        whole = {rate: runs for (rate,), runs in rates.items() if len(runs) == most}
        rate = max(whole, key=lambda rate: _mean(whole[rate], "validation_accuracy"))
        trials = whole[rate]
        if asked == 0:
            finals[case] = _mean(trials, "train_nll")
        reached = [_epochs_to(row, finals[case]) for row in trials] if case in finals else [None]
        known = [epochs for epochs in reached if epochs is not None]
        epochs = f"{statistics.fmean(known):.1f}" if len(known) == len(reached) else DASH.strip()
        shown.append(
            trials[0].plus(
                seeds=len(trials),
                rate=rate,
                removed="0" if asked == 0 else f"{100 * _mean(trials, 'removed_mean'):.1f}",
                end="0" if asked == 0 else f"{100 * _mean(trials, 'removed_end'):.1f}",
                loss=spread(trials, "train_nll", 1, 3),
                validation=spread(trials, "validation_accuracy"),
                test=spread(trials, "test_accuracy"),
                solved=_mean(trials, "converged_fraction"),
                steps=_mean(trials, "steps_mean"),
                epochs_to=epochs,
            )
        )
    courses = lambda row: ":" in str(row["share"])  # noqa: E731
    return sorted(shown, key=lambda row: (row["case"], courses(row), str(row["share"])))


def over_shares(rows: list[Row]) -> list[Row]:
    """Returns a row for each case and solver, with its figures at all shares."""
    shown = []
    for group in _groups(rows, lambda row: (row["case"], row["solver"])).values():
        cells: dict[str, str] = {"shares": "", "with": DASH.strip(), "without": DASH.strip()}
        cells |= {"steps_with": DASH.strip(), "steps_without": DASH.strip()}
        for (kinks,), trials in _groups(group, lambda row: (row["kinks"],)).items():
            name = "with" if kinks else "without"
            cells[name] = ", ".join(share(row["solved"]) for row in trials)
            cells[f"steps_{name}"] = ", ".join(f"{row['steps_mean']:.0f}" for row in trials)
            cells["shares"] = ", ".join(f"{100 * row['share']:g}" for row in trials)
        shown.append(group[0].plus(**cells))
    return shown


TABLES = (
    Table(
        PAGE,
        "strength",
        WRITER,
        FILES,
        [
            words("case", "case"),
            Column("asked, %", "share", _asked),
            words("removed, mean, %", "removed"),
            words("in the last epoch, %", "end"),
            Column("learning rate", "rate", "{:g}".format),
            Column("seeds", "seeds", "{:d}".format),
            words("training loss, nats", "loss"),
            words("validation accuracy, %", "validation"),
            words("test accuracy, %", "test"),
            words("epochs to backpropagation's loss", "epochs_to"),
            Column("solved, %", "solved", share),
            Column("steps a solve", "steps", "{:.1f}".format),
        ],
        under("trials"),
        best,
    ),
    Table(
        PAGE,
        "kinks",
        KINKS_WRITER,
        KINKS_FILES,
        [
            words("case", "case"),
            words("solver", "solver"),
            Column("samples", "samples", "{:d}".format),
            words("removed, %", "shares"),
            words("solved, %", "with"),
            words("steps", "steps_with"),
            words("solved with one-sided slopes, %", "without"),
            words("steps", "steps_without"),
        ],
        under("solves"),
        over_shares,
    ),
    Table(
        PAGE,
        "strength-price",
        PRICE_WRITER,
        PRICE_FILES,
        [
            words("case", "case"),
            words("step", "step"),
            Column("time, ×", "ratio.median", "{:.2f}".format),
            Column("bar", "bar", "{:.1f}".format),
            Column("products, ×", "products_ratio", "{:.2f}".format),
            Column("steps a solve", "steps", "{:.1f}".format),
            Column("solved, %", "solved", share),
            Column("removed, %", "removed", "{:.1f}".format, 100),
            Column("gradient apart", "gradient_distance", "{:.0e}".format),
        ],
        lambda document: [row for row in under("rows")(document) if row["step"] != "baseline"],
    ),
)
