"""Each weight layer gets its own m, and nothing of one dimension gets any."""

from typing import Any

import pytest

from metaplast.nn import bcnn, bnn
from metaplast.optim import MetaplasticAdam, MetaplasticSGD, parameter_groups


def test_every_parameter_lies_in_one_group_and_weights_alone_carry_m() -> None:
    network = bnn((1, 8, 8), 10, hidden=[6, 5])
    groups = parameter_groups(network, [1.0, 2.0, 3.0])
    assert sorted(id(p) for g in groups for p in g["params"]) == sorted(id(p) for p in network.parameters())
    assert all((g["m"] > 0) == all(p.dim() >= 2 for p in g["params"]) for g in groups)


def test_convolutions_carry_m_as_linear_layers_do() -> None:
    network = bcnn((1, 8, 8), 10, channels=[3, 4], kernel_size=3, padding=1)
    groups = parameter_groups(network, [1.0, 2.0, 3.0])
    assert [(p.dim(), g["m"]) for g in groups[:3] for p in g["params"]] == [(4, 1.0), (4, 2.0), (2, 3.0)]


def test_one_number_serves_all_weight_layers() -> None:
    weights, others = parameter_groups(bnn((1, 8, 8), 10, hidden=[6]), 1.3)
    assert (weights["m"], len(weights["params"]), others["m"]) == (1.3, 2, 0.0)


def test_a_list_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"m=\[1.0, 2.0\]: expected one number for each of 3 weight layers, got 2"):
        parameter_groups(bnn((1, 8, 8), 10, hidden=[6, 5]), [1.0, 2.0])


@pytest.mark.parametrize("m", ["1.3", None, -1.0, [1.0, "2", 3.0], [1.0, None, 3.0], {"layer1": 1.0}], ids=str)
@pytest.mark.parametrize("optimizer", [MetaplasticAdam, MetaplasticSGD])
def test_an_m_that_is_no_number_is_refused_by_the_optimizer(
    optimizer: type[MetaplasticAdam | MetaplasticSGD], m: Any
) -> None:
    with pytest.raises(ValueError, match=r"m=.*: expected a finite number >= 0"):
        optimizer(parameter_groups(bnn((1, 8, 8), 10, hidden=[6, 5]), m))
