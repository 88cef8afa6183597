"""The page and the notebook of a script, and the index of all."""

import json
from collections.abc import Sequence

from .script import Cell, Script

FOLDER = "examples"
INDEX = """\
# Examples

Each is one script in the folder `examples/` of the repository, runs within a minute on one core,
and is run by the tests. Each is a notebook to download too. The pictures are drawn by
`docs/figures/gallery.py` of what the scripts computed.

<div class="lc-gallery" markdown>

"""
CARD = """\
<div class="lc-card" markdown>

![{title}: what the example computed](../figures/gallery_{name}.svg)

**[{title}]({name}.md)** – {sentence} [Notebook]({name}.ipynb)

</div>

"""
NOTE = "Written from `examples/{name}.py`; [download it as a notebook]({name}.ipynb)."


def page(script: Script, printed: Sequence[str] | None) -> str:
    """Makes the page of a script, with what its cells print if that is known."""
    blocks = []
    for number, cell in enumerate(script.cells):
        if cell.is_text:
            blocks.append(cell.source)
        else:
            blocks.append(f"```python\n{cell.source}\n```")
            if printed is not None and printed[number]:
                blocks.append(f"```text\n{printed[number].rstrip()}\n```")
    blocks.append(NOTE.format(name=script.name))
    return "\n\n".join(blocks) + "\n"


def notebook(script: Script, printed: Sequence[str] | None) -> str:
    """Makes the notebook of a script: JSON of nbformat 4.5."""
    cells = [
        _notebook_cell(number, cell, printed[number] if printed is not None else "")
        for number, cell in enumerate(script.cells)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    document = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def index(scripts: Sequence[Script]) -> str:
    """Makes the gallery: a picture of every example, with a line on what it shows."""
    return INDEX + "".join(CARD.format(**_card(script)) for script in scripts) + "</div>\n"


def _card(script: Script) -> dict[str, str]:
    return {
        "name": script.name,
        "title": script.title,
        "sentence": _first_sentence(script.summary),
    }


def _first_sentence(text: str) -> str:
    sentence, end, _ = text.partition(". ")
    return f"{sentence}." if end else sentence


def _notebook_cell(number: int, cell: Cell, printed: str) -> dict[str, object]:
    common = {"id": f"cell-{number}", "metadata": {}, "source": cell.source.splitlines(True)}
    if cell.is_text:
        return {"cell_type": "markdown", **common}
    stream = {"output_type": "stream", "name": "stdout", "text": printed.splitlines(True)}
    outputs = [stream] if printed else []
    return {"cell_type": "code", "execution_count": None, "outputs": outputs, **common}
