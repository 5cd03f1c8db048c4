"""Going on with a run: its directory, and its own configuration instead of a composed one."""

import json
import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from metaplast.app.check import check
from metaplast.app.overrides import given, key_of
from metaplast.app.run_directory import has_checkpoint
from metaplast.errors import UserError

CHANGEABLE = ("data_dir", "trainer", "logger")
"""What a resumed run may do differently: where its data are, where it runs and who watches, not what is computed."""


def take_up(config: DictConfig) -> Path:
    """Put the configuration of the run that `config.resume` names into `config`, and return its directory.

    `config` is composed, Hydra's section included; overrides of `CHANGEABLE` stay in force. Raises UserError
    where there is no such run, nothing is left of it to do, or another override came with it.
    """
    resume = config.resume
    run_dir = Path(resume).expanduser().absolute()
    changes = _changes(given(config), resume)
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
        key = key_of(override)
        if key.partition(".")[0] in CHANGEABLE:
            keys.append(key)
        elif key == "hydra.run.dir" or (key != "resume" and not re.match("hydra[./]", key)):
            raise UserError(
                f"{override}: cannot change a run that is resumed (resume={resume}); "
                f"only {', '.join(CHANGEABLE[:-1])} and {CHANGEABLE[-1]} can"
            )
    return keys


def saved_config(run_dir: Path, resume: str) -> DictConfig:
    """Read the configuration of the run, once it is known that there is something to go on with."""
    if not run_dir.is_dir():
        raise UserError(f"resume={resume}: there is no such directory; give the directory of a run")
    if not (run_dir / "config.yaml").is_file():
        runs = sorted(str(path.parent) for path in run_dir.glob("*/config.yaml"))
        hint = f"; one below it is {runs[0]}" if runs else ""
        raise UserError(f"resume={resume}: is not the directory of a run, since it holds no config.yaml{hint}")
    if read_summary(run_dir).get("status") == "completed":
        raise UserError(f"resume={resume}: this run is complete, so that nothing is left to do")
    if not has_checkpoint(run_dir):
        raise UserError(f"resume={resume}: there is no checkpoint (checkpoints/last.ckpt); start the run again")
    try:
        saved = OmegaConf.load(run_dir / "config.yaml")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"resume={resume}: its config.yaml cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(saved, DictConfig):
        raise UserError(f"resume={resume}: its config.yaml holds no settings")
    return saved


def read_summary(run_dir: Path) -> dict[str, Any]:
    """Return what the run last said of itself, if anything."""
    try:
        summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return summary if isinstance(summary, dict) else {}
