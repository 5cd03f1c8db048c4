"""Binary layers, normalization and networks."""

from metaplast.nn.binary import BinaryConv2d, BinaryLinear, SignActivation, binarize, hidden_weights, sign
from metaplast.nn.networks import bcnn, bnn, mlp, vgg
from metaplast.nn.normalization import BatchNorm, FixedScale, LayerNorm, TaskNorm, select_task, store_task, task_norms
from metaplast.nn.population import set_population_statistics
from metaplast.nn.task_cross_entropy import TaskCrossEntropy

__all__ = [
    "BatchNorm",
    "BinaryConv2d",
    "BinaryLinear",
    "FixedScale",
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
