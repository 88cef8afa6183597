"""Puts tables between the markers of the pages, on all pages or on none."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from .description import Table, TablesError


def rewritten(text: str, marker: str, content: str, name: str) -> str:
    """Returns the text of a page with other content between two markers.

    **Raises:** `TablesError` unless both markers stand in the page, once and in order.
    """
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end or begin in rest or end in before + after:
        raise TablesError(
            f"{name} does not have the two markers once each and in order: write {begin} and {end} "
            "on lines of their own where the table belongs."
        )
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def stale(root: Path, tables: Iterable[Table]) -> dict[Path, str]:
    """Returns the pages of a checkout that its results change, with their new texts.

    What has no files stays as it is.

    **Raises:** `TablesError` for a file or a page that cannot be used, and for no results at all.
    """
    places: dict[tuple[Path, str], list[str]] = {}
    for table in tables:
        if content := table.markdown(root / "results"):
            places.setdefault((root / table.page, table.marker), []).append(content)
    if not places:
        raise TablesError(
            f"{root / 'results'} holds no file that a table is made of: run this in a checkout of "
            "the project."
        )
    before: dict[Path, str] = {}
    after: dict[Path, str] = {}
    for (path, marker), blocks in places.items():
        if path not in before:
            try:
                before[path] = after[path] = path.read_text(encoding="utf-8")
            except (OSError, ValueError) as error:
                raise TablesError(
                    f"{path} cannot be read ({error}): run this in a checkout of the project."
                ) from error
        after[path] = rewritten(after[path], marker, "\n\n".join(blocks), str(path))
    return {path: text for path, text in after.items() if text != before[path]}


def write(pages: Mapping[Path, str]) -> None:
    """Writes pages; if one cannot be written, none has changed.

    **Raises:** `TablesError`.
    """
    temporaries = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in pages}
    try:
        for path, temporary in temporaries.items():
            temporary.write_text(pages[path], encoding="utf-8")
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    except OSError as error:
        raise TablesError(f"The pages could not be written ({error}): free the folder.") from error
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
