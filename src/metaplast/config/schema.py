"""What one value may be, as a test and as the words that an error needs.

What each setting may be: one table.

The rules for a scenario, a model or an optimizer hang on its `_target_`, so that a choice of the user's own needs no
entry here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from metaplast.config.resolvers import BUDGETS

FIGURES = (
    "tasks_by_m",
    "hidden_weights",
    "accuracy_by_width",
    "two_tasks",
    "stream_against_all_at_once",
    "accuracy_table",
    "normalization",
)
"""What `figures` may name."""


class Rule(NamedTuple):
    """What one setting may be.

    >>> integer(1).says, integer(1).accepts(0)
    ('an integer >= 1', False)
    """

    says: str
    """Completes the sentence "it has to be …"."""
    accepts: Callable[[Any], bool]
    """Whether a value, as plain Python, is allowed."""
    choices: Sequence[str] = ()
    """The words that are allowed, where there are only some."""


def integer(low: int, high: float = math.inf) -> Rule:
    """Return the rule for an integer from `low` to `high`, both allowed; true and 5.0 are no integers."""
    says = f"an integer >= {low}" if high == math.inf else f"an integer from {low} to {high}"
    return Rule(says, lambda value: type(value) is int and low <= value <= high)


def number(says: str, in_range: Callable[[float], bool]) -> Rule:
    """Return the rule for a number that is finite and `in_range`; `says` completes "a number …"."""
    return Rule(
        f"a number {says}", lambda value: type(value) in (int, float) and math.isfinite(value) and in_range(value)
    )


def one_of(*choices: str | bool) -> Rule:
    """Return the rule for one of a few words."""
    words = [str(choice).lower() for choice in choices]
    return Rule(
        f"one of {', '.join(words)}",
        lambda value: any(type(value) is type(choice) and value == choice for choice in choices),
        words,
    )


def list_of(rule: Rule, says: str, length: int | None = None) -> Rule:
    """Return the rule for a list, of `length` if given, whose items all keep to `rule`."""
    return Rule(
        says,
        lambda value: (
            isinstance(value, list) and length in (None, len(value)) and all(rule.accepts(item) for item in value)
        ),
    )


def either(*rules: Rule) -> Rule:
    """Return the rule that accepts what any of `rules` accepts."""
    return Rule(" or ".join(rule.says for rule in rules), lambda value: any(rule.accepts(value) for rule in rules))


NULL = Rule("null", lambda value: value is None)
BOOLEAN = one_of(True, False)
TEXT = Rule("a text (not empty)", lambda value: isinstance(value, str) and value.strip() != "")
POSITIVE = number("> 0", lambda value: value > 0)
NOT_NEGATIVE = number(">= 0", lambda value: value >= 0)
WIDTHS = list_of(integer(1), "a list of integers >= 1, such as [512,512]")


METAPLASTICITY = either(NOT_NEGATIVE, list_of(NOT_NEGATIVE, "a list of such (one a weight layer)"))

CONSOLIDATION = one_of("tanh", "exponential")

SETTINGS = {
    "m": either(METAPLASTICITY, NULL),
    "seed": integer(0, 2**32 - 1),
    "epochs_per_task": integer(1),
    "batch_size": integer(1),
    "eval_batch_size": integer(1),
    "measure_every": integer(1),
    "test_on": one_of("test", "validation"),
    "validation_share": number("> 0 and < 1", lambda share: 0 < share < 1),
    "only_tasks": either(integer(1), NULL),
    "data_dir": TEXT,
    "resume": either(TEXT, Rule("true (with -m)", lambda value: value is True), NULL),
    "strategy.uses_m": BOOLEAN,
    "strategy.stream": one_of("sequence", "joint"),
    "strategy.reset_optimizer": BOOLEAN,
    "trainer.accelerator": one_of("auto", "cpu", "gpu"),
    "trainer.threads": either(integer(1, 1024), NULL),
    "trainer.compile": one_of("auto", True, False),
    "trainer.precision": one_of("32-true", "bf16-mixed", "16-mixed", "64-true"),
    "trainer.checkpoint_every": integer(0),
    "trainer.progress": one_of("auto", "bar", "lines", "none"),
}
"""Every run has these."""

OPTIONAL_SETTINGS = {
    "budget": one_of(*BUDGETS),
    "diagnostics": BOOLEAN,
    "figures": list_of(one_of(*FIGURES), f"a list of any of {', '.join(FIGURES)}"),
    "first_tasks.candidates": list_of(NOT_NEGATIVE, "a list of numbers >= 0"),
    "first_tasks.per_layer": BOOLEAN,
    "first_tasks.n_trials": integer(1),
    "first_tasks.n_tasks": integer(1),
    "first_tasks.hindsight": BOOLEAN,
    "search.name": TEXT,
    "search.space": Rule("a section of ranges by key", lambda value: isinstance(value, dict)),
    "search.n_trials": integer(1),
    "search.n_jobs": either(integer(1), NULL),
    "search.sampler": one_of("tpe", "random"),
    "search.pruner": one_of("median", "none"),
    "search.n_startup_trials": integer(1),
    "logger.mode": one_of("offline", "online", "disabled", "shared"),
    "logger.project": TEXT,
    "logger.entity": either(TEXT, NULL),
    "logger.group": either(TEXT, NULL),
    "logger.run_name": either(TEXT, NULL),
    "logger.tags": list_of(TEXT, "a list of texts"),
    "logger.notes": either(TEXT, NULL),
    "logger.model_artifact": BOOLEAN,
}
"""Some runs have these."""

NORMALIZATION = {
    "norm": one_of("batch", "layer", "none"),
    "norm_affine": BOOLEAN,
    "norm_per_task": BOOLEAN,
    "gamma_init": one_of("ones", "uniform"),
    "test_statistics": one_of("population", "running", "batch"),
}

HIDDEN_UNITS = {
    "activation": one_of("sign", "gate", "kwta"),
    "gate_threshold": NOT_NEGATIVE,
    "gate_window": Rule(
        "a list of two numbers, 0 <= lower < upper",
        lambda value: (
            isinstance(value, list)
            and len(value) == 2
            and all(map(NOT_NEGATIVE.accepts, value))
            and value[0] < value[1]
        ),
    ),
}

SPLIT = {"n_tasks": integer(1, 10), "incremental": one_of("class", "task")}

STREAM = {"n_parts": integer(1)}

FEATURES = {"scale": one_of("std", "variance", "none"), "binarize": BOOLEAN, "file": TEXT}

TARGETS: Mapping[str, Mapping[str, Rule]] = {
    "metaplast.scenarios.permuted_mnist": {"n_tasks": integer(1), "padding": integer(0)},
    "metaplast.scenarios.permuted_digits": {"n_tasks": integer(1)},
    "metaplast.scenarios.permuted_fashion_mnist": {"n_tasks": integer(1)},
    "metaplast.scenarios.rotated_mnist": {
        "n_tasks": integer(1),
        "angles": either(
            number("of degrees", lambda _: True),
            list_of(number("of degrees", lambda _: True), "a list of such (one a task)"),
        ),
    },
    "metaplast.scenarios.split_mnist": SPLIT,
    "metaplast.scenarios.split_fashion_mnist": SPLIT,
    "metaplast.scenarios.split_digits": SPLIT,
    "metaplast.scenarios.fashion_mnist_stream": STREAM,
    "metaplast.scenarios.digits_stream": STREAM,
    "metaplast.scenarios.cifar10_stream": {
        **STREAM,
        "augment": one_of("none", "flip", "flip_crop", "flip_rotate", "flip_rotate_or_crop"),
    },
    "metaplast.scenarios.whole_datasets": {
        "order": list_of(one_of("mnist", "fashion_mnist"), "a list of mnist, fashion_mnist or both")
    },
    "metaplast.scenarios.mnist_usps": {
        "order": list_of(one_of("mnist", "usps"), "a list of mnist, usps or both"),
        "n_mnist": integer(1, 60_000),
        "n_usps": integer(1, 7_291),
        "binarize": BOOLEAN,
    },
    "metaplast.scenarios.cifar10_features": {
        "classes": list_of(
            list_of(integer(0, 9), "a list of classes"), "a list of lists of classes (0 to 9), one a task"
        ),
        **FEATURES,
    },
    "metaplast.scenarios.cifar100_features": {"n_tasks": integer(1, 100), **FEATURES},
    "metaplast.nn.models.bnn": {"hidden": WIDTHS, "init_width": POSITIVE, **HIDDEN_UNITS, **NORMALIZATION},
    "metaplast.nn.models.mlp": {"hidden": WIDTHS, "init_width": either(POSITIVE, NULL), **NORMALIZATION},
    "metaplast.nn.models.bcnn": {
        "channels": WIDTHS,
        "kernel_size": integer(1),
        "padding": integer(0),
        "init_width": POSITIVE,
        **HIDDEN_UNITS,
        **NORMALIZATION,
    },
    "metaplast.nn.models.vgg": {
        "channels": WIDTHS,
        "hidden": WIDTHS,
        "dropout": number(">= 0 and < 1", lambda share: 0 <= share < 1),
        "init_width": either(POSITIVE, NULL),
        **HIDDEN_UNITS,
        **NORMALIZATION,
    },
    "metaplast.optim.MetaplasticAdam": {
        "lr": POSITIVE,
        "betas": list_of(number("", lambda beta: 0 <= beta < 1), "a list of two numbers >= 0 and < 1", length=2),
        "eps": POSITIVE,
        "weight_decay": NOT_NEGATIVE,
        "decoupled_weight_decay": number(">= 0 and < 1", lambda decay: 0 <= decay < 1),
        "consolidation": CONSOLIDATION,
        "compiled": one_of("auto", True, False),
    },
    "metaplast.optim.MetaplasticSGD": {
        "lr": POSITIVE,
        "momentum": number(">= 0 and < 1", lambda momentum: 0 <= momentum < 1),
        "weight_decay": NOT_NEGATIVE,
        "decoupled_weight_decay": number(">= 0 and < 1", lambda decay: 0 <= decay < 1),
        "consolidation": CONSOLIDATION,
    },
}
"""By target, every setting that it takes from a configuration."""

WIDTHS_OF = {
    "metaplast.nn.models.bnn": ("hidden",),
    "metaplast.nn.models.mlp": ("hidden",),
    "metaplast.nn.models.bcnn": ("channels",),
    "metaplast.nn.models.vgg": ("channels", "hidden"),
}
"""By model, the lists that have one entry for each weight layer but the last between them."""

GROUPS = ("scenario", "model", "strategy", "trainer", "logger")
OPEN_SECTIONS = ("scenario", "model", "strategy", "logger", "search")
"""Where `+key=value` may add a setting, since a target or an interpolation may read it."""
