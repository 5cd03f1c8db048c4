"""Wrong arguments of every scenario are refused in one line, before any data is looked for."""

from collections.abc import Callable
from typing import Any

import pytest

from metaplast import scenarios
from metaplast.config.constraints import shown
from metaplast.errors import UserError

GOOD: dict[Callable[..., Any], dict[str, Any]] = {
    scenarios.permuted_fashion_mnist: {"n_tasks": 2},
    scenarios.rotated_mnist: {"n_tasks": 2, "angles": 90},
    scenarios.split_mnist: {"n_tasks": 5, "incremental": "class"},
    scenarios.split_fashion_mnist: {"n_tasks": 5, "incremental": "class"},
    scenarios.whole_datasets: {"order": ["mnist"]},
    scenarios.mnist_usps: {"order": ["mnist", "usps"], "n_mnist": 10, "n_usps": 10, "binarize": True},
    scenarios.fashion_mnist_stream: {"n_parts": 3},
    scenarios.cifar10_stream: {"n_parts": 3, "augment": "flip"},
    scenarios.digits_stream: {"n_parts": 3},
    scenarios.split_digits: {"n_tasks": 5, "incremental": "class"},
    scenarios.cifar10_features: {"scale": "std", "binarize": True},
    scenarios.cifar100_features: {"n_tasks": 2, "scale": "std", "binarize": True},
}

BAD = [
    (scenarios.permuted_fashion_mnist, "n_tasks", 0, "expected an integer from 1 to 10000"),
    (scenarios.permuted_fashion_mnist, "seed", -1, "expected an integer from 0 to 4294967295"),
    (scenarios.rotated_mnist, "n_tasks", 0, "expected an integer from 1 to 10000"),
    (scenarios.rotated_mnist, "angles", "90", "a number of degrees"),
    (scenarios.rotated_mnist, "angles", None, "a number of degrees"),
    (scenarios.rotated_mnist, "angles", [0, float("nan")], "a number of degrees"),
    (scenarios.rotated_mnist, "angles", True, "a number of degrees"),
    (scenarios.rotated_mnist, "angles", [0, 1, 2], "expected scenario.n_tasks=2 angles, got 3"),
    (scenarios.split_mnist, "n_tasks", 3, "expected a number that divides the 10 classes"),
    (scenarios.split_fashion_mnist, "n_tasks", 0, "expected an integer from 1 to 10"),
    (scenarios.split_mnist, "incremental", "domain", "expected one of class, task"),
    (scenarios.whole_datasets, "order", [], "a list of one or more of mnist, fashion_mnist"),
    (scenarios.whole_datasets, "order", "mnist", "a list of one or more of mnist, fashion_mnist"),
    (scenarios.whole_datasets, "order", ["mnist", "mnist"], "none of them twice"),
    (scenarios.whole_datasets, "order", ["mnist", ["usps"]], "a list of one or more of mnist, fashion_mnist"),
    (scenarios.mnist_usps, "order", ["fashion_mnist"], "a list of one or more of mnist, usps"),
    (scenarios.mnist_usps, "n_mnist", 60_001, "an integer from 1 to 60000"),
    (scenarios.mnist_usps, "n_usps", 0, "an integer from 1 to 7291"),
    (scenarios.mnist_usps, "binarize", 1, "expected one of true, false"),
    (scenarios.mnist_usps, "seed", -1, "expected an integer from 0 to 4294967295"),
    (scenarios.fashion_mnist_stream, "n_parts", 0, "expected an integer >= 1"),
    (scenarios.fashion_mnist_stream, "seed", -1, "expected an integer from 0 to 4294967295"),
    (scenarios.cifar10_stream, "n_parts", 2.0, "expected an integer >= 1"),
    (
        scenarios.cifar10_stream,
        "augment",
        "crop",
        "expected one of none, flip, flip_crop, flip_rotate, flip_rotate_or",
    ),
    (scenarios.digits_stream, "n_parts", 1443, "an integer from 1 to 1442"),
    (scenarios.split_digits, "n_tasks", 4, "expected a number that divides the 10 classes"),
    (scenarios.cifar10_features, "classes", [], "a list of classes from 0 to 9 for each task"),
    (scenarios.cifar10_features, "classes", [[0], []], "a list of classes from 0 to 9 for each task"),
    (scenarios.cifar10_features, "classes", [0, 1], "a list of classes from 0 to 9 for each task"),
    (scenarios.cifar10_features, "classes", [[0, 10]], "a list of classes from 0 to 9 for each task"),
    (scenarios.cifar10_features, "classes", [[0, 1], [1, 2]], "expected each class in one task"),
    (scenarios.cifar10_features, "scale", "sd", "expected one of std, variance, none"),
    (scenarios.cifar100_features, "n_tasks", 3, "expected a number that divides the 100 classes"),
    (scenarios.cifar100_features, "binarize", None, "expected one of true, false"),
]


@pytest.mark.parametrize(("make", "key", "value", "text"), BAD)
def test_a_wrong_argument_is_named_with_what_came_and_what_is_allowed(
    make: Callable[..., Any], key: str, value: Any, text: str
) -> None:
    arguments = {"seed": 0, **GOOD[make], key: value}
    with pytest.raises(UserError) as error:
        make(**arguments, data_dir="/nowhere")
    name = key if key == "seed" else f"scenario.{key}"
    assert str(error.value).startswith(f"{name}={shown(value)}: ")
    assert text in str(error.value)


@pytest.mark.parametrize(
    "make", [scenarios.mnist_usps, scenarios.cifar10_stream, scenarios.cifar10_features, scenarios.cifar100_features]
)
def test_data_that_are_never_fetched_are_asked_for_where_right_arguments_find_none(make: Callable[..., Any]) -> None:
    arguments = GOOD[make] | ({"order": ["usps"]} if make is scenarios.mnist_usps else {})
    with pytest.raises(UserError, match=r"(data_dir=/nowhere: expected .* Get|features)"):
        make(**arguments, seed=0, data_dir="/nowhere")
