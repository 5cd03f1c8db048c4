"""summary.json: what was run, its status and its results; the whole file is rewritten whenever one of them changes.

:class:`RunStatus` is the one vocabulary for the status of a run, here, in the journal of a sweep and in reports.

The entry `format` is the version of a run directory's files. Format 1, the oldest, lacks the entry; its files are read
the same way. From format 3 on, `run_id` and `config` (the SHA-256 of config.yaml) are also in the checkpoints, `files`
has the SHA-256 of the files that a run ended with, and `sha256` is that of all other entries, so that damage is found.
A newer format than this code knows is refused, not guessed at.
"""

import hashlib
import json
import logging
import platform
import subprocess
from collections.abc import Mapping
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from metaplast.errors import UserError
from metaplast.io import open_regular, read_regular, write_status
from metaplast.runs.names import (
    ACCURACY_MATRIX,
    CONFIG,
    DIAGNOSTICS,
    HIDDEN_WEIGHTS,
    METRICS,
    SUMMARY,
    translate_old_keys,
)


class RunStatus(StrEnum):
    """How a run stands; its JSON is the plain word."""

    QUEUED = "queued"
    """A job of a sweep that has not started."""
    STARTING = "starting"
    """Its directory is reserved, and nothing is written yet."""
    RUNNING = "running"
    COMPLETED = "completed"
    PRUNED = "pruned"
    """A hyperparameter search ended it early, on purpose."""
    FAILED = "failed"
    """It raised an error."""
    INTERRUPTED = "interrupted"
    """It was stopped from outside, and said so in summary.json."""
    KILLED = "killed"
    """A job of a sweep that was stopped from outside, or ended without writing why."""
    LOST = "lost"
    """It says that it is running, but no process on this machine holds its directory."""
    UNREADABLE = "unreadable"
    """Its files cannot be read."""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do: it ended as intended.

        >>> [status.value for status in RunStatus if status.is_done]
        ['completed', 'pruned']
        """
        return self in (RunStatus.COMPLETED, RunStatus.PRUNED)

    @property
    def is_broken_off(self) -> bool:
        """Whether it began, did not end as intended, and runs no more unless it is resumed.

        >>> [status.value for status in RunStatus if status.is_broken_off]
        ['failed', 'interrupted', 'killed', 'lost']
        """
        return self in (RunStatus.FAILED, RunStatus.INTERRUPTED, RunStatus.KILLED, RunStatus.LOST)


FORMAT = 3
"""The version of the files that this code writes."""
PACKAGES = ("metaplast", "torch", "pytorch-lightning", "avalanche-lib", "hydra-core", "torchmetrics", "wandb", "numpy")
"""Packages that can change a result; their versions are kept with it."""

LARGEST_FILE = 256 << 20
"""Bytes of the largest file whose digest is taken."""
ERROR_BYTES = 4096
"""More than what a run that fails adds to its summary."""
SUMMARY_BYTES = 8 << 20
"""The largest summary.json that is read; one of 1,000 tasks is larger by no more than its matrix, 20 bytes a number."""

log = logging.getLogger(__name__)


def description(config: DictConfig) -> dict[str, Any]:
    """The part of summary.json that the configuration determines: the names of its choices and its main settings.

    A setting that has no effect is None: `m` where the strategy does not use it, `gamma_init` without an affine
    normalization, `test_statistics` without batch normalization, and `eval_batch_size` unless the statistics are those
    of the test batch.
    """
    model, strategy = config.model, config.strategy
    norm = model.get("norm")
    normalized = norm in ("batch", "layer")
    affine = normalized and bool(model.get("norm_affine", True))
    statistics = model.get("test_statistics") if norm == "batch" else None
    return {
        "strategy": strategy.name,
        "scenario": config.scenario.name,
        "model": model.name,
        "widths": [*(model.get("channels") or []), *(model.get("hidden") or [])] or None,
        "m": plain(config.m) if strategy.uses_m else None,
        "seed": config.seed,
        "n_tasks": config.scenario.get("n_tasks"),
        "max_tasks": config.max_tasks,
        "eval_split": config.eval_split,
        "val_fraction": config.val_fraction if config.eval_split == "validation" else None,
        "epochs_per_task": config.epochs_per_task,
        "batch_size": config.batch_size,
        "norm": norm,
        "norm_affine": affine,
        "norm_per_task": normalized and strategy.task_order == "sequence" and bool(model.get("norm_per_task", False)),
        "gamma_init": model.get("gamma_init") if affine else None,
        "test_statistics": statistics,
        "eval_batch_size": config.eval_batch_size if statistics == "batch" else None,
        "reset_optimizer": strategy.reset_optimizer,
    }


def versions() -> dict[str, str | None]:
    """Versions of Python and of `PACKAGES`, and the commit of the working tree, if there is one."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}, "commit": _commit()}


def write_summary(run_dir: Path, summary: dict[str, Any]) -> None:
    """Write summary.json with the number of its format; while a run is going on, with room to say that it failed."""
    content, room = {"format": FORMAT, **summary}, ERROR_BYTES
    if summary["status"] != RunStatus.RUNNING:
        # The report makes the matrix of a run that broke off again.
        names = [CONFIG, METRICS, DIAGNOSTICS, HIDDEN_WEIGHTS]
        names += [ACCURACY_MATRIX] if RunStatus(summary["status"]).is_done else []
        content["files"], room = {name: digest for name in names if (digest := file_digest(run_dir / name))}, 0
    content["sha256"] = _digest(content)
    write_status(run_dir / SUMMARY, json.dumps(content, indent=2, ensure_ascii=False) + "\n", room)


def file_digest(path: Path) -> str | None:
    """The SHA-256 of a regular file of a run directory; None where there is none."""
    try:
        with open_regular(path, LARGEST_FILE, within=path.parent) as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def damaged_file(run_dir: Path, summary: Mapping[str, Any]) -> str | None:
    """The name of a file that is not as the run left it; None if all that are there are."""
    known = summary.get("files") or {}
    found = {name: file_digest(run_dir / name) for name in known if Path(name).name == name}
    return next((name for name, digest in found.items() if digest not in (None, known[name])), None)


def _digest(content: Mapping[str, Any]) -> str:
    others = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(others, indent=2, ensure_ascii=False).encode()).hexdigest()


def parse_summary(content: bytes) -> dict[str, Any]:
    """What the bytes of a summary.json hold; ValueError where they are damaged, or not as they were written."""
    summary = json.loads(content)
    if not isinstance(summary, dict):
        raise ValueError(f"{SUMMARY}: expected an object, got {type(summary).__name__}")
    signed = "sha256" in summary or summary.get("format") == FORMAT
    if signed and summary.get("sha256") != _digest(summary):
        raise ValueError(f"{SUMMARY} is damaged or edited (it does not match its SHA-256)")
    return summary


def read_summary(run_dir: Path) -> dict[str, Any]:
    """Return what summary.json holds; empty where it is missing or, with a warning, where it is damaged.

    Raises:
        UserError: if it was written by a newer version in a format that this one does not know.
    """
    try:
        summary = parse_summary(read_regular(run_dir / SUMMARY, SUMMARY_BYTES, within=run_dir))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s is not used: %s", run_dir / SUMMARY, " ".join(str(error).split()))
        return {}
    check_format(run_dir, summary)
    translate_old_keys(summary)
    return summary


def check_format(run_dir: Path, summary: Mapping[str, Any]) -> None:
    """Raise UserError for a format that this version cannot read."""
    found = summary.get("format", 1)
    if type(found) is not int or not 1 <= found <= FORMAT:
        known = f"1 to {FORMAT}"
        raise UserError(f"format={found}: expected {known} in {run_dir / SUMMARY}, got that of another version")


def is_labels(value: Any) -> bool:
    """Whether a value is what a summary keeps of how W&B shows the run: name, tags, group and notes, and no more.

    >>> is_labels({"name": "meta", "tags": ["a"], "group": None}), is_labels({"name": "meta", "run_id": "x"})
    (True, False)
    """
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and value.keys() <= {"name", "tags", "group", "notes"}
        and all(value.get(key) is None or isinstance(value[key], str) for key in ("group", "notes"))
        and isinstance(tags := value.get("tags", []), list)
        and all(isinstance(tag, str) for tag in tags)
    )


def plain(value: Any) -> Any:
    """A value of a configuration as a plain list, dictionary or number."""
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _version(package: str) -> str | None:
    if package == "metaplast":  # run from a checkout it need not be installed
        from metaplast import __version__

        return __version__
    return version(package)


def _commit() -> str | None:
    """The commit of the checkout this file lies in, with a + where files were changed since."""
    here = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True, timeout=5).stdout
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.strip() + ("+" if changes.strip() else "")
