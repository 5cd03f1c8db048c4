"""A checkpoint of another run is refused in a line that names what does not fit."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from metaplast.errors import UserError
from metaplast.training.checkpoint_content import check_fits, check_form, resuming


def whole() -> tuple[dict[str, Any], dict[str, Tensor], torch.optim.Optimizer]:
    """What a run of a tiny network saves, its tensors and its optimizer as they start."""
    from metaplast.optim import MetaplasticAdam

    network = torch.nn.Linear(3, 2)
    optimizer = MetaplasticAdam(network.parameters(), lr=0.1, m=1.0)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = network.state_dict()
    content = {
        "epoch": 1,
        "global_step": 1,
        "state_dict": dict(state),
        "optimizer_states": [optimizer.state_dict()],
        "loops": {"fit_loop": {}},
        "callbacks": {},
        "random_state": {},
        "losses": (0.0, 0),
    }
    return content, state, MetaplasticAdam(network.parameters(), lr=0.1, m=1.0)


def test_what_belongs_to_the_run_is_accepted(tmp_path: Path) -> None:
    content, state, optimizer = whole()
    check_form(content, tmp_path)
    check_fits(content, state, optimizer)


@pytest.mark.parametrize(
    "key", ["epoch", "global_step", "state_dict", "optimizer_states", "loops", "callbacks", "random_state", "losses"]
)
def test_a_checkpoint_that_lacks_a_part_is_refused(key: str, tmp_path: Path) -> None:
    for wrong in ({}, {key: None}, {key: "x"}):
        content = {name: value for name, value in whole()[0].items() if name != key} | wrong
        with pytest.raises(UserError, match=rf"^checkpoint: .*: {key}: expected "):
            check_form(content, tmp_path)
    for key, value in (("optimizer_states", []), ("optimizer_states", [{}]), ("optimizer_states", [1]), ("loops", {})):
        with pytest.raises(UserError, match=rf"^checkpoint: .*: {key}"):
            check_form(whole()[0] | {key: value}, tmp_path)


@pytest.mark.parametrize(
    "harm",
    [
        lambda c: c["state_dict"].pop("bias"),
        lambda c: c["state_dict"].update(other=torch.ones(1)),
        lambda c: c["state_dict"].update(weight=torch.ones(3, 3)),
        lambda c: c["state_dict"].update(weight=3),
        lambda c: c["optimizer_states"][0]["param_groups"].clear(),
        lambda c: c["optimizer_states"][0]["param_groups"][0].update(consolidation="exponential"),
        lambda c: c["optimizer_states"][0]["param_groups"][0].update(m=0.0),
        lambda c: c["optimizer_states"][0]["param_groups"][0].update(lr="x"),
        lambda c: c["optimizer_states"][0]["param_groups"][0].pop("lr"),
        lambda c: c["optimizer_states"][0]["param_groups"][0]["params"].pop(),
        lambda c: c["optimizer_states"][0]["param_groups"].append(1),
        lambda c: c["optimizer_states"][0]["state"].update({7: {}}),
        lambda c: c["optimizer_states"][0]["state"].update({"x": {}}),
        lambda c: c["optimizer_states"][0]["state"][0].update(exp_avg=torch.ones(5, 5)),
        lambda c: c["optimizer_states"][0].update(state=[]),
    ],
)
def test_a_checkpoint_of_another_network_or_optimizer_is_refused_in_a_line(harm: Any) -> None:
    content, state, optimizer = whole()
    harm(content)
    with pytest.raises(UserError, match=r"^checkpoint: [^\n]*$"):
        check_fits(content, state, optimizer)


def fail_in(trainer: pl.Trainer, path: Path, trains: bool) -> None:
    with resuming(trainer, path):
        if trains:
            trainer.callbacks[-1].on_train_start(trainer, pl.LightningModule())  # type: ignore[attr-defined]
        raise ZeroDivisionError


@pytest.mark.parametrize("trains", [False, True])
def test_an_error_names_the_checkpoint_until_training_begins(trains: bool, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_model_summary=False)
    with pytest.raises(ZeroDivisionError if trains else UserError) as raised:
        fail_in(trainer, path, trains)
    assert trains or str(raised.value).startswith(f"checkpoint: {path} does not fit the run: ZeroDivisionError")
