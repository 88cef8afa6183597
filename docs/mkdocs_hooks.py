"""Adds the pages and notebooks of the examples to a build by MkDocs."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from notebooks import pages
from notebooks.outputs import outputs_of, read
from notebooks.script import scripts


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds them as files that exist in no folder."""
    root = Path(config.config_file_path).parent
    stored, examples = read(root), scripts(root)
    contents = {"index.md": pages.index(examples)}
    for script in examples:
        printed = outputs_of(script, stored)
        contents[f"{script.name}.md"] = pages.page(script, printed)
        contents[f"{script.name}.ipynb"] = pages.notebook(script, printed)
    for name, content in contents.items():
        files.append(File.generated(config, f"{pages.FOLDER}/{name}", content=content))
    return files
