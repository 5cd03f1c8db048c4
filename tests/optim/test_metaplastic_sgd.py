"""The metaplastic rule on gradient descent with momentum: in plain loops, and its laws."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from metaplast.optim import MetaplasticSGD

numbers = st.floats(-3, 3, width=32)
positive = st.floats(0.01, 3)
metaplasticities = st.floats(0, 10)


def run(weight: Tensor, gradients: Tensor, **settings: object) -> Tensor:
    """The weight after one step for each row of gradients."""
    parameter = nn.Parameter(weight.clone())
    optimizer = MetaplasticSGD([parameter], **settings)  # type: ignore[arg-type]
    for gradient in gradients:
        parameter.grad = gradient.reshape(weight.shape).clone()
        optimizer.step()
    return parameter.detach()


@given(numbers, st.lists(numbers, min_size=1, max_size=5), metaplasticities)
def test_the_step_is_the_formula_in_plain_loops(start: float, gradients: list[float], m: float) -> None:
    w, b = start, 0.0
    for gradient in gradients:
        b = 0.9 * b + gradient + 0.1 * w
        w -= 0.01 * (1 - math.tanh(m * abs(w)) ** 2 if w * b > 0 else 1.0) * b
    rows = torch.tensor(gradients, dtype=torch.float64)
    ours = run(torch.tensor([[start]], dtype=torch.float64), rows, m=m, lr=0.01, momentum=0.9, weight_decay=0.1)
    assert ours.item() == pytest.approx(w, abs=1e-12)


@given(st.lists(numbers, min_size=2, max_size=5), numbers)
def test_m_of_zero_is_torchs_own(gradients: list[float], start: float) -> None:
    theirs = nn.Parameter(torch.tensor([[start]], dtype=torch.float64))
    sgd = torch.optim.SGD([theirs], lr=0.01, momentum=0.9, weight_decay=0.1)
    rows = torch.tensor(gradients, dtype=torch.float64)
    for row in rows:
        theirs.grad = row.reshape(1, 1).clone()
        sgd.step()
    ours = run(torch.tensor([[start]], dtype=torch.float64), rows, m=0.0, lr=0.01, momentum=0.9, weight_decay=0.1)
    assert torch.allclose(ours, theirs.detach(), atol=1e-12)


@pytest.mark.parametrize("shape", [(12, 1), (2, 6), (2, 3, 2), (3, 1, 2, 2)])
def test_weights_of_two_and_more_dimensions_are_metaplastic(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, gradients = torch.randn(12, generator=generator), torch.randn(5, 12, generator=generator)
    stepped = run(weight.view(shape), gradients, m=2.0).flatten()
    assert torch.equal(stepped, run(weight.view(1, 12), gradients, m=2.0).flatten())
    assert not torch.allclose(stepped, run(weight.view(shape), gradients, m=0.0).flatten())


def test_parameters_of_one_dimension_take_the_plain_step() -> None:
    weight, gradients = torch.tensor([0.5, -0.5]), torch.ones(3, 2)
    assert torch.equal(run(weight, gradients, m=5.0), run(weight, gradients, m=0.0))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("lr", 0.0), ("m", -1.0), ("m", math.inf), ("momentum", 1.0), ("weight_decay", -1.0), ("consolidation", "linear")],
)
def test_a_setting_out_of_its_range_is_named(setting: str, value: float) -> None:
    with pytest.raises(ValueError, match=setting):
        MetaplasticSGD([nn.Parameter(torch.zeros(1, 1))], **{setting: value})  # type: ignore[arg-type]
