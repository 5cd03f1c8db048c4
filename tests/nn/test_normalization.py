"""Normalization keeps a state per task apart, and answers from the statistics it was told to use."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from metaplast.nn import BatchNorm, LayerNorm, TaskNorm, bnn, select_task, set_population_statistics, store_task

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
    norm, x = KINDS[kind](5, n_states=3).eval(), torch.randn(8, 5)
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
    norm, x = BatchNorm(5).eval(), torch.randn(8, 5)
    before = norm(x)
    norm.store(1)
    norm.selected = 1
    assert torch.equal(norm(x), before)
    assert not [name for name in norm.state_dict() if "task" in name]


def test_stored_states_are_in_the_state_dict_and_are_no_parameters() -> None:
    network = bnn((1, 4, 4), 3, n_tasks=2, hidden=[6])
    store_task(network, 0)
    twin = bnn((1, 4, 4), 3, n_tasks=2, hidden=[6])
    twin.load_state_dict(network.state_dict())
    for net in (network, twin):
        select_task(net.eval(), 0)
    assert torch.equal(network(images(0)), twin(images(0)))
    assert all(parameter.dim() == 2 or parameter.shape in ((6,), (3,)) for parameter in network.parameters())


@given(st.integers(0, 1000), st.integers(1, 64))
def test_with_population_statistics_an_answer_does_not_depend_on_its_batch(seed: int, n: int) -> None:
    network = bnn((1, 4, 4), 3, hidden=[6, 5])
    x = images(seed)
    set_population_statistics(network, lambda: [x])
    network.eval()
    # float32 sums of other lengths round differently; an answer that moved with its batch would move by far more.
    assert torch.allclose(network(x)[:n], network(x[:n]), atol=1e-5)


@given(st.integers(0, 1000), st.integers(1, 64))
def test_population_statistics_are_those_of_what_a_layer_gets_from_all_the_data(seed: int, batch: int) -> None:
    network, x = bnn((1, 4, 4), 3, hidden=[6, 5]), images(seed)
    set_population_statistics(network, lambda: torch.split(x, batch))
    assert network.training
    a = x
    for module in network.eval():
        if isinstance(module, BatchNorm):
            assert torch.allclose(module.mean, a.mean(0), atol=1e-5)
            assert torch.allclose(module.var, a.var(0, correction=0), atol=1e-4)
        a = module(a)


def test_unknown_settings_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="gamma_init has to be ones or uniform, but is 'normal'"):
        BatchNorm(3, gamma_init="normal")
    with pytest.raises(ValueError, match="test_statistics has to be population, running or batch, but is 'moving'"):
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
