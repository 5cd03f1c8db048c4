"""Normalization keeps a state per task apart, and answers from the statistics it was told to use."""

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from metaplast.errors import UserError
from metaplast.nn import (
    BatchNorm,
    FixedScale,
    LayerNorm,
    TaskNorm,
    bnn,
    select_task,
    set_population_statistics,
    store_task,
)
from metaplast.nn.normalization import Statistics

KINDS = {"batch": BatchNorm, "layer": LayerNorm}


def images(seed: int, n: int = 64) -> torch.Tensor:
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 5), (8, 5, 3, 3)])
def test_batch_normalization_in_training_is_torchs(shape: tuple[int, ...]) -> None:
    x, ours = torch.randn(shape), BatchNorm(5)
    theirs = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(5)
    assert torch.allclose(ours(x), theirs(x))


def test_running_statistics_are_torchs() -> None:
    ours, theirs = BatchNorm(5, test_statistics="running"), nn.BatchNorm1d(5)
    for _ in range(3):
        x = torch.randn(8, 5)
        ours(x), theirs(x)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x))


def test_layer_normalization_is_torchs() -> None:
    x = torch.randn(8, 5)
    assert torch.allclose(LayerNorm(5)(x), nn.LayerNorm(5)(x), atol=1e-6)


def test_gamma_starts_at_one_or_uniform_on_the_unit_interval() -> None:
    torch.manual_seed(0)
    assert torch.equal(BatchNorm(1000).weight, torch.ones(1000))  # type: ignore[arg-type]
    gamma = BatchNorm(1000, gamma_init="uniform").weight
    assert gamma is not None
    assert 0 <= gamma.min() < 0.01
    assert 0.99 < gamma.max() <= 1
    assert abs(gamma.mean().item() - 0.5) < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_each_task_gets_back_the_state_it_was_stored_with(kind: str) -> None:
    norm, x = KINDS[kind](5, n_states=3), torch.randn(8, 5)
    set_population_statistics(norm, lambda: [x])
    norm.eval()
    answers = []
    for task in range(3):
        for tensor in norm.state_dict(keep_vars=True).values():
            if tensor.shape == (5,):  # the live state: γ, β and the statistics
                nn.init.uniform_(tensor, 0.5, 1.5)
        answers.append(norm(x))
        norm.store(task)
    for task in (2, 0, 1):
        norm.selected = task
        assert torch.equal(norm(x), answers[task])
    norm.selected = None
    assert torch.equal(norm(x), answers[2])


def test_without_a_state_per_task_there_is_no_bank_and_selecting_changes_nothing() -> None:
    norm, x = BatchNorm(5), torch.randn(8, 5)
    set_population_statistics(norm, lambda: [x])
    norm.eval()
    before = norm(x)
    norm.store(1)
    norm.selected = 1
    assert torch.equal(norm(x), before)
    assert not [name for name in norm.state_dict() if "task" in name]


def test_stored_states_are_in_the_state_dict_and_are_no_parameters() -> None:
    network = bnn((1, 4, 4), 3, n_tasks=2, hidden=[6])
    set_population_statistics(network, lambda: [images(0)])
    store_task(network, 0)
    twin = bnn((1, 4, 4), 3, n_tasks=2, hidden=[6])
    twin.load_state_dict(network.state_dict())
    for net in (network, twin):
        select_task(net.eval(), 0)
    assert torch.equal(network(images(0)), twin(images(0)))
    assert all(parameter.dim() == 2 or parameter.shape in ((6,), (3,)) for parameter in network.parameters())


def test_unknown_settings_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="gamma_init='normal': expected ones or uniform"):
        BatchNorm(3, gamma_init="normal")
    for name, value in (("features", 0), ("features", 2.0), ("n_states", 0), ("n_states", True), ("n_states", None)):
        with pytest.raises(ValueError, match=f"{name}={value}: expected an integer >= 1"):
            BatchNorm(**{"features": 3, name: value})  # type: ignore[arg-type]
    for eps in (0.0, -1e-5, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"eps={eps}: expected a finite number > 0"):
            BatchNorm(3, eps=eps)
    for fan_in in (0, -4, 2.5):
        with pytest.raises(ValueError, match=f"fan_in={fan_in}: expected an integer >= 1"):
            FixedScale(fan_in)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="test_statistics='moving': expected population, running or batch"):
        BatchNorm(3, test_statistics="moving")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        (BatchNorm(2, n_states=3), True),
        (BatchNorm(2, n_states=3, affine=False), True),
        (BatchNorm(2, n_states=3, affine=False, test_statistics="batch"), False),
        (BatchNorm(2, n_states=3, test_statistics="batch"), True),
        (BatchNorm(2, n_states=1), False),
        (LayerNorm(2, n_states=3), True),
        (LayerNorm(2, n_states=3, affine=False), False),
    ],
    ids=str,
)
def test_a_norm_is_told_the_task_exactly_where_its_answers_depend_on_it(norm: TaskNorm, expected: bool) -> None:
    norm(torch.rand(4, 2))  # training, by which running averages move
    norm.eval()
    for task in range(norm.n_states):
        for name, tensor in norm.named_buffers():
            if not name.endswith("_of_task"):
                tensor.add_(0.5)
        for parameter in norm.parameters():
            parameter.data.add_(0.5)
        norm.store(task)
    answers = []
    for task in range(norm.n_states):
        norm.selected = task
        answers.append(norm(torch.tensor([[1.0, 2.0], [3.0, 5.0]])))
    assert any(not torch.equal(answer, answers[0]) for answer in answers) == norm.per_task == expected


@pytest.mark.parametrize("shape", [(64, 8), (64, 1), (64,), (), (64, 3, 2), (2, 64, 2)], ids=str)
@pytest.mark.parametrize(
    "norm",
    [*(BatchNorm(2, test_statistics=name) for name in ("population", "running", "batch")), LayerNorm(2)],
    ids=["population", "running", "batch", "layer"],
)
@pytest.mark.parametrize("training", [True, False])
def test_an_input_of_another_width_is_refused_before_any_memory_is_read(
    norm: TaskNorm, training: bool, shape: tuple[int, ...]
) -> None:
    before = copy.deepcopy(norm.state_dict())
    with pytest.raises(ValueError, match=r"input.shape=.*: expected \(N, 2, \*\) for a .* of 2 features"):
        norm.train(training)(torch.randn(shape))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize("norm", [BatchNorm(2), LayerNorm(2)], ids=["batch", "layer"])
def test_integers_are_no_input(norm: TaskNorm) -> None:
    with pytest.raises(ValueError, match=r"input\.dtype=torch.int64: expected a floating-point type"):
        norm(torch.ones(4, 2, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (0, 3, 2, 2), (1, 3, 1, 1)], ids=str)
def test_a_batch_without_variance_is_refused_in_training(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="more than one image in a batch"):
        BatchNorm(3)(torch.rand(shape))


@given(
    st.integers(2, 70),
    st.integers(1, 9),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    st.sampled_from(["as is", "columns", "every other", "repeated"]),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_every_type_and_stride_is_normalized_as_by_torch(
    n: int, features: int, dtype: torch.dtype, strides: str, affine: bool, seed: int
) -> None:
    x = torch.randn(2 * n, features, generator=torch.Generator().manual_seed(seed)).to(dtype)
    x = {"as is": x, "columns": x.t().contiguous().t(), "every other": x[::2], "repeated": x[:1].expand(n, features)}[
        strides
    ]
    ours, theirs = (
        BatchNorm(features, affine=affine, test_statistics="running"),
        nn.BatchNorm1d(features, affine=affine),
    )
    if dtype != torch.bfloat16:  # whose parameters torch keeps in float32
        ours, theirs = ours.to(dtype), theirs.to(dtype)
    results = []
    for norm in (ours, theirs):
        leaf = x.clone().requires_grad_()
        y = norm(leaf)
        results.append([y, *torch.autograd.grad(y.square().sum(), [leaf, *norm.parameters()])])
    for actual, expected in zip(*results, strict=True):
        assert actual.dtype == expected.dtype
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.mean, theirs.running_mean)
    torch.testing.assert_close(ours.var, theirs.running_var)


@pytest.mark.parametrize("affine", [True, False])
def test_second_derivatives_are_those_of_finite_differences(affine: bool) -> None:
    torch.manual_seed(0)
    norm, x = BatchNorm(3, affine=affine).double(), torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    if norm.weight is not None:
        nn.init.uniform_(norm.weight)
    assert torch.autograd.gradcheck(lambda x: norm(x).sin(), x)
    assert torch.autograd.gradgradcheck(lambda x: norm(x).sin(), x)


def test_a_layer_without_population_statistics_warns_and_names_what_to_call() -> None:
    norm, x = BatchNorm(3), torch.randn(8, 3)
    norm(x)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"call metaplast.nn.set_population_statistics\(network, batches\)"):
            norm.eval()(x)
    set_population_statistics(norm, lambda: [x])
    norm(x)


@pytest.mark.parametrize("statistics", ["running", "batch"])
def test_layers_that_need_no_population_statistics_do_not_warn(statistics: Statistics) -> None:
    norm = BatchNorm(3, test_statistics=statistics)
    norm(torch.randn(8, 3)), norm.eval()(torch.randn(8, 3))


def test_statistics_that_were_loaded_or_copied_count_as_set() -> None:
    norm, x = BatchNorm(3), torch.randn(8, 3)
    set_population_statistics(norm, lambda: [x])
    expected = norm.eval()(x)
    fresh = BatchNorm(3).eval()
    fresh.load_state_dict(norm.state_dict())
    assert torch.equal(fresh(x), expected)
    for copied in (copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))):
        assert torch.equal(copied(x), expected)


def test_statistics_that_are_taken_back_are_missing_again() -> None:
    norm, x = BatchNorm(3), torch.randn(8, 3)
    empty = copy.deepcopy(norm.state_dict())
    set_population_statistics(norm, lambda: [x])
    norm.eval()(x)
    norm.load_state_dict(empty)
    with pytest.warns(UserWarning, match="no population statistics"):
        norm(x)


def test_the_state_of_a_task_stored_too_early_warns() -> None:
    norm, x = BatchNorm(3, n_states=2), torch.randn(8, 3)
    norm.store(0)
    set_population_statistics(norm, lambda: [x])
    norm.store(1)
    norm.eval()(x)
    select_task(norm, 1)
    norm(x)
    select_task(norm, 0)
    with pytest.warns(UserWarning, match="no population statistics"):
        norm(x)


def test_statistics_made_in_inference_mode_are_read_there() -> None:
    with torch.inference_mode():
        norm, x = BatchNorm(3), torch.randn(8, 3)
        set_population_statistics(norm, lambda: [x])
        assert norm.eval()(x).mean(0).abs().max() < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_that_was_never_stored_is_not_selected(kind: str) -> None:
    norms = [KINDS[kind](3, n_states=3) for _ in range(2)]
    network = nn.Sequential(*norms)
    store_task(network, 1)
    select_task(network, 1)
    norms[0].store(2)
    with pytest.raises(ValueError, match=r"task=2: expected a task stored by store_task\(network, 2\)"):
        select_task(network, 2)
    assert [norm.selected for norm in norms] == [1, 1]
    with pytest.raises(ValueError, match="task=0: expected a task stored"):
        norms[1].selected = 0


@pytest.mark.parametrize("task", [-1, 3, 1.0, "0", True])
def test_a_task_out_of_range_is_neither_stored_nor_selected(task: Any) -> None:
    norm = LayerNorm(3, n_states=3)
    for t in range(3):
        norm.store(t)
    message = f"task={task!r}: expected an integer from 0 to 2"
    with pytest.raises(ValueError, match=message):
        norm.store(task)
    with pytest.raises(ValueError, match=message):
        select_task(norm, task)


def test_stored_tasks_are_known_after_loading() -> None:
    norm = BatchNorm(3, n_states=2)
    set_population_statistics(norm, lambda: [torch.randn(8, 3)])
    norm.store(1)
    other = BatchNorm(3, n_states=2)
    other.load_state_dict(norm.state_dict())
    select_task(other, 1)
    with pytest.raises(ValueError, match="task=0"):
        select_task(other, 0)
