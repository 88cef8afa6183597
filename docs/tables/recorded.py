"""Writes what reduced reproductions measured to where `leastcontrol reproduce --quick` reads it.

The record is a file of the package, `leastcontrol/papers/recorded.json`: a value a seed for each
quantity of each row, and the sentence of the reduction that it was measured with.
"""

import json
from pathlib import Path

from .description import TablesError

RECORD = Path("leastcontrol/papers/recorded.json")
FILES = ("reproduce-quick.json", "reproduce-quick-offline.json")


def stale(root: Path) -> dict[Path, str]:
    """Returns the record of a checkout with its new text, if its results change it.

    **Raises:** `TablesError` for a file that cannot be used.
    """
    record = root / RECORD
    if not record.is_file():
        return {}
    entries = []
    for name in FILES:
        path = root / "results" / name
        if not path.is_file():
            continue
        try:
            entries += [
                {
                    "experiment": experiment["experiment"],
                    "reduced": experiment["reduced"],
                    **{part: verdict[part] for part in ("row", "quantity", "values")},
                }
                for experiment in json.loads(path.read_text(encoding="utf-8"))["experiments"]
                for verdict in experiment["verdicts"]
                # A value that is not finite, which is written as null, is nothing to judge by.
                if verdict["values"] and None not in verdict["values"]
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TablesError(
                f"{path} does not hold verdicts with their values ({error}): make it anew by "
                f"leastcontrol reproduce --all --quick --results {path}."
            ) from error
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries)
    text = f"[\n{lines}\n]\n" if entries else "[]\n"
    return {} if record.read_text(encoding="utf-8") == text else {record: text}
