"""The fast forms of the Adam step equal the literal one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from metaplast.optim import MetaplasticAdam
from metaplast.optim import compiled as fast
from metaplast.optim.compiled import PlannedStep, compiled_steps
from metaplast.optim.functional import AdamTensors

metaplasticities = st.floats(0, 10)


def run(weight: Tensor, gradients: Tensor, **settings: object) -> Tensor:
    """The weight after one step of our optimizer for each row of gradients."""
    parameter = nn.Parameter(weight.clone())
    optimizer = MetaplasticAdam([parameter], **settings)  # type: ignore[arg-type]
    for gradient in gradients:
        parameter.grad = gradient.reshape(weight.shape).clone()
        optimizer.step()
    return parameter.detach()


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
    assert not fast._unavailable
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


def test_where_nothing_can_be_compiled_the_literal_step_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no compiler here\nand more lines")

    monkeypatch.setattr(fast, "_kernel", fail)
    monkeypatch.setattr(fast, "_unavailable", False)
    weight, gradients = torch.ones(2, 3), torch.ones(2, 6)
    with pytest.warns(UserWarning, match=r"no compiled metaplastic step here \(no compiler here\); the eager one"):
        compiled = run(weight, gradients, m=1.3, compiled=True)
    assert torch.equal(compiled, run(weight, gradients, m=1.3, compiled=False))


def test_steps_that_the_kernel_cannot_take_come_back() -> None:
    strided = AdamTensors(*(torch.ones(4, 6).t() for _ in range(4)))
    hyperparams = {"step_size": 0.1, "m": 1.0, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.0}
    step = PlannedStep(strided, hyperparams, "tanh")  # type: ignore[arg-type]
    assert compiled_steps([step]) == [step]
    assert torch.equal(strided.hidden, torch.ones(6, 4))
