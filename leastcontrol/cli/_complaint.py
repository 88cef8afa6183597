"""What is said of a fault."""

import sys


def complain(fault: object) -> None:
    """Prints a fault as one line: what would break it, such as a file's name, is escaped."""
    said = "".join(
        own if own.isprintable() else own.encode("unicode_escape").decode() for own in str(fault)
    )
    print(f"leastcontrol: {said}", file=sys.stderr)
