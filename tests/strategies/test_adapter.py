"""What a plugin finds in its strategy: live attributes, and a network whose parameters stay."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.models import IncrementalClassifier
from torch import nn

from metaplast.errors import UserError
from metaplast.nn import TaskCrossEntropy
from metaplast.strategies.adapter import StrategyView
from metaplast.testing.avalanche_parity import small_digits


def view(network: nn.Module, criterion: nn.Module | None = None) -> StrategyView:
    one = StrategyView([], train_mb_size=5, eval_mb_size=7, train_epochs=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    learner: Any = SimpleNamespace(
        network=network, criterion=criterion or nn.CrossEntropyLoss(), device=torch.device("cpu")
    )
    trainer: Any = SimpleNamespace(optimizers=[optimizer])
    one.attach(learner, trainer)
    return one


def test_it_shows_the_live_network_and_optimizer() -> None:
    network = nn.Linear(2, 3)
    one = view(network)
    assert one.model is network
    assert one.optimizer.param_groups[0]["params"][0] is network.weight
    assert (one.train_mb_size, one.eval_mb_size, one.train_epochs, one.device.type) == (5, 7, 2, "cpu")
    assert one.is_eval is not one.is_training


def test_a_batch_is_seen_by_its_parts_and_its_loss_is_that_of_the_criterion() -> None:
    one = view(nn.Linear(2, 3))
    x, y, t = torch.rand(4, 2), torch.tensor([0, 1, 2, 0]), torch.zeros(4, dtype=torch.int64)
    one.mbatch = [x, y, t]
    one.mb_output = one.forward()
    assert one.mb_x is x
    assert one.mb_y is y
    assert one.mb_task_id is t
    assert torch.equal(one.criterion(), nn.functional.cross_entropy(one.model(x), y))


def test_a_test_of_a_known_task_may_only_be_answered_with_its_classes() -> None:
    one = view(nn.Linear(2, 4), TaskCrossEntropy(4, [[0, 1], [2, 3]]))
    one.mbatch = [torch.rand(2, 2), torch.tensor([0, 3]), torch.zeros(2, dtype=torch.int64)]
    assert one.masked_logits().isinf().tolist() == [[False, False, True, True], [True, True, False, False]]


def test_a_network_put_in_place_gives_its_values_and_empties_the_optimizer() -> None:
    network, other = nn.Linear(2, 3), nn.Linear(2, 3)
    one = view(network)
    network(torch.rand(1, 2)).sum().backward()
    one.optimizer.step()
    assert one.optimizer.state
    one.model = network  # the same: nothing happens
    assert one.optimizer.state
    one.model = other
    assert one.model is network
    assert torch.equal(network.weight, other.weight)
    assert not one.optimizer.state


def test_a_network_of_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match=r"^a plugin put a network of another shape in place of the trained one"):
        view(nn.Linear(2, 3)).model = nn.Linear(2, 4)


def test_a_network_that_grows_with_its_classes_is_refused() -> None:
    one = view(nn.Sequential(nn.Flatten(), IncrementalClassifier(64, initial_out_features=2)))
    one.experience = small_digits().benchmark.train_stream[1]  # digits 3 to 5
    with pytest.raises(UserError, match=r"^the network has an Avalanche module that grows with the classes it sees"):
        one.model_adaptation()


def test_the_end_of_an_experience_leaves_nothing_of_it() -> None:
    one = view(nn.Linear(2, 3))
    one.experience, one.adapted_dataset, one.mbatch, one.dataloader = object(), [1], [torch.zeros(1)], [1]
    one.loss = torch.ones(1)
    one.clear()
    assert not any((one.experience, one.adapted_dataset, one.mbatch, one.mb_output, one.dataloader))
    assert one.loss.tolist() == [0.0]
