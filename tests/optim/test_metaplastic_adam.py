"""The metaplastic step against the paper in plain loops, its laws, and the trajectory of the published code."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from metaplast.nn import bnn
from metaplast.optim import MetaplasticAdam, parameter_groups

GOLDEN = Path(__file__).parents[1] / "data_files" / "reference_bnn.npz"
numbers = st.floats(-3, 3, width=32)
metaplasticities = st.floats(0, 10)


def literal_adam(
    weights: list[float],
    gradients: list[list[float]],
    m: float,
    lr: float,
    decay: float,
    decoupled: float = 0.0,
    relative: float = 0.0,
) -> list[float]:
    """The reference's step, one scalar at a time; `relative` divides m by the mean |W^h| to this power."""
    w, mu, v = list(weights), [0.0] * len(weights), [0.0] * len(weights)
    for t, row in enumerate(gradients, start=1):
        w = [one - decoupled * one for one in w]
        mean = sum(abs(one) for one in w) / len(w)
        m_now = m / mean**relative if mean else m
        step_size = lr * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for i, start in enumerate(w):
            g = row[i] + decay * start
            mu[i] = 0.9 * mu[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            share = 1 - math.tanh(m_now * abs(start)) ** 2 if start * mu[i] > 0 else 1.0
            w[i] -= step_size * share * mu[i] / (math.sqrt(v[i]) + 1e-8)
    return w


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
    st.sampled_from([0.0, 0.05]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_the_step_is_the_papers_in_plain_loops(
    case: tuple[list[float], list[list[float]]], m: float, decoupled: float, relative: float
) -> None:
    weights, gradients = case
    ours = run(
        torch.tensor([weights], dtype=torch.float64),
        torch.tensor(gradients, dtype=torch.float64),
        m=m,
        lr=0.01,
        weight_decay=0.1,
        decoupled_weight_decay=decoupled,
        relative_m=relative,
    )
    literal = literal_adam(weights, gradients, m, 0.01, 0.1, decoupled, relative)
    assert torch.allclose(ours[0], torch.tensor(literal, dtype=torch.float64), atol=1e-9)


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


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"m": -1}, "m=-1: expected a finite number >= 0"),
        ({"m": math.nan}, "m=nan: expected a finite number >= 0"),
        ({"lr": 0}, "lr=0: expected a finite number > 0"),
        ({"betas": (1.0, 0.9)}, r"betas=\(1.0, 0.9\): expected two numbers in \[0, 1\)"),
        ({"betas": (0.9,)}, r"betas=\(0.9,\): expected two numbers"),
        ({"betas": "ab"}, r"betas=\('a', 'b'\): expected two numbers"),
        ({"betas": None}, "betas=None: expected two numbers"),
        ({"eps": 0}, "eps=0: expected a finite number > 0"),
        ({"weight_decay": -1e-7}, "weight_decay=-1e-07: expected a finite number >= 0"),
        ({"compiled": "yes"}, "compiled='yes': expected True, False or 'auto'"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MetaplasticAdam([nn.Parameter(torch.zeros(1))], **setting)  # type: ignore[arg-type]
