"""The words of the command line: one file for each, in a folder for each choice.

A word is a frozen dataclass with its name, its options, its checks and `build`, which imports what
it builds. The `__init__.py` of a folder lists the words of its choice, which is the one place where
a new word is entered; everything else reads that list.
"""
