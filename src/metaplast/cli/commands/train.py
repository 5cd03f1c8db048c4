"""Train one network on a sequence of tasks, and show how much it forgets."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import metaplast
from metaplast.cli.main import command, run_in_directory
from metaplast.errors import INTERRUPTED, HydraAbort, UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

CONF = (Path(metaplast.__file__).parent / "conf").resolve()
"""The configuration: in a clone the conf/ that this links to, in an installed package a copy."""


def main() -> int:
    """Run the command, with the settings that stand in `sys.argv`."""
    return command(_run, CONF)


def _run(config: "DictConfig", run_dir: Path) -> dict[str, Any]:
    from metaplast.cli.run import run  # 12 s of imports, for which an invalid setting need not wait

    return run(config, run_dir)


def train(overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train one run as `metaplast train` would, with all of its checks and files, and return what is in summary.json.

    Args:
        overrides: settings as they are typed, such as `["experiment=look", "m=7"]`.

    Raises:
        UserError: in the command's words, for what the command refuses; then nothing is left behind.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from hydra.types import RunMode
    from omegaconf import open_dict, read_write
    from omegaconf.errors import OmegaConfBaseException

    import metaplast.config.overrides  # noqa: F401  (registers what a configuration may interpolate)
    from metaplast.cli.callback import ValidateAndReserve
    from metaplast.config.messages import explain

    try:
        with initialize_config_dir(str(CONF), job_name="train", version_base="1.3"):
            config = compose("train", list(overrides), return_hydra_config=True)
            if config.hydra.mode == RunMode.MULTIRUN:
                raise UserError(
                    f"metaplast.train: expected one run, got a sweep ({' '.join(overrides)}); the command has -m"
                )
            ValidateAndReserve().on_run_start(config)
            with _as_hydras(config):
                run_dir = Path(HydraConfig.get().run.dir).absolute()
                settings = config.copy()
                with read_write(settings), open_dict(settings):
                    del settings["hydra"]
                summary: dict[str, Any] = run_in_directory(_run, settings, run_dir)
                return summary
    except HydraAbort as abort:
        error = abort.__cause__ or abort
    except (HydraException, OmegaConfBaseException) as raised:
        error = UserError(explain(raised, overrides, CONF))
    except SystemExit as stop:
        if stop.code != INTERRUPTED:
            raise
        error = KeyboardInterrupt()
    raise error


@contextmanager
def _as_hydras(config: "DictConfig") -> Iterator[None]:
    """Let `config` be the one that Hydra runs, as it is in a command, which records how it was started."""
    from hydra.core.hydra_config import HydraConfig

    hydras = HydraConfig.instance()
    before = hydras.cfg
    hydras.set_config(config)
    try:
        yield
    finally:
        hydras.cfg = before
