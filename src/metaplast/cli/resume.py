"""Going on with a run: its directory, and its own configuration instead of a composed one."""

import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from metaplast.config.overrides import cli_overrides, override_key
from metaplast.config.validate import check
from metaplast.errors import UserError
from metaplast.runs.directory import saved_config

CHANGEABLE = ("data_dir", "trainer", "logger")
"""What a resumed run may do differently: where its data are, where it runs and who watches, not what is computed."""


def take_up(config: DictConfig) -> Path:
    """Put the configuration of the run that `config.resume` names into `config`, and return its directory.

    `config` is composed, Hydra's section included; overrides of `CHANGEABLE` stay in force. Raises UserError
    where there is no such run, nothing is left of it to do, or another override came with it.
    """
    resume = config.resume
    run_dir = Path(resume).expanduser().absolute()
    changes = _changes(cli_overrides(config), resume)
    saved = saved_config(run_dir, resume)
    for change in changes:
        section = change.partition(".")[0]
        OmegaConf.update(saved, change, OmegaConf.select(config, change), merge=section != change, force_add=True)
    saved["resume"] = str(run_dir)
    with read_write(config), open_dict(config):
        for key in [str(key) for key in config if key != "hydra"]:
            del config[key]
        config.update(saved)
    try:
        check(config)
    except UserError as error:
        raise UserError(f"resume={resume}: its config.yaml cannot be run: {error}") from None
    return run_dir


def _changes(overrides: list[str], resume: str) -> list[str]:
    """Return the keys that were overridden beside `resume`; refuse all but the changeable ones."""
    keys = []
    for override in overrides:
        key = override_key(override)
        if key.partition(".")[0] in CHANGEABLE:
            keys.append(key)
        elif key == "hydra.run.dir" or (key != "resume" and not re.match("hydra[./]", key)):
            raise UserError(
                f"{override}: cannot change a run that is resumed (resume={resume}); "
                f"only {', '.join(CHANGEABLE[:-1])} and {CHANGEABLE[-1]} can"
            )
    return keys
