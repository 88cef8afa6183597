"""What is said: with `_display` the one place where words reach a terminal.

What would steer the terminal, such as a file's name may, is shown as an escape, and a terminal that
cannot show a character gets another in its place.
"""

import codecs
import io
import os
import shlex
import shutil
import sys
from pathlib import Path

from .._names import printable

# For terminals without them: the characters of tables, of help and of sentences.
_PLAIN = {
    **dict.fromkeys("─━═╌", "-"),
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰┏┓┗┛┡┩╇╈", "+"),
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    **{"×": "x", "±": "+/-", "…": "...", "‖": "||", "•": "*", "·": ".", "≤": "<=", "≥": ">="},
}


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    words = error.object[error.start : error.end]
    plain = [_PLAIN.get(character, character) for character in words]
    return "".join(
        character if character.isascii() else _escape(character) for character in plain
    ), error.end


def _escape(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode()


def prepare() -> None:
    """Makes both outputs show what they can, and never fail at a character."""
    codecs.register_error("leastcontrol", _in_plain_characters)
    for stream in (sys.stdout, sys.stderr):
        # What a test or a notebook put in their place may have no encoding.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="leastcontrol")


def program() -> str:
    """Finds how the program is called from here: by its name, or by its path if that is not known.

    After `make train` it lies in an environment that is not active.
    """
    script = Path(sys.executable).with_name("leastcontrol")
    named = shutil.which("leastcontrol")
    if not script.exists() or (named is not None and os.path.samefile(named, script)):
        return "leastcontrol"
    here = Path.cwd()
    if script.parent == here:
        return f"./{script.name}"
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))


def say(words: object) -> None:
    """Prints lines of the answer."""
    print(printable(words, keep="\n"), flush=True)


def tell(words: object) -> None:
    """Prints lines about the work, beside the answer."""
    print(printable(words, keep="\n"), file=sys.stderr, flush=True)


def complain(fault: object) -> None:
    """Prints a fault as one line."""
    print(f"leastcontrol: {printable(fault)}", file=sys.stderr)
