"""Reports of runs as one HTML page.

`read` turns folders of runs and comparisons into `Run`s and `Comparison`s, without importing
training code. `figures` draws them for the page, and `figure_files` draws them as files. `page`
combines configuration, figures and tables into one self-contained HTML text. So reports also work
for unfinished runs, and on machines that cannot train. `answers` makes what is shown of the
confusions of a classifier, on the page and in a terminal.
"""

from ._confusion import answers as answers
from ._figures import Figure as Figure
from ._figures import figure_files as figure_files
from ._figures import figures as figures
from ._page import page as page
from ._runs import Comparison as Comparison
from ._runs import Confusion as Confusion
from ._runs import ReportError as ReportError
from ._runs import Run as Run
from ._runs import Trial as Trial
from ._runs import read as read
