"""Private names of Hydra, Python and Optuna that sweeps and searches use, each with the version it was checked with.

An upgrade of one of them needs a look at this file only.
"""

from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any

# Hydra 1.3.8. The sweeper expands `m=0,1` into jobs; the callback checks these before Hydra runs the first.
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

# Hydra 1.3.8. The parser of the command line, so that an unknown option is refused in one line.
from hydra._internal.utils import get_args_parser

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from optuna.study import Study
    from optuna.trial import Trial

__all__ = ["BasicSweeper", "get_args_parser", "has_forkserver", "result_or_error", "trial_numbered"]


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
