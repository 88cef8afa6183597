"""What runs have shown, as one page for people.

Three pieces: `read` turns run folders, and the folders of comparisons, into `Run`s without
importing anything that trains; `figures` draws what they hold, for the page, and `figure_files` the
same as files; `page` joins configuration, figures and tables to one HTML text that asks for nothing
from anywhere else. So a report can be made of runs that are still going on, by a machine that could
not train them.
"""

from ._figures import Figure as Figure
from ._figures import figure_files as figure_files
from ._figures import figures as figures
from ._page import page as page
from ._runs import Comparison as Comparison
from ._runs import ReportError as ReportError
from ._runs import Run as Run
from ._runs import Trial as Trial
from ._runs import read as read
