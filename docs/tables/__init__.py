"""What writes the tables of the README and the documentation from `results/`: `make tables`.

`description` says what a table is and turns the files of one into Markdown; `pages` puts that
between the markers of a page; `accuracy`, `bench`, `devices`, `meta`, `noise`, `reasoner`,
`regimes`, `represent`, `reproduction`, `scale`, `strength` and `tolerance` describe the tables;
`recorded` makes what the package knows of them; `__main__` makes all of them.
"""
