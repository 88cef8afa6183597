"""The systems that settle: free dynamics φ̇ = f(φ, θ, x) with a readout y = h(φ, θ).

A system is written for **one sample** and is itself the pytree of its parameters θ. Callers that
need a batch use `jax.vmap`. A system has three methods:

* `drive(x)` computes the part of f that depends on the input alone. It is called once per sample,
  not once per solver step.
* `vector_field(state, drive)` computes f. The system is at rest where f is zero.
* `readout(state)` computes the output h.

A system whose state settles in a known order (`AbstractOrderedSystem`) also has
`settle(drive, control)`, which solves f(φ) + ψ = 0 exactly in one pass. This is the only
difference between a feedforward network and an arbitrary f.

The flag `output_neurons` says whether the output has neurons of its own. If it has, the full state
is φ̄ = (φ, y) with f̄ = (f, h(φ, θ) − y), and the output control u acts on the output neurons. Then
y = h(φ, θ) + u at rest, and the readout learns like every other weight (arXiv 2207.01332, section
S3). The output neurons are not stored in the state, because y follows from φ and u.
"""

from ._convolutional import PAPER_CONVOLUTIONS as PAPER_CONVOLUTIONS
from ._convolutional import SMALL_CONVOLUTIONS as SMALL_CONVOLUTIONS
from ._convolutional import STRIDED_CONVOLUTIONS as STRIDED_CONVOLUTIONS
from ._convolutional import Convolution as Convolution
from ._convolutional import ConvolutionalFeedforward as ConvolutionalFeedforward
from ._convolutional import MaxPool as MaxPool
from ._deep_equilibrium import AbstractBatchNormalised as AbstractBatchNormalised
from ._deep_equilibrium import AbstractCell as AbstractCell
from ._deep_equilibrium import BatchNorm as BatchNorm
from ._deep_equilibrium import DeepEquilibrium as DeepEquilibrium
from ._deep_equilibrium import ResidualCell as ResidualCell
from ._deep_equilibrium import Swapped as Swapped
from ._deep_equilibrium import WithNodes as WithNodes
from ._deep_equilibrium import convolutional_deep_equilibrium as convolutional_deep_equilibrium
from ._difference import activation_difference as activation_difference
from ._fast_weights import FastWeights as FastWeights
from ._feedforward import Feedforward as Feedforward
from ._function import FunctionSystem as FunctionSystem
from ._implicit_representation import ImplicitRepresentation as ImplicitRepresentation
from ._initialisation import AbstractInitialisation as AbstractInitialisation
from ._initialisation import FanInUniform as FanInUniform
from ._initialisation import Orthogonal as Orthogonal
from ._initialisation import XavierNormal as XavierNormal
from ._initialisation import XavierUniform as XavierUniform
from ._inner_kinks import Followed as Followed
from ._inner_kinks import OnKinks as OnKinks
from ._inner_kinks import Units as Units
from ._inner_kinks import follow as follow
from ._inner_kinks import inner_kinks as inner_kinks
from ._inner_kinks import on_kinks as on_kinks
from ._inner_kinks import preactivations as preactivations
from ._learners import ConvolutionalLearner as ConvolutionalLearner
from ._learners import DenseLearner as DenseLearner
from ._recurrent import EquilibriumRNN as EquilibriumRNN
from ._residual import ResidualNetwork as ResidualNetwork
from ._residual import dense_residual_network as dense_residual_network
from ._system import AbstractInnerKinks as AbstractInnerKinks
from ._system import AbstractOrderedSystem as AbstractOrderedSystem
from ._system import AbstractRectifiedSystem as AbstractRectifiedSystem
from ._system import AbstractSystem as AbstractSystem
from ._system import AbstractSystemWithoutDirectFeedback as AbstractSystemWithoutDirectFeedback
from ._system import Activation as Activation
from ._system import Affine as Affine
from ._system import SettledOnKinks as SettledOnKinks
from ._system import all_matrices as all_matrices
from ._system import gelu as gelu
from ._system import identity as identity
from ._system import pullback_around_rest as pullback_around_rest
from ._system import pullback_at_rest as pullback_at_rest
from ._system import relu as relu
from ._system import tanh as tanh
