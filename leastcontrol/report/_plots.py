"""All plots of runs, each with its texts and the function that paints it.

The section `curves` compares runs, with a line for each (`_curves`); `layers` shows the parts of
one run's system (`_layer_plots`), and `sample` one sample of a run (`_sample_plots`). Plots paint
on Matplotlib figures and do not depend on how these are rendered.
"""

from collections.abc import Sequence

from ._curves import curves
from ._layer_plots import layers
from ._plot import Plot
from ._runs import Run
from ._sample_plots import sample_plots


def plots(runs: Sequence[Run]) -> list[Plot]:
    """Lists all plots of runs, in the order of the page."""
    numbered = list(enumerate(runs, 1))
    return [
        *curves(runs),
        *(plot for number, run in numbered for plot in layers(run, number)),
        *(plot for number, run in numbered for plot in sample_plots(run, number)),
    ]
