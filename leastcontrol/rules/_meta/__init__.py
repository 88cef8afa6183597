"""Meta-learning rules: they learn slow weights from which tasks are learned well.

Each rule is composed of two parts. An **adaptation** takes the fast weights of a task from the slow
weights to where they have learned the task. The rule then computes what the slow weights learn from
the place where the adaptation ends. `MetaLeastControl` has a third part, a **control**, which finds
the fast weights that are good on the query set as well, and the control that holds them there.

| file | contents |
|---|---|
| `_rule` | `AbstractMetaRule`, from a batch of tasks to a `Credit` |
| `_adaptation` | `GradientDescent`, `Relaxation`, `Settled` |
| `_control` | `EulerControl`, `DescentControl` |
| `_minimised_control` | `DirectControl`, `OptimalControl` |
| one file for each rule | see below |

| rule | what moves the slow weights ω (φ: where the adaptation ends) |
|---|---|
| `MetaLeastControl` | ∂_θfᵀψ at the controlled equilibrium; it is λψ for ω |
| `FirstOrderMAML` | −∇L_evaluate(φ) |
| `MAML` | −∇_ω L_evaluate(φ(ω)), through all steps of the adaptation |
| `Reptile` | φ − ω |
| `T1T2` | −λ∇L_evaluate(φ) |
| `ImplicitMAML` | −λδ, (∂²L_learn + λ)δ = ∇L_evaluate(φ) |
| `ContrastiveMeta` | λ(φ_β − φ)/β, where φ_β also descends βL_evaluate |

All are rules for `FastWeights`, and are called like every other rule, with a batch whose inputs are
support sets and whose targets are query sets. They are not `AbstractRule`s: those have a loss that
is convex in a short output, and may form its Hessian. Here the output is all the weights of a
learner, and L_evaluate may be any function of them.
"""

from ._adaptation import AbstractAdaptation as AbstractAdaptation
from ._adaptation import GradientDescent as GradientDescent
from ._adaptation import Relaxation as Relaxation
from ._adaptation import Settled as Settled
from ._contrastive import ContrastiveMeta as ContrastiveMeta
from ._control import AbstractMetaControl as AbstractMetaControl
from ._control import DescentControl as DescentControl
from ._control import EulerControl as EulerControl
from ._first_order_maml import FirstOrderMAML as FirstOrderMAML
from ._implicit_maml import ImplicitMAML as ImplicitMAML
from ._least_control import MetaLeastControl as MetaLeastControl
from ._maml import MAML as MAML
from ._minimised_control import DirectControl as DirectControl
from ._minimised_control import OptimalControl as OptimalControl
from ._reptile import Reptile as Reptile
from ._rule import AbstractMetaRule as AbstractMetaRule
from ._t1t2 import T1T2 as T1T2
