"""The compiled training step against torch's: the same activations and losses, gradients equal up to rounding.

The kernel is compiled by the first test of a machine, in 20 s.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor, nn

from metaplast.cli.run import run
from metaplast.nn import TaskCrossEntropy, bnn, mlp
from metaplast.optim import MetaplasticAdam, MetaplasticSGD, parameter_groups
from metaplast.runs.tables import read_metrics
from metaplast.training import native_build
from metaplast.training.native import NativeSteps, native_steps

pytestmark = pytest.mark.usefixtures("threads_as_before")
ROOT = Path(__file__).parents[2]
IMAGES = (torch.rand(120, 1, 6, 6, generator=torch.Generator().manual_seed(0)) ** 3 * 255).to(torch.uint8)
LABELS = torch.randint(4, (120,), generator=torch.Generator().manual_seed(1))


def torch_steps(
    network: nn.Module, criterion: nn.Module, optimizer: Any, order: Tensor, sizes: list[int]
) -> list[float]:
    """The judge: the losses of the same steps by autograd and the optimizer's own step."""
    losses = []
    for indices in torch.split(order, sizes):
        optimizer.zero_grad()
        loss = criterion(network(torch.div(IMAGES[indices], 255)), LABELS[indices])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def kernel(network: nn.Module, criterion: nn.CrossEntropyLoss, optimizer: Any) -> NativeSteps:
    steps = native_steps(network, criterion, optimizer)
    assert isinstance(steps, NativeSteps), steps
    return steps


def relative(a: Tensor, b: Tensor, floor: float) -> float:
    return float((a - b).norm() / b.norm().clamp_min(floor))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 70), max_size=3),
    st.integers(8, 60),
    st.sampled_from(["batch", "none"]),
    st.sampled_from(["sign", "gate"]),
    st.booleans(),
    st.sampled_from([MetaplasticAdam, MetaplasticSGD]),
    st.sampled_from(["tanh", "exponential"]),
    st.sampled_from([0.0, 1.0]),
)
def test_a_step_is_that_of_torch_up_to_rounding(
    hidden: list[int],
    batch: int,
    norm: str,
    activation: str,
    affine: bool,
    kind: Any,
    consolidation: str,
    relative_m: float,
) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    theirs = bnn((1, 6, 6), 4, hidden=hidden, norm=norm, norm_affine=affine, activation=activation,  # type: ignore[arg-type]
                 gamma_init="uniform", test_statistics="running", logit_scale=1 - relative_m / 2)  # fmt: skip
    for parameter in theirs.parameters():
        parameter.detach().mul_(5)  # so that m matters
    ours = copy.deepcopy(theirs)
    criterion = TaskCrossEntropy(4, [[0, 1], [2, 3]]) if affine else nn.CrossEntropyLoss()
    one, two = (
        kind(
            parameter_groups(n, 1.3),
            lr=0.01,
            consolidation=consolidation,
            decoupled_weight_decay=1e-3,
            relative_m=relative_m,
        )
        for n in (theirs, ours)
    )
    order = torch.randperm(120)[:batch]
    expected = torch_steps(theirs, criterion, one, order, [batch])
    assert kernel(ours, criterion, two)(IMAGES.flatten(1), LABELS, order, [batch]) == pytest.approx(expected, rel=1e-6)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        # A first moment of Adam is a tenth of the gradient, one of SGD all of it. Behind the normalization of a single
        # unit the gradient is 0, but for its rounding.
        for name, floor in zip(one.STATE_TENSORS, (1e-4, 1e-11), strict=False):
            assert relative(two.state[a][name], one.state[b][name], floor) < 4e-6
        moment = one.state[b][one.STATE_TENSORS[0]].abs()
        certain = moment > max(1e-7, 1e-3 * float(moment.max()))  # Adam's first step is as long for a gradient near 0
        assert torch.allclose(a[certain], b[certain], rtol=0, atol=2e-6)
    for (name, x), y in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        assert torch.allclose(x, y, rtol=1e-6), name


def trained(threads: int, calls: list[list[int]]) -> list[Tensor]:
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    network = bnn((1, 6, 6), 4, hidden=[300, 70], norm="batch")
    optimizer = MetaplasticAdam(parameter_groups(network, 1.3))
    steps, order = kernel(network, nn.CrossEntropyLoss(), optimizer), torch.arange(120)
    for sizes in calls:
        steps(IMAGES.flatten(1), LABELS, order[: sum(sizes)], sizes)
        order = order[sum(sizes) :]
    return [*network.parameters(), *(optimizer.state[p]["exp_avg_sq"] for p in network.parameters())]


def test_bits_depend_neither_on_threads_nor_on_how_many_steps_a_call_takes() -> None:
    expected = trained(1, [[40], [40], [40]])
    for others in (trained(2, [[40], [40], [40]]), trained(1, [[40, 40, 40]])):
        assert all(map(torch.equal, expected, others))


def test_a_weight_that_was_changed_from_outside_gets_its_new_signs() -> None:
    network = bnn((1, 6, 6), 4, hidden=[8])
    optimizer = MetaplasticAdam(parameter_groups(network, 0.0))
    steps, order = kernel(network, nn.CrossEntropyLoss(), optimizer), torch.arange(50)
    steps(IMAGES.flatten(1), LABELS, order, [50])
    with torch.no_grad():
        next(network.parameters()).neg_()
    judge = copy.deepcopy(network)
    expected = torch_steps(judge, nn.CrossEntropyLoss(), MetaplasticAdam(judge.parameters()), order, [50])
    assert steps(IMAGES.flatten(1), LABELS, order, [50]) == pytest.approx(expected, rel=1e-6)


def test_what_the_kernel_does_not_cover_is_said() -> None:
    criterion = nn.CrossEntropyLoss()
    for network, reason in (
        (mlp((1, 6, 6), 4, hidden=[8]), "the network is no bnn"),
        (bnn((1, 6, 6), 4, hidden=[8], activation="kwta"), "the activation is KWTA"),
    ):
        assert native_steps(network, criterion, MetaplasticAdam(network.parameters())) == reason
    network = bnn((1, 6, 6), 4, hidden=[8])
    assert native_steps(network, criterion, torch.optim.Adam(network.parameters())) == "the optimizer is Adam"
    network[1].register_forward_hook(lambda *_: None)
    assert native_steps(network, criterion, MetaplasticAdam(network.parameters())) == "the network has hooks"


def rows(run_dir: Path, *overrides: str) -> list[dict[str, float]]:
    """metrics.csv of a small run, without the columns of times."""
    small = ["scenario=pdigits", "scenario.n_tasks=2", "model.hidden=[16]", "epochs_per_task=2", "m=1.3"]
    quiet = ["logger=none", "trainer=cpu", "trainer.threads=1", "trainer.progress=none", "trainer.native=true"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", [*small, *quiet, *overrides])
    OmegaConf.set_struct(config, True)
    run_dir.mkdir()
    run(config, run_dir)
    timed = ("seconds", "samples_per_second")
    return [
        {k: v for k, v in row.items() if k not in timed and v == v} for row in read_metrics(run_dir / "metrics.csv")
    ]


def test_a_run_has_the_same_numbers_for_any_number_of_steps_a_call(tmp_path: Path) -> None:
    expected = rows(tmp_path / "1", "trainer.steps_per_call=1")
    assert rows(tmp_path / "4", "trainer.steps_per_call=4") == expected
    assert rows(tmp_path / "auto") == expected


def test_without_a_compiler_a_run_says_so_in_a_line_and_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    native_build.load_kernel.cache_clear()
    try:
        without = rows(tmp_path / "without", "trainer.compile=false")
    finally:
        native_build.load_kernel.cache_clear()
    [line] = [line for line in capsys.readouterr().err.splitlines() if "trainer.native" in line]
    assert "no C++ compiler" in line
    monkeypatch.undo()
    assert without == rows(tmp_path / "off", "trainer.native=false", "trainer.compile=false")
