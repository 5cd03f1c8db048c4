"""The metaplastic step against the paper in plain loops, its laws, and the trajectory of the published code."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from metaplast.nn import bnn
from metaplast.optim import MetaplasticAdam, compiled_step, parameter_groups

GOLDEN = Path(__file__).parents[1] / "data_files" / "reference_bnn.npz"
numbers = st.floats(-3, 3, width=32)
metaplasticities = st.floats(0, 10)


def literal_adam(weights: list[float], gradients: list[list[float]], m: float, lr: float, decay: float) -> list[float]:
    """The reference's step, one scalar at a time."""
    result = []
    for i, start in enumerate(weights):
        w, mu, v = start, 0.0, 0.0
        for t, row in enumerate(gradients, start=1):
            g = row[i] + decay * w
            mu = 0.9 * mu + 0.1 * g
            v = 0.999 * v + 0.001 * g * g
            step_size = lr * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            share = 1 - math.tanh(m * abs(w)) ** 2 if w * mu > 0 else 1.0
            w -= step_size * share * mu / (math.sqrt(v) + 1e-8)
        result.append(w)
    return result


def run(weight: Tensor, gradients: Tensor, **settings: object) -> Tensor:
    """The weight after one step of our optimizer for each row of gradients."""
    parameter = nn.Parameter(weight.clone())
    optimizer = MetaplasticAdam([parameter], **settings)  # type: ignore[arg-type]
    for gradient in gradients:
        parameter.grad = gradient.reshape(weight.shape).clone()
        optimizer.step()
    return parameter.detach()


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.tuples(
            st.lists(numbers, min_size=n, max_size=n),
            st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=1, max_size=5),
        )
    ),
    metaplasticities,
)
def test_the_step_is_the_papers_in_plain_loops(case: tuple[list[float], list[list[float]]], m: float) -> None:
    weights, gradients = case
    ours = run(
        torch.tensor([weights], dtype=torch.float64),
        torch.tensor(gradients, dtype=torch.float64),
        m=m,
        lr=0.01,
        weight_decay=0.1,
    )
    assert torch.allclose(
        ours[0], torch.tensor(literal_adam(weights, gradients, m, 0.01, 0.1), dtype=torch.float64), atol=1e-9
    )


@given(st.lists(numbers, min_size=2, max_size=5), st.lists(numbers, min_size=2, max_size=2))
def test_m_of_zero_is_adam_with_epsilon_before_the_correction(gradients: list[float], start: list[float]) -> None:
    rows = torch.tensor([[g, -g] for g in gradients], dtype=torch.float64)
    theirs = nn.Parameter(torch.tensor([start], dtype=torch.float64))
    adam = torch.optim.Adam([theirs], lr=0.01, eps=1e-8)
    for t, row in enumerate(rows, start=1):
        adam.param_groups[0]["eps"] = 1e-8 / math.sqrt(1 - 0.999**t)  # the one difference between the two
        theirs.grad = row.reshape(1, 2).clone()
        adam.step()
    ours = run(torch.tensor([start], dtype=torch.float64), rows, m=0.0, lr=0.01)
    assert torch.allclose(ours, theirs.detach(), atol=1e-10)


@given(st.floats(0.01, 3), st.floats(0.01, 3), metaplasticities)
def test_a_step_that_grows_a_weight_ignores_m(w: float, g: float, m: float) -> None:
    weight = torch.tensor([[w, -w]], dtype=torch.float64)
    away = torch.tensor([[-g, g]], dtype=torch.float64)
    assert torch.equal(run(weight, away, m=m, compiled=False), run(weight, away, m=0.0, compiled=False))


@given(st.floats(0.01, 3), st.floats(0.01, 3), metaplasticities, metaplasticities)
def test_a_larger_m_never_moves_a_shrinking_weight_further(w: float, g: float, m: float, larger: float) -> None:
    m, larger = sorted((m, larger))
    weight = torch.tensor([[w]], dtype=torch.float64)
    gradient = torch.tensor([[g]], dtype=torch.float64)
    moved = [(weight - run(weight, gradient, m=value)).abs().item() for value in (m, larger)]
    assert moved[1] <= moved[0]


@pytest.mark.parametrize("shape", [(12, 1), (2, 6), (2, 3, 2), (3, 1, 2, 2)])
def test_weights_of_two_and_more_dimensions_are_metaplastic(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, gradients = torch.randn(12, generator=generator), torch.randn(5, 12, generator=generator)
    stepped = run(weight.view(shape), gradients, m=2.0, compiled=False).flatten()
    assert torch.equal(stepped, run(weight.view(1, 12), gradients, m=2.0, compiled=False).flatten())
    assert not torch.allclose(stepped, run(weight.view(shape), gradients, m=0.0, compiled=False).flatten())


def test_parameters_of_one_dimension_take_the_plain_step() -> None:
    weight, gradients = torch.tensor([0.5, -0.5]), torch.ones(3, 2)
    assert torch.equal(run(weight, gradients, m=5.0), run(weight, gradients, m=0.0))


@settings(deadline=None, max_examples=25)
@given(
    st.integers(2, 3000),
    metaplasticities,
    st.sampled_from([0.0, 1e-2]),
    st.sampled_from(["tanh", "exponential"]),
    st.integers(0, 2**31),
)
def test_the_compiled_step_equals_the_literal_one(n: int, m: float, decay: float, share: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(1, n, generator=generator, dtype=torch.float32)
    gradients = torch.randn(4, n, generator=generator)
    eager, compiled = (
        run(weight, gradients, m=m, weight_decay=decay, consolidation=share, compiled=form) for form in (False, True)
    )
    # A few roundings in float32, each below 6e-8 of numbers around 1.
    assert torch.allclose(compiled, eager, atol=2e-6)


def test_weights_of_any_number_and_size_are_stepped_by_kernels_that_are_compiled_once() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes, threads = [(8, 8), (8, 8), (1, 2), (300, 70), (8, 8)], torch.get_num_threads()
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    moved = {}
    try:
        for compiled in (False, True):
            parameters = [nn.Parameter(weight.clone()) for weight in weights]
            optimizer = MetaplasticAdam(parameters, m=1.35, compiled=compiled)
            for n in (1, 2, 3, 1, 2, 3):  # a run gives up threads, and takes them back
                torch.set_num_threads(n)
                for parameter in parameters:
                    parameter.grad = torch.ones_like(parameter)
                optimizer.step()
            moved[compiled] = parameters
    finally:
        torch.set_num_threads(threads)
    assert not compiled_step._unavailable
    for eager, compiled_weight in zip(moved[False], moved[True], strict=True):
        assert torch.allclose(eager, compiled_weight, atol=2e-6)


def test_small_parameters_together_are_stepped_as_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    starts = [torch.randn(n, generator=generator) for n in (3, 5, 7)]
    stepped = {}
    for compiled in (False, "auto"):
        parameters = [nn.Parameter(start.clone()) for start in starts]
        optimizer = MetaplasticAdam(parameters, m=2.0, weight_decay=0.1, compiled=compiled)
        for step in range(4):
            for parameter in parameters[: 1 + step % 3]:  # so that they are at steps of their own
                parameter.grad = parameter.detach() - step
            optimizer.step()
            optimizer.zero_grad()
        stepped[compiled] = parameters
    for eager, together in zip(stepped[False], stepped["auto"], strict=True):
        assert torch.allclose(eager, together, atol=1e-6)


def test_a_weight_that_is_not_contiguous_is_stepped_by_the_literal_form() -> None:
    weight = nn.Parameter(torch.randn(4, 6, 3, 3).to(memory_format=torch.channels_last))
    twin = nn.Parameter(weight.detach().clone(memory_format=torch.contiguous_format))
    for parameter in (weight, twin):
        parameter.grad = torch.ones_like(parameter)
        MetaplasticAdam([parameter], m=1.0, compiled=True).step()
    assert torch.allclose(weight, twin, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True], ids=["literal", "compiled"])
def test_the_trajectory_of_the_published_code_is_followed(compiled: bool) -> None:
    golden = np.load(GOLDEN)
    network = bnn((1, 28, 28), 10, hidden=[32, 16], norm_per_task=False, test_statistics="batch")
    with torch.no_grad():
        for i in (1, 2, 3):
            network.get_parameter(f"layer{i}.weight").copy_(torch.tensor(golden[f"W{i}_init"]))
    x = torch.tensor(golden["x"]).reshape(-1, 20, 1, 28, 28) / 255
    y = torch.tensor(golden["y"])
    m, steps = golden["m"].tolist(), int(golden["steps_per_task"])
    optimizer = MetaplasticAdam(
        parameter_groups(network, m),
        lr=float(golden["lr"]),
        weight_decay=float(golden["weight_decay"]),
        compiled=compiled,
    )
    losses = []
    for task in (1, 2):
        optimizer.reset_state()
        for step in range((task - 1) * steps, task * steps):
            loss = F.cross_entropy(network(x[step]), y[step])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        for i in (1, 2, 3):
            for ours, theirs in (
                (f"layer{i}.weight", f"W{i}_task{task}"),
                (f"norm{i}.weight", f"bn{i}_weight_task{task}"),
                (f"norm{i}.bias", f"bn{i}_bias_task{task}"),
            ):
                difference = np.abs(network.get_parameter(ours).detach().numpy() - golden[theirs]).max()
                assert difference <= 1e-5, f"{ours} after task {task}: {difference}"
    assert np.abs(np.array(losses) / golden["loss"] - 1).max() <= 1e-4


def test_state_saved_and_loaded_goes_on_with_the_same_bits() -> None:
    gradients = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    whole = run(torch.ones(2, 4), gradients, m=1.3, compiled=False)
    first = nn.Parameter(torch.ones(2, 4))
    optimizer = MetaplasticAdam([first], m=1.3, compiled=False)
    for gradient in gradients[:3]:
        first.grad = gradient.reshape(2, 4)
        optimizer.step()
    second = nn.Parameter(first.detach().clone())
    resumed = MetaplasticAdam([second], m=0.0, compiled=False)
    resumed.load_state_dict(optimizer.state_dict())
    for gradient in gradients[3:]:
        second.grad = gradient.reshape(2, 4)
        resumed.step()
    assert torch.equal(second.detach(), whole)


def test_a_reset_makes_the_next_step_the_first_one() -> None:
    weight = nn.Parameter(torch.zeros(1, 3))
    optimizer = MetaplasticAdam([weight], lr=0.1)
    weight.grad = torch.ones(1, 3)
    optimizer.step()
    optimizer.reset_state()
    before = weight.detach().clone()
    optimizer.step()
    assert torch.allclose(before - weight, torch.full((1, 3), 0.1), atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"m": -1}, "m has to be a number >= 0, but is -1"),
        ({"m": math.nan}, "m has to be a number >= 0, but is nan"),
        ({"lr": 0}, "lr has to be a number > 0, but is 0"),
        ({"betas": (1.0, 0.9)}, r"betas has to be two numbers in \[0, 1\), but is 1.0"),
        ({"eps": 0}, "eps has to be a number > 0, but is 0"),
        ({"weight_decay": -1e-7}, "weight_decay has to be a number >= 0, but is -1e-07"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MetaplasticAdam([nn.Parameter(torch.zeros(1))], **setting)  # type: ignore[arg-type]
