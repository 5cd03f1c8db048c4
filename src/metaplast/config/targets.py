"""The settings of our own scenarios, models, optimizers and plugins, by the dotted name of their `_target_`.

:func:`check_arguments` checks them where they come from Python and no configuration was checked, in the same words.
"""

from collections.abc import Mapping
from typing import Any

from metaplast.config.constraints import (
    BOOLEAN,
    DEGREES,
    FRACTION,
    NOT_NEGATIVE,
    NULL,
    POSITIVE,
    TEXT,
    WIDTHS,
    Constraint,
    either,
    integer,
    list_of,
    number,
    one_of,
    order_of,
    problem,
)
from metaplast.config.schema import SETTINGS, Setting
from metaplast.errors import UserError

_INIT_BOUND = "Initial hidden weights are uniform in [-x, x]"
HIDDEN_UNITS: Mapping[str, Setting] = {
    "activation": Setting(
        one_of("sign", "gate", "kwta"),
        "Hidden activation: -1 or 1; 1 far from 0, else 0; or 1 for the largest tenth of a layer, else 0.",
    ),
    "gate_threshold": Setting(
        NOT_NEGATIVE, "With activation=gate, a unit is 1 where its input is farther from 0 than this."
    ),
    "gate_window": Setting(
        Constraint(
            "a list of two numbers, 0 <= lower < upper",
            lambda value: (
                isinstance(value, list)
                and len(value) == 2
                and all(map(NOT_NEGATIVE.is_valid, value))
                and value[0] < value[1]
            ),
            {"type": "array", "items": NOT_NEGATIVE.json, "minItems": 2, "maxItems": 2},
        ),
        "With activation=gate, gradients pass where the distance from 0 lies between these two.",
    ),
}
NORMALIZATION: Mapping[str, Setting] = {
    "norm": Setting(one_of("batch", "layer", "none"), "Normalization after each layer."),
    "norm_affine": Setting(BOOLEAN, "Learns a scale (gamma) and a shift (beta)."),
    "norm_per_task": Setting(
        BOOLEAN, "Keeps a normalization per task, selected by the task label in testing; false shares one."
    ),
    "gamma_init": Setting(
        one_of("ones", "uniform"), "Initial gamma; uniform draws from [0, 1], as the paper's PyTorch 1.1 did."
    ),
    "test_statistics": Setting(
        one_of("population", "running", "batch"),
        "Statistics in testing: of the task's training data, running averages, or of the test batch.",
    ),
    "logit_scale": Setting(POSITIVE, "Factor of the normalized logits, the inverse temperature of the softmax."),
}

_N_TASKS = Setting(integer(1, 10_000), "Number of tasks.")
_BINARIZE = Setting(BOOLEAN, "Keeps only the sign of each pixel.")
SPLIT: Mapping[str, Setting] = {
    "n_tasks": Setting(integer(1, 10), "Number of tasks; has to divide the 10 classes."),
    "incremental": Setting(
        one_of("class", "task"), "Classes to choose from: all of them, or only the task's, which needs the task label."
    ),
}
_N_PARTS = Setting(integer(1), "Number of parts of the stream; 1 gives all data at once.")
FEATURES: Mapping[str, Setting] = {
    "scale": Setting(
        one_of("std", "variance", "none"), "What each row is divided by; has no effect on binarized features."
    ),
    "binarize": Setting(BOOLEAN, "Keeps only whether a feature is above the mean of its row."),
    "file": Setting(TEXT, "File of the features, in data_dir."),
}
_LR = Setting(POSITIVE, "Learning rate.")
_WEIGHT_DECAY = Setting(NOT_NEGATIVE, "Decay of the weights, added to the gradient.")
_DECOUPLED_DECAY = Setting(
    number(">= 0 and < 1", lambda decay: 0 <= decay < 1, minimum=0, exclusiveMaximum=1),
    "Fraction of each hidden weight that a step takes away, whatever f_meta is.",
)
_RELATIVE_M = Setting(
    number(">= 0 and <= 1", lambda exponent: 0 <= exponent <= 1, minimum=0, maximum=1),
    "Exponent p: m is divided by (mean |W^h| of the layer)^p. 0 is the paper's; 1 keeps one share of a layer free.",
)
_CONSOLIDATION = Setting(
    one_of("tanh", "exponential"), "Factor of a shrinking step: 1 - tanh^2(m |W^h|), or e^(-m |W^h|)."
)

_LAMBDA = Setting(NOT_NEGATIVE, "Strength of the penalty.")
_ACTED_WEIGHTS = Setting(
    one_of("binary", "hidden"), "Weights that the penalty acts on: the signs, or the hidden weights behind them."
)
_NORM_PARAMETERS = Setting(
    BOOLEAN, "Also penalizes gamma and beta of the normalization; needs model.norm_per_task=false."
)
_MEM_SIZE = Setting(integer(1), "Images kept over all tasks.")
_BATCH_SIZE_MEM = Setting(
    either(integer(1), NULL), "Images from memory per batch; null takes as many as from the task."
)
_PATTERNS = Setting(integer(1), "Images kept of each task.")

TARGETS: Mapping[str, Mapping[str, Setting]] = {
    "metaplast.scenarios.permuted_mnist": {
        "n_tasks": _N_TASKS,
        "padding": Setting(integer(0, 1000), "Black pixels added on each side before the permutation."),
    },
    "metaplast.scenarios.permuted_digits": {"n_tasks": _N_TASKS},
    "metaplast.scenarios.permuted_fashion_mnist": {"n_tasks": _N_TASKS},
    "metaplast.scenarios.rotated_mnist": {
        "n_tasks": _N_TASKS,
        "angles": Setting(
            either(DEGREES, list_of(DEGREES, "a list of such (one per task)")),
            "Rotation of each task, counter-clockwise; one number spreads them evenly from 0 to it.",
        ),
    },
    "metaplast.scenarios.split_mnist": SPLIT,
    "metaplast.scenarios.split_fashion_mnist": SPLIT,
    "metaplast.scenarios.split_digits": SPLIT,
    "metaplast.scenarios.fashion_mnist_stream": {"n_parts": _N_PARTS},
    "metaplast.scenarios.digits_stream": {"n_parts": _N_PARTS},
    "metaplast.scenarios.cifar10_stream": {
        "n_parts": _N_PARTS,
        "augment": Setting(
            one_of("none", "flip", "flip_crop", "flip_rotate", "flip_rotate_or_crop"),
            "Random augmentation of the training images, drawn again in every epoch.",
        ),
    },
    "metaplast.scenarios.whole_datasets": {
        "order": Setting(order_of("mnist", "fashion_mnist"), "Data sets, one per task.")
    },
    "metaplast.scenarios.mnist_usps": {
        "order": Setting(order_of("mnist", "usps"), "Data sets, one per task."),
        "n_mnist": Setting(integer(1, 60_000), "Training images of MNIST, contiguous."),
        "n_usps": Setting(integer(1, 7_291), "Training images of USPS, contiguous."),
        "binarize": _BINARIZE,
    },
    "metaplast.scenarios.cifar10_features": {
        "classes": Setting(
            list_of(
                list_of(integer(0, 9), "a list of classes", least=1),
                "a list of classes from 0 to 9 for each task",
                least=1,
            ),
            "Classes of each task.",
        ),
        **FEATURES,
    },
    "metaplast.scenarios.cifar100_features": {
        "n_tasks": Setting(integer(1, 100), "Number of tasks; has to divide the 100 classes."),
        **FEATURES,
    },
    "metaplast.nn.models.bnn": {
        "hidden": Setting(WIDTHS, "Widths of the hidden layers."),
        "init_bound": Setting(POSITIVE, f"{_INIT_BOUND}."),
        **HIDDEN_UNITS,
        **NORMALIZATION,
    },
    "metaplast.nn.models.mlp": {
        "hidden": Setting(WIDTHS, "Widths of the hidden layers."),
        "init_bound": Setting(either(POSITIVE, NULL), f"{_INIT_BOUND}; null takes 1/sqrt(inputs of the layer)."),
        **NORMALIZATION,
    },
    "metaplast.nn.models.bcnn": {
        "channels": Setting(WIDTHS, "Output channels of each convolution."),
        "kernel_size": Setting(integer(1, 1000), "Side of each convolution's kernel, in pixels."),
        "padding": Setting(integer(0, 1000), "Pixels added on each side before each convolution."),
        "init_bound": Setting(POSITIVE, f"{_INIT_BOUND}."),
        **HIDDEN_UNITS,
        **NORMALIZATION,
    },
    "metaplast.nn.models.vgg": {
        "channels": Setting(
            WIDTHS, "Output channels of each 3x3 convolution; each pair is pooled, and an odd last one."
        ),
        "hidden": Setting(WIDTHS, "Widths of the hidden linear layers."),
        "dropout": Setting(
            number(">= 0 and < 1", lambda share: 0 <= share < 1, minimum=0, exclusiveMaximum=1),
            "Fraction of the hidden linear units that a training step omits.",
        ),
        "init_bound": Setting(either(POSITIVE, NULL), f"{_INIT_BOUND}; null draws them normal (Xavier)."),
        **HIDDEN_UNITS,
        **NORMALIZATION,
    },
    "metaplast.optim.MetaplasticAdam": {
        "lr": _LR,
        "betas": Setting(
            list_of(
                number("", lambda beta: 0 <= beta < 1, minimum=0, exclusiveMaximum=1),
                "a list of two numbers >= 0 and < 1",
                length=2,
            ),
            "Decay rates of Adam's two moments.",
        ),
        "eps": Setting(POSITIVE, "Added to the root of the second moment."),
        "weight_decay": _WEIGHT_DECAY,
        "decoupled_weight_decay": _DECOUPLED_DECAY,
        "relative_m": _RELATIVE_M,
        "consolidation": _CONSOLIDATION,
        "compiled": Setting(one_of("auto", True, False), "Compiles the step; conf/ sets it to trainer.compile."),
    },
    "metaplast.optim.MetaplasticSGD": {
        "lr": _LR,
        "momentum": Setting(
            number(">= 0 and < 1", lambda momentum: 0 <= momentum < 1, minimum=0, exclusiveMaximum=1), "Momentum."
        ),
        "weight_decay": _WEIGHT_DECAY,
        "decoupled_weight_decay": _DECOUPLED_DECAY,
        "relative_m": _RELATIVE_M,
        "consolidation": _CONSOLIDATION,
    },
    "metaplast.strategies.plugins.replay.Replay": {"mem_size": _MEM_SIZE, "batch_size_mem": _BATCH_SIZE_MEM},
    "metaplast.strategies.plugins.der.DER": {
        "mem_size": _MEM_SIZE,
        "batch_size_mem": _BATCH_SIZE_MEM,
        "alpha": Setting(NOT_NEGATIVE, "Weight of the loss on the stored logits."),
        "beta": Setting(NOT_NEGATIVE, "Weight of the loss on the stored labels; 0 gives DER instead of DER++."),
    },
    "metaplast.strategies.plugins.gem.AGEM": {
        "patterns_per_experience": _PATTERNS,
        "sample_size": Setting(integer(1), "Stored images that a step compares with, shared among the tasks."),
    },
    "metaplast.strategies.plugins.gem.GEM": {
        "patterns_per_experience": _PATTERNS,
        "memory_strength": Setting(NOT_NEGATIVE, "Strength of the pull towards the gradients of earlier tasks."),
    },
    "metaplast.strategies.plugins.lwf.LwF": {
        "alpha": Setting(
            either(NOT_NEGATIVE, list_of(NOT_NEGATIVE, "a list of such (one per task)", least=1)),
            "Weight of the distillation loss.",
        ),
        "temperature": Setting(POSITIVE, "Temperature that softens both answers."),
    },
    "metaplast.strategies.plugins.mas.MAS": {
        "lambda_reg": _LAMBDA,
        "alpha": Setting(FRACTION, "Fraction of the old importances that is kept at each task."),
        "norm_parameters": _NORM_PARAMETERS,
    },
    "metaplast.strategies.plugins.rwalk.RWalk": {
        "ewc_lambda": _LAMBDA,
        "ewc_alpha": Setting(FRACTION, "Weight of the newest batch in the moving Fisher information."),
        "delta_t": Setting(integer(1), "Steps between two updates of the scores."),
        "norm_parameters": _NORM_PARAMETERS,
    },
    "metaplast.strategies.plugins.si.SI": {
        "si_lambda": _LAMBDA,
        "xi": Setting(POSITIVE, "Damping of the importances."),
        "weights": _ACTED_WEIGHTS,
        "path": Setting(one_of("hidden", "binary"), "Weights along which the path integrals are taken."),
        "norm_parameters": _NORM_PARAMETERS,
    },
    "metaplast.strategies.plugins.ewc.ewc_plugin": {
        "ewc_lambda": _LAMBDA,
        "fisher": Setting(
            one_of("exact", "batch"),
            "Fisher information: squared gradients per sample, or Avalanche's own, per batch, which takes only "
            "ewc_lambda, mode and gamma.",
        ),
        "weights": _ACTED_WEIGHTS,
        "labels": Setting(
            one_of("empirical", "sampled", "all", "predicted"),
            "Labels of the Fisher information: the data's, drawn, all weighted by probability, or predicted.",
        ),
        "n_samples": Setting(
            either(integer(1), NULL), "Images per task for the Fisher information; null takes all of them."
        ),
        "mode": Setting(one_of("separate", "online"), "One penalty per task, or a running one that decays by gamma."),
        "gamma": Setting(either(FRACTION, NULL), "Decay of older importances at each task, for mode=online only."),
        "shuffled": Setting(BOOLEAN, "Permutes the importances within each layer, as a control."),
        "seed": Setting(integer(0, 2**32 - 1), "Determines the permutation of shuffled importances."),
        "norm_parameters": _NORM_PARAMETERS,
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


def check_arguments(target: str, section: str = "", /, **values: Any) -> None:
    """Raise UserError for the first of `values` that the schema of `target` does not accept.

    `section`, such as "scenario", leads the key in the message. `seed`, which the run gives to every scenario, is known
    without being an argument that a configuration has.

    >>> check_arguments("metaplast.strategies.plugins.lwf.LwF", temperature=0)
    Traceback (most recent call last):
    metaplast.errors.UserError: temperature=0: expected a number > 0, got 0
    """
    for key, value in values.items():
        own = key in TARGETS[target]
        constraint = (TARGETS[target] if own else SETTINGS)[key].constraint
        plain = _plain(value)
        if not constraint.is_valid(plain):
            raise UserError(problem(f"{section}.{key}" if own and section else key, plain, constraint))


def check_divides(key: str, value: int, n_classes: int) -> None:
    """Raise UserError if `value`, that of setting `key`, is not a number of equal parts of `n_classes` classes."""
    if n_classes % value:
        raise UserError(f"{key}={value}: expected a number that divides the {n_classes} classes, got {value}")


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
