"""The command around a run: from the arguments to an exit status, with every user error in one line.

Nothing heavy is imported for `--help`, for an invalid argument or for tab completion.
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
from metaplast.errors import FAILED, REFUSED, HydraAbort, JobError, TrainingError, UserError
from metaplast.system import hold_cores, yield_cores

if TYPE_CHECKING:
    from omegaconf import DictConfig

Task = Callable[["DictConfig", Path], Any]
"""What a run does, given its validated configuration and its own directory."""

log = logging.getLogger(__name__)


@script
def command(task: Task, conf: Path) -> int:
    """Run `task` as `conf`/train.yaml and the command line say, print errors, and return the exit status.

    A run that is stopped from outside ends in SystemExit (`metaplast.training.signals`).
    """
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        from metaplast.config.reference import help_text

        print(help_text(conf))
        return 0
    from metaplast.config.overrides import override_key

    # A run with a fixed number of threads cannot use fewer under load, and jobs run beside others.
    shared = any(
        argument in ("-m", "--multirun") or override_key(argument) == "trainer.threads" for argument in arguments
    )
    (yield_cores if shared else hold_cores)()
    shows_all = os.environ.get("HYDRA_FULL_ERROR") == "1"
    import hydra
    from hydra.core.utils import env_override

    from metaplast.sweep.session import finalize_sweep

    try:
        _check_options(arguments)
        # Without the variable, Hydra prints errors itself, in its words.
        with env_override({"HYDRA_FULL_ERROR": "1"}), finalize_sweep():
            hydra.main(version_base="1.3", config_path=str(conf), config_name="train")(_hydra_task(task))()
    except HydraAbort as abort:
        error, status = abort.__cause__ or abort, abort.status
    except (JobError, TrainingError) as failed:
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
    """Raise UserError for an unknown option; argparse would print the list of all."""
    from metaplast.private_api import hydra_parser

    def refuse(message: str) -> None:
        raise UserError(f"{message}; settings come without dashes, as KEY=VALUE, and after all options (see --help)")

    parser = hydra_parser()
    parser.error = refuse  # type: ignore[assignment, method-assign]
    parser.parse_args(arguments)


def _hydra_task(task: Task) -> Callable[["DictConfig"], Any]:
    """Return `task` as the function that Hydra calls."""

    @functools.wraps(task)  # Hydra names a job after the file of the function inside
    def hydra_task(config: "DictConfig") -> Any:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        from metaplast.sweep.job import run_in_sweep

        hydra_config = HydraConfig.get()
        if hydra_config.mode == RunMode.MULTIRUN:
            return run_in_sweep(task, config, hydra_config)
        run_dir, requeue = Path(hydra_config.runtime.output_dir), "resume=auto" in hydra_config.overrides.task
        return run_in_directory(task, config, run_dir, requeue)

    return hydra_task


def run_in_directory(task: Task, config: "DictConfig", run_dir: Path, requeue: bool = False) -> Any:
    """Run `task` in its reserved directory, and remove the directory where the run is refused before its first step.

    `requeue` is that of `handle_signals`. Raises HydraAbort, with the error as its cause; SystemExit where the run is
    stopped from outside.
    """
    from metaplast.runs.directory import has_checkpoint, lock_run_dir, remove_run_dir
    from metaplast.sweep.job import check_again
    from metaplast.training.signals import handle_signals, how_to_resume

    try:
        with handle_signals(run_dir, requeue), lock_run_dir(run_dir):
            check_again(config)
            print(_about(config, run_dir), flush=True)
            return task(config, run_dir)
    except UserError as error:
        refused = config.resume is None and not isinstance(error, TrainingError) and not has_checkpoint(run_dir)
        if refused:
            remove_run_dir(run_dir)
        elif isinstance(error, TrainingError):
            error = TrainingError(f"{error}. {how_to_resume(run_dir)}")
        raise HydraAbort(REFUSED if refused else FAILED) from error
    except Exception as error:
        raise HydraAbort(FAILED) from error


def _about(config: "DictConfig", run_dir: Path) -> str:
    """The first line of a run, before the imports, which take seconds."""
    names = [f"{group}={config[group].get('name')}" for group in ("strategy", "scenario", "model")]
    shown = run_dir.relative_to(Path.cwd()) if run_dir.is_relative_to(Path.cwd()) else run_dir
    verb = "writing to" if config.resume is None else "resuming in"
    return f"{' '.join(names)} seed={config.seed}: {verb} {shown}"
