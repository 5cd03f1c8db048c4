"""The exact diagonal Fisher information equals the loop over batches of one, for every network and kind of labels."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from metaplast.errors import UserError
from metaplast.nn import TaskCrossEntropy, bcnn, bnn, mlp, select_task, set_population_statistics, store_task
from metaplast.strategies.fisher import Labels, diagonal_fisher

LABELS = get_args(Labels)


def brute_force(
    network: nn.Module, x: Tensor, y: Tensor, labels: str, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """One sample, one class and one backward pass at a time, in evaluation mode."""
    network.eval()
    total = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    for n in range(len(x)):
        p = F.softmax(network(x[n : n + 1]), dim=1)[0].detach()
        if labels == "empirical":
            weights = {int(y[n]): 1.0}
        elif labels == "predicted":
            weights = {int(p.argmax()): 1.0}
        elif labels == "sampled":
            u = torch.rand((), generator=generator)
            weights = {int((p.cumsum(0) <= u).sum()): 1.0}
        else:
            weights = {c: float(p[c]) for c in range(len(p))}
        for c, weight in weights.items():
            network.zero_grad()
            F.cross_entropy(network(x[n : n + 1]), torch.tensor([c])).backward()  # type: ignore[no-untyped-call]
            for name, parameter in network.named_parameters():
                assert parameter.grad is not None
                total[name] += weight * parameter.grad**2
    network.zero_grad()
    return {name: tensor / len(x) for name, tensor in total.items()}


def data(n: int, shape: tuple[int, ...], n_classes: int) -> tuple[Tensor, Tensor]:
    return torch.rand(n, *shape), torch.randint(n_classes, (n,))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "bnn": lambda: bnn((1, 8, 8), 5, hidden=[24, 16], gamma_init="uniform"),
    "bnn, a state a task": lambda: bnn((1, 8, 8), 5, n_tasks=3, hidden=[24, 16]),
    "bnn, running averages": lambda: bnn((1, 8, 8), 5, hidden=[24, 16], test_statistics="running"),
    "mlp": lambda: mlp((1, 8, 8), 5, hidden=[24, 16]),
    "mlp, layer norm": lambda: mlp((1, 8, 8), 5, hidden=[24, 16], norm="layer"),
    "bcnn": lambda: bcnn((1, 8, 8), 5, channels=[3, 4], kernel_size=3, padding=1),
    "bcnn, no norm": lambda: bcnn((1, 8, 8), 5, channels=[3, 4], kernel_size=3, padding=1, norm="none"),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())
def test_it_equals_the_loop_over_batches_of_one(make: Callable[[], nn.Module], labels: Labels) -> None:
    torch.manual_seed(0)
    network = make()
    x, y = data(40, (1, 8, 8), 5)
    network.train()(x)  # running averages
    set_population_statistics(network, lambda: [x])
    batches = [(x[:7], y[:7]), (x[7:8], y[7:8]), (x[8:], y[8:])]
    fisher = diagonal_fisher(network, batches, labels, generator=torch.Generator().manual_seed(1))
    expected = brute_force(network, x, y, labels, torch.Generator().manual_seed(1))
    assert fisher.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensor.norm() > 0
        assert (fisher[name] - tensor).norm() <= 1e-5 * tensor.norm()  # what float32 leaves of 40 sums


class Residual(nn.Module):
    """Layers that metaplast's own networks do not have, wired so that one input goes two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, stride=2, padding=(1, 2), dilation=(1, 2))
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, (1, 3), padding=(0, 1), groups=2, bias=False)
        self.group_norm = nn.GroupNorm(2, 4)
        self.act = nn.ReLU(inplace=True)
        self.tokens = nn.Linear(4, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.stem(x))
        h = self.act(h + self.group_norm(self.grouped(h)))
        tokens = self.act(self.tokens(h.flatten(2).mT))  # (N, positions, features)
        out: Tensor = self.head(tokens.mean(dim=1))
        return out


@pytest.mark.parametrize("labels", ["empirical", "all"])
@pytest.mark.parametrize("at_once", [1, 2**22])
def test_it_knows_biases_strides_groups_and_weights_shared_by_positions(
    labels: Labels, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaplast.strategies.fisher.AT_ONCE", at_once)  # one sample a chunk, or all
    torch.manual_seed(0)
    network = Residual().double()
    x, y = data(12, (2, 7, 6), 3)
    x = x.double()
    network(x)
    fisher = diagonal_fisher(network, [(x[:5], y[:5]), (x[5:], y[5:])], labels)
    for name, tensor in brute_force(network, x, y, labels).items():
        torch.testing.assert_close(fisher[name], tensor, rtol=1e-9, atol=1e-15)


@given(cuts=st.lists(st.integers(0, 20), max_size=4), labels=st.sampled_from(LABELS))
def test_the_batches_that_samples_come_in_make_no_difference(cuts: list[int], labels: Labels) -> None:
    torch.manual_seed(0)
    network = mlp((1, 3, 3), 4, hidden=[5], norm="layer").double()
    x, y = torch.rand(20, 1, 3, 3).double(), torch.randint(4, (20,))
    batches = [(x[i:j], y[i:j]) for i, j in pairwise([0, *sorted(cuts), 20]) if i < j]
    parts = diagonal_fisher(network, batches, labels, generator=torch.Generator().manual_seed(2))
    whole = diagonal_fisher(network, [(x, y)], labels, generator=torch.Generator().manual_seed(2))
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-12, atol=0)


@given(n_samples=st.integers(1, 30))
def test_a_number_of_samples_takes_the_first_ones(n_samples: int) -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 4)
    x, y = data(20, (3,), 4)
    fisher = diagonal_fisher(network, [(x[:6], y[:6]), (x[6:], y[6:])], n_samples=n_samples)
    first = diagonal_fisher(network, [(x[:n_samples], y[:n_samples])])
    torch.testing.assert_close(fisher, first, rtol=1e-5, atol=1e-9)


def test_all_classes_are_the_expectation_of_the_sampled_ones() -> None:
    torch.manual_seed(0)
    network = nn.Linear(2, 3)
    x = torch.rand(1, 2)
    many = x.expand(200_000, 2)
    y = torch.zeros(len(many), dtype=torch.int64)
    sampled = diagonal_fisher(network, [(many, y)], "sampled", generator=torch.Generator().manual_seed(3))
    exact = diagonal_fisher(network, [(x, y[:1])], "all")
    torch.testing.assert_close(sampled, exact, rtol=0.02, atol=0)  # about five standard errors of 200,000 draws


def test_the_network_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    network = bnn((1, 4, 4), 3, hidden=[6], test_statistics="running")
    network.train()
    network[-1].eval()
    x, y = data(10, (1, 4, 4), 3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():  # as a hook may be called
        diagonal_fisher(network, [(x, y)])
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert [module.training for module in network] == [True] * (len(network) - 1) + [False]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_frozen_parameters_are_left_out() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    network[1].bias.requires_grad_(False)
    assert list(diagonal_fisher(network, [data(5, (3,), 2)])) == ["1.weight"]


class UnusedLayer(nn.Module):
    """Calls a layer whose output is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.called, self.spare = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.called(x)
        return x


def test_layers_that_have_no_say_have_no_information() -> None:
    network = nn.Sequential(nn.Linear(3, 2), UnusedLayer())
    fisher = diagonal_fisher(network, [data(5, (3,), 2)])
    assert all(fisher[f"1.{layer}.weight"].eq(0).all() for layer in ("called", "spare"))
    assert fisher["0.weight"].gt(0).any()


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(self.layer(x))
        return out


def tied() -> nn.Module:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[1].weight = network[0].weight
    return network


X = torch.rand(4, 3)
Y = torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("network", "settings", "text"),
    [
        (nn.Linear(3, 3), {"labels": "true"}, "labels=true: expected one of empirical, sampled, all, predicted"),
        (nn.Linear(3, 3), {"n_samples": 0}, "n_samples=0: expected an integer >= 1 or null, got 0"),
        (nn.Linear(3, 3), {"n_samples": 2.5}, "n_samples=2.5: expected an integer >= 1 or null"),
        (nn.Linear(3, 3), {"batches": []}, "needs at least one sample"),
        (nn.Sequential(nn.Linear(3, 3), nn.PReLU()), {}, "layers of type PReLU are not known"),
        (nn.Sequential(nn.Conv1d(1, 1, 1)), {}, "layers of type Conv1d are not known"),
        (nn.Conv2d(1, 1, 3, padding="same"), {}, "layers of type Conv2d are not known"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), {}, "layers of type Conv2d are not known"),
        (tied(), {}, "0 and 1 share a parameter"),
        (Twice(), {}, "layer layer is called twice in a forward pass"),
        (mlp((3,), 3, hidden=[4], test_statistics="batch"), {}, "norm1 normalizes by the statistics of the test batch"),
        (nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)), {}, "0 keeps no running averages"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_sentence(network: Any, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        diagonal_fisher(network, **{"batches": [(X, Y)], **settings})


def test_a_network_in_the_state_of_a_stored_task_is_refused() -> None:
    network = mlp((3,), 3, n_tasks=2, hidden=[4])
    store_task(network, 1)
    select_task(network, 1)
    with pytest.raises(ValueError, match=r"norm1 is in the state of a stored task; select_task\(network, None\)"):
        diagonal_fisher(network, [(X, Y)])


@pytest.mark.parametrize("labels", LABELS)
def test_with_a_mask_it_is_that_of_a_head_which_has_the_classes_of_the_task_alone(labels: Labels) -> None:
    own = [1, 2, 4]
    x, places = data(30, (6,), len(own))
    whole, alone = nn.Linear(6, 5), nn.Linear(6, len(own))
    alone.load_state_dict({name: tensor[own] for name, tensor in whole.state_dict().items()})
    mask = TaskCrossEntropy(5, [own, [0, 3]]).mask
    masked = diagonal_fisher(whole, [(x, torch.tensor(own)[places])], labels, None, generator(), mask)
    expected = diagonal_fisher(alone, [(x, places)], labels, None, generator())
    for name, tensor in expected.items():
        torch.testing.assert_close(masked[name][own], tensor)
        assert not masked[name][[0, 3]].any()


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
