"""A run that is a trial of a search: how it comes to know, and whom it asks after each task."""

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from metaplast.errors import UserError
from metaplast.search.checks import is_search

if TYPE_CHECKING:
    from metaplast.training.callbacks.pruning import IsHopeless


def this_trial(config: DictConfig) -> "IsHopeless | None":
    """Return what tells the study how this run stands and hears whether to go on; None where it is no trial.

    The number of a trial is that of its job, and the study lies in the folder of the search. Raises UserError where the
    search would look at test data.
    """
    if not HydraConfig.initialized() or not is_search(HydraConfig.instance().cfg):
        return None
    if config.eval_split != "validation":
        raise UserError(f"eval_split={config.eval_split}: has to be validation in a search")
    # optuna is there, since the search runs; others need not pay for it
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import Trial

    from metaplast.search.study import open_study

    hydra = HydraConfig.get()
    study = open_study(Path(hydra.sweep.dir), config.search)
    trial = Trial(study, study.get_trials(deepcopy=False)[hydra.job.num]._trial_id)

    def is_hopeless(task: int, accuracy: float) -> bool:
        try:
            trial.report(accuracy, step=task)
        except UpdateFinishedTrialError:  # the search was killed and has begun anew: nobody waits for this run
            return True
        return trial.should_prune()

    return is_hopeless
