"""Two sizes, and several arms, side by side in one experiment file: resolvers for its interpolations.

    epochs_per_task: ${by_budget:5,40}                      # budget=cpu, budget=paper
    m: ${by:strategy.name,{meta:1.35,joint_meta:1.35},null} # a value for each name, and one for all others

Importing this module registers them.
"""

from typing import Any

from omegaconf import Container, DictConfig, OmegaConf

READS_BUDGET = "${by_budget:"


def by_budget(cpu: Any, paper: Any, *, _root_: Container) -> Any:
    """Return the first value at budget=cpu, the second at budget=paper.

    >>> OmegaConf.create({"budget": "paper", "epochs": "${by_budget:5,40}"}).epochs
    40
    """
    return paper if OmegaConf.select(_root_, "budget") == "paper" else cpu


def by(key: str, values: Any, otherwise: Any, *, _root_: Container) -> Any:
    """Return what `values` has for the value of the setting `key`, or `otherwise`.

    >>> arms = OmegaConf.create({"kind": "ewc", "m": "${by:kind,{meta:1.35},null}"})
    >>> arms.m is None
    True
    """
    return values.get(OmegaConf.select(_root_, key), otherwise)


def has_two_sizes(config: DictConfig) -> bool:
    """Whether any setting of `config`, or of what Hydra is to sweep, hangs on `budget`."""
    return READS_BUDGET in str(OmegaConf.to_container(config, resolve=False))


OmegaConf.register_new_resolver("by_budget", by_budget, replace=True)
OmegaConf.register_new_resolver("by", by, replace=True)
