"""What writes the tables of the README and the documentation from `results/`: `make tables`.

`description` says what a table is and turns the files of one into Markdown; `pages` puts that
between the markers of a page; `accuracy`, `bench`, `devices`, `meta`, `reasoner`, `represent`,
`reproduction`, `strength` and `tolerance` describe the tables there are; `__main__` makes all of
them.
"""
