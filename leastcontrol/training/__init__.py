"""The loop that turns a rule into a trained system.

Each of these pieces can be used alone:

* `evaluate` measures a system on a data set at its free equilibrium.
* `train` runs epochs. Each is compiled as a whole, with the data on the device and a loop over the
  steps, so that Python runs once per epoch. A value that is not finite stops the training at the
  end of its epoch, and the last good weights are kept.
* `RunFolder` writes what a run leaves behind, every file whole or not at all.
* `Checkpoints` keeps the states from which an interrupted training goes on, bit for bit.
* `Program` compiles a function before its first call, and says how much memory it takes.
* An `AbstractAugmentation` changes images at random; `calibrate` measures the statistics of batch
  norm for evaluation.
* `device_mesh` collects devices over which batches are split, and the weights too if asked to;
  `shard` lays arrays over them. `connect` joins several processes, of which only the first one
  writes (`_processes`).
* `meta_train` and `meta_evaluate` do the same for the rules of `FastWeights`, whose samples are
  tasks that are drawn as they are needed.
* An `AbstractCourse` says which share of the loss control is asked to remove at what time.
* `ToleranceFromNoise` chooses the tolerance of the solves as a training goes.
* A `Tracker` receives the figures of every epoch.
"""

from ._augmentation import AbstractAugmentation as AbstractAugmentation
from ._augmentation import RandomCrop as RandomCrop
from ._augmentation import RandomFlip as RandomFlip
from ._augmentation import augmented as augmented
from ._calibration import calibrate as calibrate
from ._checkpoints import Checkpoints as Checkpoints
from ._config import TrainingConfig as TrainingConfig
from ._evaluation import AnyEvaluation as AnyEvaluation
from ._evaluation import Confusion as Confusion
from ._evaluation import Evaluation as Evaluation
from ._evaluation import RegressionEvaluation as RegressionEvaluation
from ._evaluation import evaluate as evaluate
from ._evaluation import evaluate_and_count as evaluate_and_count
from ._evaluation import evaluation_of as evaluation_of
from ._folder import RunFolder as RunFolder
from ._loop import train as train
from ._loop import untrained as untrained
from ._meta import MetaMetrics as MetaMetrics
from ._meta import MetaTrained as MetaTrained
from ._meta import MetaTrainingConfig as MetaTrainingConfig
from ._meta import MetaTrainingError as MetaTrainingError
from ._meta import meta_train as meta_train
from ._meta import meta_untrained as meta_untrained
from ._meta_evaluation import MetaEvaluation as MetaEvaluation
from ._meta_evaluation import meta_evaluate as meta_evaluate
from ._optimisers import make_feedback_optimiser as make_feedback_optimiser
from ._optimisers import make_optimiser as make_optimiser
from ._placement import drawn as drawn
from ._placement import shard as shard
from ._placement import shardings as shardings
from ._processes import DevicesError as DevicesError
from ._processes import ProcessError as ProcessError
from ._processes import by_all as by_all
from ._processes import by_first as by_first
from ._processes import connect as connect
from ._processes import device_mesh as device_mesh
from ._processes import is_first as is_first
from ._processes import restored_by_first as restored_by_first
from ._program import Program as Program
from ._program import ProgramMemory as ProgramMemory
from ._sealed import FolderError as FolderError
from ._sealed import PrecisionError as PrecisionError
from ._sealed import Sealed as Sealed
from ._sealed import check_precision as check_precision
from ._sealed import precision as precision
from ._sealed import read_sealed as read_sealed
from ._sealed import write_sealed as write_sealed
from ._strength import AbstractCourse as AbstractCourse
from ._strength import CosineCourse as CosineCourse
from ._strength import LinearCourse as LinearCourse
from ._tolerance import ToleranceFromNoise as ToleranceFromNoise
from ._tracking import TensorBoard as TensorBoard
from ._tracking import Tracker as Tracker
from ._tracking import TrackingError as TrackingError
from ._tracking import figures_of as figures_of
from ._trained import Diagnostics as Diagnostics
from ._trained import EpochMetrics as EpochMetrics
from ._trained import Trained as Trained
from ._trained import TrainingError as TrainingError
from ._trained import UnfitError as UnfitError
