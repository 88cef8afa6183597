"""Handling of untrusted text: names of files, text for the terminal, addresses, and summaries.

A file from elsewhere may refer to a folder outside its own, contain terminal control characters, or
contain a password. `inside` resolves a name safely, `printable` escapes text, `without_passwords`
removes passwords from addresses, and `is_finite` and `strength_shown` read what a summary says.
This module imports nothing of the library, so every other module can use it.
"""

import math
import os
import re
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import unquote, unquote_plus

LONGEST = 255
HIDDEN = "***"
# An address with a scheme, in shell quotes or up to a space.
_ADDRESS = re.compile(r"(?<=')[A-Za-z][\w+.-]*://[^']*(?=')|[A-Za-z][\w+.-]*://\S*")


def inside(folder: Path, name: object) -> Path:
    """Resolves a name in a folder.

    **Raises:** `ValueError`, with a clause as its message, for a path, for an invalid name, and for
    a symbolic link that leads out of the folder.
    """
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no name")
    if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
        raise ValueError(f"{name!r} is a path, and no name in {folder}")
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError as error:
        raise ValueError(f"{name!r} cannot be the name of a file") from error
    if size > LONGEST:
        raise ValueError(f"a name has {size} bytes, and at most {LONGEST} are allowed")
    path = folder / name
    try:
        leads_out = not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:
        # Symbolic links may form a cycle.
        raise ValueError(f"{name!r} leads nowhere") from error
    if leads_out:
        raise ValueError(f"{name!r} is a link that leads out of {folder}")
    return path


def printable(words: object, *, keep: str = "") -> str:
    r"""Escapes all characters that are not printable, for example as `\x1b`.

    **Arguments:** `keep`, characters that are not escaped, such as the end of a line.
    """
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode()
        for c in str(words)
    )


def is_finite(value: object) -> TypeGuard[float]:
    """Returns whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def strength_shown(strength: dict[str, Any] | None) -> str:
    """Returns what set the strength of control in a summary: "α = 320", or the share asked for."""
    if strength is None:
        return "–"
    if strength.get("asked") is not None:
        return f"asked {strength['asked']}"
    alpha = strength.get("alpha")
    return f"α = {alpha:g}" if is_finite(alpha) else "–"


def without_passwords(words: str) -> str:
    """Replaces the secret parts of all addresses in a text by `***`."""
    return _ADDRESS.sub(lambda match: hide_password(match.group()), words)


def hide_password(address: str) -> str:
    """Hides the secrets of an address such as `postgresql://user:password@host/name?option=value`.

    Replaces the password and the values of all options by `***`, including everything that might
    belong to a password which itself contains `@` or `?`.
    """
    start, _, place, options = _parts(address)
    hidden = (f"{name}={HIDDEN}" if value else HIDDEN for name, value in options)
    return start + place + ("?" + "&".join(hidden) if options else "")


def reveals(words: str, address: str) -> bool:
    """Returns whether a text contains any part of the secrets that `hide_password` hides.

    Messages of drivers may contain an address in decoded form, or split in unusual places.
    """
    _, password, _, options = _parts(address)
    hidden = [password, *(value or name for name, value in options)]
    forms = [form for part in hidden for form in (part, unquote(part), unquote_plus(part))]
    pieces = {piece for form in forms for piece in re.split("[:@/?&=]", form) if piece}
    return any(piece in words for piece in pieces)


def _parts(address: str) -> tuple[str, str, str, list[tuple[str, str]]]:
    """Splits an address into its start, its password, the rest, and its options."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "", address
    start, password = scheme + separator, ""
    access, at, place = rest.rpartition("@")
    user, colon, secret = access.partition(":")
    # An address that begins with a path has no user and so no password.
    if at and colon and not rest.startswith("/"):
        start, password, rest = f"{start}{user}:", secret, f"{HIDDEN}@{place}"
    place, mark, options = rest.partition("?")
    pairs = [option.partition("=") for option in options.split("&")] if mark else []
    return start, password, place, [(name, value) for name, _, value in pairs]
