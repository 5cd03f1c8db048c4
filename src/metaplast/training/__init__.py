"""Training over a whole stream of tasks in one `Trainer.fit`: learner, data module, callbacks and checkpoints.

Importing a name imports Lightning (seconds), so that is left until the name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metaplast.metrics.accuracy_matrix import AccuracyMatrix
    from metaplast.training.datamodule import Schedule, StreamDataModule
    from metaplast.training.learner import Learner
    from metaplast.training.trainer import fit

__all__ = ["AccuracyMatrix", "Learner", "Schedule", "StreamDataModule", "fit"]

_MODULES = {
    "AccuracyMatrix": "metaplast.metrics.accuracy_matrix",
    "Learner": "metaplast.training.learner",
    "Schedule": "metaplast.training.datamodule",
    "StreamDataModule": "metaplast.training.datamodule",
    "fit": "metaplast.training.trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value
