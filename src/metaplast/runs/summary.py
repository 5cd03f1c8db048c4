"""summary.json: what a run was, how it stands, and what came out; rewritten whole whenever that changes."""

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from metaplast.io import read_regular, write_text

PACKAGES = ("metaplast", "torch", "pytorch-lightning", "avalanche-lib", "hydra-core", "torchmetrics", "wandb", "numpy")
"""What a result may hang on; their versions are kept with it."""

SUMMARY_BYTES = 8 << 20
"""The largest summary.json that is read; one of 1,000 tasks is larger by no more than its matrix, 20 bytes a number."""


def description(config: DictConfig) -> dict[str, Any]:
    """What the configuration says of a run: the choices, by name, and the settings that make runs comparable.

    `m` is None where the strategy does not use it. Normalization settings that the kind chosen does not have
    are None: no γ without an affine normalization, no test statistics without batch normalization, and no size of test
    batches where answers do not depend on it.
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
        "only_tasks": config.only_tasks,
        "test_on": config.test_on,
        "validation_share": config.validation_share if config.test_on == "validation" else None,
        "epochs_per_task": config.epochs_per_task,
        "batch_size": config.batch_size,
        "norm": norm,
        "norm_affine": affine,
        "norm_per_task": normalized and strategy.stream == "sequence" and bool(model.get("norm_per_task", False)),
        "gamma_init": model.get("gamma_init") if affine else None,
        "test_statistics": statistics,
        "eval_batch_size": config.eval_batch_size if statistics == "batch" else None,
        "reset_optimizer": strategy.reset_optimizer,
    }


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that a result may hang on, and the commit of the working tree, if any."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}, "commit": _commit()}


def write_summary(run_dir: Path, summary: dict[str, Any]) -> None:
    """Write summary.json, atomically."""
    write_text(run_dir / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")


def read_summary(run_dir: Path) -> dict[str, Any]:
    """Return what the run last said of itself, if anything."""
    try:
        summary = json.loads(read_regular(run_dir / "summary.json", SUMMARY_BYTES, within=run_dir))
    except (OSError, ValueError, RecursionError):
        return {}
    return summary if isinstance(summary, dict) else {}


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
    """A value of a configuration as Python's own list, dictionary or number."""
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
