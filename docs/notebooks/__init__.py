"""What makes notebooks and pages of the scripts in `examples/`.

`script` reads a script as cells; `outputs` runs them and stores what they print, in
`results/examples.json`; `pages` makes the page and the notebook of a script with what is stored.
`make notebooks` is `__main__`: it runs all scripts. MkDocs calls `docs/mkdocs_hooks.py` for each
build, which adds the pages and runs nothing.
"""
