"""Names that come from data, and stay inside their folder."""

import os

from ._reading import FileError

LONGEST_NAME = 255


def check_name(name: object, source: object) -> str:
    """Returns the name of a file or folder inside another, as data gives it.

    **Raises:** `FileError` naming `source` for what would lead elsewhere, or is no name.
    """
    parts = {os.sep, os.altsep, "\\", "\0"} - {None}
    if (
        not isinstance(name, str)
        or name in ("", ".", "..")
        or any(part in name for part in parts if part)
        or len(os.fsencode(name)) > LONGEST_NAME
    ):
        shown = name[:60] if isinstance(name, str) else name
        raise FileError(
            f"{source} names {shown!r}, which is no name of something inside its own folder: it is "
            "damaged, or not to be trusted."
        )
    return name
