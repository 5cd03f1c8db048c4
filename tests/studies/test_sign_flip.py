"""Switching by a change of the product gives what a network with other hidden weights gives.

The figure shows the bins that were measured.
"""

import copy
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import Tensor, nn

from metaplast.errors import UserError
from metaplast.nn import bcnn, bnn, hidden_weights, mlp, task_norms
from metaplast.studies.sign_flip import (
    Switchable,
    SwitchedLayer,
    SwitchStatistics,
    draw_sign_switch,
    measure_layer,
    prepare,
)

NOTHING = torch.empty(0, dtype=torch.int64)


def data(n: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 1, 3, 4, generator=generator, dtype=torch.float64), torch.arange(n) % 5


def network(seed: int = 0, **settings: str) -> nn.Sequential:
    """A network in float64, where rounding moves no activation across 0."""
    torch.manual_seed(seed)
    return bnn((1, 3, 4), 5, hidden=[16, 12], gamma_init="uniform", **settings).double()  # type: ignore[arg-type]


def brute_force(before: nn.Sequential, layer: str, switched: Tensor, x: Tensor, y: Tensor) -> float:
    """The loss of a copy of the network whose hidden weights were negated."""
    after = copy.deepcopy(before)
    with torch.no_grad():
        hidden_weights(after)[layer].view(-1)[switched] *= -1
        return float(nn.functional.cross_entropy(after(x), y))


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("statistics", ["batch", "fixed"])
@pytest.mark.parametrize("layer", ["layer1", "layer2", "layer3"])
@settings(max_examples=5)
@given(seed=st.integers(0, 1000))
def test_switching_equals_a_network_whose_hidden_weights_were_negated(
    layer: str, statistics: SwitchStatistics, norm: str, seed: int
) -> None:
    x, y = data()
    trained = prepare(network(seed, norm=norm), x, statistics)
    switchable = Switchable(trained, layer, x, y)
    rng = np.random.default_rng(seed)
    n = hidden_weights(trained)[layer].numel()
    for size in (1, n // 3, n):
        switched = torch.from_numpy(rng.choice(n, size, replace=False))
        expected = brute_force(trained, layer, switched, x, y)
        assert switchable.loss(switched) == pytest.approx(expected, rel=1e-12)
    assert switchable.loss(NOTHING) == pytest.approx(brute_force(trained, layer, NOTHING, x, y), rel=1e-12)


def test_with_batch_statistics_the_loss_is_that_of_a_training_step_on_the_same_batch() -> None:
    x, y = data()
    in_training = network().train()
    expected = nn.functional.cross_entropy(in_training(x), y).item()
    trained = prepare(network(), x, "batch")
    assert Switchable(trained, "layer1", x, y).loss(NOTHING) == pytest.approx(expected, rel=1e-12)


def test_fixed_statistics_let_a_switch_shift_a_neuron_and_batch_statistics_do_not() -> None:
    x, y = torch.ones(40, 1, 3, 4, dtype=torch.float64), torch.arange(40) % 5  # a switch is a shift and nothing else
    costs = {}
    for statistics in ("batch", "fixed"):
        shifted = network()
        for norm in task_norms(shifted):
            nn.init.constant_(norm.bias, 0.5)  # type: ignore[arg-type]
        layer = Switchable(prepare(shifted, x, statistics), "layer3", x, y)
        costs[statistics] = abs(layer.loss(torch.tensor([0])) - layer.loss(NOTHING))
    assert costs["batch"] == pytest.approx(0, abs=1e-12)
    assert costs["fixed"] > 1e-3


def measured(switched: int = 4, draws: int = 6, **settings: int) -> SwitchedLayer:
    x, y = data()
    trained = prepare(network(), x, "batch")
    return measure_layer(trained, "layer2", x, y, switched, np.random.default_rng(0), draws=draws, **settings)  # type: ignore[arg-type]


def test_every_weight_is_in_a_bin_and_thin_bins_are_switched_whole_and_once() -> None:
    layer = measured(switched=14, bins=15)
    assert layer.count.sum() == 16 * 12
    thin = layer.count <= 14
    assert thin.any()
    assert not thin.all()
    assert layer.draws.tolist() == np.where(thin, np.minimum(layer.count, 1), 6).tolist()
    assert layer.switched.tolist() == np.minimum(layer.count, 14).tolist()
    assert np.isnan(layer.spread[thin]).all()
    assert (layer.spread[layer.full] > 0).all()
    assert layer.full.tolist() == (~thin).tolist()


def test_a_bin_without_a_weight_has_no_rise() -> None:
    layer = measured(bins=300)
    assert np.isnan(layer.mean[layer.count == 0]).all()
    assert np.isfinite(layer.mean[layer.count > 0]).all()


def test_a_whole_bin_rises_by_what_negating_its_weights_costs() -> None:
    x, y = data()
    trained = prepare(network(), x, "batch")
    layer = measure_layer(trained, "layer2", x, y, 10_000, np.random.default_rng(0), bins=3)
    size = hidden_weights(trained)["layer2"].detach().abs().flatten()
    largest = torch.nonzero(size >= size.max() * 2 / 3).flatten()
    rise = brute_force(trained, "layer2", largest, x, y) - brute_force(trained, "layer2", NOTHING, x, y)
    assert layer.mean[-1] == pytest.approx(rise / len(largest), rel=1e-9)


def test_progress_is_told_of_every_bin_and_the_network_is_as_it_was() -> None:
    x, y = data()
    trained = prepare(network(), x, "batch")
    before, told = copy.deepcopy(trained.state_dict()), list[tuple[int, int]]()
    rng = np.random.default_rng(0)
    measure_layer(trained, "layer1", x, y, 4, rng, bins=3, draws=2, progress=lambda *step: told.append(step))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert all(torch.equal(before[name], tensor) for name, tensor in trained.state_dict().items())


def made(mean: list[float], count: list[int], switched: int = 10) -> SwitchedLayer:
    full = np.array(count) > switched
    spread = np.where(full, 0.1, np.nan)
    draws = np.where(full, 5, np.minimum(count, 1))
    sizes = np.array(count), np.minimum(count, switched)
    return SwitchedLayer("layer1", 0.1, 2.0, *sizes, draws, np.array(mean), spread)


def test_ranks_are_of_the_full_bins_and_beside_them_of_all() -> None:
    layer = made([1.0, 2.0, 3.0, -5.0, math.nan], [50, 40, 30, 2, 0])
    assert layer.rank_correlation == pytest.approx(1)
    assert layer.rank_correlation_of_all == pytest.approx(-0.2)
    assert layer.passed
    assert not made([2.0, 1.0, 3.0], [50, 40, 30]).passed


def test_without_two_full_bins_there_is_no_rank_and_nothing_held() -> None:
    layer = made([1.0, 2.0], [50, 3])
    assert math.isnan(layer.rank_correlation)
    assert not layer.passed


@pytest.mark.parametrize("other", [bcnn((1, 8, 8), 5, channels=[3]), mlp((1, 3, 4), 5, hidden=[4]), nn.Identity()])
def test_a_network_without_binary_linear_layers_in_sequence_is_refused(other: nn.Module) -> None:
    with pytest.raises(UserError, match="model=bnn"):
        prepare(other, data()[0], "batch")


def layer(count: list[int]) -> SwitchedLayer:
    """Return a layer of which 10 weights at a time were switched."""
    counts = np.array(count)
    full = counts > 10
    mean = np.where(counts > 0, np.arange(len(counts), dtype=np.float64), math.nan)
    draws = np.where(full, 7, np.minimum(counts, 1))
    return SwitchedLayer("layer2", 0.1, 2.5, counts, np.minimum(counts, 10), draws, mean, np.where(full, 0.1, math.nan))


def rendered(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


@pytest.mark.parametrize("count", [[90, 40, 3, 0], [90, 40], [3, 2], [0, 4]])
def test_full_thin_and_empty_bins_are_drawn(count: list[int]) -> None:
    assert rendered(draw_sign_switch([layer(count)], "a run")).startswith(b"\x89PNG")


def test_a_panel_a_layer_says_its_rank_correlation_and_holds_its_means() -> None:
    figure = draw_sign_switch([layer([90, 40, 30, 2]), layer([90, 40, 3])], "a run")
    first, second = figure.axes
    texts = " ".join(text.get_text() for text in first.findobj(Text))
    assert "layer2: rank correlation 1.000" in texts
    assert "7 draws of 10 weights" in texts
    drawn = {tuple(np.asarray(line.get_ydata(), float)) for line in first.lines}
    assert {(0.0, 1.0, 2.0), (3.0,)} <= drawn
    assert len(second.lines) >= 2
