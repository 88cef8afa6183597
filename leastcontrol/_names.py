"""Words from outside: where a name in a file may lead, and how words are shown and written.

A file that somebody else made may name a folder outside its own, steer the terminal, or hold a
password. Three questions are answered here, each once: `inside` says where a name leads,
`printable` how words are shown, and `without_passwords` what of an address may be kept. It imports
nothing of the library, so that every room can ask.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote, unquote_plus

LONGEST = 255
HIDDEN = "***"
# An address with a scheme, in a shell's quotes or up to a space.
_ADDRESS = re.compile(r"(?<=')[A-Za-z][\w+.-]*://[^']*(?=')|[A-Za-z][\w+.-]*://\S*")


def inside(folder: Path, name: object) -> Path:
    """Returns the place of a name in a folder.

    **Raises:** `ValueError`, with a clause, for anything but the name of something that lies in the
    folder itself: for a path, and for a symbolic link that leads out of it.
    """
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no name")
    if name in ("", ".", "..") or any(own in name for own in "/\\\0"):
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
        # Links in a circle.
        raise ValueError(f"{name!r} leads nowhere") from error
    if leads_out:
        raise ValueError(f"{name!r} is a link that leads out of {folder}")
    return path


def printable(words: object, *, keep: str = "") -> str:
    r"""Returns words with an escape, such as `\x1b`, for everything that is no visible character.

    **Arguments:** `keep`, characters that stay, such as the end of a line.
    """
    return "".join(
        own if own.isprintable() or own in keep else own.encode("unicode_escape").decode()
        for own in str(words)
    )


def without_passwords(words: str) -> str:
    """Returns words with `***` for what is secret in the addresses among them."""
    return _ADDRESS.sub(lambda found: hide_password(found.group()), words)


def hide_password(address: str) -> str:
    """Returns an address, such as `postgresql://user:password@host/name?option=value`, to be shown.

    The password and the values of all options are replaced by `***`, and with them whatever cannot
    be told from a password that holds `@` or `?` itself.
    """
    start, _, place, options = _parts(address)
    hidden = (f"{name}={HIDDEN}" if value else HIDDEN for name, value in options)
    return start + place + ("?" + "&".join(hidden) if options else "")


def reveals(words: str, address: str) -> bool:
    """Returns whether words hold a piece of what `hide_password` hides of an address.

    A driver may repeat an address decoded, or cut it where nobody else would.
    """
    _, password, _, options = _parts(address)
    hidden = [password, *(value or name for name, value in options)]
    forms = [form for own in hidden for form in (own, unquote(own), unquote_plus(own))]
    pieces = {piece for own in forms for piece in re.split("[:@/?&=]", own) if piece}
    return any(own in words for own in pieces)


def _parts(address: str) -> tuple[str, str, str, list[tuple[str, str]]]:
    """Returns an address up to its password, that, the rest and its options."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "", address
    start, password = scheme + separator, ""
    access, at, place = rest.rpartition("@")
    user, colon, found = access.partition(":")
    # Where a path begins at once there is nobody to have a password.
    if at and colon and not rest.startswith("/"):
        start, password, rest = f"{start}{user}:", found, f"{HIDDEN}@{place}"
    place, mark, options = rest.partition("?")
    pairs = [own.partition("=") for own in options.split("&")] if mark else []
    return start, password, place, [(name, value) for name, _, value in pairs]
