"""Binary layers, normalization and networks."""

from metaplast.nn.activations import KWTA, GateActivation, SignActivation
from metaplast.nn.binary import BinaryConv2d, BinaryLinear, binarize, hidden_weights, sign
from metaplast.nn.losses import TaskCrossEntropy
from metaplast.nn.models import bcnn, bnn, mlp, vgg
from metaplast.nn.normalization import BatchNorm, FixedScale, LayerNorm, TaskNorm, select_task, store_task, task_norms
from metaplast.nn.population_statistics import set_population_statistics

__all__ = [
    "KWTA",
    "BatchNorm",
    "BinaryConv2d",
    "BinaryLinear",
    "FixedScale",
    "GateActivation",
    "LayerNorm",
    "SignActivation",
    "TaskCrossEntropy",
    "TaskNorm",
    "bcnn",
    "binarize",
    "bnn",
    "hidden_weights",
    "mlp",
    "select_task",
    "set_population_statistics",
    "sign",
    "store_task",
    "task_norms",
    "vgg",
]
