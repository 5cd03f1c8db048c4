"""Private names of Hydra, Python, Optuna, Avalanche and torch, each with the version it was checked with, and why.

An upgrade of one of them needs a look at this file only; the kernels of torch that the layers and the optimizers call
are in `metaplast.nn._deterministic` and `metaplast.optim.compiled`. A library is imported when it is first needed.
"""

from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from avalanche.training.storage_policy import ReservoirSamplingBuffer
    from hydra.core.override_parser.types import Override
    from hydra.core.utils import JobReturn
    from optuna.study import Study
    from optuna.trial import Trial
    from torch import Tensor
    from torch.nn import Module


def sweep_jobs(overrides: "list[Override]") -> list[list[str]]:
    """The overrides of each job of a sweep, such as `m=0` and `m=1` of `m=0,1`.

    Hydra 1.3.8, whose sweeper expands them; jobs are checked before it runs the first.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    [jobs] = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    return [list(job) for job in jobs]


def hydra_parser() -> "argparse.ArgumentParser":
    """The parser of Hydra's command line, so that an unknown option is refused in one line. Hydra 1.3.8."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def has_forkserver() -> bool:
    """Whether this process has started a fork server. Python 3.11 to 3.13 can start one, but not tell."""
    return getattr(forkserver._forkserver, "_forkserver_alive_fd", None) is not None


def result_or_error(job: "JobReturn") -> Any:
    """What a job returned, or the error it raised, without raising it. Hydra 1.3.8; `job.return_value` raises."""
    return job._return_value


def trial_numbered(study: "Study", number: int) -> "Trial":
    """The running trial `number` of `study`. Optuna 5.0 makes a Trial in `ask` only; its id is not its number."""
    from optuna.trial import Trial

    return Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


def reservoir_weights(buffer: "ReservoirSamplingBuffer") -> "Tensor":
    """The random number of each sample in `buffer`, which a checkpoint has to keep. Avalanche 0.6.0 saves none."""
    weights: Tensor = buffer._buffer_weights
    return weights


def set_reservoir_weights(buffer: "ReservoirSamplingBuffer", weights: "Tensor") -> None:
    """Restore what :func:`reservoir_weights` returned."""
    buffer._buffer_weights = weights


def has_hooks(module: "Module") -> bool:
    """Whether a forward or backward pass through `module` calls a hook. torch 2.15."""
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))


def count_steps(epoch_loop: Any, steps: int) -> None:
    """Count `steps` more optimizer steps of the current batch. Lightning 2.6 counts one a batch, whatever it held."""
    progress = epoch_loop.automatic_optimization.optim_progress.optimizer.step
    for tracker in (progress.total, progress.current):
        tracker.ready += steps
        tracker.completed += steps
    epoch_loop._batches_that_stepped += steps


def group_batches(epoch_loop: Any, size: int) -> None:
    """Turn the progress of an epoch, restored in batches, into one in groups of `size`. Lightning 2.6."""
    progress = epoch_loop.batch_progress
    for name in ("ready", "started", "processed", "completed"):
        batches = getattr(progress.current, name)
        setattr(progress.current, name, -(-batches // size) if progress.is_last_batch else batches // size)


def ungroup_batches(loops: dict[str, Any], size: int, n_batches: int) -> None:
    """The reverse, in the saved state `loops` of an epoch of `n_batches`. Lightning 2.6."""
    current = loops["fit_loop"]["epoch_loop.batch_progress"]["current"]
    current |= {name: min(groups * size, n_batches) for name, groups in current.items()}


def import_compiler() -> None:
    """Import the compiler of torch 2.15, which takes 4 s, before a process forks; no public function does."""
    import torch._dynamo  # noqa: F401
