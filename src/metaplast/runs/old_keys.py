"""Configuration keys of earlier releases: on the command line their new names are shown, in saved runs they are read.

The table stays for one release after a renaming.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any

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
