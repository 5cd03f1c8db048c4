"""Resuming a run: its own configuration takes the place of the composed one."""

import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from metaplast.config.overrides import TYPED_NOW, cli_overrides, override_key
from metaplast.config.validate import check
from metaplast.errors import UserError
from metaplast.runs.directory import has_checkpoint, saved_config
from metaplast.runs.summary import RunStatus, read_summary
from metaplast.runs.untrusted import names_trusted

CHANGEABLE = ("data_dir", "trainer", "logger")
"""What a resumed run may change: where its data are, where it runs and who watches, not what is computed.

Nor `trainer.precision`. What another machine may change in the numbers is said and kept in summary.json (`changes`).
"""


AUTO = "auto"
"""The value of `resume` with which a command that a scheduler starts again resumes its own run."""


def resolve_auto(config: DictConfig) -> bool:
    """Replace `resume=auto` by the run in hydra.run.dir, or null if it has no checkpoint; return whether it was so.

    Raises UserError where hydra.run.dir is not typed, or holds a run that is complete or was started otherwise.
    """
    if config.get("resume") != AUTO:
        return False
    run_dir, typed = Path(config.hydra.run.dir).expanduser(), cli_overrides(config)
    if "hydra.run.dir" not in map(override_key, typed):
        raise UserError("resume=auto: expected hydra.run.dir=DIRECTORY as well, the directory of the run")
    before = read_summary(run_dir)
    asked = [override for override in map(str, config.hydra.overrides.task) if override_key(override) not in TYPED_NOW]
    if (had := before.get("overrides", asked)) != asked:
        raise UserError(f"resume=auto: the run in {run_dir} was started with {' '.join(had)}, not {' '.join(asked)}")
    if RunStatus(before.get("status", RunStatus.STARTING)).is_done:
        raise UserError(f"resume=auto: the run in {run_dir} is {before['status']}, so that nothing is left to do")
    with read_write(config):
        config.resume = str(run_dir) if has_checkpoint(run_dir) else None
    return True


def apply_resume(config: DictConfig, own: bool = False) -> Path:
    """Replace `config` by the configuration of the run that `config.resume` names, and return the run's directory.

    `config` is composed, with Hydra's section; overrides of `CHANGEABLE` stay in force. `own` says that the overrides
    are those that the run was started with. Raises UserError where there is no such run, where it is complete, and for
    any other override.
    """
    resume, trust = config.resume, names_trusted(config.get("trust"))
    run_dir = Path(resume).expanduser().absolute()
    changes = [] if own else _changed_keys(cli_overrides(config), resume)
    saved = saved_config(run_dir, resume, trust)
    precision = OmegaConf.select(saved, "trainer.precision")
    for change in changes:
        section = change.partition(".")[0]
        OmegaConf.update(saved, change, OmegaConf.select(config, change), merge=section != change, force_add=True)
    if (used := OmegaConf.select(saved, "trainer.precision")) != precision:
        if precision is not None and "trainer.precision" in changes:
            raise UserError(f"trainer.precision={used}: cannot change a run that is resumed, which has {precision}")
        OmegaConf.update(saved, "trainer.precision", precision, force_add=True)
    saved["resume"], saved["trust"] = str(run_dir), config.get("trust")
    with read_write(config), open_dict(config):
        for key in [str(key) for key in config if key != "hydra"]:
            del config[key]
        config.update(saved)
    try:
        check(config)
    except UserError as error:
        raise UserError(f"resume={resume}: its config.yaml cannot be run: {str(error).splitlines()[0]}") from None
    return run_dir


def _changed_keys(overrides: list[str], resume: str) -> list[str]:
    """The keys that are overridden beside `resume`. Raises UserError for those that cannot change."""
    keys = []
    for override in overrides:
        key = override_key(override)
        if key.partition(".")[0] in CHANGEABLE:
            keys.append(key)
        elif key == "hydra.run.dir" or (key not in TYPED_NOW and not re.match("hydra[./]", key)):
            raise UserError(
                f"{override}: cannot change a run that is resumed (resume={resume}); "
                f"only {', '.join(CHANGEABLE[:-1])} and {CHANGEABLE[-1]} can"
            )
    return keys
