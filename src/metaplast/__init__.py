"""Metaplast: the study of forgetting in binarized neural networks. Importing it imports nothing else."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metaplast.cli.commands.train import train
    from metaplast.training.finished_run import load

__all__ = ["load", "train"]
__version__ = "0.1.0"

_MODULES = {"load": "metaplast.training.finished_run", "train": "metaplast.cli.commands.train"}
"""Where each of `__all__` is, imported when it is first used."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value
