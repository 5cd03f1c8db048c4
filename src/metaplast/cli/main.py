"""The command around a run: from the arguments to an exit status, with every error of the user's said in a line.

Nothing heavy is imported for `--help`, for a wrong argument or for tab completion.
"""

import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaplast.cli.script import script
from metaplast.config.help import help_text
from metaplast.errors import FAILED, REFUSED, Carried, JobError, UserError
from metaplast.system import hold_cores, yield_cores

if TYPE_CHECKING:
    from omegaconf import DictConfig

Task = Callable[["DictConfig", Path], Any]
"""What a run does, given its checked configuration and the directory that is its own."""

log = logging.getLogger(__name__)


@script
def command(task: Task, conf: Path) -> int:
    """Answer the command line: run `task` as `conf`/train.yaml and the arguments say, and return the exit status.

    Errors are shown here. A run that is stopped from outside ends in SystemExit (`metaplast.training.signals`).
    """
    return _answer(task, conf, sys.argv[1:])


def _answer(task: Task, conf: Path, arguments: list[str]) -> int:
    if {"--help", "-h"} & set(arguments):
        print(help_text(conf))
        return 0
    from metaplast.config.overrides import key_of

    shared = any(argument in ("-m", "--multirun") or key_of(argument) == "trainer.threads" for argument in arguments)
    (yield_cores if shared else hold_cores)()  # a run whose threads are fixed cannot give way
    shows_all = os.environ.get("HYDRA_FULL_ERROR") == "1"
    import hydra
    from hydra.core.utils import env_override

    import metaplast.config.resolvers  # noqa: F401  (registers them; a configuration may need them from here on)
    from metaplast.sweep.session import concluded

    try:
        _check_options(arguments)
        # Without the variable, Hydra prints errors itself, in its words.
        with env_override({"HYDRA_FULL_ERROR": "1"}), concluded():
            hydra.main(version_base="1.3", config_path=str(conf), config_name="train")(_job(task))()
    except Carried as carried:
        error, status = carried.__cause__ or carried, carried.status
    except JobError as failed:
        error, status = UserError(str(failed)), FAILED
    except BrokenPipeError:
        raise
    except Exception as raised:
        error, status = raised, REFUSED
    else:
        return 0
    from metaplast.config.messages import explain

    if shows_all or (status == FAILED and not isinstance(error, UserError)):
        traceback.print_exception(error)
    else:
        print(explain(error, arguments, conf), file=sys.stderr)
    return status


def _check_options(arguments: list[str]) -> None:
    """Refuse an unknown option in our words; argparse's would be its whole list of options."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> None:
        raise UserError(f"{message}; settings come without dashes, as KEY=VALUE, and after all options (see --help)")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[assignment, method-assign]
    parser.parse_args(arguments)


def _job(task: Task) -> Callable[["DictConfig"], Any]:
    """Return `task` as Hydra calls it, with the directory taken for the time of the run."""

    @functools.wraps(task)  # Hydra names a job after the file of the function inside
    def job(config: "DictConfig") -> Any:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        from metaplast.config.validate import check, warnings
        from metaplast.runs.directory import lock_run_dir
        from metaplast.sweep.job import run_in_sweep
        from metaplast.training.signals import stoppable

        hydra_config = HydraConfig.get()
        if hydra_config.mode == RunMode.MULTIRUN:
            return run_in_sweep(task, config, hydra_config)
        run_dir = Path(hydra_config.runtime.output_dir)
        try:
            with stoppable(run_dir), lock_run_dir(run_dir):
                check(config)  # once more, for the jobs of sweepers that make up their values
                for warning in warnings(config):
                    log.warning(warning)
                return task(config, run_dir)
        except Exception as error:
            raise Carried(FAILED) from error

    return job
