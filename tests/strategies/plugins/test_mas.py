"""MAS differs from Avalanche's behind batch normalization, by its state, and where Avalanche's stops."""

from types import SimpleNamespace

import pytest
import torch
from avalanche.training.plugins import MASPlugin
from torch import nn

from metaplast.errors import UserError
from metaplast.nn import mlp
from metaplast.nn.normalization import Statistics
from metaplast.strategies.plugins.mas import MAS
from metaplast.testing.avalanche_parity import BATCH_SIZE, difference, small_digits, through_bridge


def with_batch_norm() -> nn.Module:
    return mlp((1, 8, 8), 10, hidden=[16], norm="batch", norm_per_task=False, test_statistics="running")


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*")
def test_a_last_image_is_not_shown_alone_to_batch_normalization() -> None:
    scenario = small_digits(n_train=BATCH_SIZE + 1)
    strong, none = (through_bridge(with_batch_norm, lambda *_, c=c: [MAS(c)], scenario) for c in (50.0, 0.0))
    assert difference(strong, none) > 1e-4


def test_a_loss_of_zero_is_a_loss() -> None:
    plugin = MAS(2.0)
    weight = nn.Parameter(torch.tensor([3.0]))
    plugin.load_state_dict({"importance": {"weight": torch.tensor([0.5])}, "params": {"weight": torch.tensor([1.0])}})
    model = nn.Module()
    model.weight = weight
    strategy = SimpleNamespace(model=model, loss=torch.zeros(1))
    plugin.before_backward(strategy)
    assert strategy.loss.item() == 2.0 * 0.5 * (3 - 1) ** 2


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*")
@pytest.mark.parametrize("statistics", ["batch", "population", "running"])
def test_weights_behind_batch_normalization_matter_where_avalanches_holds_none(statistics: Statistics) -> None:
    torch.manual_seed(0)
    network = mlp((1, 8, 8), 10, hidden=[16], norm="batch", norm_per_task=False, test_statistics=statistics)
    experience = small_digits().benchmark.train_stream[0]
    strategy = SimpleNamespace(
        model=network,
        experience=experience,
        train_mb_size=BATCH_SIZE,
        device="cpu",
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
    )
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ours, theirs = MAS()._get_importance(strategy), MASPlugin()._get_importance(strategy)
    assert set(ours) == {"layer1.weight", "layer2.weight"}
    for name, importance in ours.items():
        assert importance.data.mean() > 100 * theirs[name].data.mean()
    assert network.training
    if statistics != "running":  # Avalanche's pass moves those
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*")
@pytest.mark.parametrize("statistics", ["batch", "population"])
def test_the_statistics_are_those_of_the_whole_task(statistics: Statistics) -> None:
    """The logits of the pass that takes the importances do not depend on the size of its batches."""
    experience = small_digits(n_train=60).benchmark.train_stream[0]

    def logits(batch_size: int) -> torch.Tensor:
        torch.manual_seed(0)
        network = mlp((1, 8, 8), 10, hidden=[16], norm="batch", norm_per_task=False, test_statistics=statistics)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        strategy = SimpleNamespace(
            model=network, experience=experience, train_mb_size=batch_size, device="cpu", optimizer=optimizer
        )
        outputs: list[torch.Tensor] = []
        network[-1].register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))
        MAS()._get_importance(strategy)
        return torch.cat(outputs[-(60 // batch_size) :])

    torch.testing.assert_close(logits(20), logits(60))


def test_answers_that_always_have_one_length_are_refused() -> None:
    network = mlp((1, 8, 8), 10, hidden=[16], norm="layer", norm_affine=False)
    with pytest.raises(UserError, match=r"^model.norm_affine=false: behind a layer norm without γ"):
        MAS().before_training_exp(SimpleNamespace(model=network))


def test_gamma_and_beta_that_each_task_keeps_cannot_be_held() -> None:
    network = mlp((1, 8, 8), 10, n_tasks=2, hidden=[16], norm="batch", norm_per_task=True)
    with pytest.raises(UserError, match=r"^norm_parameters=true"):
        MAS(norm_parameters=True).before_training_exp(SimpleNamespace(model=network))
