"""Plugins given data of any size, shape and type: a documented error, or what Avalanche's own loop makes of them.

`METAPLAST_FUZZ=10000` draws that many cases.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from metaplast.errors import UserError
from metaplast.nn import bnn
from metaplast.scenarios import Scenario
from metaplast.strategies.plugins.der import DER
from metaplast.strategies.plugins.ewc import ewc_plugin
from metaplast.strategies.plugins.gem import AGEM, GEM
from metaplast.strategies.plugins.lwf import LwF
from metaplast.strategies.plugins.mas import MAS
from metaplast.strategies.plugins.replay import Replay
from metaplast.strategies.plugins.rwalk import RWalk
from metaplast.strategies.plugins.si import SI
from metaplast.testing.avalanche_parity import difference, through_avalanche, through_bridge

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Avalanche's, about parts of itself and of NumPy
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),  # Lightning's, about torch
]
fuzz = settings(
    deadline=None,
    max_examples=int(os.environ.get("METAPLAST_FUZZ", "6")),
    suppress_health_check=[HealthCheck.too_slow],
)
COUNTS, NUMBERS = st.sampled_from([1, 2, 7, 200]), st.sampled_from([0.0, 0.1, 1.0])
SHARES = st.sampled_from([0.0, 0.3, 1.0])
NO_COUNTS, NO_NUMBERS = st.sampled_from([0, -1, 2.5, "3", True]), st.sampled_from([-0.1, float("nan"), "1", True, None])
PLUGINS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "AGEM": (AGEM, {"patterns_per_experience": COUNTS, "sample_size": COUNTS}),
    "DER": (DER, {"mem_size": COUNTS, "batch_size_mem": COUNTS, "alpha": NUMBERS, "beta": NUMBERS}),
    "EWC": (ewc_plugin, {"ewc_lambda": NUMBERS, "n_samples": COUNTS, "shuffled": st.booleans()}),
    "AvalancheEWC": (lambda **settings: ewc_plugin(fisher="batch", **settings), {"ewc_lambda": NUMBERS}),
    "GEM": (GEM, {"patterns_per_experience": COUNTS, "memory_strength": NUMBERS}),
    "LwF": (LwF, {"alpha": NUMBERS, "temperature": st.sampled_from([0.5, 2.0])}),
    "MAS": (MAS, {"lambda_reg": NUMBERS, "alpha": SHARES}),
    "Replay": (Replay, {"mem_size": COUNTS, "batch_size_mem": COUNTS}),
    "RWalk": (RWalk, {"ewc_lambda": NUMBERS, "ewc_alpha": SHARES, "delta_t": COUNTS}),
    "SI": (SI, {"si_lambda": NUMBERS}),
}


def task(draw: st.DrawFn, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Images of one task, contiguous or seen through other strides, and labels of an integer type."""
    n = draw(st.sampled_from([1, 2, 3, 39, 40, 41, 85]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    images = torch.randint(0, 256, (n, *shape), generator=generator)
    images = images.to(dtype) if dtype == torch.uint8 else (images / 255).to(dtype)
    if draw(st.booleans()):
        images = images.transpose(0, -1).contiguous().transpose(0, -1)
    labels = torch.randint(0, draw(st.sampled_from([1, 4])), (n,), generator=generator)
    return images, labels.to(draw(st.sampled_from([torch.int64, torch.int32, torch.uint8])))


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """Three tasks of a shape and a type."""
    shape = draw(st.sampled_from([(6,), (3, 2), (2, 3, 1)]))
    dtype = draw(st.sampled_from([torch.uint8, torch.float32, torch.float64]))
    train, test = ([task(draw, shape, dtype) for _ in range(3)] for _ in range(2))
    return Scenario.from_tensors(train, test, n_classes=4)


def networks(shape: Sequence[int]) -> dict[str, Callable[[], nn.Module]]:
    return {
        "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 4)),
        "binary": lambda: bnn(shape, 4, hidden=[5], norm="layer", norm_per_task=False),
        "running": lambda: bnn(shape, 4, hidden=[5], norm_per_task=False, test_statistics="running"),
    }


@fuzz
@given(data=st.data(), name=st.sampled_from(sorted(PLUGINS)), scenario=scenarios())
def test_a_plugin_trains_as_in_avalanches_loop_or_refuses(data: st.DataObject, name: str, scenario: Scenario) -> None:
    kind, drawn = PLUGINS[name]
    chosen = {key: data.draw(values, key) for key, values in drawn.items()}
    network = networks(scenario.input_shape)[data.draw(st.sampled_from(["linear", "binary", "running"]))]
    try:
        ours = through_bridge(network, lambda *_: [kind(**chosen)], scenario)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert difference(ours, through_avalanche(network, lambda *_: [kind(**chosen)], scenario)) <= 1e-5


@fuzz
@given(data=st.data(), name=st.sampled_from(sorted(PLUGINS)))
def test_a_setting_out_of_range_is_refused_by_name(data: st.DataObject, name: str) -> None:
    kind, drawn = PLUGINS[name]
    key = data.draw(st.sampled_from(sorted(set(drawn) - {"shuffled", "n_samples", "batch_size_mem"})))
    chosen = {other: data.draw(values) for other, values in drawn.items()}
    value = data.draw(NO_COUNTS if drawn[key] is COUNTS else NO_NUMBERS)
    with pytest.raises(UserError, match=f"^{key}=") as refused:
        kind(**{**chosen, key: value})
    assert "\n" not in str(refused.value)
