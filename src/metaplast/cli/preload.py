"""What a training run imports: the fork server of a sweep imports it once for all jobs.

Nothing here may compute: a job is a fork, which OpenMP threads and CUDA, once started, do not survive.
"""

import atexit
import gc

import avalanche.benchmarks  # noqa: F401
import sklearn.datasets  # noqa: F401
import wandb  # noqa: F401

import metaplast.cli.callback
import metaplast.cli.run
import metaplast.optim.compiled  # noqa: F401
from metaplast.private_api import import_compiler

import_compiler()  # else the first optimizer of each job would, in 4 s

gc.freeze()  # else the first collection in every fork would copy all memory that is shared
atexit.register(gc.unfreeze)  # else libraries complain at exit of what is still there
