"""The loss of one sample, with the derivatives that controllers use.

A controller does not minimise a loss; it computes the control with which the loss nudges the
output. So a loss offers, besides its value, its gradient with respect to the output, products with
its Hessian, and the **response**

    u with  αu + ∇_y L(c + γu, t) = 0,

the output control at rest if the output depends on it as y = c + γu. For γ = 1 and output neurons
this is the proximal map of L at c.

A loss is always that of one sample. The code of the least-control paper takes the mean over the
batch inside the controller, so its control strength depends on the batch size;
`leastcontrol.controllers.batch_mean_leak` converts its leaks.

No method forms a matrix of outputs by outputs, so that memory is linear in the number of classes.

Wherever a loss is asked for, a plain function of one sample's output and target will do. `as_loss`
makes it a `FunctionLoss`, which derives what controllers use.
"""

from ._cross_entropy import CrossEntropy as CrossEntropy
from ._curvature import concavity_of as concavity_of
from ._function import AnyLoss as AnyLoss
from ._function import FunctionLoss as FunctionLoss
from ._function import Outputs as Outputs
from ._function import as_loss as as_loss
from ._loss import RESPONSE_ITERATIONS as RESPONSE_ITERATIONS
from ._loss import AbstractLoss as AbstractLoss
from ._squared_error import SquaredError as SquaredError
