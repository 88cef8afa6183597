"""The loop that turns a rule into a trained system.

Five pieces, each usable alone: `evaluate` measures a system on a data set at its free equilibrium;
`train` runs epochs, each compiled as a whole (the data lie on the device, a scan runs over the
steps), so that Python is met once per epoch; `RunFolder` writes what a run leaves behind, every
file whole or not at all; `Checkpoints` keeps the states that an interrupted training goes on from,
bit for bit. A value that is not finite stops the training at the end of its epoch, with the last
good weights kept. Images may be changed at random (`AbstractAugmentation`), and batch norm's
statistics are measured for evaluation (`calibrate`). Batches are split over the devices of a
`device_mesh`, and `connect` joins several processes, of which only the first one writes
(`_processes`). `meta_train` and `meta_evaluate` are the same for the rules of `FastWeights`, whose
samples are tasks that are drawn as they are needed. A `Tracker` is told the figures of every epoch.
"""

from ._augmentation import AbstractAugmentation as AbstractAugmentation
from ._augmentation import RandomCrop as RandomCrop
from ._augmentation import RandomFlip as RandomFlip
from ._augmentation import augmented as augmented
from ._calibration import calibrate as calibrate
from ._checkpoints import Checkpoints as Checkpoints
from ._config import TrainingConfig as TrainingConfig
from ._evaluation import AnyEvaluation as AnyEvaluation
from ._evaluation import Evaluation as Evaluation
from ._evaluation import RegressionEvaluation as RegressionEvaluation
from ._evaluation import evaluate as evaluate
from ._evaluation import evaluation_of as evaluation_of
from ._folder import RunFolder as RunFolder
from ._loop import Diagnostics as Diagnostics
from ._loop import EpochMetrics as EpochMetrics
from ._loop import Trained as Trained
from ._loop import TrainingError as TrainingError
from ._loop import UnfitError as UnfitError
from ._loop import make_feedback_optimiser as make_feedback_optimiser
from ._loop import make_optimiser as make_optimiser
from ._loop import train as train
from ._loop import untrained as untrained
from ._meta import MetaEvaluation as MetaEvaluation
from ._meta import MetaMetrics as MetaMetrics
from ._meta import MetaTrained as MetaTrained
from ._meta import MetaTrainingConfig as MetaTrainingConfig
from ._meta import MetaTrainingError as MetaTrainingError
from ._meta import meta_evaluate as meta_evaluate
from ._meta import meta_train as meta_train
from ._meta import meta_untrained as meta_untrained
from ._processes import DevicesError as DevicesError
from ._processes import ProcessError as ProcessError
from ._processes import by_all as by_all
from ._processes import by_first as by_first
from ._processes import connect as connect
from ._processes import device_mesh as device_mesh
from ._processes import is_first as is_first
from ._processes import restored_by_first as restored_by_first
from ._sealed import FolderError as FolderError
from ._sealed import PrecisionError as PrecisionError
from ._sealed import Sealed as Sealed
from ._sealed import read_sealed as read_sealed
from ._sealed import write_sealed as write_sealed
from ._tracking import TensorBoard as TensorBoard
from ._tracking import Tracker as Tracker
from ._tracking import TrackingError as TrackingError
from ._tracking import figures_of as figures_of
