"""The names that run directories are written in, each defined once: their files, and the renamed configuration keys.

On the command line a key of an earlier release is answered with its new name; in saved runs it is read. Its entry stays
for one release after the renaming.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any

# A run
LOCK = ".lock"
"""Held by the process that works in the directory; it also marks a directory that a run has reserved."""
CONFIG = "config.yaml"
"""The resolved configuration."""
SUMMARY = "summary.json"
"""What was run, its status and its results (:mod:`metaplast.runs.summary`)."""
METRICS = "metrics.csv"
"""A row before training and after every measured epoch (:mod:`metaplast.runs.tables`)."""
DIAGNOSTICS = "diagnostics.csv"
"""A row of quantities inside the network after every measured epoch, with `diagnostics=true`."""
ACCURACY_MATRIX = "accuracy_matrix.csv"
ACCURACY_MATRIX_PNG = "accuracy_matrix.png"
ACCURACY_CURVES_PNG = "accuracy_curves.png"
HIDDEN_WEIGHTS = "hidden_weights.npz"
"""Histograms of the hidden weights after every task."""
HIDDEN_WEIGHTS_PNG = "hidden_weights.png"
LAST_CHECKPOINT = "checkpoints/last.ckpt"
ANY_LAST_CHECKPOINT = "checkpoints/last*.ckpt"
"""A pattern: the last checkpoint, or the one before it."""

# A sweep
SWEEP = "sweep.json"
"""The overrides of the command (:mod:`metaplast.runs.journal`)."""
SWEEP_LOCK = ".sweep.lock"
"""Held by the command that runs the sweep."""
JOBS = "jobs"
"""The folder of the journal's entries and of the jobs' output."""

# A report
SWEEP_CSV = "sweep.csv"
SWEEP_PAGE = "sweep.html"
SWEEP_SCORES_PNG = "sweep_scores.png"
SWEEP_CURVES_PNG = "sweep_curves.png"
SWEEP_MATRICES_PNG = "sweep_matrices.png"


def alternate_matrix(statistics: str) -> str:
    """The accuracy matrix of a run whose tests were repeated with other normalization statistics.

    >>> alternate_matrix("population")
    'accuracy_matrix_population.csv'
    """
    return f"accuracy_matrix_{statistics}.csv"


OLD_KEYS = {
    "arm": "ablation",
    "test_on": "eval_split",
    "validation_share": "val_fraction",
    "measure_every": "eval_every_n_epochs",
    "only_tasks": "max_tasks",
    "figures": "plots",
    "strategy.stream": "strategy.task_order",
    "model.init_width": "model.init_bound",
}
"""By old key, the new one; both are in the same section."""
OLD_TARGETS: Mapping[str, str] = {
    **{f"metaplast.nn.networks.{name}": f"metaplast.nn.models.{name}" for name in ("bcnn", "bnn", "mlp", "vgg")},
    "metaplast.strategies.agem.AGEM": "metaplast.strategies.plugins.gem.AGEM",
    "metaplast.strategies.der.DER": "metaplast.strategies.plugins.der.DER",
    "metaplast.strategies.ewc.AvalancheEWC": "metaplast.strategies.plugins.ewc.AvalancheEWC",
    "metaplast.strategies.ewc.EWC": "metaplast.strategies.plugins.ewc.EWC",
    "metaplast.strategies.ewc.ewc_plugin": "metaplast.strategies.plugins.ewc.ewc_plugin",
    "metaplast.strategies.gem.GEM": "metaplast.strategies.plugins.gem.GEM",
    "metaplast.strategies.lwf.LwF": "metaplast.strategies.plugins.lwf.LwF",
    "metaplast.strategies.mas.MAS": "metaplast.strategies.plugins.mas.MAS",
    "metaplast.strategies.replay.Replay": "metaplast.strategies.plugins.replay.Replay",
    "metaplast.strategies.rwalk.RWalk": "metaplast.strategies.plugins.rwalk.RWalk",
    "metaplast.strategies.si.SI": "metaplast.strategies.plugins.si.SI",
}
"""By old `_target_`, the new one."""


def translate_old_keys(config: MutableMapping[Any, Any]) -> None:
    """Rename, in place, the keys and targets of a configuration or a summary that an earlier release has written.

    >>> config = {"test_on": "test", "strategy": {"stream": "joint"}}
    >>> translate_old_keys(config)
    >>> config
    {'strategy': {'task_order': 'joint'}, 'eval_split': 'test'}
    """
    for old, new in OLD_KEYS.items():
        section, _, leaf = old.rpartition(".")
        node = config.get(section) if section else config
        if isinstance(node, MutableMapping) and leaf in node:
            value = node.pop(leaf)
            node.setdefault(new.rpartition(".")[2], value)
    strategy = config.get("strategy")
    plugins = strategy.get("plugins") if isinstance(strategy, MutableMapping) else None
    listed = plugins if plugins is not None and not isinstance(plugins, str | int | float) else ()
    for node in (config.get("model"), *listed):  # what changed its place
        if isinstance(node, MutableMapping) and isinstance(node.get("_target_"), str):
            node["_target_"] = OLD_TARGETS.get(node["_target_"], node["_target_"])
    overrides = config.get("overrides")
    if isinstance(overrides, list):
        config["overrides"] = [_translated(override) for override in overrides]


def _translated(override: Any) -> Any:
    if not isinstance(override, str):
        return override
    key, equals, value = override.partition("=")
    plain = key.lstrip("+~")
    return f"{key.removesuffix(plain)}{OLD_KEYS.get(plain, plain)}{equals}{value}"
