"""What a training run imports: for the warm parent of a sweep, which imports it once for all jobs.

Nothing here may compute: a job is a fork, and OpenMP threads or CUDA, once started, do not survive one.
"""

import atexit
import gc

import avalanche.benchmarks  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch._dynamo  # noqa: F401  (what the first optimizer of a process would import, in 4 s)
import wandb  # noqa: F401

import metaplast.cli.callback
import metaplast.cli.run
import metaplast.optim.compiled  # noqa: F401

gc.freeze()  # else the first collection in every fork would touch, and so copy, all that is shared
atexit.register(gc.unfreeze)  # else libraries complain of what is still there at the parent's end
