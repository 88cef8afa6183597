"""Meta-learning: slow weights from which tasks are learned well.

A system of `FastWeights` has the weights of a learner as its state, and a rule trains the slow
weights that pull on them. A rule is composed of two or three parts:

* rules: `MetaLeastControl`, `FirstOrderMAML`, `MAML`, `Reptile`, `T1T2`, `ImplicitMAML`,
  `ContrastiveMeta`;
* adaptations, which learn a task: `GradientDescent`, `Relaxation`, `Settled`;
* controls, for `MetaLeastControl`: `EulerControl`, `DescentControl`, `DirectControl`,
  `OptimalControl`;
* learners: `DenseLearner`, `ConvolutionalLearner`, or any Equinox model.

Tasks come from `leastcontrol.data`, and `leastcontrol.training.meta_train` trains on them.
"""

from .rules._meta import *  # noqa: F403
from .systems import ConvolutionalLearner as ConvolutionalLearner
from .systems import DenseLearner as DenseLearner
from .systems import FastWeights as FastWeights
