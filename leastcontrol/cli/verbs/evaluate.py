"""`leastcontrol evaluate`."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import tyro

from ...runs.configuration import verb_of
from ...runs.measures import summary_measures
from .._console import say
from .._display import Table, matrix, print_wrapped
from ._verb import AbstractPlainVerb, check_file, write_result
from .meta import with_interval


@dataclasses.dataclass(frozen=True)
class Evaluate(AbstractPlainVerb):
    """Measure a finished run on its validation and test sets, or on its test tasks."""

    verb: ClassVar[str] = "evaluate"

    folder: tyro.conf.Positional[Path]
    """Folder that `train` or `meta` wrote."""
    data_dir: Path | None = None
    """Folder with the data set's files, if not where they were in training."""
    json: Path | None = None
    """File for the figures."""

    def check(self) -> None:
        """Checks the file for the figures."""
        check_file("json", self.json)

    def run(self, command: str) -> int:
        """Measures the run and prints its figures."""
        from ...runs.folders import read_json

        del command
        if verb_of(read_json(self.folder / "config.json")) == "meta":
            figures = self._meta()
        else:
            figures = self._training()
        write_result(self.json, figures)
        return 0

    def _training(self) -> dict[str, Any]:
        from ...report import Confusion, answers
        from ...runs.folders import read_config
        from ...runs.trained import evaluate_run

        figures = evaluate_run(self.folder, data_dir=self.data_dir)
        measures = summary_measures(read_config(self.folder))
        # Of the training samples nothing is measured.
        shown = {name: each for name, each in measures.items() if each[0] != "train"}
        headings = [f"{part} {measure.title}" for part, measure in shown.values()]
        table = Table("seed", *headings, "test solved")
        for row in figures["seeds"]:
            table.add_row(
                str(row["seed"]),
                *(measure.shown(row[name]) for name, (_, measure) in shown.items()),
                f"{100 * row['test_converged_fraction']:.2f} %",
            )
        table.show()
        if "confusion" in figures:
            counts, unsolved = (figures["confusion"][name] for name in ("counts", "unsolved"))
            shown_answers = answers(
                str(self.folder), Confusion(tuple(map(tuple, counts)), tuple(unsolved))
            )
            if shown_answers.rows:
                print_wrapped(f"{shown_answers.caption}:")
                rows = [
                    (row["heading"], [cell["text"] for cell in row["cells"]])
                    for row in shown_answers.rows
                ]
                say(matrix(shown_answers.headings, rows))
            print_wrapped(shown_answers.sentence)
        return figures

    def _meta(self) -> dict[str, Any]:
        from ...runs.meta import evaluate_meta

        figures = evaluate_meta(self.folder, data_dir=self.data_dir)
        table = Table("seed", "tasks", "test loss", "test accuracy", "residual (median)")
        for row in figures["seeds"]:
            test = row["test"]
            accuracy = "–"
            if test["accuracy"] is not None:
                accuracy = f"{with_interval(test, 'accuracy', 100, 2)} %"
            table.add_row(
                str(row["seed"]),
                str(test["tasks"]),
                with_interval(test, "loss", 1.0, 4),
                accuracy,
                f"{test['residual_median']:.1e} of the allowed",
            )
        table.show()
        return figures
