"""The table of settings knows the arguments of our own targets, no more and no fewer."""

import inspect
from typing import get_args, get_type_hints

import pytest

from metaplast.config.targets import NORMALIZATION, TARGETS, WIDTHS_OF
from metaplast.data import Augmentation
from metaplast.nn import models
from metaplast.nn.models import NormSettings
from metaplast.optim import MetaplasticAdam

FROM_THE_RUN = {"input_shape", "n_classes", "n_tasks"}


@pytest.mark.parametrize("name", ["bnn", "mlp", "bcnn", "vgg"])
def test_the_settings_of_a_network_are_its_arguments(name: str) -> None:
    target = f"metaplast.nn.models.{name}"
    parameters = inspect.signature(getattr(models, name)).parameters
    assert {*TARGETS[target]} == {*parameters, *get_type_hints(NormSettings)} - FROM_THE_RUN - {"norm"} | {"norm"}
    assert {*NORMALIZATION} == {*get_type_hints(NormSettings)}
    assert {*WIDTHS_OF[target]} <= {*parameters}


def test_the_augmentations_are_those_that_there_are() -> None:
    assert {*TARGETS["metaplast.scenarios.cifar10_stream"]["augment"].constraint.choices} == {*get_args(Augmentation)}


def test_the_settings_of_the_optimizer_are_its_arguments() -> None:
    parameters = inspect.signature(MetaplasticAdam).parameters
    assert {*TARGETS["metaplast.optim.MetaplasticAdam"]} == {*parameters} - {"params", "m"}
